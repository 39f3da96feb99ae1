/**
 * MACHINE. Commands of many members of consumer groups at once. When a crowd joins, a group is
 * divided once for all of them; each is admitted or refused by itself, as `groups.join` does it.
 */

import { type Codec, flag, list, nullable, record, text } from "../base/codec.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Command } from "./command.ts";
import type { ConsumerGroup } from "./group_records.ts";
import {
  admit,
  change,
  type JoinFields,
  joinFields,
  type MemberFields,
  memberFields,
  type ReleaseFields,
  releaseFields,
  releasePartitions,
} from "./groups.ts";

export interface Joining {
  readonly fields: JoinFields;
  /** It was a member before: topics that were deleted meanwhile are no reason to refuse it. */
  readonly returning: boolean;
}

/** Why one of many was refused. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}
const refusal: Codec<Refusal> = record<Refusal>({ code: text, message: text, retryable: flag });

export interface Refusals {
  /** In the order of the members; null for one that is in the group. */
  readonly refusals: readonly (Refusal | null)[];
}

export const joinMembers: Command<{ readonly joins: readonly Joining[] }, Refusals> = {
  name: "groups.join_members",
  fields: record<{ readonly joins: readonly Joining[] }>({
    joins: list(record<Joining>({ fields: joinFields, returning: flag })),
  }),
  answer: record<Refusals>({ refusals: list(nullable(refusal)) }),
  apply(state, { joins }, { timeMs }) {
    const refusals: (Refusal | null)[] = joins.map(() => null);
    const refuse = (at: number, thrown: unknown) => {
      if (!(thrown instanceof TrilogError)) throw thrown;
      const { code, message, retryable } = toTrilogError(thrown);
      refusals[at] = { code, message, retryable };
    };
    for (const name of new Set(joins.map(({ fields }) => fields.group))) {
      let group: ConsumerGroup | undefined;
      let divides = false;
      const members: number[] = [];
      joins.forEach(({ fields, returning }, at) => {
        if (fields.group !== name) return;
        try {
          const admission = admit(state, fields, timeMs, returning, group);
          if (admission === null) return;
          group = admission.group;
          divides ||= admission.divides;
          members.push(at);
        } catch (thrown) {
          refuse(at, thrown);
        }
      });
      if (group === undefined) continue;
      try {
        if (divides) change(state, group, timeMs);
        else state.groups.set(name, { ...group, changedAtMs: timeMs });
      } catch (thrown) {
        for (const at of members) refuse(at, thrown);
      }
    }
    return { refusals };
  },
};

/** Members that leave together; one that is none any more, or whose group is gone, has left. */
export const leaveMembers: Command<
  { readonly members: readonly MemberFields[] },
  Record<never, never>
> = {
  name: "groups.leave_members",
  fields: record<{ readonly members: readonly MemberFields[] }>({ members: list(memberFields) }),
  answer: record<Record<never, never>>({}),
  apply(state, { members: leaving }, { timeMs }) {
    for (const name of new Set(leaving.map(({ group }) => group))) {
      const group = state.groups.get(name);
      if (group === undefined) continue;
      const gone = new Set(leaving.filter((one) => one.group === name).map(({ member }) => member));
      const members = group.members.filter(({ id }) => !gone.has(id));
      if (members.length < group.members.length) change(state, { ...group, members }, timeMs);
    }
    return {};
  },
};

/** Releases of many members; one of a group that is gone changes nothing. */
export const releaseMany: Command<
  { readonly releases: readonly ReleaseFields[] },
  Record<never, never>
> = {
  name: "groups.release_many",
  fields: record<{ readonly releases: readonly ReleaseFields[] }>({
    releases: list(releaseFields),
  }),
  answer: record<Record<never, never>>({}),
  apply(state, { releases }, context) {
    for (const fields of releases) {
      if (state.groups.has(fields.group)) releasePartitions.apply(state, fields, context);
    }
    return {};
  },
};
