/**
 * Writes and stores a snapshot in slices, so that a large one never keeps the process from its
 * other work for long, nor the disk: what is written is made durable every few MiB, since a log's
 * sync may have to wait for it.
 */

import type { Clock, Timer } from "../base/clock.ts";
import type { SnapshotWriter } from "../storage/store.ts";

/** What is written before it is made durable. */
export const SYNC_BYTES = 4 * 1024 * 1024;
/** Between two slices of a state. */
const PAUSE_MS = 1;

export class SnapshotTask {
  private cancelled = false;
  private paused: { readonly timer: Timer; readonly goOn: () => void } | null = null;
  private unsynced = 0;

  constructor(readonly writer: SnapshotWriter, private readonly clock: Clock) {}

  /**
   * Writes all parts, `sliceBytes` at a time. Resolves to false when the task was cancelled;
   * rejects with what the writer throws.
   */
  async writeAll(parts: Iterable<Uint8Array>, sliceBytes: number): Promise<boolean> {
    let room = sliceBytes;
    for (const part of parts) {
      for (let at = 0; at < part.length;) {
        const taken = part.subarray(at, at + room);
        this.write(taken);
        at += taken.length;
        room -= taken.length;
        if (room > 0) continue;
        room = sliceBytes;
        await this.pause();
        if (this.wantsSync) await this.sync();
        if (this.cancelled) return false;
      }
    }
    return true;
  }

  write(part: Uint8Array): void {
    this.writer.write(part);
    this.unsynced += part.length;
  }

  /** Whether so much is written that it should be made durable before more is. */
  get wantsSync(): boolean {
    return this.unsynced >= SYNC_BYTES;
  }

  /** Makes what is written durable. Resolves to false when the task was cancelled. */
  async sync(): Promise<boolean> {
    if (this.cancelled) return false;
    this.unsynced = 0;
    try {
      await this.writer.sync();
    } catch (error) {
      if (!this.cancelled) throw error;
    }
    return !this.cancelled;
  }

  /** Ends the snapshot, reads it back and gives it its name; see {@link writeAll}. */
  async store(): Promise<boolean> {
    if (this.cancelled) return false;
    this.writer.end();
    if (!await this.sync()) return false;
    while (!this.writer.check()) {
      await new Promise<void>((resolve) => this.clock.nextTurn(resolve));
      if (this.cancelled) return false;
    }
    this.writer.publish();
    return true;
  }

  /** Drops what was written; nothing happens once it is stored. */
  cancel(): void {
    this.cancelled = true;
    this.writer.abort();
    // The loop over the parts ends, so that their source is released.
    this.paused?.timer.cancel();
    this.paused?.goOn();
  }

  private async pause(): Promise<void> {
    await new Promise<void>((goOn) => {
      this.paused = { timer: this.clock.after(PAUSE_MS, goOn), goOn };
    });
    this.paused = null;
  }
}
