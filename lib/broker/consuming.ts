/** Serves the consumers of the HTTP API: one replicated step fixes a message, then it is read. */

import { TrilogError } from "../base/errors.ts";
import { recordsOf } from "../batch/batch_reader.ts";
import type {
  ConsumerPositionAnswer,
  ConsumerRequest,
  DeleteConsumerAnswer,
  DequeueAnswer,
  DequeueRequest,
} from "../client/protocol.ts";
import { Gathering } from "./fetching.ts";
import { deletedAnswer, dequeueAnswer, encodeCommand } from "./partition_commands.ts";
import type { ServedPartition } from "./served_partition.ts";

export async function dequeue(
  partition: ServedPartition,
  { consumer, requestId, turn }: DequeueRequest,
): Promise<DequeueAnswer> {
  partition.requireLeader("consume from");
  const command = encodeCommand({ kind: "dequeue", consumer, requestId, turn });
  const { answer } = await partition.replica.propose(command);
  const { offset, skipped } = dequeueAnswer.decode(answer);
  return { offset, value: offset === null ? null : valueAt(partition, offset), skipped };
}

export async function consumerPosition(
  partition: ServedPartition,
  { consumer }: ConsumerRequest,
): Promise<ConsumerPositionAnswer> {
  partition.requireLeader("read");
  await partition.replica.readBarrier();
  const { machine } = partition;
  return { size: machine.messagesLeft(consumer), turn: machine.consumerTurn(consumer) };
}

export async function deleteConsumer(
  partition: ServedPartition,
  { consumer }: ConsumerRequest,
): Promise<DeleteConsumerAnswer> {
  partition.requireLeader("delete consumer of");
  const command = encodeCommand({ kind: "delete_consumer", consumer });
  const { answer } = await partition.replica.propose(command);
  return deletedAnswer.decode(answer);
}

/** The value of a committed message. */
function valueAt(partition: ServedPartition, offset: number): Uint8Array | null {
  if (offset < partition.startOffset) {
    throw new TrilogError(
      "offset_out_of_range",
      `Cannot read ${partition.label} at offset ${offset}: retention has dropped that message`,
    );
  }
  const gathering = new Gathering(partition, offset, 1);
  gathering.readOn();
  for (const batch of gathering.batches) {
    for (const record of recordsOf(batch)) {
      if (record.offset === offset) return record.value?.slice() ?? null;
    }
  }
  // Committed by the others while this disk had no room for it: a repeat gets the same message.
  throw new TrilogError(
    "unavailable",
    `Cannot read ${partition.label} at offset ${offset}: the message is not on this disk yet`,
  );
}
