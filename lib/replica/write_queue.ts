/**
 * What a replica has given to its log and not yet seen durable: group commit on one side, a disk
 * without room on the other. Messages that promise durability leave with the sync that covers
 * them, never earlier.
 */

import { TrilogError } from "../base/errors.ts";
import type { Entry, HardState, Message, Ready } from "../raft/types.ts";
import type { LogStore } from "../storage/store.ts";

/** Everything one sync makes durable. */
export interface SyncBatch {
  /** Highest Ready covered, or 0 when an older one still waits for room on the disk. */
  sequence: number;
  messages: Message[];
}

/** What found no room on the disk. */
interface Waiting {
  /** Null as a rule: storage keeps a reserve for it, so only the entries wait. */
  readonly hardState: HardState | null;
  readonly entries: readonly Entry[];
  /** Messages that rest on these entries, or on earlier ones. */
  readonly messages: Message[];
}

export class WriteQueue {
  /** In the order in which it is to be written. */
  private backlog: Waiting[] = [];
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
    // An adopted snapshot brought its hard state along.
    const hardState = ready.snapshot === null ? ready.hardState : null;
    const waiting = this.write(hardState, ready.entries);
    if (waiting !== null) this.backlog.push(waiting);
    const messages = this.withoutWaiting(ready.messagesAfterSync);
    if (ready.mustSync) {
      this.noteWritten(messages);
      return "kept";
    }
    const batch = this.next ?? this.inFlight;
    if (batch !== null) batch.messages.push(...messages);
    else if (!this.blocked) return "nothing_unsynced";
    else if (messages.length > 0) this.noteWritten(messages);
    return "kept";
  }

  /** Writes what waited for room; false while there still is none. */
  retry(): boolean {
    while (this.backlog.length > 0) {
      const { hardState, entries, messages } = this.backlog[0];
      if (!this.append(hardState, entries)) return false;
      this.backlog.shift();
      this.noteWritten(messages);
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

  private noteWritten(messages: readonly Message[]): void {
    this.next ??= { sequence: 0, messages: [] };
    this.next.messages.push(...messages);
    if (!this.blocked) this.next.sequence = this.lastTaken;
  }

  /**
   * Writes, or gives back what finds no room. Term and vote pass entries that wait, but never an
   * older hard state that waits: the last one written is the one that counts after a restart.
   */
  private write(hardState: HardState | null, entries: readonly Entry[]): Waiting | null {
    if (hardState === null && entries.length === 0) return null;
    if (!this.blocked && this.append(hardState, entries)) return null;
    const written = hardState === null ||
      (!this.hardStateWaits && this.append(hardState, []));
    if (written && entries.length === 0) return null;
    return { hardState: written ? null : hardState, entries, messages: [] };
  }

  /**
   * The messages that may leave with the next sync. An acknowledgement may rest on entries of an
   * earlier Ready that wait for room; a vote rests on the hard state alone.
   */
  private withoutWaiting(messages: readonly Message[]): readonly Message[] {
    if (!this.blocked) return messages;
    const { messages: held } = this.backlog[this.backlog.length - 1];
    const mayLeave = (message: Message) => message.kind === "vote_response" && !this.hardStateWaits;
    held.push(...messages.filter((message) => !mayLeave(message)));
    return messages.filter(mayLeave);
  }

  private get hardStateWaits(): boolean {
    return this.backlog.some(({ hardState }) => hardState !== null);
  }

  private append(hardState: HardState | null, entries: readonly Entry[]): boolean {
    try {
      this.store.append(hardState, entries);
      return true;
    } catch (error) {
      if (error instanceof TrilogError && error.code === "disk_full") return false;
      throw error;
    }
  }
}
