/** The real disk: what the operating system says becomes what the `Disk` interface promises. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { TrilogError } from "../../lib/base/errors.ts";
import { DenoDisk, writeFully } from "../../lib/storage/deno_disk.ts";
import { allEntries, commands, directory, openLog, storeSnapshot } from "./fixtures.ts";

async function withDisk(run: (disk: DenoDisk, root: string) => void | Promise<void>) {
  const root = Deno.makeTempDirSync({ prefix: "trilog-disk-" });
  try {
    await run(new DenoDisk(root), root);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

Deno.test("a file is written, extended, read, cut and renamed", () =>
  withDisk(async (disk) => {
    disk.makeDirectory("a/b");
    const file = disk.open("a/b/one", "create");
    file.writeAt(0, new Uint8Array([1, 2, 3, 4]));
    file.writeAt(2, new Uint8Array([9]));
    await file.sync();
    file.writeAt(4, new Uint8Array([5, 6]));
    file.syncNow();
    const into = new Uint8Array(10);
    assertEquals(file.readAt(1, into), 5);
    assertEquals([...into], [2, 9, 4, 5, 6, 0, 0, 0, 0, 0]);
    file.truncate(3);
    assertEquals([file.size(), file.readAt(5, into)], [3, 0]);
    file.close();
    disk.rename("a/b/one", "a/two");
    disk.syncDirectory("a");
    disk.syncDirectory("");
    assertEquals([disk.list(""), disk.list("a"), disk.list("a/b"), disk.list("none")], [
      ["a"],
      ["b", "two"],
      [],
      [],
    ]);
    assertEquals([disk.exists("a/two"), disk.exists("a/b/one")], [true, false]);
    disk.remove("a");
    disk.remove("a");
    assertEquals(disk.list(""), []);
    assert((disk.freeBytes() ?? 0) > 0, "there is space");
  }));

Deno.test("creating a file that exists and opening one that does not are failures", () =>
  withDisk((disk) => {
    disk.open("file", "create").close();
    const again = assertThrows(() => disk.open("file", "create"), TrilogError, "open file");
    const missing = assertThrows(() => disk.open("missing", "read"), TrilogError, "open missing");
    assertEquals([again.code, missing.code], ["disk_failed", "disk_failed"]);
  }));

Deno.test("a write goes on after the system took only a part", () => {
  const taken: number[] = [];
  const bytes = Uint8Array.from({ length: 100 }, (_, at) => at);
  writeFully((part) => {
    const count = Math.min(part.length, 7 + taken.length);
    taken.push(...part.subarray(0, count));
    return count;
  }, bytes);
  assertEquals(taken, [...bytes]);
  assertThrows(() => writeFully(() => 0, bytes), Error, "took no bytes");
});

Deno.test("a lock excludes others in the same process and is given back", () =>
  withDisk((disk, root) => {
    const lock = disk.lock("lock");
    const refused = assertThrows(() => new DenoDisk(root).lock("lock"), TrilogError, root);
    assertEquals(refused.code, "data_directory_locked");
    lock.release();
    disk.lock("lock").release();
  }));

Deno.test("a lock excludes another process, until that is killed", () =>
  withDisk(async (disk, root) => {
    const module = fromFileUrl(new URL("../../lib/storage/deno_disk.ts", import.meta.url));
    const code = `import { DenoDisk } from ${JSON.stringify(`file://${module}`)};
      new DenoDisk(Deno.args[0]).lock("lock");
      await Deno.stdout.write(new Uint8Array([76]));
      await Deno.stdin.read(new Uint8Array(1));`;
    const script = join(root, "holder.ts");
    Deno.writeTextFileSync(script, code);
    const config = fromFileUrl(new URL("../../deno.json", import.meta.url));
    const holder = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "--config", config, script, root],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = holder.stdout.getReader();
    assertEquals((await reader.read()).value, new Uint8Array([76]));
    assertThrows(() => disk.lock("lock"), TrilogError, "another process has locked it");
    holder.kill("SIGKILL");
    await holder.status;
    await reader.cancel();
    await holder.stdin.close().catch(() => {});
    disk.lock("lock").release();
  }));

Deno.test("a failure to sync is final even where the system calls it a full disk", () =>
  withDisk(async (disk) => {
    const file = disk.open("file", "create");
    file.close();
    assertThrows(() => file.syncNow(), TrilogError, "Cannot sync file");
    const failed = await assertRejects(() => file.sync(), TrilogError, "Cannot sync file");
    assertEquals(failed.code, "disk_failed");
  }));

/** A file system of 1 MiB, or null where this user may not mount one. */
function mountSmall(at: string): (() => void) | null {
  const command = (name: string, ...args: string[]) => {
    try {
      return new Deno.Command(name, { args, stderr: "null" }).outputSync().success;
    } catch {
      return false;
    }
  };
  if (!command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", at)) return null;
  return () => assert(command("umount", "-l", at), "unmounted");
}

const probe = Deno.makeTempDirSync({ prefix: "trilog-mount-" });
const unmountProbe = mountSmall(probe);
unmountProbe?.();
Deno.removeSync(probe);

Deno.test({
  name: "a full file system: entries are refused whole, term and vote are not, then all goes on",
  ignore: unmountProbe === null,
  fn: () =>
    withDisk((_, root) => {
      const unmount = mountSmall(root)!;
      try {
        const disk = new DenoDisk(root);
        const log = openLog(disk, { segmentBytes: 400_000 });
        let last = 0;
        const fillWith = (bytes: number) => {
          const full = assertThrows(() => {
            for (;;) {
              log.append(null, commands(last + 1, last + 1, 1, bytes));
              last += 1;
            }
          }, TrilogError);
          assertEquals(full.code, "disk_full");
        };
        fillWith(50_000);
        fillWith(1_000);
        for (let term = 2; term <= 200; term += 1) {
          log.append({ term, vote: "r3", commit: 1 }, []);
          log.syncNow();
        }
        assert(!disk.exists(`${directory}/reserve`), "the reserve was given up");
        fillWith(1);
        log.close();
        const again = openLog(disk, { segmentBytes: 400_000 });
        assertEquals(again.recovered.hardState, { term: 200, vote: "r3", commit: 1 });
        assertEquals(again.read(last, 1).map((entry) => entry.index), [last]);
        assertEquals(allEntries(again).length, last);
        again.trimPrefix(storeSnapshot(again, last - 1, 1));
        again.append({ term: 201, vote: null, commit: 1 }, commands(last + 1, last + 1, 8));
        assertEquals(again.lastIndex(), last + 1);
        again.close();
      } finally {
        unmount();
      }
    }),
});
