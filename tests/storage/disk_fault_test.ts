/** A disk that is full or fails, as the log meets it. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { EntryKind } from "../../lib/raft/types.ts";
import { GroupCommit } from "../../lib/storage/group_commit.ts";
import { RESERVE_BYTES } from "../../lib/storage/reserve.ts";
import {
  allEntries,
  command,
  commands,
  directory,
  membershipOf,
  openLog,
  storeSnapshot,
} from "./fixtures.ts";
import { JournalDisk } from "./journal_disk.ts";

const vote = (term: number) => ({ term, vote: "r2", commit: 0 });

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (thrown) {
    if (thrown instanceof TrilogError) return thrown.code;
    throw thrown;
  }
  return "none";
}

/** Leaves `bytes` of space. */
function fill(disk: JournalDisk, bytes: number): void {
  disk.capacityBytes = Infinity;
  let used = 0;
  for (const content of disk.image().values()) used += content.length;
  disk.capacityBytes = used + bytes;
}

Deno.test("on a full disk an append is refused whole and later ones succeed by themselves", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append(vote(1), commands(1, 5, 1));
  fill(disk, 100);
  assertEquals(codeOf(() => log.append(null, commands(6, 9, 1))), "disk_full");
  assertEquals(codeOf(() => log.append(null, commands(6, 9, 1))), "disk_full");
  assertEquals([log.lastIndex(), allEntries(log)], [5, commands(1, 5, 1)]);
  log.syncNow();
  fill(disk, 10_000);
  log.append(null, commands(6, 9, 1));
  log.syncNow();
  assertEquals(allEntries(openLog(new JournalDisk(disk.image()))), commands(1, 9, 1));
});

Deno.test("term and vote are written on a full disk, a hundred times, and entries are not", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append(vote(1), commands(1, 5, 1));
  fill(disk, 0);
  for (let term = 2; term <= 101; term += 1) {
    log.append(vote(term), []);
    log.syncNow();
    assertEquals(codeOf(() => log.append(null, [command(6, term)])), "disk_full");
  }
  const again = openLog(new JournalDisk(disk.image()));
  assertEquals(again.recovered.hardState, vote(101));
  fill(disk, RESERVE_BYTES + 1_000);
  log.append(null, [command(6, 101)]);
  assert(disk.exists(`${directory}/reserve`), "the reserve stands again");
});

Deno.test("a full disk at a segment roll leaves the log as it was", () => {
  const disk = new JournalDisk();
  const log = openLog(disk, { segmentBytes: 500 });
  log.append(vote(1), commands(1, 5, 1, 100));
  fill(disk, 60);
  assertEquals(codeOf(() => log.append(null, [command(6, 1)])), "disk_full");
  assertEquals(disk.list(directory).filter((name) => name.endsWith(".tmp")), []);
  fill(disk, 50_000);
  log.append(null, [command(6, 1)]);
  assertEquals(log.segmentStarts().map(({ first }) => first), [1, 6]);
  const again = openLog(new JournalDisk(disk.image()));
  assertEquals(again.lastIndex(), 6);
});

Deno.test("trimming and adopting a snapshot work on a full disk, since they make room", () => {
  const disk = new JournalDisk();
  const log = openLog(disk, { segmentBytes: 1_000 });
  for (let index = 1; index <= 20; index += 1) log.append(null, [command(index, 1, 100)]);
  const base = storeSnapshot(log, 15, 1);
  const other = storeSnapshot(log, 90, 3);
  fill(disk, 0);
  log.trimPrefix(base);
  fill(disk, 0);
  log.adoptSnapshot(other, vote(5));
  const again = openLog(new JournalDisk(disk.image()));
  assertEquals(again.recovered.last, { index: 90, term: 3 });
  assertEquals(again.recovered.hardState, { ...vote(5) });
});

Deno.test("a snapshot that does not fit leaves nothing behind and harms nothing", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append(vote(1), commands(1, 5, 1));
  fill(disk, 70_000);
  const writer = log.beginSnapshot({
    last: { index: 3, term: 1 },
    timeMs: 1,
    membership: log.recovered.baseMembership,
  });
  assertEquals(codeOf(() => writer.write(new Uint8Array(200_000))), "disk_full");
  writer.abort();
  assertEquals(disk.list(directory).filter((name) => name.includes("snapshot")), []);
  log.append(null, [command(6, 1)]);
});

Deno.test("a log whose disk is full can be opened, also when its tail must be written anew", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append(vote(1), commands(1, 5, 1));
  const full = new JournalDisk(disk.image());
  fill(full, 0);
  const again = openLog(full);
  assertEquals(allEntries(again), commands(1, 5, 1));
  again.append(vote(2), []);
});

Deno.test("a failed sync is final: the same error for everybody, for ever", async () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append(vote(1), [command(1, 1)]);
  disk.failSyncs = true;
  const first = log.sync();
  const second = log.sync();
  await assertRejects(() => first, TrilogError, "fails on purpose");
  await assertRejects(() => second, TrilogError, "fails on purpose");
  disk.failSyncs = false;
  await assertRejects(() => log.sync(), TrilogError, "fails on purpose");
  for (
    const act of [
      () => log.syncNow(),
      () => log.append(null, [command(2, 1)]),
      () => log.mark(),
      () => log.read(1, 1),
      () => log.close(),
    ]
  ) assertEquals(codeOf(act), "disk_failed");
});

Deno.test("a failed sync while the caller waits is final too", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append(vote(1), [command(1, 1)]);
  disk.failSyncs = true;
  assertEquals(codeOf(() => log.syncNow()), "disk_failed");
  disk.failSyncs = false;
  assertEquals(codeOf(() => log.append(null, [command(2, 1)])), "disk_failed");
});

Deno.test("after a failed sync a restart writes anew what the page cache only shows", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append(vote(1), commands(1, 3, 1));
  disk.failSyncs = true;
  assertThrows(() => log.syncNow(), TrilogError);
  const restarted = new JournalDisk(disk.image());
  const again = openLog(restarted);
  assertEquals(allEntries(again), commands(1, 3, 1));
  // The file with those records is a new one: every byte of them went to the disk again.
  const durable = restarted.imageAfter(restarted.count, { kind: "lost" });
  const segments = [...durable.keys()].filter((path) => path.endsWith(".segment"));
  assertEquals(segments.length, 2);
  assert(durable.get(segments[1])!.length > 3 * 64, "the new segment holds the records");
});

Deno.test("group commit: one flush in flight, and one more for all who come meanwhile", async () => {
  let finish: () => void = () => {};
  let flushes = 0;
  const commit = new GroupCommit(() => {
    flushes += 1;
    return new Promise((resolve) => finish = resolve);
  });
  const first = commit.sync();
  const waiting = [commit.sync(), commit.sync(), commit.sync()];
  assertEquals([flushes, commit.inFlight()], [1, true]);
  let early = false;
  waiting[0].then(() => early = true);
  finish();
  await first;
  for (let turn = 0; turn < 5; turn += 1) await undefined;
  assertEquals([flushes, early, commit.inFlight()], [2, false, true]);
  finish();
  await Promise.all(waiting);
  assertEquals([flushes, commit.inFlight()], [2, false]);
});

Deno.test("a log is trimmed on a disk without a free byte and without its reserve", () => {
  const disk = new JournalDisk();
  const log = openLog(disk, { segmentBytes: 4_000 });
  for (let index = 1; index <= 200; index += 1) log.append(null, [command(index, 1, 100)]);
  log.syncNow();
  const base = storeSnapshot(log, 150, 1);
  disk.remove(`${directory}/reserve`);
  fill(disk, 0);
  assertEquals(codeOf(() => log.append(null, [command(201, 1, 100)])), "disk_full");
  const before = disk.count;
  log.trimPrefix(base);
  log.append(null, [command(201, 1, 100)]);
  log.syncNow();
  assert(log.firstIndex() > 100, `entries from ${log.firstIndex()} on are left`);
  for (let count = before; count <= disk.count; count += 1) {
    for (const fate of [{ kind: "lost" }, { kind: "kept" }] as const) {
      const again = openLog(new JournalDisk(disk.imageAfter(count, fate)), { segmentBytes: 4_000 });
      const left = allEntries(again);
      assert(left.at(-1)!.index >= 200, `${fate.kind} after ${count}`);
      assert(left[0].index <= base.last.index + 1, `${fate.kind} after ${count}`);
    }
  }
});

Deno.test("a new leader's first entry is written on a full disk, a command is not", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append(vote(1), commands(1, 5, 1));
  fill(disk, 0);
  log.append(vote(2), []);
  const noop = { ...command(6, 2, 0), kind: EntryKind.noop };
  log.append(null, [noop]);
  assertEquals(codeOf(() => log.append(null, [command(7, 2)])), "disk_full");
  log.syncNow();
  assertEquals(openLog(new JournalDisk(disk.image())).lastIndex(), 6);
});

Deno.test("a snapshot that a failing disk can not even remove ends with the first error", () => {
  const disk = new JournalDisk();
  const log = openLog(disk);
  log.append(vote(1), commands(1, 3, 1));
  const meta = { last: { index: 3, term: 1 }, timeMs: 1, membership: membershipOf("r1") };
  const writer = log.beginSnapshot(meta);
  writer.write(new Uint8Array(10));
  disk.remove = (path) => disk.failIf(true, "remove", path);
  disk.failSyncs = true;
  const thrown = assertThrows(() => writer.commit(), TrilogError, "Cannot sync");
  assertEquals(thrown.code, "disk_failed");
  writer.abort();
});

Deno.test("a segment whose name was not synced before a kill is durable before it is written to", () => {
  const disk = new JournalDisk();
  const log = openLog(disk, { segmentBytes: 500 });
  log.append(vote(1), commands(1, 2, 1));
  const sync = disk.syncDirectory.bind(disk);
  disk.syncDirectory = (path) => disk.failIf(true, "sync", path);
  let next = 3;
  while (codeOf(() => log.append(null, [command(next, 1)])) === "none") next += 1;
  disk.syncDirectory = sync;
  // The process was killed there; the next one finds the name in the cache.
  const again = openLog(disk, { segmentBytes: 500 });
  again.append(null, [command(next, 1)]);
  again.syncNow();
  const image = disk.imageAfter(disk.count, { kind: "lost" });
  assertEquals(allEntries(openLog(new JournalDisk(image))), commands(1, next, 1));
});
