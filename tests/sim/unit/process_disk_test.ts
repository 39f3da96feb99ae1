import { assertEquals, assertThrows } from "@std/assert";
import { Prng } from "../../../lib/base/prng.ts";
import { SimDisk } from "../../../lib/sim/disk.ts";
import { DeadProcess, type DiskOperation, ProcessDisk } from "../../../lib/sim/process_disk.ts";
import { SimProcess } from "../../../lib/sim/process.ts";
import { Scheduler } from "../../../lib/sim/scheduler.ts";
import { replaceFile } from "../../../lib/storage/file_format.ts";

function world() {
  const process = new SimProcess(new Scheduler(), "a");
  const disk = new SimDisk(process, new Prng(1));
  const seen: string[] = [];
  let strike: DiskOperation | null = null;
  const own = new ProcessDisk(disk, process, (operation, path) => {
    seen.push(`${operation} ${path}`);
    if (operation === strike) process.kill();
  });
  const strikeAfter = (operation: DiskOperation) => {
    strike = operation;
  };
  return { process, disk, own, seen, strikeAfter };
}

const BYTES = new Uint8Array([1, 2, 3]);

Deno.test("a process's disk shows each operation after it was carried out", () => {
  const { own, seen } = world();
  replaceFile(own, "", "x", BYTES);
  assertEquals(seen, [
    "remove x.tmp",
    "create x.tmp",
    "write x.tmp",
    "sync x.tmp",
    "rename x",
    "sync_directory ",
  ]);
});

Deno.test("a process that ends at an operation has carried it out, and does nothing more", () => {
  for (const operation of ["create", "write", "sync", "rename"] as const) {
    const { disk, own, seen, strikeAfter } = world();
    strikeAfter(operation);
    assertThrows(() => replaceFile(own, "", "x", BYTES), DeadProcess);
    assertEquals(seen.at(-1)?.split(" ")[0], operation);
    assertEquals(disk.list(""), operation === "rename" ? ["x"] : ["x.tmp"]);
  }
});

Deno.test("a dead process neither reads nor writes", () => {
  const { process, own } = world();
  own.makeDirectory("d");
  const file = own.open("d/x", "create");
  process.kill();
  assertThrows(() => own.exists("d"), DeadProcess);
  assertThrows(() => own.remove("d"), DeadProcess);
  assertThrows(() => file.size(), DeadProcess);
  assertThrows(() => file.writeAt(0, BYTES), DeadProcess);
});
