/** What every `LogStore` must do, as cases over a way to open one. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InvariantError } from "../../lib/base/assert.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import type { LogStore } from "../../lib/storage/store.ts";
import {
  allEntries,
  change,
  command,
  commands,
  founders,
  membershipOf,
  storeSnapshot,
} from "./fixtures.ts";

/** One place where a log lives. */
export interface Home {
  /** Opens the log there; the one opened before must be closed. */
  open(): LogStore;
  /** Waits for a sync of the log. */
  settle(promise: Promise<void>): Promise<void>;
  dispose(): void;
}

export interface ConformanceCase {
  readonly name: string;
  run(home: Home): void | Promise<void>;
}

const hardState = { term: 3, vote: "r2", commit: 2 };
const NONE = { term: 0, vote: null, commit: 0 };

function reopened(home: Home, log: LogStore): LogStore {
  log.close();
  return home.open();
}

export const conformanceCases: readonly ConformanceCase[] = [
  {
    name: "a new log is empty and knows its bootstrap membership",
    run(home) {
      const log = home.open();
      assertEquals(log.recovered, {
        hardState: NONE,
        snapshot: null,
        last: { index: 0, term: 0 },
        termRuns: [],
        lastTimeMs: 0,
        memberships: [],
        baseMembership: founders,
      });
      assertEquals([log.firstIndex(), log.lastIndex(), log.termAt(1)], [1, 0, null]);
      assertEquals(log.read(1, 100), []);
      log.close();
    },
  },
  {
    name: "what was appended is read back, also after reopening",
    run(home) {
      let log = home.open();
      log.append(hardState, commands(1, 3, 2));
      log.append(null, [command(4, 3)]);
      for (const attempt of ["before", "after"]) {
        assertEquals(allEntries(log), [...commands(1, 3, 2), command(4, 3)], attempt);
        assertEquals([1, 3, 4, 5].map((index) => log.termAt(index)), [2, 2, 3, null]);
        if (attempt === "before") log = reopened(home, log);
      }
      assertEquals(log.recovered.hardState, hardState);
      assertEquals(log.recovered.last, { index: 4, term: 3 });
      assertEquals(log.recovered.termRuns, [[2, 1], [3, 4]]);
      assertEquals(log.recovered.lastTimeMs, command(4, 3).timeMs);
      log.close();
    },
  },
  {
    name: "a read returns at least one entry and stops at the byte limit",
    run(home) {
      const log = home.open();
      log.append(null, commands(1, 10, 1, 100));
      assertEquals(log.read(3, 0).map((entry) => entry.index), [3]);
      assertEquals(log.read(3, 299).map((entry) => entry.index), [3, 4]);
      assertEquals(log.read(3, 300).map((entry) => entry.index), [3, 4, 5]);
      assertEquals(log.read(9, 1e9).map((entry) => entry.index), [9, 10]);
      assertEquals([log.read(11, 100), log.read(0, 100)], [[], []]);
      log.close();
    },
  },
  {
    name: "entries of every size and kind come back byte for byte",
    run(home) {
      let log = home.open();
      const entries = [0, 1, 39, 4_096, 70_000, 1_200_000].map((bytes, at) =>
        command(at + 1, 1, bytes)
      );
      log.append(null, entries);
      const noop = { ...command(7, 1, 0), kind: 0 as const };
      log.append(null, [noop, change(8, 1, membershipOf("r1"))]);
      log = reopened(home, log);
      assertEquals(allEntries(log), [...entries, noop, change(8, 1, membershipOf("r1"))]);
      log.close();
    },
  },
  {
    name: "an entry at or below the last index replaces the log from there",
    run(home) {
      let log = home.open();
      log.append(null, commands(1, 10, 1));
      log.append(null, commands(6, 7, 2));
      log.append(null, commands(3, 4, 3));
      log.append(null, [command(5, 4)]);
      const expected = [...commands(1, 2, 1), ...commands(3, 4, 3), command(5, 4)];
      assertEquals(allEntries(log), expected);
      log = reopened(home, log);
      assertEquals(allEntries(log), expected);
      assertEquals(log.recovered.termRuns, [[1, 1], [3, 3], [4, 5]]);
      log.close();
    },
  },
  {
    name: "the whole log may be replaced from its first entry",
    run(home) {
      let log = home.open();
      log.append({ term: 1, vote: "r1", commit: 0 }, commands(1, 5, 1));
      log.append({ term: 2, vote: "r3", commit: 0 }, [command(1, 2)]);
      log = reopened(home, log);
      assertEquals(allEntries(log), [command(1, 2)]);
      assertEquals(log.recovered.hardState, { term: 2, vote: "r3", commit: 0 });
      log.close();
    },
  },
  {
    name: "a vote written between replaced entries is not lost",
    run(home) {
      let log = home.open();
      log.append(null, commands(1, 5, 1));
      log.append({ term: 7, vote: "r3", commit: 1 }, []);
      log.append(null, commands(2, 3, 2));
      log = reopened(home, log);
      assertEquals(log.recovered.hardState, { term: 7, vote: "r3", commit: 1 });
      assertEquals(log.lastIndex(), 3);
      log.close();
    },
  },
  {
    name: "memberships in the log are recovered, and replaced ones are not",
    run(home) {
      let log = home.open();
      const [one, two, three] = [["r1"], ["r1", "r2"], ["r2", "r3"]].map((ids) =>
        membershipOf(...ids)
      );
      log.append(null, [command(1, 1), change(2, 1, one), command(3, 1), change(4, 1, two)]);
      log = reopened(home, log);
      const memberships = log.recovered.memberships;
      assertEquals(memberships, [{ index: 2, membership: one }, { index: 4, membership: two }]);
      log.append(null, [command(3, 2), change(4, 2, three)]);
      log = reopened(home, log);
      assertEquals(log.recovered.memberships.map(({ membership }) => membership), [one, three]);
      log.close();
    },
  },
  {
    name: "sync resolves, one at a time, and later calls share the next",
    async run(home) {
      const log = home.open();
      log.append(null, [command(1, 1)]);
      const first = log.sync();
      assert(log.syncInFlight(), "the sync is in flight");
      log.append(null, [command(2, 1)]);
      const second = log.sync();
      assert(second === log.sync(), "two calls share the next sync");
      assert(second !== first, "a later append waits for a later sync");
      await home.settle(first);
      await home.settle(second);
      assert(!log.syncInFlight(), "nothing is in flight");
      await home.settle(log.sync());
      log.syncNow();
      log.close();
    },
  },
  {
    name: "entries that leave a gap or lie below the snapshot are refused",
    run(home) {
      const log = home.open();
      log.append(null, commands(1, 5, 1));
      assertThrows(() => log.append(null, [command(7, 1)]), InvariantError, "gap");
      assertThrows(() => log.append(null, [command(6, 1), command(8, 1)]), InvariantError);
      log.trimPrefix(storeSnapshot(log, 4, 1));
      assertThrows(() => log.append(null, [command(4, 2)]), InvariantError, "below");
      log.close();
    },
  },
  {
    name: "a stored snapshot is read back by parts",
    run(home) {
      let log = home.open();
      const state = Uint8Array.from({ length: 200_000 }, (_, at) => at % 251);
      const meta = storeSnapshot(log, 9, 2, state, membershipOf("r1", "r2"));
      storeSnapshot(log, 4, 1, new Uint8Array(0));
      log = reopened(home, log);
      assertEquals(log.snapshots().map(({ last }) => last.index), [4, 9]);
      assertEquals(log.openSnapshot(5), null);
      const reader = log.openSnapshot(9)!;
      assertEquals(reader.meta, meta);
      assertEquals(reader.size, state.length);
      assertEquals(reader.read(0, 1e9), state);
      assertEquals(reader.read(65_530, 10), state.slice(65_530, 65_540));
      assertEquals(reader.read(199_990, 100), state.slice(199_990));
      assertEquals(reader.read(200_000, 1).length, 0);
      reader.close();
      const empty = log.openSnapshot(4)!;
      assertEquals([empty.size, empty.read(0, 10).length], [0, 0]);
      empty.close();
      log.removeSnapshot(4);
      assertEquals(log.snapshots().map(({ last }) => last.index), [9]);
      log.close();
    },
  },
  {
    name: "a snapshot counts its bytes, is invisible until it is committed, and may be dropped",
    run(home) {
      let log = home.open();
      const meta = { last: { index: 3, term: 1 }, timeMs: 5, membership: founders };
      const writer = log.beginSnapshot(meta);
      writer.write(new Uint8Array(70_000));
      writer.write(new Uint8Array(5));
      assertEquals(writer.size, 70_005);
      assertEquals([log.snapshots(), log.openSnapshot(3)], [[], null]);
      const other = log.beginSnapshot({ ...meta, last: { index: 5, term: 1 } });
      other.write(new Uint8Array(10));
      other.abort();
      writer.commit();
      log = reopened(home, log);
      assertEquals(log.snapshots(), [meta]);
      log.close();
    },
  },
  {
    name: "a trimmed log stands on its base and keeps what follows",
    run(home) {
      let log = home.open();
      log.append(hardState, [change(1, 1, membershipOf("r1")), ...commands(2, 20, 1)]);
      log.append(null, commands(21, 30, 2));
      const base = storeSnapshot(log, 15, 1, undefined, membershipOf("r1"));
      log.trimPrefix(base);
      for (const attempt of ["before", "after"]) {
        assert(log.firstIndex() <= 16, attempt);
        assertEquals(allEntries(log, 16), [...commands(16, 20, 1), ...commands(21, 30, 2)]);
        assertEquals([log.termAt(15), log.lastIndex()], [1, 30]);
        if (attempt === "before") log = reopened(home, log);
      }
      assertEquals(log.recovered.snapshot, base);
      assertEquals(log.recovered.termRuns, [[1, 15], [2, 21]]);
      assertEquals(log.recovered.memberships, []);
      assertEquals(log.recovered.baseMembership, membershipOf("r1"));
      assertThrows(() => log.removeSnapshot(15), InvariantError);
      log.close();
    },
  },
  {
    name: "a log trimmed to its end goes on after it",
    run(home) {
      let log = home.open();
      log.append(null, commands(1, 20, 1));
      log.trimPrefix(storeSnapshot(log, 20, 1));
      log = reopened(home, log);
      assertEquals([log.lastIndex(), log.termAt(20)], [20, 1]);
      assertEquals(log.recovered.last, { index: 20, term: 1 });
      assertEquals(log.recovered.lastTimeMs, command(20, 1).timeMs);
      log.append(null, [command(21, 2)]);
      log = reopened(home, log);
      assertEquals(allEntries(log, 21), [command(21, 2)]);
      log.close();
    },
  },
  {
    name: "an adopted snapshot replaces a log that does not hold its last entry",
    run(home) {
      let log = home.open();
      log.append(hardState, commands(1, 10, 1));
      const meta = storeSnapshot(log, 50, 4, undefined, membershipOf("r2", "r3"));
      const next = { term: 5, vote: "r3", commit: 50 };
      log.adoptSnapshot(meta, next);
      assertEquals([log.firstIndex(), log.lastIndex(), log.termAt(50)], [51, 50, 4]);
      assertEquals([log.termAt(10), log.read(5, 100)], [null, []]);
      log = reopened(home, log);
      assertEquals(log.recovered, {
        hardState: next,
        snapshot: meta,
        last: { index: 50, term: 4 },
        termRuns: [[4, 50]],
        lastTimeMs: meta.timeMs,
        memberships: [],
        baseMembership: membershipOf("r2", "r3"),
      });
      log.append(null, [command(51, 5)]);
      log = reopened(home, log);
      assertEquals(allEntries(log), [command(51, 5)]);
      log.close();
    },
  },
  {
    name: "an adopted snapshot replaces a longer log of another term",
    run(home) {
      let log = home.open();
      log.append(hardState, commands(1, 10, 1));
      const meta = storeSnapshot(log, 6, 2);
      log.adoptSnapshot(meta, { term: 3, vote: null, commit: 6 });
      log = reopened(home, log);
      assertEquals([log.firstIndex(), log.lastIndex()], [7, 6]);
      log.close();
    },
  },
  {
    name: "an adopted snapshot keeps the entries that follow its last one",
    run(home) {
      let log = home.open();
      log.append(hardState, commands(1, 10, 1));
      const meta = storeSnapshot(log, 6, 1);
      log.adoptSnapshot(meta, { term: 3, vote: null, commit: 6 });
      log = reopened(home, log);
      assertEquals(allEntries(log, 7), commands(7, 10, 1));
      assertEquals(log.recovered.snapshot, meta);
      assertEquals(log.recovered.hardState, { term: 3, vote: null, commit: 6 });
      log.close();
    },
  },
  {
    name: "marks and empty appends change nothing",
    run(home) {
      let log = home.open();
      log.append(hardState, commands(1, 3, 1));
      log.syncNow();
      log.mark();
      log.mark();
      log.append(null, []);
      log.append(null, [command(4, 1)]);
      log.mark();
      log = reopened(home, log);
      assertEquals(allEntries(log), commands(1, 4, 1));
      assertEquals(log.recovered.hardState, hardState);
      log.close();
    },
  },
  {
    name: "a closed log refuses everything",
    async run(home) {
      const log = home.open();
      log.close();
      assertThrows(() => log.append(null, [command(1, 1)]), TrilogError, "closed");
      assertThrows(() => log.syncNow(), TrilogError, "closed");
      await assertRejects(() => log.sync(), TrilogError, "closed");
    },
  },
];
