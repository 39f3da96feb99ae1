/** MACHINE. What the managers keep of consumer groups. Committed offsets are in the partitions. */

import {
  type Codec,
  grown,
  label,
  list,
  name,
  nullable,
  record,
  token,
  whole,
  word,
} from "../base/codec.ts";
import type { Strategy } from "./assign.ts";

export const strategyCodec: Codec<Strategy> = word("range", "round_robin");

export interface GroupMember {
  /** Made by the member itself, at random; a member that was expelled comes back under another. */
  readonly id: string;
  /** For people: which program it is. May be empty. */
  readonly client: string;
  /** Sorted. */
  readonly topics: readonly string[];
  readonly sessionTimeoutMs: number;
  readonly joinedAtMs: number;
  /** Name of its place in the group, which outlives a restart; null: it has none. */
  readonly instance: string | null;
}
const fullMember = record<GroupMember>({
  id: token,
  client: label,
  topics: list(name),
  sessionTimeoutMs: whole,
  joinedAtMs: whole,
  instance: nullable(name),
});
/** Members had no instance at first. */
const memberCodec: Codec<GroupMember> = grown(fullMember, { fields: 5, added: [null] });

/**
 * A partition that a member may consume. It was granted under a generation of its own, which the
 * member claims it with in the partition; whoever had it before has a lower one.
 */
export interface GroupPartition {
  /** The partition's Raft group, since names of topics may be reused. */
  readonly groupId: string;
  readonly owner: string;
  readonly generation: number;
  /** Who should have it. Unlike the owner: he is asked to give it up. Null: nobody should. */
  readonly target: string | null;
}
const partitionCodec: Codec<GroupPartition> = record<GroupPartition>({
  groupId: token,
  owner: token,
  generation: whole,
  target: nullable(token),
});

export interface ConsumerGroup {
  readonly name: string;
  readonly strategy: Strategy;
  /** Generation in which it was made: what a deleted group of its name left has lower ones. */
  readonly born: number;
  /** Number of the last change of members or partitions; from a counter, never reused. */
  readonly generation: number;
  /** Topics it has consumed, sorted; kept when its members are gone. */
  readonly topics: readonly string[];
  /** Sorted by id. */
  readonly members: readonly GroupMember[];
  /** Sorted by Raft group. */
  readonly partitions: readonly GroupPartition[];
  readonly createdAtMs: number;
  /** Leader's stamp of the last change. */
  readonly changedAtMs: number;
}
export const groupCodec: Codec<ConsumerGroup> = record<ConsumerGroup>({
  name,
  strategy: strategyCodec,
  born: whole,
  generation: whole,
  topics: list(name),
  members: list(memberCodec),
  partitions: list(partitionCodec),
  createdAtMs: whole,
  changedAtMs: whole,
});

/** As it was stored before groups could be deleted. */
export const undatedGroupCodec = record<Omit<ConsumerGroup, "born">>({
  name,
  strategy: strategyCodec,
  generation: whole,
  topics: list(name),
  members: list(memberCodec),
  partitions: list(partitionCodec),
  createdAtMs: whole,
  changedAtMs: whole,
});
