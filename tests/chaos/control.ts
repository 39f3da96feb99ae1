/** Control builds: the tree with one line changed, which a run must catch. */

import { copySync } from "@std/fs";
import { join } from "@std/path";

const ROOT = join(import.meta.dirname!, "..", "..");

export interface Change {
  /** A whole line of the file, the only one of its kind. */
  readonly line: string;
  readonly becomes: string;
}

/** Copies the sources into `directory`, changes a line, and gives a command that runs the copy. */
export function controlBuild(directory: string, file: string, { line, becomes }: Change): string {
  for (const item of ["lib", "cmd", "main.ts", "deno.json", "deno.lock"]) {
    copySync(join(ROOT, item), join(directory, item));
  }
  const path = join(directory, file);
  const lines = Deno.readTextFileSync(path).split("\n");
  const at = lines.indexOf(line);
  if (at < 0 || lines.indexOf(line, at + 1) >= 0) {
    throw new Error(`${file} has not one line ${line}`);
  }
  Deno.writeTextFileSync(path, lines.with(at, becomes).join("\n"));
  const command = join(directory, "trilog");
  const run = `exec "${Deno.execPath()}" run --quiet -A --no-check "${join(directory, "main.ts")}"`;
  Deno.writeTextFileSync(command, `#!/bin/sh\n${run} "$@"\n`, { mode: 0o755 });
  return command;
}
