/**
 * Deletes the offsets of consumer groups that do not exist any more. Each leader asks the managers
 * which groups of its partitions were deleted, and below which generation; it proposes the
 * deletion, which spares a group of the same name that was made and has claimed since.
 */

import { toTrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Managers } from "../client/managers.ts";
import { deletedGroupsMethod } from "../client/protocol.ts";
import { encodeCommand } from "./partition_commands.ts";
import type { ServedPartition } from "./served_partition.ts";

export interface OffsetCleaningOptions {
  readonly managers: Pick<Managers, "request">;
  readonly partitions: () => Iterable<ServedPartition>;
  readonly logger: Logger;
}

/** Groups that one request asks about. */
const GROUPS_AT_ONCE = 1_000;
/** Deletions proposed to one partition in a round; the next round goes on. */
const DELETIONS_AT_ONCE = 100;
const REQUEST_MS = 5_000;

export class OffsetCleaning {
  private busy = false;

  constructor(private readonly options: OffsetCleaningOptions) {}

  /** One round; call it every few seconds. Never rejects; without managers it does nothing. */
  async clean(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      const below = await this.deleted(this.stored());
      if (below.size > 0) await Promise.all([...this.led()].map((led) => deleteFrom(led, below)));
    } catch (thrown) {
      const reason = toTrilogError(thrown).message;
      this.options.logger.debug("could not delete offsets", { reason });
    } finally {
      this.busy = false;
    }
  }

  /** Groups with an offset in partitions that are led here, each with its lowest generation. */
  private stored(): Map<string, number> {
    const lowest = new Map<string, number>();
    for (const { machine } of this.led()) {
      for (const [group, generation] of machine.groupGenerations()) {
        lowest.set(group, Math.min(generation, lowest.get(group) ?? Infinity));
      }
    }
    return lowest;
  }

  private async deleted(stored: ReadonlyMap<string, number>): Promise<Map<string, number>> {
    const groups = [...stored].map(([group, generation]) => ({ group, generation }));
    const below = new Map<string, number>();
    for (let at = 0; at < groups.length; at += GROUPS_AT_ONCE) {
      const request = { groups: groups.slice(at, at + GROUPS_AT_ONCE) };
      const answer = await this.options.managers.request(deletedGroupsMethod, request, REQUEST_MS);
      for (const one of answer.groups) below.set(one.group, one.below);
    }
    return below;
  }

  private *led(): Iterable<ServedPartition> {
    for (const partition of this.options.partitions()) {
      if (partition.replica.isLeader) yield partition;
    }
  }
}

async function deleteFrom(
  { machine, replica }: ServedPartition,
  deleted: ReadonlyMap<string, number>,
): Promise<void> {
  const commands = [];
  for (const [group, generation] of machine.groupGenerations()) {
    const below = deleted.get(group);
    if (below === undefined || generation >= below) continue;
    commands.push(encodeCommand({ kind: "delete_group", group, below }));
    if (commands.length === DELETIONS_AT_ONCE) break;
  }
  await Promise.all(commands.map((command) => replica.propose(command)));
}
