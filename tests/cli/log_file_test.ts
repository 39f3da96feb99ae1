import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { utf8 } from "../../lib/base/bytes.ts";
import { LogFile } from "../../lib/cli/deno_log_file.ts";

function inDirectory(test: (path: string) => void): void {
  const directory = Deno.makeTempDirSync();
  try {
    test(join(directory, "b1.log"));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("a full log file is kept under another name, the oldest is deleted, no line is cut", () => {
  inDirectory((path) => {
    const log = new LogFile(path, { maxBytes: 30, kept: 2 });
    for (let line = 1; line <= 9; line += 1) {
      // Chunks of a pipe end anywhere.
      log.append(utf8(`line ${line} `));
      log.append(utf8(`ends\nline ${line} again`));
      log.append(utf8("\n"));
    }
    log.close();
    const [old, older] = [`${path}.1`, `${path}.2`].map((name) => Deno.readTextFileSync(name));
    const whole = `${older}${old}${Deno.readTextFileSync(path)}`;
    const lines = whole.trimEnd().split("\n");
    assertEquals(lines.at(-1), "line 9 again");
    assertEquals(lines.every((line) => /^line \d (ends|again)$/.test(line)), true, whole);
    assertEquals([...Deno.readDirSync(join(path, ".."))].length, 3);
  });
});

Deno.test("a log goes on where an earlier process left it", () => {
  inDirectory((path) => {
    const first = new LogFile(path);
    first.append(utf8("one\n"));
    first.close();
    const second = new LogFile(path);
    second.append(utf8("two\n"));
    second.close();
    assertEquals(Deno.readTextFileSync(path), "one\ntwo\n");
  });
});
