/**
 * What a replica has given to its log and not yet seen durable: group commit on one side, a disk
 * without room on the other. Messages that promise durability leave with the sync that covers
 * them, never earlier.
 */

import { TrilogError } from "../base/errors.ts";
import type { Message, Ready } from "../raft/types.ts";
import type { LogStore } from "../storage/store.ts";

/** Everything one sync makes durable. */
export interface SyncBatch {
  /** Highest Ready covered, or 0 when an older one still waits for room on the disk. */
  sequence: number;
  messages: Message[];
}

export class WriteQueue {
  /** Readys whose entries found no room; they keep their order. */
  private backlog: Ready[] = [];
  private next: SyncBatch | null = null;
  private inFlight: SyncBatch | null = null;
  private lastTaken = 0;

  constructor(private readonly store: LogStore) {}

  /** Whether entries wait for room on the disk. */
  get blocked(): boolean {
    return this.backlog.length > 0;
  }

  /** Whether something is written that no sync covers yet, and none is under way. */
  get wantsSync(): boolean {
    return this.next !== null && this.inFlight === null;
  }

  /**
   * Writes a Ready behind all earlier ones. `nothing_unsynced`: it needs no sync and neither does
   * anything before it, so its messages may leave at once; otherwise they are kept here.
   */
  take(ready: Ready): "nothing_unsynced" | "kept" {
    this.lastTaken = ready.sequence;
    if (!this.write(ready)) {
      this.backlog.push(ready);
      return "kept";
    }
    if (ready.mustSync) {
      this.noteWritten(ready);
      return "kept";
    }
    const batch = this.next ?? this.inFlight;
    if (batch === null) return "nothing_unsynced";
    batch.messages.push(...ready.messagesAfterSync);
    return "kept";
  }

  /** Writes what waited for room; false while there still is none. */
  retry(): boolean {
    while (this.backlog.length > 0) {
      const ready = this.backlog[0];
      if (!this.append(ready)) return false;
      this.backlog.shift();
      this.noteWritten(ready);
    }
    return true;
  }

  /** Everything written until now belongs to the sync that the caller starts. */
  startSync(): SyncBatch {
    const batch = this.next ?? { sequence: 0, messages: [] };
    this.next = null;
    this.inFlight = batch;
    return batch;
  }

  finishSync(): void {
    this.inFlight = null;
  }

  private noteWritten(ready: Ready): void {
    this.next ??= { sequence: 0, messages: [] };
    this.next.messages.push(...ready.messagesAfterSync);
    if (!this.blocked) this.next.sequence = this.lastTaken;
  }

  private write(ready: Ready): boolean {
    // An adopted snapshot brought its hard state along.
    const hardState = ready.snapshot === null ? ready.hardState : null;
    if (hardState === null && ready.entries.length === 0) return true;
    // Term and vote pass entries that wait for room: storage keeps a reserve for them, and their
    // order relative to entries carries no meaning.
    if (this.blocked && ready.entries.length > 0) return false;
    return this.append(ready);
  }

  private append(ready: Ready): boolean {
    try {
      this.store.append(ready.snapshot === null ? ready.hardState : null, ready.entries);
      return true;
    } catch (error) {
      if (error instanceof TrilogError && error.code === "disk_full") return false;
      throw error;
    }
  }
}
