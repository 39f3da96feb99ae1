/**
 * PURE. Which members of a consumer group a change concerns. In a group of five hundred each of a
 * thousand changes concerns two members; the others must not be woken, asked and answered for it.
 * Memory of the leading manager, made from what it sees: what it has not seen counts as news.
 */

import type { ConsumerGroup, GroupPartition } from "./group_records.ts";

interface Known {
  group: ConsumerGroup;
  /** Generation at which the observation began. */
  readonly since: number;
  /** Generation of the last change that concerned a member, by member. */
  readonly concerned: Map<string, number>;
}

export class GroupNews {
  private readonly known = new Map<string, Known>();

  startAfresh(): void {
    this.known.clear();
  }

  /** Groups have changed. */
  observe(groups: ReadonlyMap<string, ConsumerGroup>): void {
    for (const name of this.known.keys()) if (!groups.has(name)) this.known.delete(name);
    for (const [name, group] of groups) {
      const known = this.known.get(name);
      if (known === undefined) {
        const since = group.generation;
        this.known.set(name, { group, since, concerned: new Map() });
      } else if (known.group !== group) note(known, group);
    }
  }

  /** Whether a member that knows the group as of `generation` knows all that concerns it. */
  isKnown(group: ConsumerGroup, member: string, generation: number): boolean {
    if (group.generation === generation) return true;
    const known = this.known.get(group.name);
    if (known?.group !== group || generation < known.since) return false;
    return (known.concerned.get(member) ?? known.since) <= generation;
  }
}

function note(known: Known, group: ConsumerGroup): void {
  const { concerned } = known;
  const before = new Map(known.group.partitions.map((one) => [one.groupId, one]));
  const concerns = ({ owner, target }: GroupPartition) => {
    concerned.set(owner, group.generation);
    if (target !== null) concerned.set(target, group.generation);
  };
  for (const partition of group.partitions) {
    const old = before.get(partition.groupId);
    before.delete(partition.groupId);
    const { owner, target, generation } = partition;
    if (old?.owner === owner && old.target === target && old.generation === generation) continue;
    concerns(partition);
    if (old !== undefined) concerns(old);
  }
  for (const gone of before.values()) concerns(gone);
  const members = new Set(group.members.map(({ id }) => id));
  for (const member of concerned.keys()) if (!members.has(member)) concerned.delete(member);
  known.group = group;
}
