import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { textOf, utf8 } from "../../../lib/base/bytes.ts";
import { TrilogError } from "../../../lib/base/errors.ts";
import { Prng } from "../../../lib/base/prng.ts";
import { SimDisk } from "../../../lib/sim/disk.ts";
import { SimProcess } from "../../../lib/sim/process.ts";
import { Scheduler } from "../../../lib/sim/scheduler.ts";
import type { Disk } from "../../../lib/storage/disk.ts";

function machine(seed = 1) {
  const scheduler = new Scheduler();
  const process = new SimProcess(scheduler, "n1");
  return { scheduler, process, disk: new SimDisk(process, new Prng(seed)) };
}

/** The whole text of a file, or null where there is none. */
function textAt(disk: Disk, path: string): string | null {
  if (!disk.exists(path)) return null;
  const file = disk.open(path, "read");
  const bytes = new Uint8Array(file.size());
  assertEquals(file.readAt(0, bytes), bytes.length);
  return textOf(bytes);
}

/** A file with durable text in a durable directory. */
function writeDurably(disk: Disk, path: string, text: string): void {
  const file = disk.open(path, "create");
  file.writeAt(0, utf8(text));
  file.syncNow();
  disk.syncDirectory("");
}

function assertFails(code: string, run: () => unknown): void {
  assertEquals(assertThrows(run, TrilogError).code, code);
}

Deno.test("files and directories behave as on any disk", () => {
  const { disk } = machine();
  disk.makeDirectory("a/b");
  disk.makeDirectory("a/b");
  const file = disk.open("a/b/x", "create");
  file.writeAt(2, utf8("cd"));
  file.writeAt(0, utf8("ab"));
  assertEquals([file.size(), textAt(disk, "a/b/x")], [4, "abcd"]);
  const part = new Uint8Array(3);
  assertEquals([file.readAt(2, part), part], [2, new Uint8Array([99, 100, 0])]);
  assertEquals(file.readAt(9, part), 0);
  file.truncate(1);
  assertEquals(textAt(disk, "a/b/x"), "a");
  disk.rename("a/b/x", "a/y");
  assertEquals([disk.list("a"), disk.list("a/b"), disk.list("no")], [["b", "y"], [], []]);
  assertFails("disk_failed", () => disk.open("a/y", "create"));
  assertFails("disk_failed", () => disk.open("a/x", "read"));
  assertFails("disk_failed", () => disk.open("no/x", "create"));
  assertFails("disk_failed", () => disk.open("a/y", "read").writeAt(0, utf8("z")));
  disk.remove("a");
  disk.remove("a");
  assertEquals([disk.exists("a"), disk.exists("a/y")], [false, false]);
});

Deno.test("synced bytes in synced directories survive every power loss", () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const { disk } = machine(seed);
    disk.makeDirectory("d");
    disk.syncDirectory("");
    const file = disk.open("d/x", "create");
    file.writeAt(0, utf8("durable"));
    file.syncNow();
    disk.syncDirectory("d");
    file.writeAt(7, utf8(" and more"));
    disk.crash("power");
    assertEquals(textAt(disk, "d/x")?.slice(0, 7), "durable");
  }
});

Deno.test("what was not synced is kept, lost, cut short or replaced by zeros, page by page", () => {
  const outcomes = new Set<string>();
  for (let seed = 1; seed <= 300; seed += 1) {
    const { disk } = machine(seed);
    writeDurably(disk, "x", "0");
    const file = disk.open("x", "write");
    const block = new Uint8Array(4096).fill(65);
    file.writeAt(0, block);
    file.writeAt(4096, block);
    disk.crash("power");
    const bytes = utf8(textAt(disk, "x") ?? "");
    const sectors = [...Array(16).keys()].map((at) => bytes[at * 512 + 100] === 65);
    const first = sectors.slice(0, 8).filter((kept) => kept).length;
    const second = sectors.slice(8).filter((kept) => kept).length;
    outcomes.add(`size ${Math.min(8192, bytes.length)}`);
    if (first + second === 16) outcomes.add("all");
    if (first + second === 0) outcomes.add("none");
    if (first === 0 && second === 8) outcomes.add("out of order");
    if (first > 0 && first < 8) outcomes.add("torn");
    if (bytes.length === 8192 && second === 0) outcomes.add("zeros");
  }
  const wanted = ["all", "none", "out of order", "size 1", "size 4096", "size 8192"];
  assertEquals([...outcomes].sort(), [...wanted, "torn", "zeros"]);
});

Deno.test("a write lost in a page never takes an older durable write of that page with it", () => {
  for (let seed = 1; seed <= 100; seed += 1) {
    const { disk } = machine(seed);
    writeDurably(disk, "x", "a".repeat(700));
    const file = disk.open("x", "write");
    for (let count = 0; count < 5; count += 1) {
      file.writeAt(700 + count * 100, utf8("b".repeat(100)));
    }
    disk.crash("power");
    const text = textAt(disk, "x") ?? "";
    assertEquals(text.slice(0, 700), "a".repeat(700));
    assertEquals(/^[b\0]*$/.test(text.slice(700)), true);
  }
});

Deno.test("a kill loses nothing that was written, the power afterwards may", () => {
  const lengths = new Set<number>();
  for (let seed = 1; seed <= 40; seed += 1) {
    const { disk } = machine(seed);
    writeDurably(disk, "x", "");
    disk.open("x", "write").writeAt(0, utf8("text"));
    disk.crash("kill");
    assertEquals(textAt(disk, "x"), "text");
    disk.crash("power");
    lengths.add(textAt(disk, "x")?.length ?? -1);
  }
  assertEquals([...lengths].sort(), [0, 4]);
});

Deno.test("names not synced are kept or lost, and a rename never half", () => {
  const outcomes = new Set<string>();
  for (let seed = 1; seed <= 100; seed += 1) {
    const { disk } = machine(seed);
    writeDurably(disk, "old", "1");
    writeDurably(disk, "temporary", "2");
    disk.rename("temporary", "old");
    disk.open("new", "create");
    disk.crash("power");
    outcomes.add(`${disk.list("").join()} ${textAt(disk, "old")}`);
  }
  assertEquals([...outcomes].sort(), [
    "new,old 2",
    "new,old,temporary 1",
    "old 2",
    "old,temporary 1",
  ]);
});

Deno.test("a removal that was not synced may come back, a synced one stays", () => {
  const back = new Set<boolean>();
  for (let seed = 1; seed <= 40; seed += 1) {
    const { disk } = machine(seed);
    writeDurably(disk, "x", "1");
    writeDurably(disk, "y", "1");
    disk.remove("x");
    disk.syncDirectory("");
    disk.remove("y");
    disk.crash("power");
    assertEquals(disk.exists("x"), false);
    back.add(disk.exists("y"));
  }
  assertEquals(back.size, 2);
});

Deno.test("a sync takes time and covers what was written before it, not what came after", async () => {
  const { scheduler, disk } = machine(3);
  writeDurably(disk, "x", "");
  const file = disk.open("x", "write");
  file.writeAt(0, utf8("before"));
  let synced = false;
  file.sync().then(() => synced = true);
  file.writeAt(6, utf8("after"));
  await scheduler.runUntil(0.1);
  assertEquals(synced, false);
  await scheduler.runUntil(5);
  assertEquals(synced, true);
  assertEquals(disk.durableFiles(), [{ path: "x", sizeBytes: 6 }]);
});

Deno.test("a sync under way when the power goes never answers", async () => {
  const { scheduler, process, disk } = machine();
  writeDurably(disk, "x", "");
  const file = disk.open("x", "write");
  file.writeAt(0, utf8("text"));
  let answered = false;
  file.sync().finally(() => answered = true);
  process.kill();
  disk.crash("power");
  const sizeBytes = disk.durableFiles()[0].sizeBytes;
  await scheduler.runUntil(50);
  assertEquals([answered, disk.durableFiles()[0].sizeBytes], [false, sizeBytes]);
});

Deno.test("a full disk refuses a write as a whole and goes on when there is room", () => {
  const { disk } = machine();
  const file = disk.open("x", "create");
  file.writeAt(0, utf8("12345678"));
  disk.fill(3);
  assertEquals(disk.freeBytes(), 3);
  assertFails("disk_full", () => file.writeAt(8, utf8("1234")));
  assertEquals(file.size(), 8);
  file.writeAt(0, utf8("overwritten")); // 3 more bytes, no others: they fit
  disk.open("y", "create");
  disk.remove("x");
  assertEquals(disk.freeBytes(), 11);
  disk.setCapacity(null);
  assertEquals(disk.freeBytes(), null);
});

Deno.test("a failed sync loses its writes although later syncs succeed", async () => {
  const { scheduler, disk } = machine();
  writeDurably(disk, "x", "");
  const file = disk.open("x", "write");
  disk.failSyncs(1);
  file.writeAt(0, utf8("lost"));
  const failure = assertRejects(() => file.sync(), TrilogError, "input/output error");
  await scheduler.runUntil(5);
  assertEquals((await failure).code, "disk_failed");
  file.writeAt(4, utf8("kept"));
  file.syncNow();
  assertEquals(textAt(disk, "x"), "lostkept");
  disk.crash("power");
  assertEquals(textAt(disk, "x"), "\0\0\0\0kept");
});

Deno.test("a failing read and a failing synchronous sync throw", () => {
  const { disk } = machine();
  writeDurably(disk, "x", "text");
  const file = disk.open("x", "write");
  disk.failReads(1);
  assertFails("disk_failed", () => file.readAt(0, new Uint8Array(4)));
  assertEquals(file.readAt(0, new Uint8Array(4)), 4);
  disk.failSyncs(2);
  assertFails("disk_failed", () => file.syncNow());
  assertFails("disk_failed", () => disk.syncDirectory(""));
});

Deno.test("rot changes one durable byte", () => {
  const { disk } = machine();
  writeDurably(disk, "x", "aaaa");
  disk.rot("x", 2, 0x01);
  disk.rot("x", 99, 0x01);
  assertEquals([textAt(disk, "x"), disk.faultsFired.get("rot")], ["aa`a", 1]);
  disk.crash("power");
  assertEquals(textAt(disk, "x"), "aa`a");
});

Deno.test("a misdirected write is seen in its place until the restart and lies elsewhere", () => {
  const { disk } = machine();
  writeDurably(disk, "x", "aaaaaaaa");
  const file = disk.open("x", "write");
  disk.misdirectWrite("elsewhere");
  file.writeAt(8, utf8("b"));
  file.syncNow();
  assertEquals(textAt(disk, "x"), "aaaaaaaab");
  disk.crash("power");
  const text = textAt(disk, "x") ?? "";
  assertEquals([text.length, text[8], text.indexOf("b") < 8], [9, "\0", true]);
  const again = disk.open("x", "write");
  disk.misdirectWrite("lost");
  again.writeAt(0, utf8("c"));
  again.syncNow();
  disk.crash("power");
  assertEquals(textAt(disk, "x"), text);
});

Deno.test("a slow disk answers late", async () => {
  const { scheduler, disk } = machine();
  const file = disk.open("x", "create");
  disk.setSlow(1000);
  let synced = false;
  file.sync().then(() => synced = true);
  await scheduler.runUntil(999);
  assertEquals(synced, false);
  await scheduler.runUntil(1002);
  assert(synced);
});

Deno.test("a rolled-back disk holds what was durable at the copy, a wiped one nothing", () => {
  const { disk } = machine();
  writeDurably(disk, "x", "old");
  disk.open("x", "write").writeAt(0, utf8("never synced"));
  const state = disk.snapshotState();
  disk.open("x", "write").syncNow();
  writeDurably(disk, "y", "new");
  disk.crash("power");
  disk.restoreState(state);
  assertEquals([disk.list(""), textAt(disk, "x")], [["x"], "old"]);
  writeDurably(disk, "z", "after");
  disk.restoreState(state);
  assertEquals(disk.list(""), ["x"]);
  disk.wipe();
  assertEquals(disk.list(""), []);
});

Deno.test("a lock is exclusive, ends with release or crash, and handles of the dead fail", () => {
  const { disk } = machine();
  const lock = disk.lock("lock");
  assertFails("data_directory_locked", () => disk.lock("lock"));
  lock.release();
  disk.lock("lock");
  const file = disk.open("x", "create");
  disk.crash("kill");
  disk.lock("lock");
  assertFails("disk_failed", () => file.writeAt(0, utf8("late")));
  assertEquals(disk.open("x", "read").size(), 0);
});
