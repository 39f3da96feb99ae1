/**
 * What a replica has given to its log and not yet seen durable: group commit on one side, a disk
 * without room on the other. Messages that promise durability leave with the sync that covers
 * them, never earlier.
 *
 * On a full disk the changes of the log wait here in order, entries and adopted snapshots alike,
 * and `retry` carries them out as soon as there is room. Term and vote do not wait (storage keeps a
 * reserve for them). While a snapshot waits to be adopted, the commit index that is written with
 * them stays that of the old log: with the snapshot's index, a restart would take entries of the
 * old log that the snapshot contradicts for committed ones.
 */

import { assert } from "../base/assert.ts";
import { TrilogError } from "../base/errors.ts";
import type { Entry, HardState, Index, Message, Ready, SnapshotMeta, Term } from "../raft/types.ts";
import type { LogStore } from "../storage/store.ts";

/** Everything one sync makes durable. */
export interface SyncBatch {
  /** Highest Ready that is written whole, as are all before it. */
  sequence: number;
  messages: Message[];
}

/** What found no room on the disk. */
interface Waiting {
  /** The oldest Ready that this comes from. */
  readonly sequence: number;
  /** To be adopted before anything else of this is written. */
  snapshot: SnapshotMeta | null;
  /** Whether a hard state waits; as a rule storage's reserve has room for it. */
  hardState: boolean;
  readonly entries: readonly Entry[];
  /** Messages that rest on this, or on earlier changes. */
  readonly messages: Message[];
}

export class WriteQueue {
  /** In the order in which it is to be written. At most the first one has a snapshot. */
  private backlog: Waiting[] = [];
  private next: SyncBatch | null = null;
  private inFlight: SyncBatch | null = null;
  private lastTaken = 0;
  /** The newest hard state of all; whenever one is written, it is this one. */
  private newest: HardState;
  /** The commit index that was last written. */
  private writtenCommit: Index;

  /** `recovered`: the hard state in the log. `onAdopted`: the log now stands on that snapshot. */
  constructor(
    private readonly store: LogStore,
    recovered: HardState,
    private readonly onAdopted: (meta: SnapshotMeta) => void,
  ) {
    this.newest = recovered;
    this.writtenCommit = recovered.commit;
  }

  /** Whether entries or a snapshot wait for room on the disk. */
  get blocked(): boolean {
    return this.backlog.length > 0;
  }

  /** Whether a snapshot waits to be adopted: the log is still the one before it. */
  get adopting(): boolean {
    return this.blocked && this.backlog[0].snapshot !== null;
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
    if (ready.hardState !== null) this.newest = ready.hardState;
    this.write(ready);
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

  /** Carries out what waited for room; false while there still is none. */
  retry(): boolean {
    while (this.backlog.length > 0) {
      const [first] = this.backlog;
      if (first.snapshot !== null && !this.adopt(first)) return false;
      if (!this.append(first.hardState, first.entries)) return false;
      this.backlog.shift();
      this.noteWritten(first.messages);
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
    this.next.sequence = this.blocked ? this.backlog[0].sequence - 1 : this.lastTaken;
  }

  private write(ready: Ready): void {
    const { snapshot, hardState, entries } = ready;
    if (snapshot === null && hardState === null && entries.length === 0) return;
    if (snapshot === null && !this.blocked && this.append(hardState !== null, entries)) return;
    if (snapshot !== null && !this.retry()) this.supersede(snapshot, ready);
    else this.backlog.push(waitingOf(ready));
    // A snapshot frees the space of the log that it replaces.
    if (snapshot !== null && this.retry()) return;
    this.passHardState();
  }

  /**
   * Term and vote pass what waits, but not another hard state that waits: acknowledgements may
   * rest on that one.
   */
  private passHardState(): void {
    const last = this.backlog[this.backlog.length - 1];
    if (!last.hardState) return;
    if (this.backlog.some((waiting) => waiting !== last && waiting.hardState)) return;
    if (!this.append(true, [])) return;
    last.hardState = false;
    if (last.snapshot === null && last.entries.length === 0) this.backlog.pop();
  }

  /**
   * A snapshot came while entries wait for room. Those that it covers need none any more; those
   * behind it stay if its last entry is in the log, else nothing of the log does. What was to be
   * said about entries is not said: the messages count as lost.
   */
  private supersede(meta: SnapshotMeta, ready: Ready): void {
    const kept = this.termAt(meta.last.index) === meta.last.term;
    const entries: Entry[] = [];
    for (const waiting of [...this.backlog, ready]) {
      for (const entry of waiting.entries) {
        while (entries.length > 0 && entries[entries.length - 1].index >= entry.index) {
          entries.pop();
        }
        const stays = waiting === ready || (kept && entry.index > meta.last.index);
        if (stays) entries.push(entry);
      }
    }
    const [{ sequence }] = this.backlog;
    const messages = this.backlog.flatMap((waiting) => waiting.messages).filter(isVote);
    this.backlog = [{ ...waitingOf(ready), sequence, entries, messages }];
  }

  /** Term of an entry of the log as it will be when everything that waits is written. */
  private termAt(index: Index): Term | null {
    for (const { entries } of this.backlog.toReversed()) {
      if (entries.length === 0 || entries[0].index > index) continue;
      return entries[index - entries[0].index]?.term ?? null;
    }
    return this.store.termAt(index);
  }

  /**
   * The messages that may leave with the next sync. An acknowledgement may rest on entries of an
   * earlier Ready that wait for room; a vote rests on the hard state alone.
   */
  private withoutWaiting(messages: readonly Message[]): readonly Message[] {
    if (!this.blocked) return messages;
    const { messages: held } = this.backlog[this.backlog.length - 1];
    const stateWaits = this.backlog.some(({ hardState }) => hardState);
    const mayLeave = (message: Message) => isVote(message) && !stateWaits;
    held.push(...messages.filter((message) => !mayLeave(message)));
    return messages.filter(mayLeave);
  }

  private adopt(first: Waiting): boolean {
    const { snapshot } = first;
    assert(
      snapshot !== null && this.newest.commit >= snapshot.last.index,
      "a snapshot is committed",
    );
    if (!fits(() => this.store.adoptSnapshot(snapshot, this.newest))) return false;
    this.writtenCommit = this.newest.commit;
    first.snapshot = null;
    first.hardState = false;
    this.onAdopted(snapshot);
    return true;
  }

  private append(withHardState: boolean, entries: readonly Entry[]): boolean {
    if (!withHardState && entries.length === 0) return true;
    const commit = this.adopting ? this.writtenCommit : this.newest.commit;
    const hardState = withHardState ? { ...this.newest, commit } : null;
    if (!fits(() => this.store.append(hardState, entries))) return false;
    if (withHardState) this.writtenCommit = commit;
    return true;
  }
}

function waitingOf({ sequence, snapshot, hardState, entries }: Ready): Waiting {
  return { sequence, snapshot, hardState: hardState !== null, entries, messages: [] };
}

function isVote(message: Message): boolean {
  return message.kind === "vote_response";
}

/** Whether a change of the log found room on the disk. */
function fits(change: () => void): boolean {
  try {
    change();
    return true;
  } catch (error) {
    if (error instanceof TrilogError && error.code === "disk_full") return false;
    throw error;
  }
}
