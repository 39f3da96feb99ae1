/**
 * A scripted run is stopped before each of its writes, syncs, renames and removals; the medium
 * then holds what it may hold, and the log is opened again. What was acknowledged must be there,
 * and the whole must be a state that the log passed through.
 */

import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { change, command, commands, directory, membershipOf, openLog } from "./fixtures.ts";
import { type Fate, type Image, JournalDisk } from "./journal_disk.ts";
import { comparable, mayBe, Recorder, stateOf } from "./recorder.ts";

const SEGMENT_BYTES = 900;

interface Run extends Recorder {
  readonly disk: JournalDisk;
}

function record(disk: JournalDisk): Run {
  const recorder = new Recorder(openLog(disk, { segmentBytes: SEGMENT_BYTES }), () => disk.count);
  return Object.assign(recorder, { disk });
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
  run.append({ term: 4, vote: "r3", commit: 24 }, commands(23, 24, 4));
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

function stepsScript(run: Recorder): void {
  for (let index = 1; index < 24; index += 1) {
    run.append({ term: 1, vote: "r1", commit: index - 1 }, [command(index, 1)]);
  }
  run.sync();
  for (const [index, next] of [[9, 24], [18, 26]]) {
    const base = run.snapshot(index, 1);
    run.noteBase(base);
    run.append({ term: 2, vote: "r2", commit: index }, commands(next, next + 1, 2));
    run.sync();
    run.dropBefore(base);
    run.append(null, commands(next + 1, next + 1, 2));
  }
}

/** Opens what a crash left and checks that it is a state between the acknowledged and the last. */
function check(run: Run, count: number, image: Image, what: string): JournalDisk {
  const disk = new JournalDisk(image);
  const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
  const found = stateOf(log);
  assert(mayBe(run, count, found), `${what}: found ${comparable(found)}`);
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
  "trims in steps, with appends in between": stepsScript,
};

Deno.test("unfinished files are removed by the next opening, and only those", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  const meta = { last: { index: 9, term: 1 }, timeMs: 1, membership: membershipOf("r1") };
  log.beginSnapshot(meta).write(new Uint8Array(100_000));
  const unfinished = () => disk.list(directory).filter((name) => name.endsWith(".tmp")).length;
  assertEquals(unfinished(), 1);
  assertEquals(openLog(disk).snapshots(), []);
  assertEquals(unfinished(), 0);
});

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
      const step = Math.ceil(length / 30);
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
      for (let attempt = 0; attempt < 5; attempt += 1) {
        const image = run.disk.imageAfter(count, { kind: "shuffled", random });
        check(run, count, image, `shuffled ${attempt} after ${count}`);
      }
    }
  });

  Deno.test(`a crash during the recovery from a crash in ${name}`, () => {
    const run = recorded();
    const random = new Prng(4);
    for (let count = 0; count <= run.disk.count; count += 5) {
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
