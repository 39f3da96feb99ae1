/**
 * PURE. Methods of managers about consumer groups, and those of brokers about committed offsets
 * that only `group describe` and `group reset` need; consumers claim and commit by
 * `protocol_partitions.ts`.
 */

import {
  type Codec,
  flag,
  label,
  list,
  name,
  nullable,
  record,
  token,
  whole,
  word,
} from "../base/codec.ts";
import { type Consistency, consistency } from "./protocol_metadata.ts";
import { method } from "./protocol_method.ts";

/**
 * How partitions are divided: `range` topic by topic, `round_robin` all together. Both move as few
 * partitions as can be.
 */
export type AssignmentStrategy = "range" | "round_robin";
const strategy = word("range", "round_robin");

/**
 * Joins, or subscribes to other topics. The member's name is its own choice at random and never
 * used again after it left or was expelled; so this may be repeated without harm.
 */
export interface JoinGroupRequest {
  readonly group: string;
  readonly member: string;
  /** For people: which program it is. */
  readonly client: string;
  /** From 1 to `limits.memberTopics`; all must exist, unless it is `returning`. */
  readonly topics: readonly string[];
  /** It was a member before, under another name: topics may have been deleted meanwhile. */
  readonly returning: boolean;
  /** Must be that of the other members. */
  readonly strategy: AssignmentStrategy;
  /** A member not heard for this long is expelled; `limits.shortestSessionMs` and longer. */
  readonly sessionTimeoutMs: number;
  /**
   * Name of a place in the group: the member takes over what the last member of that name has, and
   * fences it. Null for none.
   */
  readonly instance: string | null;
}

/** The group's number of changes so far, in a count that all groups share. */
export interface GroupGeneration {
  readonly generation: number;
}
const groupGeneration = record<GroupGeneration>({ generation: whole });

export const joinGroupMethod = method<JoinGroupRequest, GroupGeneration>(
  "manager.join_group",
  record<JoinGroupRequest>({
    group: name,
    member: token,
    client: label,
    topics: list(name),
    returning: flag,
    strategy,
    sessionTimeoutMs: whole,
    instance: nullable(name),
  }),
  groupGeneration,
);

/** A partition under the generation that it was granted with. */
export interface GrantedPartition {
  readonly groupId: string;
  readonly generation: number;
}
const grantedPartition: Codec<GrantedPartition> = record<GrantedPartition>({
  groupId: token,
  generation: whole,
});

export interface GroupHeartbeatRequest {
  readonly group: string;
  readonly member: string;
  /** Generation of the newest assignment that the member knows; 0 for none. */
  readonly generation: number;
  /** Partitions that it will not consume again under these generations. */
  readonly released: readonly GrantedPartition[];
  /** The answer may be held back this long while there is no newer assignment. */
  readonly maxWaitMs: number;
  /** What it joined under. */
  readonly instance: string | null;
}

export interface AssignedPartition extends GrantedPartition {
  /** Generation in which the group was made. */
  readonly born: number;
  readonly topic: string;
  readonly partition: number;
  /** It goes to another member, once this one has released it. */
  readonly revoked: boolean;
}
const assignedPartition: Codec<AssignedPartition> = record<AssignedPartition>({
  groupId: token,
  generation: whole,
  born: whole,
  topic: name,
  partition: whole,
  revoked: flag,
});

/** What a member may consume. */
export interface GroupAssignment {
  /** A member never replaces an assignment by an older one. */
  readonly generation: number;
  readonly partitions: readonly AssignedPartition[];
  /** Partitions that will be its own when their present owners have released them. */
  readonly pending: number;
}

/**
 * Refused with `no_such_member` where the member was expelled, and with `fenced` where another one
 * took its instance over: it has nothing any more.
 */
export const groupHeartbeatMethod = method<GroupHeartbeatRequest, GroupAssignment>(
  "manager.group_heartbeat",
  record<GroupHeartbeatRequest>({
    group: name,
    member: token,
    generation: whole,
    released: list(grantedPartition),
    maxWaitMs: whole,
    instance: nullable(name),
  }),
  record<GroupAssignment>({
    generation: whole,
    partitions: list(assignedPartition),
    pending: whole,
  }),
);

export interface LeaveGroupRequest {
  readonly group: string;
  readonly member: string;
}

export const leaveGroupMethod = method<LeaveGroupRequest, GroupGeneration>(
  "manager.leave_group",
  record<LeaveGroupRequest>({ group: name, member: token }),
  groupGeneration,
);

export interface ListGroupsRequest {
  readonly consistency: Consistency;
}

/** `rebalancing`: partitions are on their way from one member to another. */
export type GroupState = "empty" | "rebalancing" | "stable";

export interface GroupSummary {
  readonly name: string;
  readonly state: GroupState;
  readonly strategy: AssignmentStrategy;
  /** Generation in which it was made. */
  readonly born: number;
  readonly generation: number;
  readonly members: number;
  /** Partitions that members have. */
  readonly partitions: number;
  /** Topics it has consumed and that still exist. */
  readonly topics: readonly string[];
}
const groupSummary: Codec<GroupSummary> = record<GroupSummary>({
  name,
  state: word("empty", "rebalancing", "stable"),
  strategy,
  born: whole,
  generation: whole,
  members: whole,
  partitions: whole,
  topics: list(name),
});

export interface ListGroupsAnswer {
  /** Sorted by name. */
  readonly groups: readonly GroupSummary[];
}

export const listGroupsMethod = method<ListGroupsRequest, ListGroupsAnswer>(
  "manager.list_groups",
  record<ListGroupsRequest>({ consistency }),
  record<ListGroupsAnswer>({ groups: list(groupSummary) }),
);

export interface DescribeGroupRequest {
  readonly group: string;
}

export interface MemberDescription {
  readonly id: string;
  readonly client: string;
  readonly topics: readonly string[];
  readonly sessionTimeoutMs: number;
  /** Name of its place in the group; null where it has none. */
  readonly instance: string | null;
  /** Milliseconds since its last heartbeat; null where none came to this leader yet. */
  readonly lastHeardMs: number | null;
}

export interface OwnedDescription {
  readonly topic: string;
  readonly partition: number;
  readonly owner: string;
  readonly generation: number;
  /** The member it goes to when the owner has released it; else the owner. */
  readonly target: string | null;
}

export interface GroupDescription {
  readonly group: GroupSummary;
  /** Sorted by id. */
  readonly members: readonly MemberDescription[];
  /** Sorted by topic and number. */
  readonly partitions: readonly OwnedDescription[];
}

/** Answered by the leading manager. */
export const describeGroupMethod = method<DescribeGroupRequest, GroupDescription>(
  "manager.describe_group",
  record<DescribeGroupRequest>({ group: name }),
  record<GroupDescription>({
    group: groupSummary,
    members: list(record<MemberDescription>({
      id: token,
      client: label,
      topics: list(name),
      sessionTimeoutMs: whole,
      instance: nullable(name),
      lastHeardMs: nullable(whole),
    })),
    partitions: list(record<OwnedDescription>({
      topic: name,
      partition: whole,
      owner: token,
      generation: whole,
      target: nullable(token),
    })),
  }),
);

/** A generation to reset a group's offsets in a topic with; `group_not_empty` with members. */
export interface ReserveGenerationRequest {
  readonly requestId: string;
  readonly group: string;
  readonly topic: string;
}

export interface ReservedGeneration extends GroupGeneration {
  /** Generation in which the group was made. */
  readonly born: number;
}

export const reserveGenerationMethod = method<ReserveGenerationRequest, ReservedGeneration>(
  "manager.reserve_generation",
  record<ReserveGenerationRequest>({ requestId: token, group: name, topic: name }),
  record<ReservedGeneration>({ generation: whole, born: whole }),
);

/** Deletes a group with all its offsets; refused with `group_not_empty` while it has members. */
export interface DeleteGroupRequest {
  readonly requestId: string;
  readonly group: string;
}

export const deleteGroupMethod = method<DeleteGroupRequest, GroupGeneration>(
  "manager.delete_group",
  record<DeleteGroupRequest>({ requestId: token, group: name }),
  groupGeneration,
);

/** Asks which of a broker's stored offsets are those of groups that do not exist any more. */
export interface DeletedGroupsRequest {
  readonly groups: readonly {
    readonly group: string;
    /** The lowest generation in which one of the broker's partitions was claimed. */
    readonly generation: number;
  }[];
}

export interface DeletedGroupsAnswer {
  /** Groups whose offsets of generations lower than `below` are to be deleted. */
  readonly groups: readonly { readonly group: string; readonly below: number }[];
}

export const deletedGroupsMethod = method<DeletedGroupsRequest, DeletedGroupsAnswer>(
  "manager.deleted_groups",
  record<DeletedGroupsRequest>({
    groups: list(record({ group: name, generation: whole })),
  }),
  record<DeletedGroupsAnswer>({ groups: list(record({ group: name, below: whole })) }),
);

/** Where a group stands in one partition; linearizable. */
export interface CommittedOffsetRequest {
  readonly groupId: string;
  readonly epoch: number;
  readonly group: string;
  /** Generation in which the group was made. */
  readonly born: number;
}

export interface CommittedOffset {
  /** Offset of the next message to consume; null where the group never committed here. */
  readonly offset: number | null;
  readonly startOffset: number;
  readonly endOffset: number;
  /** Messages from the committed offset to the end; all there are where nothing is committed. */
  readonly lag: number;
}

export const committedOffsetMethod = method<CommittedOffsetRequest, CommittedOffset>(
  "broker.committed_offset",
  record<CommittedOffsetRequest>({ groupId: token, epoch: whole, group: name, born: whole }),
  record<CommittedOffset>({
    offset: nullable(whole),
    startOffset: whole,
    endOffset: whole,
    lag: whole,
  }),
);
