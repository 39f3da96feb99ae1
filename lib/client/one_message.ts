/** A single message under an identity of its own, for senders that keep no sequence. */

import { assert } from "../base/assert.ts";
import { ONE_BATCH_PRODUCERS_FROM } from "../batch/batch_header.ts";
import { BatchBuilder } from "../batch/batch_writer.ts";
import type { Client } from "./client.ts";
import type { Delivered } from "./producer.ts";
import { produceMethod } from "./protocol.ts";

/**
 * Sends one message; resolves when it is durable on a quorum. `identity` is a whole number below
 * 2^52, the same for each repeat of this message and for no other: within
 * `limits.requestLeastMemoryMs` a repeat gets the first one's offset. Rejects with `overloaded`
 * where the partition has no room to remember it, `message_too_large`, `no_such_topic`, `no_such_partition`, `unavailable` or `outcome_unknown`.
 */
export async function sendOneMessage(
  client: Pick<Client, "clock" | "partitionRequest">,
  topic: string,
  partition: number,
  value: Uint8Array,
  identity: number,
  deadlineMs: number,
): Promise<Delivered> {
  assert(identity >= 0 && identity < ONE_BATCH_PRODUCERS_FROM, "an identity has 52 bits");
  const builder = new BatchBuilder();
  builder.add(null, value, client.clock.wallMs());
  const batch = builder.finish({
    producerId: ONE_BATCH_PRODUCERS_FROM + identity,
    producerEpoch: 0,
    baseSequence: 0,
  });
  const request = { batch, acks: "quorum" as const };
  const { baseOffset } = await client.partitionRequest(
    topic,
    partition,
    produceMethod,
    request,
    deadlineMs,
  );
  assert(baseOffset !== null, "a quorum's acknowledgement has an offset");
  return { partition, offset: baseOffset };
}
