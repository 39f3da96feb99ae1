/**
 * Checkpoints: the state machine's state as of the entry before a segment's first. They serve a
 * restart (apply only what follows), a follower that lags behind the log (sent as the group's
 * snapshot), and the trimming of whole segments.
 */

import { assert } from "../base/assert.ts";
import { TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Index, SnapshotMeta } from "../raft/types.ts";
import type { LogStore } from "../storage/store.ts";
import type { StateMachine } from "./state_machine.ts";

export class Checkpoints {
  /** Start of the newest segment seen, so that a roll is noticed in no time. */
  private newestStart: Index;
  /** Segment starts that wait for everything before them to be applied. */
  private due: Index[] = [];

  constructor(
    private readonly store: LogStore,
    private readonly compaction: "previous" | "manual",
    private readonly logger: Logger,
  ) {
    this.newestStart = this.store.segmentStarts().at(-1)?.first ?? 0;
  }

  /** Restores the newest stored state that can be read; null: the machine starts empty. */
  restoreNewest(machine: StateMachine): SnapshotMeta | null {
    const stored = this.store.snapshots();
    const base = this.store.recovered.snapshot;
    for (let at = stored.length - 1; at >= 0; at -= 1) {
      const meta = stored[at];
      // A checkpoint beyond the log would be of entries that were never durable here.
      if (meta.last.index > this.store.lastIndex() && meta.last.index !== base?.last.index) {
        continue;
      }
      this.restoreAt(meta, machine);
      return meta;
    }
    assert(base === null, "the snapshot that the log starts from is stored");
    return null;
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
      if (!(error instanceof TrilogError) || error.code !== "disk_full") throw error;
      this.logger.warn("no room for a checkpoint: skipped", { index: meta.last.index });
      return null;
    }
    if (this.compaction === "manual") return null;
    const previous = this.store.snapshots().at(-2);
    if (previous === undefined) return null;
    this.trimTo(previous);
    return previous;
  }

  /** Drops the log and the checkpoints before `base`, which must be stored. */
  trimTo(base: SnapshotMeta): void {
    this.store.trimPrefix(base);
    for (const stored of this.store.snapshots()) {
      if (stored.last.index < base.last.index) this.store.removeSnapshot(stored.last.index);
    }
  }

  /** What a follower behind the log is sent: the oldest state from which the log goes on. */
  base(): SnapshotMeta | null {
    const needed = this.store.firstIndex() - 1;
    return this.store.snapshots().find((meta) => meta.last.index >= needed) ?? null;
  }
}
