/** More files than descriptors: users of a pooled disk notice nothing but time. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import { type Disk, type DiskFile, NoDescriptorError } from "../../lib/storage/disk.ts";
import { PooledDisk } from "../../lib/storage/pooled_disk.ts";
import { allEntries, command, commands, openLog, storeSnapshot } from "./fixtures.ts";
import { JournalDisk } from "./journal_disk.ts";

/** A disk that counts its open files, and has a limit as a process has. */
class CountingDisk extends JournalDisk {
  openFiles = 0;
  mostOpen = 0;
  limit = Infinity;
  syncs = 0;

  override open(path: string, mode: "read" | "write" | "create"): DiskFile {
    if (this.openFiles >= this.limit) throw new NoDescriptorError("open", path, null);
    const file = super.open(path, mode);
    this.openFiles += 1;
    this.mostOpen = Math.max(this.mostOpen, this.openFiles);
    const { close, syncNow } = file;
    file.close = () => {
      this.openFiles -= 1;
      close.call(file);
    };
    file.syncNow = () => {
      this.syncs += 1;
      syncNow.call(file);
    };
    return file;
  }
}

const text = (file: DiskFile) => {
  const bytes = new Uint8Array(file.size());
  file.readAt(0, bytes);
  return new TextDecoder().decode(bytes);
};
const bytes = (value: string) => new TextEncoder().encode(value);

function create(disk: Disk, path: string, content = path): DiskFile {
  const file = disk.open(path, "create");
  file.writeAt(0, bytes(content));
  file.syncNow();
  return file;
}

Deno.test("many logs live on few descriptors, and all of them recover", () => {
  const inner = new CountingDisk();
  const pool = new PooledDisk(inner, 3);
  const random = new Prng(5);
  const open = (group: number) =>
    openLog(pool, { segmentBytes: 900, group: `p/${group}/0`, directory: `groups/${group}` });
  const logs = Array.from({ length: 12 }, (_, group) => open(group));
  const written = logs.map(() => 0);
  for (let round = 0; round < 400; round += 1) {
    const group = random.below(logs.length);
    const next = written[group] + 1;
    logs[group].append({ term: 1, vote: "r1", commit: written[group] }, [command(next, 1)]);
    written[group] = next;
    if (random.chance(0.5)) logs[group].syncNow();
    if (random.chance(0.2)) assertEquals(allEntries(logs[group]), commands(1, next, 1));
    if (random.chance(0.1)) logs[group].mark();
  }
  assert(inner.mostOpen <= 5, `${inner.mostOpen} files were open at a time`);
  logs.forEach((log) => log.close());
  assertEquals(inner.openFiles, 0, "closed files have no descriptor");
  written.forEach((last, group) => {
    const again = open(group);
    assertEquals(allEntries(again), commands(1, last, 1));
    again.close();
  });
});

Deno.test("a file whose writes are not synced is synced before its descriptor goes", () => {
  const inner = new CountingDisk();
  const pool = new PooledDisk(inner, 1);
  const file = pool.open("a", "create");
  file.writeAt(0, bytes("unsynced"));
  const { syncs } = inner;
  create(pool, "b");
  assertEquals(inner.syncs - syncs, 2, "one more than b needs");
  assertEquals(text(file), "unsynced");
  inner.failSyncs = true;
  file.syncNow();
});

Deno.test("a sync that fails while a file is closed for others is told to its own user only", () => {
  const inner = new CountingDisk();
  const pool = new PooledDisk(inner, 1);
  const file = pool.open("a", "create");
  file.writeAt(0, bytes("lost"));
  inner.failSyncs = true;
  const other = pool.open("b", "create");
  inner.failSyncs = false;
  other.writeAt(0, bytes("kept"));
  assertEquals(text(other), "kept");
  for (const act of [() => file.syncNow(), () => file.writeAt(0, bytes("x"))]) {
    assertEquals(assertThrows(act, TrilogError).code, "disk_failed");
  }
});

Deno.test("renamed files are found again, removed and replaced ones stay open", () => {
  const inner = new CountingDisk();
  const pool = new PooledDisk(inner, 1);
  const moved = create(pool, "d/moved", "moved");
  const removed = create(pool, "d/removed", "removed");
  const replaced = create(pool, "d/replaced", "old");
  pool.rename("d/moved", "d/elsewhere");
  pool.remove("d/removed");
  create(pool, "d/new", "new").close();
  pool.rename("d/new", "d/replaced");
  pool.rename("d", "e");
  for (let round = 0; round < 3; round += 1) {
    create(pool, `other${round}`).close();
    assertEquals([moved, removed, replaced].map(text), ["moved", "removed", "old"]);
  }
  assertEquals(text(pool.open("e/replaced", "read")), "new");
});

Deno.test("a file that is being synced keeps its descriptor until that has ended", async () => {
  const inner = new CountingDisk();
  const pool = new PooledDisk(inner, 4);
  const file = pool.open("a", "create");
  file.writeAt(0, bytes("a"));
  const synced = file.sync();
  for (const name of ["b", "c", "d", "e"]) create(pool, name);
  assertEquals([inner.openFiles, pool.descriptors], [3, 4], "the sync has a descriptor, too");
  await synced;
  assertEquals(text(file), "a");
  for (const name of ["f", "g", "h"]) create(pool, name);
  assertEquals(pool.descriptors, 4);
});

Deno.test("of many files that are synced together most wait for the disk", async () => {
  const inner = new CountingDisk();
  const pool = new PooledDisk(inner, 8);
  const files = Array.from({ length: 20 }, (_, at) => pool.open(`f${at}`, "create"));
  for (const file of files) file.writeAt(0, bytes("x"));
  const syncs = files.map((file) => file.sync());
  assert(pool.descriptors <= 10, `${pool.descriptors} descriptors`);
  await Promise.all(syncs);
  const after = new JournalDisk(inner.imageAfter(inner.count, { kind: "lost" }));
  assertEquals(after.list("").length, 0, "no directory was synced");
  assertEquals(files.map(text), files.map(() => "x"));
});

Deno.test("where the process has no descriptor left, the pool gives up its own", () => {
  const inner = new CountingDisk();
  const pool = new PooledDisk(inner, 100);
  const files = Array.from({ length: 10 }, (_, at) => create(pool, `f${at}`));
  inner.limit = inner.openFiles;
  assertEquals(text(pool.open("f0", "read")), "f0");
  files.forEach((file, at) => assertEquals(text(file), `f${at}`));
  inner.limit = 0;
  files.forEach((file) => file.close());
  const refused = assertThrows(() => pool.open("f0", "read"), TrilogError);
  assertEquals(refused.code, "disk_full");
  inner.limit = 1;
  assertEquals(text(pool.open("f0", "read")), "f0", "it goes on when there is one again");
});

Deno.test("a log refuses entries while no file can be opened, and goes on by itself", () => {
  const inner = new CountingDisk();
  const log = openLog(new PooledDisk(inner, 4), { segmentBytes: 500 });
  for (let index = 1; index <= 40; index += 1) log.append(null, [command(index, 1)]);
  log.syncNow();
  storeSnapshot(log, 20, 1);
  inner.limit = 0;
  let refused = 0;
  for (let index = 41; index <= 60; index += 1) {
    try {
      log.append(null, [command(log.lastIndex() + 1, 1)]);
    } catch (thrown) {
      assertEquals((thrown as TrilogError).code, "disk_full");
      refused += 1;
    }
  }
  assert(refused > 0, "a new segment needs a file");
  inner.limit = Infinity;
  for (let next = log.lastIndex() + 1; next <= 60; next += 1) log.append(null, [command(next, 1)]);
  log.syncNow();
  assertEquals(allEntries(log), commands(1, 60, 1));
});
