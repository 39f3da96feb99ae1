/** What managers answer about consumer groups, made from the metadata. Pure. */

import type {
  AssignedPartition,
  GroupAssignment,
  GroupDescription,
  GroupSummary,
  OwnedDescription,
} from "../client/protocol.ts";
import type { ConsumerGroup, GroupPartition } from "./group_records.ts";
import { type MetadataView, sortedValues } from "./state.ts";

/** What one member may consume. */
export function assignmentView(
  state: MetadataView,
  group: ConsumerGroup,
  member: string,
): GroupAssignment {
  const mine = group.partitions.filter(({ owner }) => owner === member);
  return {
    generation: group.generation,
    partitions: mine.flatMap((partition): AssignedPartition[] => {
      const { groupId, generation, target } = partition;
      const place = placeOf(state, partition);
      if (place === null) return [];
      const { born } = group;
      return [{ groupId, generation, born, ...place, revoked: target !== member }];
    }),
    pending: group.partitions.filter(({ owner, target }) => target === member && owner !== member)
      .length,
  };
}

export function groupSummaries(state: MetadataView): GroupSummary[] {
  return sortedValues(state.groups).map((group) => summaryView(state, group));
}

/** A group and its members; `silentMs` is what the leading manager remembers of them. */
export function descriptionView(
  state: MetadataView,
  group: ConsumerGroup,
  silentMs: (member: string) => number | null,
): GroupDescription {
  return {
    group: summaryView(state, group),
    members: group.members.map(({ id, client, topics, sessionTimeoutMs, instance }) => ({
      id,
      client,
      topics,
      sessionTimeoutMs,
      instance,
      lastHeardMs: silentMs(id),
    })),
    partitions: group.partitions.flatMap((partition): OwnedDescription[] => {
      const { owner, generation, target } = partition;
      const place = placeOf(state, partition);
      return place === null ? [] : [{ ...place, owner, generation, target }];
    }).sort(byPlace),
  };
}

function summaryView(state: MetadataView, group: ConsumerGroup): GroupSummary {
  const { name, strategy, born, generation, members, partitions, topics } = group;
  const moving = partitions.some(({ owner, target }) => owner !== target);
  return {
    name,
    state: members.length === 0 ? "empty" : moving ? "rebalancing" : "stable",
    strategy,
    born,
    generation,
    members: members.length,
    partitions: partitions.length,
    topics: topics.filter((topic) => state.topics.has(topic)),
  };
}

/** Null for a partition of a topic that was deleted. */
function placeOf(
  state: MetadataView,
  { groupId }: GroupPartition,
): { readonly topic: string; readonly partition: number } | null {
  const placed = state.partitionOf(groupId);
  return placed === undefined ? null : { topic: placed.topic.name, partition: placed.partition };
}

function byPlace(left: OwnedDescription, right: OwnedDescription): number {
  if (left.topic !== right.topic) return left.topic < right.topic ? -1 : 1;
  return left.partition - right.partition;
}
