/** The lines typed at earlier prompts, in a file of the user. */

import { dirname } from "@std/path";

/** Lines that are handed to the editor. */
const KEPT_LINES = 1_000;

export class HistoryFile {
  /** `path`: null keeps no history. */
  constructor(private readonly path: string | null) {}

  /** Earlier lines, oldest first; none where the file cannot be read. */
  load(): string[] {
    if (this.path === null) return [];
    let lines: string[];
    try {
      lines = Deno.readTextFileSync(this.path).split("\n").filter((line) => line !== "");
    } catch {
      return [];
    }
    const kept = lines.slice(-KEPT_LINES);
    if (lines.length > 2 * KEPT_LINES) this.write(kept, false);
    return kept;
  }

  /** Adds a line; a file that cannot be written costs only the history. */
  add(line: string): void {
    if (line.trim() !== "" && !/[\r\n]/.test(line)) this.write([line], true);
  }

  private write(lines: readonly string[], append: boolean): void {
    if (this.path === null) return;
    try {
      Deno.mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
      const text = lines.map((line) => `${line}\n`).join("");
      Deno.writeTextFileSync(this.path, text, { append, mode: 0o600 });
    } catch {
      // A prompt works without its history.
    }
  }
}

/**
 * Where the history of a prompt is kept: `TRILOG_HISTORY` (empty: nowhere), else under the user's
 * directory for state; null where there is neither.
 */
export function historyPath(
  name: string,
  environment: (variable: string) => string | undefined,
): string | null {
  const given = environment("TRILOG_HISTORY");
  if (given !== undefined) return given === "" ? null : given;
  const home = environment("HOME");
  const state = environment("XDG_STATE_HOME") || (home ? `${home}/.local/state` : "");
  return state === "" ? null : `${state}/trilog/${name}-history`;
}
