/**
 * MACHINE. How consumer groups end. A group's record goes at once. Its offsets lie in the
 * partitions, which ask what to delete (`deletedOffsets`). Until then they are as good as gone: a
 * group of the same name is made in a later generation, and what was stored under lower ones is
 * not its own.
 */

import { list, name, record, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import type { Command } from "./command.ts";
import type { ConsumerGroup } from "./group_records.ts";
import { type Generation, generationCodec, GENERATIONS, requireGroup } from "./groups.ts";
import type { MetadataView } from "./state.ts";

export interface DeleteGroupFields {
  readonly group: string;
}

/** Refused with `group_not_empty` while the group has members. */
export const deleteGroup: Command<DeleteGroupFields, Generation> = {
  name: "groups.delete",
  fields: record<DeleteGroupFields>({ group: name }),
  answer: generationCodec,
  apply(state, { group: groupName }) {
    const { members, generation } = requireGroup(state, "delete", groupName);
    if (members.length > 0) {
      throw new TrilogError(
        "group_not_empty",
        `Cannot delete group ${groupName}: it has ${members.length} active members`,
      );
    }
    state.groups.delete(groupName);
    return { generation };
  },
};

export interface ExpireGroupsFields {
  readonly groups: readonly {
    readonly group: string;
    /** A group that has changed since then stays. */
    readonly generation: number;
  }[];
  readonly retentionMs: number;
}

/** Deletes groups whose last member left, or that were last reset, `retentionMs` ago. */
export const expireGroups: Command<ExpireGroupsFields, Generation> = {
  name: "groups.expire",
  fields: record<ExpireGroupsFields>({
    groups: list(record({ group: name, generation: whole })),
    retentionMs: whole,
  }),
  answer: generationCodec,
  apply(state, { groups, retentionMs }, { timeMs }) {
    for (const { group: groupName, generation } of groups) {
      const group = state.groups.get(groupName);
      if (group === undefined || group.generation !== generation) continue;
      if (isExpired(group, retentionMs, timeMs)) state.groups.delete(groupName);
    }
    return { generation: 0 };
  },
};

/** Whether a group has been without members for `retentionMs`; 0 keeps it. */
export function isExpired(
  { members, changedAtMs }: ConsumerGroup,
  retentionMs: number,
  nowMs: number,
): boolean {
  return retentionMs > 0 && members.length === 0 && nowMs - changedAtMs >= retentionMs;
}

/**
 * Which of a broker's offsets belong to groups that were deleted: those of generations lower than
 * `below`. Every generation that a later group of that name gets is at least as high, so the
 * answer may be acted on at any time.
 */
export function deletedOffsets(
  state: MetadataView,
  stored: readonly { readonly group: string; readonly generation: number }[],
): { readonly group: string; readonly below: number }[] {
  const next = state.counters.get(GENERATIONS) ?? 1;
  return stored.flatMap(({ group, generation }) => {
    const below = state.groups.get(group)?.born ?? next;
    return generation < below ? [{ group, below }] : [];
  });
}
