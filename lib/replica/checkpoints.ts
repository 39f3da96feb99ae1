/**
 * Checkpoints: the state machine's state as of the entry before a segment's first. They serve a
 * restart (apply only what follows), a follower that lags behind the log (sent as the group's
 * snapshot), and the trimming of whole segments.
 */

import { assert } from "../base/assert.ts";
import { TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Index, LogId, SnapshotMeta } from "../raft/types.ts";
import type { LogStore } from "../storage/store.ts";
import type { StateMachine } from "./state_machine.ts";

export class Checkpoints {
  /** Start of the newest segment seen, so that a roll is noticed in no time. */
  private newestStart: Index;
  /** Segment starts that wait for everything before them to be applied. */
  private due: Index[] = [];
  /** The snapshot that the log stands on. */
  private standsOn: LogId | null;

  constructor(
    private readonly store: LogStore,
    private readonly compaction: "previous" | "manual",
    private readonly logger: Logger,
  ) {
    this.newestStart = this.store.segmentStarts().at(-1)?.first ?? 0;
    this.standsOn = this.store.recovered.snapshot?.last ?? null;
  }

  /**
   * Stored states of this log, ascending. A snapshot that was received and never adopted is none of
   * them: its last entry is not in the log, or another one is there in its place.
   */
  list(): SnapshotMeta[] {
    return this.store.snapshots().filter(({ last }) => this.store.termAt(last.index) === last.term);
  }

  /**
   * Restores the newest state of this log that can be read; null: the machine starts empty. What
   * is of no use is removed. Throws `corrupt` where the log does not reach down to a good state.
   */
  restoreNewest(machine: StateMachine): SnapshotMeta | null {
    this.removeForeign();
    for (const meta of this.list().reverse()) {
      const restored = this.unlessRotted(meta, () => {
        this.restoreAt(meta, machine);
        return meta;
      });
      if (restored !== null) return restored;
    }
    return null;
  }

  /**
   * What `read` brings from a stored state; null where that has rotted and is not needed, as only
   * the state that the log stands on is: then it is removed. Else the replica has to be rebuilt,
   * and the `corrupt` error goes on.
   */
  unlessRotted<T>(meta: SnapshotMeta, read: () => T): T | null {
    try {
      return read();
    } catch (error) {
      if (!isCorrupt(error) || this.isBase(meta)) throw error;
      this.logger.warn("a checkpoint has rotted and is removed", { index: meta.last.index });
      this.store.removeSnapshot(meta.last.index);
      return null;
    }
  }

  private isBase({ last: { index, term } }: SnapshotMeta): boolean {
    return index === this.standsOn?.index && term === this.standsOn.term;
  }

  /** Removes states that are not of this log, and those before it begins. */
  private removeForeign(): void {
    const own = new Set(this.list());
    for (const meta of this.store.snapshots()) {
      if (own.has(meta) || this.isBase(meta)) continue;
      this.logger.warn("a snapshot is not of this log and is removed", { index: meta.last.index });
      this.store.removeSnapshot(meta.last.index);
    }
  }

  restoreAt(meta: SnapshotMeta, machine: StateMachine): void {
    const reader = this.store.openSnapshot(meta.last.index);
    if (reader === null) {
      throw new TrilogError("corrupt", `Cannot restore snapshot ${meta.last.index}: it is missing`);
    }
    try {
      machine.restore(reader.read(0, reader.size));
    } finally {
      reader.close();
    }
    this.due = this.due.filter((start) => start > meta.last.index + 1);
  }

  /** Whether the state after `applied` is to be kept. */
  dueAfter(applied: Index): boolean {
    const newest = this.store.segmentStarts().at(-1)?.first ?? 0;
    if (newest > this.newestStart) {
      for (const segment of this.store.segmentStarts()) {
        if (segment.first > this.newestStart) this.due.push(segment.first);
      }
      this.newestStart = newest;
    }
    return this.due.length > 0 && this.due[0] <= applied + 1;
  }

  /**
   * Stores the machine's state. Returns the checkpoint that the log now starts from when this
   * allowed a part of the log to be dropped, else null. A full disk only skips it.
   */
  take(machine: StateMachine, meta: SnapshotMeta): SnapshotMeta | null {
    this.due = this.due.filter((start) => start > meta.last.index + 1);
    try {
      const writer = this.store.beginSnapshot(meta);
      try {
        writer.write(machine.snapshot());
        writer.commit();
      } catch (error) {
        writer.abort();
        throw error;
      }
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      this.logger.warn("no room for a checkpoint: skipped", { index: meta.last.index });
      return null;
    }
    if (this.compaction === "manual") return null;
    // A snapshot that was received and never adopted may be of this log by now, and ahead of it.
    const previous = this.list().findLast(({ last }) => last.index < meta.last.index);
    return previous !== undefined && this.trimTo(previous) ? previous : null;
  }

  /**
   * Drops the log and the checkpoints before `base`, which must be in {@link list}. False where the
   * full disk has no room to note it: nothing was dropped, and a later call may succeed.
   */
  trimTo(base: SnapshotMeta): boolean {
    assert(
      this.store.termAt(base.last.index) === base.last.term,
      "a log is trimmed to its own state",
    );
    try {
      this.store.trimPrefix(base);
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      this.logger.warn("no room to note a trim: nothing is dropped", { index: base.last.index });
      return false;
    }
    this.standsOn = base.last;
    this.removeBefore(base);
    return true;
  }

  /** Restores the machine from a snapshot that the log has just adopted. */
  adopted(meta: SnapshotMeta, machine: StateMachine): void {
    this.standsOn = meta.last;
    this.restoreAt(meta, machine);
    this.removeForeign();
  }

  private removeBefore(base: SnapshotMeta): void {
    for (const { last } of this.store.snapshots()) {
      if (last.index < base.last.index) this.store.removeSnapshot(last.index);
    }
  }

  /** What a follower behind the log is sent: the oldest state from which the log goes on. */
  base(): SnapshotMeta | null {
    const needed = this.store.firstIndex() - 1;
    return this.list().find((meta) => meta.last.index >= needed) ?? null;
  }
}

function isCorrupt(error: unknown): boolean {
  return error instanceof TrilogError && error.code === "corrupt";
}

function isDiskFull(error: unknown): boolean {
  return error instanceof TrilogError && error.code === "disk_full";
}
