/** What only a log in segments has: rolls, starts of segments, quick opening, reads across files. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { openSegmentLog } from "../../lib/storage/segment_log.ts";
import { SegmentSize } from "../../lib/storage/segment_size.ts";
import type { LogStore } from "../../lib/storage/store.ts";
import {
  allEntries,
  command,
  commands,
  directory,
  founders,
  identity,
  openLog,
  storeSnapshot,
} from "./fixtures.ts";
import { JournalDisk } from "./journal_disk.ts";

const segmentBytes = 1_000;

function startsOf(log: LogStore): number[] {
  return log.segmentStarts().map(({ first }) => first);
}

/** Entries of 400 bytes: a segment closes after the second or third. */
function filled(disk: JournalDisk, last: number): LogStore {
  const log = openLog(disk, { segmentBytes });
  for (let index = 1; index <= last; index += 1) log.append(null, [command(index, 1, 400)]);
  return log;
}

Deno.test("the starts of segments follow rolls, replaced suffixes, trims and restarts", () => {
  const disk = new JournalDisk();
  const log = openLog(disk, { segmentBytes });
  assertEquals(startsOf(log), []);
  for (let index = 1; index <= 8; index += 1) log.append(null, [command(index, 1, 400)]);
  const starts = startsOf(log);
  assert(starts.length > 3 && starts[0] === 1, `${starts}`);
  log.append(null, [command(starts[1] + 1, 2)]);
  assertEquals(startsOf(log).slice(0, 2), starts.slice(0, 2));
  assert(!startsOf(log).includes(starts[3]), "a segment without entries has no start");
  const expected = startsOf(log);
  log.close();
  const again = openLog(disk, { segmentBytes });
  assertEquals(startsOf(again), expected);
  again.trimPrefix(storeSnapshot(again, starts[1] - 1, 1));
  assertEquals(startsOf(again), expected.slice(1));
  assertEquals(again.firstIndex(), starts[1]);
});

Deno.test("the newest segment's bytes grow with each append, and all are counted", () => {
  const disk = new JournalDisk();
  const log = openLog(disk, { segmentBytes: 2_000 });
  for (let index = 1; index <= 4; index += 1) {
    log.append(null, [command(index, 1, index === 1 ? 2_000 : 400)]);
  }
  const before = log.segmentStarts().at(-1)!.bytes;
  const total = log.bytes();
  log.append(null, [command(5, 1, 10)]);
  assertEquals(log.segmentStarts().at(-1)!.bytes - before, 50);
  assertEquals(log.bytes() - total, 50);
  const sizes = [...disk.image()].filter(([path]) => path.endsWith(".segment"));
  assertEquals(log.bytes(), sizes.reduce((sum, [, bytes]) => sum + bytes.length, 0));
});

/** Entries from `from` on with these stamps. */
function stamped(from: number, ...stampsMs: number[]) {
  return stampsMs.map((timeMs, at) => ({ ...command(from + at, 1), timeMs }));
}

Deno.test("segments end by the stamps of their entries, within an append and after reopening", () => {
  const disk = new JournalDisk();
  let log = openLog(disk);
  log.append(null, stamped(1, 100, 5_000));
  log.rollAfterMs = 1_000;
  log.append(null, stamped(3, 5_100));
  assertEquals(startsOf(log), [1, 3], "the first entry is read back: it is too old");
  log.append(null, stamped(4, 5_200, 6_099, 6_100, 6_200, 9_000));
  assertEquals(startsOf(log), [1, 3, 6, 8]);
  log.close();
  log = openLog(disk);
  assertEquals(startsOf(log), [1, 3, 6, 8]);
  assertEquals(allEntries(log).map(({ index }) => index), [1, 2, 3, 4, 5, 6, 7, 8]);
  log.append(null, stamped(9, 20_000));
  assertEquals(startsOf(log), [1, 3, 6, 8], "without a limit a segment ends by its size only");
  log.rollAfterMs = 1_000;
  log.append({ term: 2, vote: null, commit: 0 }, []);
  assertEquals(startsOf(log), [1, 3, 6, 8], "a hard state has no stamp");
  log.append(null, stamped(10, 20_001));
  assertEquals(startsOf(log), [1, 3, 6, 8, 10]);
  log.append(null, stamped(9, 20_002, 21_500));
  assertEquals(allEntries(log).at(-1)?.timeMs, 21_500, "entries are replaced over a segment's end");
  log.close();
});

Deno.test("a read goes on over as many segments as it needs, and reads many times", () => {
  const log = filled(new JournalDisk(), 40);
  assert(log.segmentStarts().length > 10, "there are more segments than files kept open");
  for (let round = 0; round < 2; round += 1) {
    assertEquals(allEntries(log), commands(1, 40, 1, 400));
    for (let from = 40; from >= 1; from -= 3) {
      assertEquals(log.read(from, 1)[0], command(from, 1, 400));
    }
  }
});

Deno.test("opening a long log reads its end, not its closed segments", () => {
  const disk = new JournalDisk();
  const log = openLog(disk, { segmentBytes: 200_000 });
  for (let index = 1; index <= 100; index += 1) log.append(null, [command(index, 1, 20_000)]);
  log.close();
  const again = new JournalDisk(disk.image());
  const opened = openLog(again, { segmentBytes: 200_000 });
  assertEquals(opened.lastIndex(), 100);
  assert(again.bytesRead < 450_000, `${again.bytesRead} of 2,000,000 bytes were read`);
  assertEquals(opened.read(37, 1), [command(37, 1, 20_000)]);
});

Deno.test("marks sync nothing, and repeat nothing that is stated already", () => {
  const disk = new JournalDisk();
  const log = openLog(disk, { segmentBytes: 200_000 });
  log.append(null, commands(1, 10, 1));
  log.syncNow();
  const before = disk.count;
  disk.failSyncs = true;
  for (let count = 0; count < 5; count += 1) log.mark();
  assertEquals(disk.count - before, 1, "one write of the mark, no sync");
});

Deno.test("a log under load marks itself every mebibyte", () => {
  const disk = new JournalDisk();
  const log = openLog(disk, { segmentBytes: 2 ** 30 });
  const marks = () => disk.image().get(`${directory}/synced`)!;
  const first = marks();
  for (let index = 1; index <= 9; index += 1) log.append(null, [command(index, 1, 100_000)]);
  log.syncNow();
  assertEquals(marks(), first);
  for (let index = 10; index <= 11; index += 1) log.append(null, [command(index, 1, 100_000)]);
  log.syncNow();
  assert(marks().some((byte, at) => byte !== first[at]), "it was marked");
});

Deno.test("segments are small on a small disk and under a small limit, and no smaller than needed", () => {
  const MIB = 1024 * 1024;
  const disk = new JournalDisk();
  const size = new SegmentSize(disk, 64 * MIB, 0);
  assertEquals(size.bytes, 64 * MIB);
  size.retainedBytes = 80 * MIB;
  assertEquals(size.bytes, 10 * MIB);
  size.retainedBytes = 1;
  assertEquals(size.bytes, MIB);
  size.retainedBytes = 0;
  disk.capacityBytes = 16 * MIB;
  size.measure(8 * MIB);
  assertEquals(size.bytes, 3 * MIB, "what the log has counts as room");
  assertEquals(new SegmentSize(disk, 1_000, 0).bytes, 1_000);
});

Deno.test("the log of another replica of the same group is refused, and left as it is", () => {
  const disk = new JournalDisk();
  const open = (replica: string) =>
    openSegmentLog(disk, {
      identity: { ...identity, replica },
      directory,
      bootstrap: founders,
      segmentBytes,
    });
  const log = open("r1");
  log.append(null, commands(1, 3, 1));
  log.close();
  assertThrows(() => open("r2"), TrilogError, "it belongs to replica r1, not to r2");
  assertEquals(allEntries(open("r1")), commands(1, 3, 1));
});
