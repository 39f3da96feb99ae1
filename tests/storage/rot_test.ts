/** Bytes that were durable and are not what was written: found, named, never repaired. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { openDataDirectory } from "../../lib/storage/identity.ts";
import { inspectDirectory, verifyDirectory } from "../../lib/storage/inspect.ts";
import { preamble } from "../../lib/storage/file_format.ts";
import { CorruptFileError } from "../../lib/storage/record.ts";
import { allEntries, commands, directory, openLog, storeSnapshot } from "./fixtures.ts";
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
/** A closed log ends with one marker of 40 bytes, which alone is not known to be synced. */
const newestSyncedBytes = sound.get(newest)!.length - 40;

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
    const synced = path === newest ? newestSyncedBytes : sound.get(path)!.length;
    for (let position = 0; position < synced; position += 1) {
      const image = flipped(path, position, 1 << (position % 8));
      assertFenced(unindexed(image), path, position, `${path} at ${position}`);
      if (position % 5 === 0) assertNothingWrongIsRead(image, path, `${path} at ${position}`);
    }
  }
});

Deno.test("a flipped bit beyond the synced position costs only what was never synced", () => {
  for (let position = newestSyncedBytes; position < newestSyncedBytes + 40; position += 1) {
    const image = flipped(newest, position);
    assertEquals(verifyDirectory(new JournalDisk(image)), []);
    assertEquals(inspectDirectory(new JournalDisk(image)).groups[0].unsyncedBytes, 40);
    const disk = new JournalDisk(image);
    const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
    assertEquals(log.report.bytesSetAside, 40);
    assertEquals(allEntries(log, 11), commands(11, LAST_INDEX, 1));
    const aside = [...disk.image().keys()].filter((path) => path.includes("/set-aside/"));
    assertEquals(disk.image().get(aside[0]), image.get(newest)!.slice(newestSyncedBytes));
  }
});

Deno.test("a segment that lost bytes which were synced fences the log", () => {
  for (const path of segments.slice(0, -1)) {
    const bytes = sound.get(path)!;
    for (let length = 0; length < bytes.length; length += 7) {
      assertFenced(withFile(path, bytes.slice(0, length)), path, length, `${path} ${length}`);
    }
  }
});

Deno.test("zeros over a synced sector fence the log", () => {
  for (const path of segments) {
    const synced = path === newest ? newestSyncedBytes : sound.get(path)!.length;
    for (let position = 0; position + 64 <= synced; position += 64) {
      const bytes = sound.get(path)!.slice();
      bytes.fill(0, position, position + 64);
      assertFenced(unindexed(withFile(path, bytes)), path, position + 63, `${path} ${position}`);
    }
  }
});

Deno.test("a synced record that a misdirected write put elsewhere fences the log", () => {
  const bytes = sound.get(newest)!.slice();
  const record = bytes.slice(newestSyncedBytes);
  bytes.set(record, newestSyncedBytes - 120);
  assertFenced(withFile(newest, bytes), newest, newestSyncedBytes, "a record in another's place");
});

Deno.test("a sound record of the same segment that lies in another's place fences the log", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append({ term: 1, vote: "r1", commit: 0 }, []);
  log.append({ term: 2, vote: "r2", commit: 0 }, []);
  log.close();
  const [path, bytes] = [...disk.image()].find(([name]) => name.endsWith(".segment"))!;
  const recordBytes = 42;
  const second = bytes.length - 40 - recordBytes;
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

Deno.test("an empty newest segment was never acknowledged and is set aside", () => {
  const empty = `${directory}/00000099-0000000000000031.segment`;
  const image = withFile(empty, new Uint8Array(0));
  const disk = new JournalDisk(image);
  const log = openLog(disk, { segmentBytes: SEGMENT_BYTES });
  assertEquals(allEntries(log, 11), commands(11, LAST_INDEX, 1));
  assert(disk.exists(`${directory}/set-aside/00000099-0000000000000031.segment`), "it is kept");
  assert(!disk.exists(empty), "it is gone from its place");
});

Deno.test("an empty segment is damage where it is the only one or not the newest", () => {
  assertFenced(withFile(segments[0], new Uint8Array(0)), segments[0], 0, "not the newest");
  const only = new Map([[segments[0], new Uint8Array(0)]]);
  assertThrows(() => open(only), CorruptFileError, "too short");
});

Deno.test("a file of a newer format version is refused and left alone", () => {
  const paths = [newest, segments[0]];
  for (const path of paths) {
    const bytes = sound.get(path)!.slice();
    bytes.set(preamble("trilogSG", 2));
    const disk = new JournalDisk(withFile(path, bytes));
    const thrown = assertThrows(() => openLog(disk), TrilogError, "format version 2");
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
  const again = new JournalDisk(image);
  const reopened = openLog(again, { segmentBytes: SEGMENT_BYTES });
  assertEquals(reopened.snapshots().map(({ last }) => last.index), [10]);
  assert(reopened.report.notes.some((note) => note.includes(path)), "the report names it");
  assert(again.exists(path), "it is left alone");
});
