/**
 * Checkpoints: the state machine's state as of the entry before a segment's first. They serve a
 * restart (apply only what follows), a follower that lags behind the log (sent as the group's
 * snapshot), and the trimming of whole segments.
 *
 * One is due at a segment's start when the log since the last one is long against the state, so that
 * the work and the space of checkpoints stay a fraction of the log's own. It is taken from a frozen
 * state in slices, while commands go on. Only when it is durable and was read back, older ones and
 * the log before them may go.
 */

import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Index, LogId, SnapshotMeta } from "../raft/types.ts";
import type { LogStore, SnapshotReader } from "../storage/store.ts";
import { SnapshotTask } from "./snapshot_task.ts";
import type { StateMachine } from "./state_machine.ts";
import { frozenState, restoreState } from "./state_stream.ts";

/**
 * `previous`: when a checkpoint is stored, the log before the checkpoint before it is dropped, so a
 * follower that lags by less than a segment never needs a snapshot. `manual`: only `trimTo` drops
 * anything (the queue's retention).
 */
export type Compaction = "previous" | "manual";

export interface CheckpointOptions {
  readonly store: LogStore;
  readonly compaction: Compaction;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Bytes of state that are written at a time. */
  readonly sliceBytes: number;
  /** The log starts after this state from now on. */
  readonly onTrimmed: (base: SnapshotMeta) => void;
  /** The disk has failed. */
  readonly onFailed: (error: unknown) => void;
}

/**
 * Least log since the last checkpoint, in sizes of that one. With `previous` it bounds the work:
 * two bytes of state are written for each byte of log at most. With `manual` all checkpoints stay
 * as long as their log does, and take at most an eighth of its space.
 */
const LOG_PER_STATE: Readonly<Record<Compaction, number>> = { previous: 0.5, manual: 8 };

/** What is read of a stored state at a time. */
const READ_BYTES = 256 * 1024;

export class Checkpoints {
  private readonly store: LogStore;
  private readonly logger: Logger;
  /** Start of the newest segment seen, so that a roll is noticed in no time. */
  private newestStart: Index;
  /** Segment starts that wait for everything before them to be applied. */
  private due: Index[] = [];
  /** The snapshot that the log stands on. */
  private standsOn: LogId | null;
  /** The newest stored state and its size. */
  private last = { index: 0, bytes: 0 };
  /** The checkpoint that is being written. */
  private task: SnapshotTask | null = null;
  /** The log's start is being dropped. */
  private trimming = false;
  /** Followers that are being sent a state. */
  private sending = 0;
  private closed = false;

  constructor(private readonly options: CheckpointOptions) {
    this.store = options.store;
    this.logger = options.logger;
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

  private restoreAt(meta: SnapshotMeta, machine: StateMachine): void {
    const reader = this.store.openSnapshot(meta.last.index);
    if (reader === null) {
      throw new TrilogError("corrupt", `Cannot restore snapshot ${meta.last.index}: it is missing`);
    }
    try {
      restoreState(machine, partsOf(reader));
    } finally {
      reader.close();
    }
    this.last = { index: meta.last.index, bytes: reader.size };
    this.due = this.due.filter((start) => start > meta.last.index + 1);
  }

  /** Whether a checkpoint of the state after `applied` is to be begun. */
  dueAfter(applied: Index): boolean {
    this.noticeSegments();
    if (this.due.length === 0 || this.due[0] > applied + 1) return false;
    const atStart = this.due.includes(applied + 1);
    this.due = this.due.filter((start) => start > applied + 1);
    if (!atStart || this.task !== null) return false;
    const log = this.store.segmentStarts()
      .filter(({ first }) => first > this.last.index && first <= applied)
      .reduce((sum, { bytes }) => sum + bytes, 0);
    return log > 0 && log >= LOG_PER_STATE[this.options.compaction] * this.last.bytes;
  }

  private noticeSegments(): void {
    const newest = this.store.segmentStarts().at(-1)?.first ?? 0;
    if (newest === this.newestStart) return;
    // A log whose tail was replaced may end in an earlier segment than before.
    if (newest < this.newestStart) this.due = this.due.filter((start) => start <= newest);
    else {
      for (const { first } of this.store.segmentStarts()) {
        if (first > this.newestStart) this.due.push(first);
      }
    }
    this.newestStart = newest;
  }

  /**
   * Begins to store the machine's present state, as of `meta`. A full disk skips it, and so does a
   * file that does not read back as it was written: the next one tries again.
   */
  begin(machine: StateMachine, meta: SnapshotMeta): void {
    const { clock, onFailed } = this.options;
    try {
      const task = new SnapshotTask(this.store.beginSnapshot(meta), clock);
      this.task = task;
      this.write(task, frozenState(machine)).catch((error) => {
        task.cancel();
        if (this.task === task) this.task = null;
        if (!this.isSkipped(error, meta)) onFailed(error);
      });
    } catch (error) {
      if (!this.isSkipped(error, meta)) throw error;
    }
  }

  private async write(task: SnapshotTask, state: Iterable<Uint8Array>): Promise<void> {
    const { writer } = task;
    if (!await task.writeAll(state, this.options.sliceBytes)) return;
    if (!await task.store()) return;
    this.task = null;
    this.last = { index: writer.meta.last.index, bytes: writer.size };
    this.trimToPrevious();
  }

  private isSkipped(error: unknown, { last: { index } }: SnapshotMeta): boolean {
    if (isDiskFull(error)) this.logger.warn("no room for a checkpoint: skipped", { index });
    else if (isCorrupt(error)) {
      this.logger.error("a checkpoint does not read back as written: dropped", {
        index,
        reason: error.message,
      });
    } else return false;
    return true;
  }

  /** Ends what is under way; the store is about to be closed. */
  close(): void {
    this.closed = true;
    this.cancel();
  }

  private cancel(): void {
    this.task?.cancel();
    this.task = null;
  }

  /** With `previous` compaction: drops the log before the last checkpoint but one. */
  private trimToPrevious(): void {
    if (this.options.compaction === "manual") return;
    // A snapshot that was received and never adopted may be of this log by now, and ahead of it.
    const previous = this.list().findLast(({ last }) => last.index < this.last.index);
    if (previous !== undefined) this.trimTo(previous);
  }

  /**
   * Begins to drop the log and the checkpoints before `base`, which must be in {@link list}. Nothing
   * happens while another trim is under way, while a follower is sent a state (it needs the log
   * behind that), or where the full disk has no room to note it: a later call may succeed.
   */
  trimTo(base: SnapshotMeta): void {
    const { index, term } = base.last;
    assert(this.store.termAt(index) === term, "a log is trimmed to a state of its own");
    if (this.trimming || this.sending > 0) return;
    try {
      if (!this.store.noteBase(base)) return;
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      this.logger.warn("no room to note a trim: nothing is dropped", { index });
      return;
    }
    this.trimming = true;
    this.dropBefore(base).catch((error) => {
      // What could not be removed now goes with the next trim, or at the next start.
      if (!this.closed && !isDiskFull(error)) this.options.onFailed(error);
    }).finally(() => {
      this.trimming = false;
    });
  }

  /** Drops files one by one, in turns: to remove a large one takes its time. */
  private async dropBefore(base: SnapshotMeta): Promise<void> {
    await this.store.sync();
    // Meanwhile the log may have adopted a newer snapshot.
    if (this.closed || base.last.index <= (this.standsOn?.index ?? 0)) return;
    this.standsOn = base.last;
    this.options.onTrimmed(base);
    const olders = this.store.snapshots().filter(({ last }) => last.index < base.last.index);
    const steps = [
      () => this.store.dropSegment(),
      ...olders.map(({ last }) => this.store.retireSnapshot(last.index)),
    ];
    for (const step of steps) {
      while (step()) {
        await new Promise<void>((resolve) => this.options.clock.nextTurn(resolve));
        if (this.closed) return;
      }
    }
  }

  /** A follower is sent a state: until the returned function is called, nothing is trimmed. */
  hold(): () => void {
    this.sending += 1;
    let held = true;
    return () => {
      if (held) this.sending -= 1;
      held = false;
    };
  }

  /** Restores the machine from a snapshot that the log has just adopted. */
  adopted(meta: SnapshotMeta, machine: StateMachine): void {
    this.cancel();
    this.standsOn = meta.last;
    this.restoreAt(meta, machine);
    this.removeForeign();
  }

  /** What a follower behind the log is sent: the oldest state from which the log goes on. */
  base(): SnapshotMeta | null {
    const needed = this.store.firstIndex() - 1;
    return this.list().find((meta) => meta.last.index >= needed) ?? null;
  }
}

function* partsOf(reader: SnapshotReader): Generator<Uint8Array, void, void> {
  for (let at = 0; at < reader.size; at += READ_BYTES) yield reader.read(at, READ_BYTES);
}

function isCorrupt(error: unknown): error is TrilogError {
  return error instanceof TrilogError && error.code === "corrupt";
}

function isDiskFull(error: unknown): boolean {
  return error instanceof TrilogError && error.code === "disk_full";
}
