/**
 * A log's states as a model sees them: which it passed through, which were acknowledged, and so
 * which it may be in after a crash.
 */

import { assert } from "@std/assert";
import type { Entry, HardState, SnapshotMeta } from "../../lib/raft/types.ts";
import type { LogStore } from "../../lib/storage/store.ts";
import { allEntries, membershipOf, storeSnapshot } from "./fixtures.ts";

/** What a log holds, as far as Raft can see it. */
export interface State {
  readonly hardState: HardState;
  readonly base: SnapshotMeta | null;
  /** Entries above the base. */
  readonly entries: readonly Entry[];
}

/** A state, and how many changes of the disk had begun when the log first could be in it. */
export interface Passed {
  readonly state: State;
  readonly since: number;
}

const START: State = { hardState: { term: 0, vote: null, commit: 0 }, base: null, entries: [] };

/** Runs a script on a log and notes every state it passes and every acknowledgement. */
export class Recorder {
  readonly passed: Passed[];
  /** From that many changes on, the state numbered `state` or a later one must be found. */
  readonly acknowledged: { readonly state: number; readonly from: number }[] = [];

  /** `changes` counts the changes of the disk; `start`: what the log holds already. */
  constructor(
    readonly log: LogStore,
    private readonly changes: () => number,
    start: State = START,
  ) {
    this.passed = [{ state: start, since: 0 }];
    this.acknowledged.push({ state: 0, from: changes() });
  }

  /** What the log holds now. */
  get state(): State {
    return this.passed[this.passed.length - 1].state;
  }

  private pass(state: State): void {
    this.passed.push({ state, since: this.changes() });
  }

  append(hardState: HardState | null, entries: readonly Entry[]): void {
    if (hardState !== null) this.pass({ ...this.state, hardState });
    for (const entry of entries) {
      const before = this.state.entries.filter((item) => item.index < entry.index);
      this.pass({ ...this.state, entries: [...before, entry] });
    }
    this.log.append(hardState, entries);
  }

  acknowledge(): void {
    this.acknowledged.push({ state: this.passed.length - 1, from: this.changes() });
  }

  sync(): void {
    this.log.syncNow();
    this.acknowledge();
  }

  snapshot(index: number, term: number): SnapshotMeta {
    return storeSnapshot(this.log, index, term, new Uint8Array(150), membershipOf("r1", "r2"));
  }

  trim(base: SnapshotMeta): void {
    const entries = this.state.entries.filter((entry) => entry.index > base.last.index);
    this.pass({ ...this.state, base, entries });
    this.log.trimPrefix(base);
    this.acknowledge();
  }

  /** Notes the base of a trim; `sync` makes it durable, and {@link dropBefore} carries it out. */
  noteBase(base: SnapshotMeta): void {
    const entries = this.state.entries.filter((entry) => entry.index > base.last.index);
    this.pass({ ...this.state, base, entries });
    this.log.noteBase(base);
  }

  dropBefore({ last }: SnapshotMeta): void {
    while (this.log.dropSegment());
    for (const older of this.log.snapshots().filter((meta) => meta.last.index < last.index)) {
      const free = this.log.retireSnapshot(older.last.index);
      while (free());
    }
  }

  adopt(base: SnapshotMeta, hardState: HardState): void {
    const kept = this.log.termAt(base.last.index) === base.last.term;
    const after = this.state.entries.filter((entry) => entry.index > base.last.index);
    if (kept) this.pass({ ...this.state, hardState });
    this.pass({ hardState, base, entries: kept ? after : [] });
    this.log.adoptSnapshot(base, hardState);
    this.acknowledge();
  }
}

export function stateOf(log: LogStore): State {
  const { hardState, snapshot } = log.recovered;
  const from = (snapshot?.last.index ?? 0) + 1;
  assert(log.firstIndex() <= from, "the entries reach down to the base");
  assert(hardState.commit <= log.lastIndex(), "no more is committed than is there");
  return { hardState, base: snapshot, entries: allEntries(log, from) };
}

/** A log may forget how far it had committed, and never claims more than it has. */
export function comparable(state: State): string {
  const last = state.entries.at(-1)?.index ?? state.base?.last.index ?? 0;
  const commit = Math.min(state.hardState.commit, last);
  return JSON.stringify({ ...state, hardState: { ...state.hardState, commit } });
}

/**
 * Whether `found` is a state that the log may be in after a crash that came after `count` changes
 * of the disk: at or after the last acknowledged one.
 */
export function mayBe(run: Recorder, count: number, found: State): boolean {
  const acknowledged = run.acknowledged.filter((item) => item.from <= count).at(-1)?.state ?? 0;
  const wanted = comparable(found);
  return run.passed.slice(acknowledged)
    .some(({ state, since }) => since <= count && comparable(state) === wanted);
}
