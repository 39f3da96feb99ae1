import { assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { BackupWriter, type Part, readBackup } from "../../cmd/backup_file.ts";
import { TrilogError } from "../../lib/base/errors.ts";

function inDirectory(test: (directory: string) => void): void {
  const directory = Deno.makeTempDirSync();
  try {
    test(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

const files = (directory: string) => [...Deno.readDirSync(directory)].map(({ name }) => name);
const end: Part = { kind: "end", topics: 0, messages: 0 };

function write(path: string, overwrite: boolean, parts: number): void {
  const writer = new BackupWriter(path, overwrite);
  for (let part = 1; part < parts; part += 1) {
    writer.add({ kind: "topic", topic: "t", partitions: 1, retentionBytes: 0, retentionMs: 0 });
  }
  writer.add(end);
  writer.finish();
}

Deno.test("a backup that was ended leaves no file behind", () => {
  inDirectory((directory) => {
    const path = join(directory, "a.backup");
    const writer = new BackupWriter(path, false);
    writer.add(end);
    writer.abandon();
    assertEquals(files(directory), []);
    write(path, false, 1);
    assertEquals(files(directory), ["a.backup"]);
  });
});

Deno.test("a backup replaces a file only when it is told to", () => {
  inDirectory((directory) => {
    const path = join(directory, "a.backup");
    write(path, false, 1);
    const code = () => assertThrows(() => write(path, false, 2), TrilogError).code;
    assertEquals(code(), "file_exists");
    assertEquals([...readBackup(path)], [end]);
    write(path, true, 2);
    assertEquals([...readBackup(path)].length, 2);
    assertEquals(files(directory), ["a.backup"]);
  });
});

Deno.test("a file that appears while the backup is made is not replaced", () => {
  inDirectory((directory) => {
    const path = join(directory, "a.backup");
    const writer = new BackupWriter(path, false);
    writer.add(end);
    Deno.writeTextFileSync(path, "mine");
    assertEquals(assertThrows(() => writer.finish(), TrilogError).code, "file_exists");
    writer.abandon();
    assertEquals(files(directory), ["a.backup"]);
    assertEquals(Deno.readTextFileSync(path), "mine");
  });
});
