/**
 * A scripted run is stopped before each of its writes, syncs, renames and removals; the medium
 * then holds what it may hold, and the log is opened again. What was acknowledged must be there,
 * and the whole must be a state that the log passed through.
 */

import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import type { Entry, HardState, SnapshotMeta } from "../../lib/raft/types.ts";
import type { LogStore } from "../../lib/storage/store.ts";
import {
  allEntries,
  change,
  command,
  commands,
  membershipOf,
  openLog,
  storeSnapshot,
} from "./fixtures.ts";
import { type Fate, type Image, JournalDisk } from "./journal_disk.ts";

/** What a log holds, as far as Raft can see it. */
interface State {
  readonly hardState: HardState;
  readonly base: SnapshotMeta | null;
  /** Entries above the base. */
  readonly entries: readonly Entry[];
}

/** A state, and how many changes of the disk had begun when the log first could be in it. */
interface Passed {
  readonly state: State;
  readonly since: number;
}

const START: State = { hardState: { term: 0, vote: null, commit: 0 }, base: null, entries: [] };

/** Runs a script on a log and notes every state it passes and every acknowledgement. */
class Recorder {
  readonly passed: Passed[] = [{ state: START, since: 0 }];
  /** From that many changes on, the state numbered `state` or a later one must be found. */
  readonly acknowledged: { readonly state: number; readonly from: number }[] = [];

  constructor(readonly disk: JournalDisk, readonly log: LogStore) {
    this.acknowledged.push({ state: 0, from: disk.count });
  }

  private get state(): State {
    return this.passed[this.passed.length - 1].state;
  }

  private pass(state: State): void {
    this.passed.push({ state, since: this.disk.count });
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
    this.acknowledged.push({ state: this.passed.length - 1, from: this.disk.count });
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

  adopt(base: SnapshotMeta, hardState: HardState): void {
    const kept = this.log.termAt(base.last.index) === base.last.term;
    const after = this.state.entries.filter((entry) => entry.index > base.last.index);
    if (kept) this.pass({ ...this.state, hardState });
    this.pass({ hardState, base, entries: kept ? after : [] });
    this.log.adoptSnapshot(base, hardState);
    this.acknowledge();
  }
}

const SEGMENT_BYTES = 900;

function record(disk: JournalDisk): Recorder {
  return new Recorder(disk, openLog(disk, { segmentBytes: SEGMENT_BYTES }));
}

function appendScript(run: Recorder): void {
  run.append({ term: 1, vote: "r1", commit: 0 }, commands(1, 3, 1));
  run.append(null, commands(4, 5, 1));
  run.sync();
  run.append({ term: 2, vote: "r2", commit: 3 }, []);
  run.sync();
  run.append({ term: 2, vote: "r2", commit: 4 }, [...commands(5, 8, 2)]);
  run.append(null, [change(9, 2, membershipOf("r1", "r2"))]);
  run.log.mark();
  run.sync();
  run.append({ term: 3, vote: null, commit: 5 }, commands(7, 8, 3));
  for (let index = 9; index < 24; index += 1) {
    run.append(null, [command(index, 3)]);
    if (index % 3 === 0) run.sync();
  }
  run.append({ term: 4, vote: "r3", commit: 20 }, commands(21, 22, 4));
  run.log.mark();
}

function snapshotScript(run: Recorder): void {
  for (let index = 1; index < 24; index += 2) {
    run.append({ term: 1, vote: "r1", commit: index - 1 }, commands(index, index + 1, 1));
    if (index % 4 === 1) run.sync();
  }
  run.trim(run.snapshot(18, 1));
  run.append(null, commands(25, 26, 2));
  run.adopt(run.snapshot(21, 1), { term: 3, vote: null, commit: 21 });
  run.log.removeSnapshot(18);
  run.append(null, commands(27, 40, 3));
  run.adopt(run.snapshot(90, 5), { term: 6, vote: "r2", commit: 90 });
  run.append(null, commands(91, 93, 6));
  run.log.removeSnapshot(21);
  run.append({ term: 7, vote: "r1", commit: 91 }, commands(92, 92, 7));
  run.sync();
  run.append(null, commands(93, 94, 7));
}

function stateOf(log: LogStore): State {
  const { hardState, snapshot } = log.recovered;
  const from = (snapshot?.last.index ?? 0) + 1;
  assert(log.firstIndex() <= from, "the entries reach down to the base");
  return { hardState, base: snapshot, entries: allEntries(log, from) };
}

/** A log may forget how far it had committed, and never claims more than it has. */
function comparable(state: State): string {
  const last = state.entries.at(-1)?.index ?? state.base?.last.index ?? 0;
  const commit = Math.min(state.hardState.commit, last);
  return JSON.stringify({ ...state, hardState: { ...state.hardState, commit } });
}

/** Opens what a crash left and checks that it is a state between the acknowledged and the last. */
function check(run: Recorder, count: number, image: Image, what: string): JournalDisk {
  const disk = new JournalDisk(image);
  const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
  const found = comparable(stateOf(log));
  const acknowledged = run.acknowledged.filter((item) => item.from <= count).at(-1)?.state ?? 0;
  const allowed = run.passed.slice(acknowledged).filter(({ since }) => since <= count);
  const fits = allowed.some(({ state }) => comparable(state) === found);
  assert(fits, `${what}: found ${found}, allowed ${allowed.map((item) => comparable(item.state))}`);
  return disk;
}

/** The log goes on after a crash, and what is synced then is there after the next one. */
function checkGoesOn(image: Image, what: string): void {
  const disk = new JournalDisk(image);
  const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
  const next = command(log.lastIndex() + 1, 99);
  log.append({ term: 99, vote: "r9", commit: 0 }, [next]);
  log.syncNow();
  const expected = stateOf(log).entries;
  const again = openLog(new JournalDisk(disk.imageAfter(disk.count, { kind: "lost" })));
  assertEquals(stateOf(again).entries, expected, what);
  assertEquals(again.recovered.hardState.vote, "r9", what);
}

const scripts: Readonly<Record<string, (run: Recorder) => void>> = {
  "appends, votes and replaced suffixes": appendScript,
  "trims and adopted snapshots": snapshotScript,
};

const kept: Fate = { kind: "kept" };
const lost: Fate = { kind: "lost" };

for (const [name, script] of Object.entries(scripts)) {
  const recorded = () => {
    const run = record(new JournalDisk());
    script(run);
    return run;
  };

  Deno.test(`a crash anywhere in ${name}: unsynced changes kept or lost`, () => {
    const run = recorded();
    for (let count = 0; count <= run.disk.count; count += 1) {
      for (const fate of [kept, lost]) {
        const image = run.disk.imageAfter(count, fate);
        check(run, count, image, `${fate.kind} after ${count}`);
        checkGoesOn(image, `${fate.kind} after ${count}`);
      }
    }
  });

  Deno.test(`a crash anywhere in ${name}: the last write torn`, () => {
    const run = recorded();
    for (let count = 1; count <= run.disk.count; count += 1) {
      const length = run.disk.bytesOfWrite(count);
      const step = length > 400 ? 37 : length > 120 ? 3 : 1;
      for (let bytes = 0; bytes < length; bytes += step) {
        const image = run.disk.imageAfter(count, { kind: "torn", bytes });
        check(run, count, image, `torn at ${bytes} of ${count}`);
      }
    }
  });

  Deno.test(`a crash anywhere in ${name}: sectors and names land in any order`, () => {
    const run = recorded();
    const random = new Prng(20_261);
    for (let count = 0; count <= run.disk.count; count += 1) {
      for (let attempt = 0; attempt < 8; attempt += 1) {
        const image = run.disk.imageAfter(count, { kind: "shuffled", random });
        check(run, count, image, `shuffled ${attempt} after ${count}`);
      }
    }
  });

  Deno.test(`a crash during the recovery from a crash in ${name}`, () => {
    const run = recorded();
    const random = new Prng(4);
    for (let count = 0; count <= run.disk.count; count += 3) {
      const image = run.disk.imageAfter(count, { kind: "shuffled", random });
      const recovering = check(run, count, image, `first crash after ${count}`);
      for (let again = 0; again <= recovering.count; again += 1) {
        for (const fate of [kept, lost, { kind: "shuffled", random } as const]) {
          const what = `crash after ${count}, then ${fate.kind} after ${again}`;
          check(run, count, recovering.imageAfter(again, fate), what);
        }
      }
    }
  });
}
