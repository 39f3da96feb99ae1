/** Takes record batches into a partition's log. Per batch, never per message. */

import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { validateBatch } from "../batch/batch_reader.ts";
import type { ProduceAnswer, ProduceRequest } from "../client/protocol.ts";
import { produceAnswer } from "./partition_commands.ts";
import type { ServedPartition } from "./served_partition.ts";

/** Appends one batch; resolves when it is committed, or with `acks: "leader"` when it is logged. */
export async function produce(
  partition: ServedPartition,
  request: ProduceRequest,
): Promise<ProduceAnswer> {
  partition.requireLeader("produce to");
  const { batch } = request;
  if (batch.length > limits.batchBytes) {
    throw new TrilogError(
      "message_too_large",
      `Cannot produce to ${partition.label}: the batch has ${batch.length} bytes and the limit is ` +
        `${limits.batchBytes}`,
    );
  }
  validateBatch(batch);
  const { answer } = await partition.replica.propose(ownBytes(batch));
  return produceAnswer.decode(answer);
}

/** Views of a connection's chunk would keep all of it alive for as long as the log's cache does. */
function ownBytes(batch: Uint8Array): Uint8Array {
  return batch.buffer.byteLength > batch.length * 2 ? batch.slice() : batch;
}
