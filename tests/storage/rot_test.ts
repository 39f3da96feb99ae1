/** Bytes that were durable and are not what was written: found, named, never repaired. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { openDataDirectory } from "../../lib/storage/identity.ts";
import { inspectDirectory, verifyDirectory } from "../../lib/storage/inspect.ts";
import { preamble } from "../../lib/storage/file_format.ts";
import { CorruptFileError } from "../../lib/storage/record.ts";
import { allEntries, command, commands, directory, openLog, storeSnapshot } from "./fixtures.ts";
import { type Image, JournalDisk } from "./journal_disk.ts";

const SEGMENT_BYTES = 700;
const LAST_INDEX = 30;
const hardState = { term: 4, vote: "r2", commit: 20 };

/** A log of several segments on a snapshot, closed properly. */
function soundImage(): Image {
  const disk = new JournalDisk();
  openDataDirectory(disk, { newReplicaId: () => "r1", name: "a1" }).close();
  const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
  for (let index = 1; index < LAST_INDEX; index += 3) {
    log.append({ ...hardState, commit: index - 1 }, commands(index, index + 2, 1));
  }
  log.append(hardState, []);
  log.trimPrefix(storeSnapshot(log, 10, 1, new Uint8Array(500).fill(5)));
  log.close();
  return disk.image();
}

const sound = soundImage();
const segments = [...sound.keys()].filter((path) => path.endsWith(".segment")).sort();
const newest = segments[segments.length - 1];
const mark = `${directory}/synced`;

function withFile(path: string, bytes: Uint8Array | null): Image {
  const image = new Map(sound);
  if (bytes === null) image.delete(path);
  else image.set(path, bytes);
  return image;
}

function flipped(path: string, position: number, mask = 0x40): Image {
  const bytes = sound.get(path)!.slice();
  bytes[position] ^= mask;
  return withFile(path, bytes);
}

function open(image: Image) {
  return openLog(new JournalDisk(image), { segmentBytes: SEGMENT_BYTES });
}

/** The log must be whole. */
function assertWhole(image: Image, what: string): void {
  const log = open(image);
  assertEquals(log.recovered.hardState, hardState, what);
  assertEquals(allEntries(log, 11), commands(11, LAST_INDEX, 1), what);
}

/** Opening must fail, name file and offset, and leave the disk as it was. */
function assertFenced(image: Image, file: string, atMost: number, what: string): void {
  const disk = new JournalDisk(image);
  let thrown: unknown = null;
  try {
    openLog(disk, { segmentBytes: SEGMENT_BYTES });
  } catch (error) {
    thrown = error;
  }
  assert(thrown instanceof CorruptFileError, `${what}: ${thrown}`);
  assertEquals(thrown.file, file, what);
  assert(thrown.offset <= atMost, `${what}: offset ${thrown.offset}`);
  assertEquals(disk.count, 0, `${what}: the disk was changed`);
  const faults = verifyDirectory(disk);
  assert(
    faults.some((fault) => fault.file === file),
    `${what}: verify says ${JSON.stringify(faults)}`,
  );
}

Deno.test("a log that was closed properly has no faults", () => {
  assertEquals(verifyDirectory(new JournalDisk(sound)), []);
  assertWhole(sound, "sound");
});

/** Without index files every segment is scanned when the log is opened. */
function unindexed(image: Image): Image {
  return new Map([...image].filter(([path]) => !path.endsWith(".index")));
}

/**
 * With index files only headers of closed segments are read: damage behind them is found by
 * `verify` and by the first read that meets it, and nothing wrong is ever returned.
 */
function assertNothingWrongIsRead(image: Image, file: string, what: string): void {
  const disk = new JournalDisk(image);
  assert(verifyDirectory(disk).some((fault) => fault.file === file), `${what}: verify`);
  try {
    const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
    assertEquals(allEntries(log, 11), commands(11, LAST_INDEX, 1), what);
  } catch (thrown) {
    assert(thrown instanceof CorruptFileError && thrown.file === file, `${what}: ${thrown}`);
  }
}

Deno.test("a flipped bit anywhere below the synced position of a segment fences the log", () => {
  for (const path of segments) {
    for (let position = 0; position < sound.get(path)!.length; position += 1) {
      const image = flipped(path, position, 1 << (position % 8));
      assertFenced(unindexed(image), path, position, `${path} at ${position}`);
      if (position % 5 === 0) assertNothingWrongIsRead(image, path, `${path} at ${position}`);
    }
  }
});

/** The newest segment of a log whose process was killed after a write and before its sync. */
function killed(): { readonly image: Image; readonly path: string; readonly synced: number } {
  const disk = new JournalDisk(sound);
  const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
  log.append(null, [command(LAST_INDEX + 1, 1)]);
  log.syncNow();
  log.mark();
  log.append(null, [command(LAST_INDEX + 2, 1)]);
  const [path, bytes] = [...disk.image()].filter(([name]) => name.endsWith(".segment")).at(-1)!;
  return { image: disk.image(), path, synced: bytes.length - 64 };
}

Deno.test("a flipped bit beyond the synced position costs only what was never synced", () => {
  const { image, path, synced } = killed();
  for (let position = synced; position < synced + 64; position += 1) {
    const bytes = image.get(path)!.slice();
    bytes[position] ^= 1 << (position % 8);
    const torn = new Map(image).set(path, bytes);
    assertEquals(verifyDirectory(new JournalDisk(torn)), []);
    assertEquals(inspectDirectory(new JournalDisk(torn)).groups[0].unsyncedBytes, 64);
    const disk = new JournalDisk(torn);
    const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
    assertEquals(log.report.bytesSetAside, 64);
    assertEquals(allEntries(log, 11), commands(11, LAST_INDEX + 1, 1));
    const aside = [...disk.image().keys()].filter((name) => name.includes("/set-aside/"));
    assertEquals(disk.image().get(aside[0]), bytes.slice(synced));
  }
});

Deno.test("zeros over the last page or sector of a quiet log fence it, closed or not", () => {
  const { image, path, synced } = killed();
  const idle = new Map(image).set(path, image.get(path)!.slice(0, synced));
  for (const [what, logs, file] of [["idle", idle, path], ["closed", sound, newest]] as const) {
    const length = logs.get(file)!.length;
    for (const lost of [1, 40, 64, 512, 4096]) {
      const from = Math.max(0, length - lost);
      const zeroed = logs.get(file)!.slice();
      zeroed.fill(0, from);
      for (const bytes of [zeroed, zeroed.slice(0, from)]) {
        const damaged = new Map(logs).set(file, bytes);
        assertFenced(damaged, file, length, `${what}: ${lost} bytes of ${length}`);
      }
    }
  }
});

Deno.test("a newest segment that is empty, cut behind its header or gone fences the log", () => {
  const { image } = killed();
  const header = openLog(new JournalDisk(image), { segmentBytes: SEGMENT_BYTES });
  header.close();
  const bytes = sound.get(newest)!;
  const headerEnd = 16 + 40 + new DataView(bytes.buffer).getUint32(16 + 4, true);
  for (const length of [0, 1, 16, headerEnd - 1, headerEnd]) {
    assertFenced(withFile(newest, bytes.slice(0, length)), newest, length, `cut to ${length}`);
  }
  assertFenced(withFile(newest, null), mark, 0, "the mark names it");
  const unmarked = new Map(withFile(newest, null));
  unmarked.delete(mark);
  const index = [...sound.keys()].filter((path) => path.endsWith(".index")).at(-1)!;
  assertFenced(unmarked, index, 0, "the index of the one before proves that it was there");
});

Deno.test("a mark that has rotted costs nothing while the log is sound", () => {
  for (let position = 0; position < sound.get(mark)!.length; position += 1) {
    const image = flipped(mark, position);
    const faults = verifyDirectory(new JournalDisk(image));
    assertEquals(faults.map(({ file, harmless }) => [file, harmless]), [[mark, true]]);
    assertWhole(image, `at ${position}`);
  }
  for (const length of [0, 8, 39]) {
    assertWhole(withFile(mark, sound.get(mark)!.slice(0, length)), `cut to ${length}`);
  }
  assertWhole(withFile(mark, null), "gone");
  const blank = withFile(mark, new Uint8Array(40));
  assertEquals(verifyDirectory(new JournalDisk(blank)), [], "a power loss may leave it so");
});

Deno.test("the mark of another group counts for nothing", () => {
  const other = new JournalDisk();
  const log = openLog(other, { group: "p/2/0" });
  log.append(null, commands(1, 900, 1));
  log.close();
  assertWhole(withFile(mark, other.image().get(mark)!), "another group's");
});

Deno.test("a synced record that a misdirected write put elsewhere fences the log", () => {
  const bytes = sound.get(newest)!.slice();
  const record = bytes.slice(bytes.length - 42);
  bytes.set(record, bytes.length - 120);
  assertFenced(withFile(newest, bytes), newest, bytes.length, "a record in another's place");
});

Deno.test("a sound record of the same segment that lies in another's place fences the log", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append({ term: 1, vote: "r1", commit: 0 }, []);
  log.append({ term: 2, vote: "r2", commit: 0 }, []);
  log.close();
  const [path, bytes] = [...disk.image()].find(([name]) => name.endsWith(".segment"))!;
  const recordBytes = 42;
  const second = bytes.length - recordBytes;
  const stale = bytes.slice();
  stale.set(bytes.subarray(second - recordBytes, second), second);
  const image = new Map(disk.image()).set(path, stale);
  const thrown = assertThrows(() => openLog(new JournalDisk(image)), CorruptFileError);
  assertEquals([thrown.file, thrown.offset], [path, second]);
});

Deno.test("another group's segment under this group's name fences the log", () => {
  const other = new JournalDisk();
  openLog(other, { group: "p/2/0" }).close();
  const [path, bytes] = [...other.image()].find(([name]) => name.endsWith(".segment"))!;
  const image = new Map([[path, bytes]]);
  const thrown = assertThrows(() => open(image), CorruptFileError, "belongs to group p/2/0");
  assertEquals(thrown.file, path);
});

Deno.test("a segment under another's number fences the log", () => {
  const image = new Map(sound);
  image.set(segments[1], sound.get(segments[0])!);
  assertThrows(() => open(image), CorruptFileError, segments[1]);
});

Deno.test("a missing segment in the middle fences the log", () => {
  for (const path of segments.slice(1, -1)) {
    assertThrows(() => open(withFile(path, null)), CorruptFileError, "are missing", path);
    assert(verifyDirectory(new JournalDisk(withFile(path, null))).length > 0, path);
  }
});

Deno.test("a log whose segments are all gone is not taken for a new one", () => {
  const image = new Map([...sound].filter(([path]) => !path.endsWith(".segment")));
  assertThrows(() => open(image), CorruptFileError, "term and vote, is missing");
});

Deno.test("an empty segment is damage wherever it is: it was synced before it had its name", () => {
  assertFenced(withFile(segments[0], new Uint8Array(0)), segments[0], 0, "not the newest");
  const later = `${directory}/00000099-0000000000000031.segment`;
  assertFenced(withFile(later, new Uint8Array(0)), later, 0, "the newest");
  const only = new Map([[segments[0], new Uint8Array(0)]]);
  assertThrows(() => open(only), CorruptFileError, "too short");
});

Deno.test("a file of a newer format version is refused and left alone", () => {
  const paths = [newest, segments[0]];
  for (const path of paths) {
    const bytes = sound.get(path)!.slice();
    bytes.set(preamble("trilogSG", 3));
    const disk = new JournalDisk(withFile(path, bytes));
    const thrown = assertThrows(() => openLog(disk), TrilogError, "format version 3");
    assertEquals([thrown.code, disk.count], ["unsupported_version", 0]);
  }
});

Deno.test("a disk that cannot read a segment back is as bad as one that rots", () => {
  const disk = new JournalDisk(sound);
  disk.failReads = true;
  assertThrows(() => openLog(disk), CorruptFileError, "the disk cannot read it");
});

Deno.test("a read of entries that have rotted since is refused by file and offset", () => {
  const image = new Map([...sound].map(([path, bytes]) => [path, bytes.slice()]));
  const disk = new JournalDisk(image);
  const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
  const path = segments[1];
  const file = disk.open(path, "write");
  const size = file.size();
  file.writeAt(size - 3, new Uint8Array([1]));
  const thrown = assertThrows(() => allEntries(log), CorruptFileError);
  assertEquals(thrown.file, path);
  const lost = log.read(log.lastIndex(), 1);
  assertEquals(lost.length, 1, "other segments are still read");
});

Deno.test("damage of an index file costs only a scan", () => {
  const indexes = [...sound.keys()].filter((path) => path.endsWith(".index"));
  assert(indexes.length > 1, "closed segments have index files");
  for (const path of indexes) {
    for (let position = 0; position < sound.get(path)!.length; position += 5) {
      assertWhole(flipped(path, position), `${path} at ${position}`);
    }
    assertWhole(withFile(path, null), `${path} missing`);
    assertWhole(withFile(path, sound.get(path)!.slice(0, 30)), `${path} cut`);
  }
});

Deno.test("damage of the snapshot under the log is found, wherever it is", () => {
  const [path, bytes] = [...sound].find(([name]) => name.endsWith(".snapshot"))!;
  for (let position = 0; position < bytes.length; position += 1) {
    const image = flipped(path, position);
    assertEquals(verifyDirectory(new JournalDisk(image)).map(({ file }) => file), [path]);
    assertThrows(
      () => open(image).openSnapshot(10)!.read(0, 1_000),
      CorruptFileError,
      path,
      `at ${position}`,
    );
  }
  assertThrows(() => open(withFile(path, null)), CorruptFileError, "snapshot under the log");
  assertThrows(() => open(withFile(path, bytes.slice(0, -1))), CorruptFileError, path);
});

Deno.test("a damaged snapshot that the log does not stand on is not listed and not removed", () => {
  const disk = new JournalDisk(sound);
  const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
  storeSnapshot(log, 20, 1);
  log.close();
  const path = `${directory}/0000000000000020-0000000000000001.snapshot`;
  const image = new Map(disk.image());
  image.set(path, image.get(path)!.slice(0, -2));
  const faults = verifyDirectory(new JournalDisk(image));
  assertEquals(faults.map(({ file, harmless }) => [file, harmless]), [[path, true]]);
  const again = new JournalDisk(image);
  const reopened = openLog(again, { segmentBytes: SEGMENT_BYTES });
  assertEquals(reopened.snapshots().map(({ last }) => last.index), [10]);
  assert(reopened.report.notes.some((note) => note.includes(path)), "the report names it");
  assert(again.exists(path), "it is left alone");
});
