/** Takes record batches into a partition's log. Per batch, never per message. */

import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { NO_PRODUCER } from "../batch/batch_header.ts";
import { validateBatch } from "../batch/batch_reader.ts";
import type { AdvanceRequest, ProduceAnswer, ProduceRequest } from "../client/protocol.ts";
import { boundsAnswer, encodeCommand, produceAnswer } from "./partition_commands.ts";
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
  const header = validateBatch(batch);
  const own = ownBytes(batch);
  if (request.acks === "leader") {
    // One that is lost would make all that follow it out of order, and nobody would be told.
    if (header.producerId !== NO_PRODUCER) throw numbered(partition);
    await partition.replica.proposeLogged(own);
    return { baseOffset: null, timeMs: 0, duplicate: false };
  }
  partition.machine.requireRoom(header, partition.replica.stampMs());
  const { answer } = await partition.replica.propose(own);
  return produceAnswer.decode(answer);
}

/** Leaves offsets out: the next message gets the one that is asked for. */
export async function advance(
  partition: ServedPartition,
  { offset }: AdvanceRequest,
): Promise<{ endOffset: number }> {
  partition.requireLeader("advance");
  const command = encodeCommand({ kind: "advance", offset });
  const { answer } = await partition.replica.propose(command);
  return { endOffset: boundsAnswer.decode(answer).endOffset };
}

/** Views of a connection's chunk would keep all of it alive for as long as the log's cache does. */
function ownBytes(batch: Uint8Array): Uint8Array {
  return batch.buffer.byteLength > batch.length * 2 ? batch.slice() : batch;
}

function numbered({ label }: ServedPartition): TrilogError {
  return new TrilogError(
    "invalid_argument",
    `Cannot produce to ${label}: a batch that only the leader acknowledges has no sequence number`,
  );
}
