/**
 * MACHINE. Commands about consumer groups: who belongs to one, and which member may consume which
 * partition. A rebalance is cooperative: each change decides anew who should have which partition
 * (`assign.ts`), grants what is free at once, and leaves with its owner what is not, until he
 * releases it, leaves or is expelled. Partitions that stay are not touched.
 */

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
} from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { assign, type Strategy } from "./assign.ts";
import type { Command } from "./command.ts";
import {
  type ConsumerGroup,
  type GroupMember,
  type GroupPartition,
  strategyCodec,
} from "./group_records.ts";
import { type MetadataState, type MetadataView } from "./state.ts";

/** The group's generation after a change. */
export interface Generation {
  readonly generation: number;
}
export const generationCodec: Codec<Generation> = record<Generation>({ generation: whole });

export interface JoinFields {
  readonly group: string;
  readonly member: string;
  readonly client: string;
  readonly topics: readonly string[];
  readonly strategy: Strategy;
  readonly sessionTimeoutMs: number;
  /** Name of a place in the group; null for none. */
  readonly instance: string | null;
}

export const joinFields: Codec<JoinFields> = record<JoinFields>({
  group: name,
  member: token,
  client: label,
  topics: list(name),
  strategy: strategyCodec,
  sessionTimeoutMs: whole,
  instance: nullable(name),
});

/**
 * A member comes, or comes again with other topics. The first one decides on the strategy. One that
 * comes for a named place which another member has takes it over.
 */
export const joinGroup: Command<JoinFields, Generation> = {
  name: "groups.join",
  // Members had no instance at first.
  fields: grown(joinFields, { fields: 6, added: [null] }),
  answer: generationCodec,
  apply(state, fields, { timeMs }) {
    const admission = admit(state, fields, timeMs, false);
    if (admission === null) return { generation: state.groups.get(fields.group)!.generation };
    const { group, divides } = admission;
    if (divides) return change(state, group, timeMs);
    state.groups.set(group.name, { ...group, changedAtMs: timeMs });
    return { generation: group.generation };
  },
};

/** A group with one more member, before its partitions are divided anew. */
export interface Admission {
  readonly group: ConsumerGroup;
  /** False where the member has what the one had whose place it took. */
  readonly divides: boolean;
}

/**
 * Takes a member in; null where it is one already. `returning`: its topics need not exist.
 * `present`: the group with those who were admitted just before. Throws the refusal.
 */
export function admit(
  state: MetadataState,
  fields: JoinFields,
  timeMs: number,
  returning: boolean,
  present?: ConsumerGroup,
): Admission | null {
  refuseImpossible(state, fields, returning);
  const known = present ?? state.groups.get(fields.group) ?? newGroup(state, fields.group, timeMs);
  const { member: id, client, sessionTimeoutMs, strategy, instance } = fields;
  const replaced = known.members.find((member) =>
    instance !== null && member.instance === instance && member.id !== id
  );
  const others = known.members.filter((member) => member.id !== id && member !== replaced);
  refuseCrowd(state, known, others, fields);
  const topics = [...new Set(fields.topics)].sort();
  const before = known.members.find((member) => member.id === id);
  if (before?.topics.join() === topics.join()) return null;
  const joinedAtMs = before?.joinedAtMs ?? timeMs;
  const member: GroupMember = { id, client, topics, sessionTimeoutMs, joinedAtMs, instance };
  const members = [...others, member].sort((left, right) => left.id < right.id ? -1 : 1);
  const group = { ...known, strategy, members };
  if (replaced === undefined) return { group, divides: true };
  const same = before === undefined && topics.join() === replaced.topics.join();
  return { group: takenOver(group, replaced, id, nextGeneration(state)), divides: !same };
}

export interface MemberFields {
  readonly group: string;
  readonly member: string;
}
export const memberFields: Codec<MemberFields> = record<MemberFields>({
  group: name,
  member: token,
});

/** A member goes: what it had is free. To leave twice does no harm. */
export const leaveGroup: Command<MemberFields, Generation> = {
  name: "groups.leave",
  fields: memberFields,
  answer: generationCodec,
  apply: (state, fields, { timeMs }) => removeMember(state, fields, timeMs),
};

export interface ExpelFields {
  /** Term in which the leader judged; in another one its judgement is old news. */
  readonly term: number;
  readonly members: readonly MemberFields[];
}

/** The leader's judgement on members that were not heard for their session timeouts. */
export const expelMembers: Command<ExpelFields, Generation> = {
  name: "groups.expel",
  fields: record<ExpelFields>({ term: whole, members: list(memberFields) }),
  answer: generationCodec,
  apply(state, { term: judgedIn, members }, { term, timeMs }) {
    let generation = 0;
    if (judgedIn !== term) return { generation };
    for (const fields of members) {
      if (!state.groups.has(fields.group)) continue;
      generation = Math.max(generation, removeMember(state, fields, timeMs).generation);
    }
    return { generation };
  },
};

export interface Released {
  readonly groupId: string;
  /** Generation under which the partition was granted. */
  readonly generation: number;
}
export const releasedCodec: Codec<Released> = record<Released>({
  groupId: token,
  generation: whole,
});

export interface ReleaseFields extends MemberFields {
  readonly partitions: readonly Released[];
}

export const releaseFields: Codec<ReleaseFields> = record<ReleaseFields>({
  group: name,
  member: token,
  partitions: list(releasedCodec),
});

/** A member will never again consume these under these generations. */
export const releasePartitions: Command<ReleaseFields, Generation> = {
  name: "groups.release",
  fields: releaseFields,
  answer: generationCodec,
  apply(state, { group: groupName, member, partitions }, { timeMs }) {
    const group = requireGroup(state, "release partitions of", groupName);
    const released = new Map(partitions.map(({ groupId, generation }) => [groupId, generation]));
    const isReleased = ({ groupId, owner, generation }: GroupPartition) =>
      owner === member && released.get(groupId) === generation;
    if (!group.partitions.some(isReleased)) return { generation: group.generation };
    const generation = nextGeneration(state);
    const left = group.partitions.flatMap((partition) => {
      if (!isReleased(partition)) return [partition];
      const { groupId, target } = partition;
      return target === null ? [] : [{ groupId, owner: target, generation, target }];
    });
    state.groups.set(groupName, { ...group, partitions: left, generation, changedAtMs: timeMs });
    return { generation };
  },
};

export interface SettleFields {
  readonly groups: readonly string[];
}

/** Topics have changed: divides the partitions that there are now. */
export const settleGroups: Command<SettleFields, Generation> = {
  name: "groups.settle",
  fields: record<SettleFields>({ groups: list(name) }),
  answer: generationCodec,
  apply(state, { groups }, { timeMs }) {
    let generation = 0;
    for (const groupName of groups) {
      const group = state.groups.get(groupName);
      if (group === undefined || isSettled(state, group)) continue;
      ({ generation } = change(state, group, timeMs));
    }
    return { generation };
  },
};

export interface ReserveFields {
  readonly group: string;
  readonly topic: string;
}

export interface Reserved extends Generation {
  /** Generation in which the group was made. */
  readonly born: number;
}

/**
 * A generation for a reset, while the group has no members: higher than that of any member before
 * it, lower than that of any after it.
 */
export const reserveGeneration: Command<ReserveFields, Reserved> = {
  name: "groups.reserve",
  fields: record<ReserveFields>({ group: name, topic: name }),
  answer: record<Reserved>({ generation: whole, born: whole }),
  apply(state, { group: groupName, topic }, { timeMs }) {
    const group = state.groups.get(groupName) ?? newGroup(state, groupName, timeMs);
    if (group.members.length > 0) {
      throw new TrilogError(
        "group_not_empty",
        `Cannot reset group ${groupName}: it has ${group.members.length} active members`,
      );
    }
    const topics = [...new Set([...group.topics, topic])].sort();
    const { generation } = change(state, { ...group, topics }, timeMs);
    return { generation, born: state.groups.get(groupName)!.born };
  },
};

/** Whether a group divides all partitions that there are to divide, and no others. */
export function isSettled(state: MetadataView, group: ConsumerGroup): boolean {
  const divided = new Set(group.partitions.map(({ groupId }) => groupId));
  return groupTopics(state, group).every(({ partitions }) =>
    partitions.every((groupId) => divided.has(groupId))
  ) && group.partitions.every(({ groupId }) => state.partitionOf(groupId) !== undefined);
}

/** Existing topics that members subscribe to, by name; no more partitions than a group may have. */
function groupTopics(state: MetadataView, { members }: Pick<ConsumerGroup, "members">) {
  const names = [...new Set(members.flatMap(({ topics }) => topics))].sort();
  let room = limits.groupPartitions;
  return names.flatMap((topicName) => {
    const topic = state.topics.get(topicName);
    if (topic === undefined) return [];
    const partitions = topic.partitions.slice(0, room).map(({ groupId }) => groupId);
    room -= partitions.length;
    return [{ name: topicName, partitions }];
  });
}

function removeMember(
  state: MetadataState,
  { group: groupName, member }: MemberFields,
  timeMs: number,
): Generation {
  const group = requireGroup(state, "leave", groupName);
  const members = group.members.filter(({ id }) => id !== member);
  if (members.length === group.members.length) return { generation: group.generation };
  return change(state, { ...group, members }, timeMs);
}

/** Divides the partitions anew, grants what is free and stores the group. */
export function change(
  state: MetadataState,
  group: ConsumerGroup,
  timeMs: number,
): Generation {
  refuseTooMany(state, group.name);
  const generation = nextGeneration(state);
  const { members, strategy } = group;
  const topics = groupTopics(state, group);
  const living = new Set(members.map(({ id }) => id));
  const owned = new Map(
    group.partitions.filter(({ owner }) => living.has(owner)).map((one) => [one.groupId, one]),
  );
  const holders = new Map([...owned].map(([groupId, { owner }]) => [groupId, owner]));
  const targets = assign(strategy, members, topics, holders);
  const existing = new Set(topics.flatMap(({ partitions }) => partitions));
  const partitions: GroupPartition[] = [];
  for (const groupId of [...new Set([...existing, ...owned.keys()])].sort()) {
    const target = targets.get(groupId) ?? null;
    const present = owned.get(groupId);
    if (present !== undefined) {
      // A topic that was deleted has nothing that anybody could give up.
      const gone = target === null && state.partitionOf(groupId) === undefined;
      if (!gone) partitions.push({ ...present, target });
    } else if (target !== null) partitions.push({ groupId, owner: target, generation, target });
  }
  const known = new Set([...group.topics, ...topics.map(({ name }) => name)]);
  const kept = [...known].filter((topic) => state.topics.has(topic)).sort();
  state.groups.set(group.name, {
    ...group,
    generation,
    topics: kept.slice(0, limits.topicPartitions),
    partitions,
    changedAtMs: timeMs,
  });
  return { generation };
}

/**
 * The group once a member has what another had, under a generation of its own, which fences the
 * other. Where both subscribe to the same topics, no other member is asked for anything.
 */
function takenOver(
  group: ConsumerGroup,
  replaced: GroupMember,
  id: string,
  generation: number,
): ConsumerGroup {
  const partitions = group.partitions.map((partition): GroupPartition => {
    const target = partition.target === replaced.id ? id : partition.target;
    if (partition.owner !== replaced.id) return { ...partition, target };
    return { ...partition, owner: id, generation, target };
  });
  return { ...group, partitions, generation };
}

/** One counter serves all groups: a group that was forgotten never gets a number again. */
function nextGeneration(state: MetadataState): number {
  return state.nextNumber(GENERATIONS);
}

/** The counter that rises with every change of any group. */
export const GENERATIONS = "generation";

/** A group that the next change of this command stores. */
function newGroup(state: MetadataState, groupName: string, timeMs: number): ConsumerGroup {
  return {
    name: groupName,
    strategy: "round_robin",
    born: state.counters.get(GENERATIONS) ?? 1,
    generation: 0,
    topics: [],
    members: [],
    partitions: [],
    createdAtMs: timeMs,
    changedAtMs: timeMs,
  };
}

function refuseTooMany(state: MetadataState, groupName: string): void {
  if (state.groups.has(groupName) || state.groups.size < limits.groups) return;
  throw new TrilogError(
    "too_many_groups",
    `Cannot create group ${groupName}: the cluster has ${limits.groups} groups; delete one first`,
  );
}

export function requireGroup(state: MetadataState, act: string, groupName: string): ConsumerGroup {
  const group = state.groups.get(groupName);
  if (group !== undefined) return group;
  const message = `Cannot ${act} group ${groupName}: there is no such group`;
  throw new TrilogError("no_such_group", message);
}

function refuseImpossible(state: MetadataState, fields: JoinFields, returning: boolean): void {
  const act = `join group ${fields.group}`;
  const { shortestSessionMs, longestSessionMs, memberTopics } = limits;
  const refuse = (reason: string) =>
    new TrilogError("invalid_argument", `Cannot ${act}: ${reason}`);
  if (fields.sessionTimeoutMs < shortestSessionMs || fields.sessionTimeoutMs > longestSessionMs) {
    throw refuse(
      `a session timeout is from ${shortestSessionMs} to ${longestSessionMs} milliseconds`,
    );
  }
  if (fields.topics.length < 1 || fields.topics.length > memberTopics) {
    throw refuse(`a member subscribes to 1 to ${memberTopics} topics`);
  }
  const missing = fields.topics.find((topic) => !state.topics.has(topic));
  if (missing !== undefined && !returning) {
    throw new TrilogError("no_such_topic", `Cannot ${act}: there is no topic ${missing}`);
  }
}

function refuseCrowd(
  state: MetadataState,
  group: ConsumerGroup,
  others: readonly GroupMember[],
  fields: JoinFields,
): void {
  const refuse = (reason: string) =>
    new TrilogError("invalid_argument", `Cannot join group ${group.name}: ${reason}`);
  if (others.length > 0 && group.strategy !== fields.strategy) {
    throw refuse(`its members divide partitions by ${group.strategy}`);
  }
  if (others.length >= limits.groupMembers) throw refuse(`it has ${others.length} members`);
  const topics = new Set([...others.flatMap(({ topics }) => topics), ...fields.topics]);
  const partitions = [...topics].reduce(
    (sum, topic) => sum + (state.topics.get(topic)?.partitions.length ?? 0),
    0,
  );
  if (partitions > limits.groupPartitions) {
    throw refuse(`it would have ${partitions} partitions, more than ${limits.groupPartitions}`);
  }
}
