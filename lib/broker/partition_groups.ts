/**
 * Committed offsets of consumer groups, each behind a fence: the generation and member that
 * claimed the partition last. The managers give generations from a counter that is never reused;
 * here a claim decides, in the order of the log, who may commit from then on.
 */

import { type Codec, flag, list, nullable, record, text, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Packable } from "../base/msgpack.ts";
import type {
  ClaimCommand,
  CommitCommand,
  GroupPosition,
  GroupResult,
} from "./partition_commands.ts";

interface Fence {
  readonly generation: number;
  readonly member: string;
  readonly offset: number | null;
  /** Whether the offset was committed in this generation, and so can only rise in it. */
  readonly fresh: boolean;
}

export class GroupTable {
  private groups = new Map<string, Fence>();

  /** Where all groups stand, sorted by name. */
  list(): GroupPosition[] {
    const names = [...this.groups.keys()].sort();
    return names.map((group) => {
      const { generation, member, offset } = this.groups.get(group)!;
      return { group, generation, member, offset };
    });
  }

  /** Names of all groups, with the generations that claimed last. */
  *generations(): Iterable<readonly [group: string, generation: number]> {
    for (const [group, { generation }] of this.groups) yield [group, generation];
  }

  /** The offset that a group made in generation `born` has committed here, or null. */
  committed(group: string, born: number): number | null {
    const fence = this.groups.get(group);
    return fence === undefined || fence.generation < born ? null : fence.offset;
  }

  /**
   * Raises the fence and returns the committed offset. Throws `fenced` for an older generation, or
   * another member of the same one. Nothing is left of a group of the same name that was deleted
   * before generation `born`.
   */
  claim({ group, born, generation, member }: ClaimCommand): GroupResult {
    let fence = this.groups.get(group);
    if (fence !== undefined && fence.generation < born && generation >= born) fence = undefined;
    if (fence === undefined) {
      if (this.groups.size >= limits.partitionGroups && !this.groups.has(group)) {
        throw new TrilogError(
          "too_many_groups",
          `Cannot claim partition for group ${group}: ${this.groups.size} groups have an offset ` +
            "in it",
        );
      }
    } else if (
      generation < fence.generation ||
      (generation === fence.generation && member !== fence.member)
    ) {
      throw fenced(group, generation, member, fence);
    }
    const offset = fence?.offset ?? null;
    const fresh = fence?.generation === generation && fence.fresh;
    this.groups.set(group, { generation, member, offset, fresh });
    return { offset };
  }

  /**
   * Stores an offset; answers the one that is stored then. Within a generation it never goes back:
   * a commit that was repeated may arrive after the next one. Only the first commit of a
   * generation, such as that of a reset, may be lower. Throws `fenced` for anybody but the last
   * claimant.
   */
  commit({ group, generation, member, offset }: CommitCommand, endOffset: number): GroupResult {
    const fence = this.groups.get(group);
    if (fence === undefined || fence.generation !== generation || fence.member !== member) {
      throw fenced(group, generation, member, fence);
    }
    if (offset > endOffset) {
      throw new TrilogError(
        "offset_out_of_range",
        `Cannot commit offset ${offset}: the partition ends at ${endOffset}`,
      );
    }
    if (fence.fresh && fence.offset !== null && offset < fence.offset) {
      return { offset: fence.offset };
    }
    this.groups.set(group, { generation, member, offset, fresh: true });
    return { offset };
  }

  /** Whether there was such a group that was last claimed before generation `below`. */
  delete(group: string, below: number): boolean {
    const fence = this.groups.get(group);
    return fence !== undefined && fence.generation < below && this.groups.delete(group);
  }

  store(): Packable {
    const names = [...this.groups.keys()].sort();
    return storedFences.encode(names.map((group) => ({ group, ...this.groups.get(group)! })));
  }

  /** The table that `store` described; throws `malformed`. */
  static restore(packed: Packable): GroupTable {
    const table = new GroupTable();
    for (const { group, ...fence } of storedFences.decode(packed, "groups")) {
      table.groups.set(group, fence);
    }
    return table;
  }
}

function fenced(
  group: string,
  generation: number,
  member: string,
  fence: Fence | undefined,
): TrilogError {
  const holder = fence === undefined
    ? "no member claimed it"
    : `it was claimed by ${fence.member} in generation ${fence.generation}`;
  return new TrilogError(
    "fenced",
    `Cannot use partition for group ${group} as ${member} in generation ${generation}: ${holder}`,
  );
}

interface StoredFence extends Fence {
  readonly group: string;
}

const storedFences: Codec<readonly StoredFence[]> = list(record<StoredFence>({
  group: text,
  generation: whole,
  member: text,
  offset: nullable(whole),
  fresh: flag,
}));
