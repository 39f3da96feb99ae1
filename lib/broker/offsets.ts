/** Looks offsets up, and keeps those that consumer groups have committed. */

import { firstOffsetAt } from "../batch/batch_reader.ts";
import type {
  ClaimAnswer,
  ClaimRequest,
  CommitRequest,
  CommittedOffset,
  CommittedOffsetRequest,
  ListOffsetsAnswer,
  ListOffsetsRequest,
} from "../client/protocol.ts";
import { Gathering } from "./fetching.ts";
import { encodeCommand, groupAnswer, type PartitionCommand } from "./partition_commands.ts";
import type { ServedPartition } from "./served_partition.ts";

/** A search by time reads the log in parts of this size. */
const SEARCH_BYTES = 1024 * 1024;

export async function listOffsets(
  partition: ServedPartition,
  request: ListOffsetsRequest,
): Promise<ListOffsetsAnswer> {
  partition.requireLeader("list offsets of");
  const { machine, replica } = partition;
  await replica.readBarrier();
  switch (request.at) {
    case "earliest":
      return { offset: partition.startOffset };
    case "latest":
      return { offset: machine.endOffset };
    case "time":
      return { offset: offsetAt(partition, request.timeMs) };
  }
}

/** The first message at or after `timeMs` by the producers' clocks, or the end. */
function offsetAt(partition: ServedPartition, timeMs: number): number {
  const { machine } = partition;
  const found = machine.searchFrom(timeMs)?.baseOffset ?? machine.endOffset;
  let next = Math.max(found, partition.startOffset);
  while (next < machine.endOffset) {
    const part = new Gathering(partition, next, SEARCH_BYTES);
    part.readOn();
    for (const batch of part.batches) {
      const offset = firstOffsetAt(batch, timeMs);
      if (offset !== null) return offset;
    }
    if (part.batches.length === 0) break;
    next = part.nextOffset;
  }
  return machine.endOffset;
}

export async function claim(
  partition: ServedPartition,
  { group, born, generation, member }: ClaimRequest,
): Promise<ClaimAnswer> {
  return await run(partition, { kind: "claim", group, born, generation, member });
}

export async function commit(
  partition: ServedPartition,
  { group, generation, member, offset }: CommitRequest,
): Promise<ClaimAnswer> {
  return await run(partition, { kind: "commit", group, generation, member, offset });
}

/** Where a group stands, for people. */
export async function committedOffset(
  partition: ServedPartition,
  { group, born }: CommittedOffsetRequest,
): Promise<CommittedOffset> {
  partition.requireLeader("read offsets of");
  const { machine, replica } = partition;
  await replica.readBarrier();
  const { startOffset } = partition;
  const { endOffset } = machine;
  const offset = machine.committedBy(group, born);
  return { offset, startOffset, endOffset, lag: machine.messagesFrom(offset ?? startOffset) };
}

async function run(partition: ServedPartition, command: PartitionCommand): Promise<ClaimAnswer> {
  partition.requireLeader("keep offsets of");
  const { answer } = await partition.replica.propose(encodeCommand(command));
  return groupAnswer.decode(answer);
}
