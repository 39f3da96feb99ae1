/** Damaged entries of closed segments are written again from what another replica holds. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import type { Entry } from "../../lib/raft/types.ts";
import type { LogStore } from "../../lib/storage/store.ts";
import { CorruptFileError } from "../../lib/storage/record.ts";
import { command, commands, openLog } from "./fixtures.ts";
import { type Image, JournalDisk } from "./journal_disk.ts";

const SEGMENT_BYTES = 900;

/** A log with hard states between entries, superseded entries and several segments. */
function written(disk: JournalDisk): LogStore {
  const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
  log.append({ term: 1, vote: "r1", commit: 0 }, commands(1, 4, 1));
  log.append({ term: 2, vote: "r2", commit: 2 }, []);
  log.append(null, commands(3, 6, 2));
  log.append({ term: 3, vote: null, commit: 4 }, commands(5, 9, 3));
  for (let index = 10; index < 40; index += 1) {
    log.append(index % 4 === 0 ? { term: 3, vote: null, commit: index - 1 } : null, [
      command(index, 3, 10 + (index * 37) % 90),
    ]);
  }
  log.append({ term: 4, vote: "r3", commit: 39 }, commands(40, 41, 4));
  log.close();
  return log;
}

function everything(log: LogStore): Entry[] {
  const entries: Entry[] = [];
  for (let next = log.firstIndex(); next <= log.lastIndex();) {
    const part = log.read(next, 200);
    entries.push(...part);
    next += part.length;
  }
  return entries;
}

const healthy = new JournalDisk();
written(healthy);
const sound = healthy.image();
const expected = everything(openLog(new JournalDisk(sound), { segmentBytes: SEGMENT_BYTES }));

/** Repairs what a read of the whole log runs into; `give`: how many entries a peer gives at once. */
function repairAll(log: LogStore, give: number): number {
  let repaired = 0;
  for (let next = log.firstIndex(); next <= log.lastIndex();) {
    try {
      next += log.read(next, 200).length;
    } catch (thrown) {
      if (!(thrown instanceof CorruptFileError)) throw thrown;
      let damage = log.findDamage(next);
      assert(damage !== null, "what cannot be read is damage");
      while (damage !== null) {
        const { first, last } = damage;
        const wanted = expected.filter(({ index }) => index >= first && index <= last);
        damage = log.mend(damage, wanted.slice(0, give));
        repaired += 1;
      }
    }
  }
  return repaired;
}

function closedSegments(image: Image): string[] {
  return [...image.keys()].filter((path) => path.endsWith(".segment")).sort().slice(0, -1);
}

Deno.test("whatever stretch of a closed segment is damaged, its entries are there again afterwards", () => {
  const random = new Prng(5);
  let repaired = 0;
  for (const path of closedSegments(sound)) {
    const size = sound.get(path)!.length;
    for (let round = 0; round < 60; round += 1) {
      const disk = new JournalDisk(sound);
      const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
      const bytes = sound.get(path)!.slice();
      // Behind the header, which cannot be made again from other replicas.
      const from = 300 + random.below(size - 300);
      const length = random.pick([1, 20, 200, size]);
      for (let at = from; at < Math.min(size, from + length); at += 1) bytes[at] ^= 0x5a;
      disk.open(path, "write").writeAt(0, bytes);
      let damaged = true;
      try {
        damaged = everything(log).length !== expected.length;
      } catch (thrown) {
        assert(thrown instanceof CorruptFileError);
      }
      const times = repairAll(log, random.pick([1, 3, 100]));
      repaired += Number(times > 0);
      assertEquals(times > 0, damaged);
      assertEquals(everything(log), expected);
      log.close();
      if (!damaged) continue;
      const again = openLog(new JournalDisk(disk.image()), { segmentBytes: SEGMENT_BYTES });
      assertEquals(everything(again), expected, "a scan finds the same");
      assertEquals(again.recovered.hardState, { term: 4, vote: "r3", commit: 39 });
    }
  }
  assert(repaired > 50, `${repaired} repairs`);
});

Deno.test("damage in the newest segment closes it, and neither term nor vote is lost", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append({ term: 1, vote: "r1", commit: 0 }, commands(1, 5, 1));
  log.append({ term: 7, vote: "r2", commit: 3 }, commands(6, 9, 7));
  log.syncNow();
  const [path] = [...disk.image().keys()].filter((name) => name.endsWith(".segment"));
  const size = disk.image().get(path)!.length;
  disk.open(path, "write").writeAt(size - 600, new Uint8Array(600));
  assertThrows(() => everything(log), CorruptFileError);
  let damage = log.findDamage(9);
  assert(damage !== null);
  const all = [...commands(1, 5, 1), ...commands(6, 9, 7)];
  while (damage !== null) {
    const { first, last } = damage;
    damage = log.mend(damage, all.filter(({ index }) => index >= first && index <= last));
  }
  assertEquals(everything(log), all);
  log.append(null, commands(10, 11, 7));
  log.close();
  const again = openLog(new JournalDisk(disk.image()));
  assertEquals(again.recovered.hardState, { term: 7, vote: "r2", commit: 3 });
  assertEquals(everything(again).length, 11);
});

Deno.test("entries of another length are refused, and a segment without its header is damage for good", () => {
  const [path] = closedSegments(sound);
  const disk = new JournalDisk(sound);
  const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
  disk.open(path, "write").writeAt(400, new Uint8Array(300));
  const damage = log.findDamage(1)!;
  const others = Array.from(
    { length: damage.last - damage.first + 1 },
    (_, at) => command(damage.first + at, log.termAt(damage.first + at)!, 999),
  );
  assertThrows(() => log.mend(damage, others), Error, "do not fit");
  const other = new JournalDisk(sound);
  const hidden = openLog(other, { segmentBytes: SEGMENT_BYTES });
  other.open(path, "write").writeAt(20, new Uint8Array(60));
  assertThrows(() => hidden.findDamage(1), CorruptFileError);
});

Deno.test("entries that were replaced while a repair was under way are not written again", () => {
  const [path] = closedSegments(sound);
  const disk = new JournalDisk(sound);
  const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
  disk.open(path, "write").writeAt(400, new Uint8Array(300));
  const damage = log.findDamage(1)!;
  assert(damage.last > damage.first, "several entries are damaged");
  const replaced = commands(damage.last, damage.last + 2, 9);
  log.append({ term: 9, vote: null, commit: 0 }, replaced);
  const wanted = expected.filter(({ index }) => index >= damage.first && index < damage.last);
  let left = log.mend(damage, wanted);
  while (left !== null) {
    const { first, last } = left;
    assert(last < damage.last, `entry ${last} was replaced and is asked for`);
    left = log.mend(left, expected.filter(({ index }) => index >= first && index <= last));
  }
  const kept = expected.filter(({ index }) => index < damage.last);
  assertEquals(everything(log), [...kept, ...replaced]);
});
