/** The file that `--record` names: events of one or several processes, as `trilog check` reads them. */

import { utf8 } from "../lib/base/bytes.ts";
import { type ErrorCode, TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { randomIdentity } from "../lib/base/system_random.ts";
import { jsonLine, Recorder } from "../lib/check/recorder.ts";

export const recordFlag = {
  type: "path",
  placeholder: "FILE",
  help: "append every operation to this history, for `trilog check`",
} as const;

/** What the help of a terminal says of `--record`. */
export function recordLines(model: string, recorded: string, from: string): string[] {
  return [
    "--record FILE appends each operation to FILE, before its request is sent and",
    `after its answer: ${recorded}.`,
    "Several terminals may share the file. The checker assumes that nothing was there",
    `before: begin with ${from}, then`,
    `\`trilog check FILE --model ${model}\`.`,
  ];
}

/**
 * Appends every event at once. The time is taken and the line written under the file's lock, so
 * that the lines of several processes are in the order of their times.
 */
export class RecordFile {
  readonly recorder: Recorder;
  /** Begins the names of this process's clients; unlike any other process's. */
  private readonly prefix: string;
  private readonly file: Deno.FsFile;
  private clients = 0;
  private latestMs = 0;

  /** `program` is part of the clients' names, such as `kv`. */
  constructor(private readonly path: string, program: string) {
    this.prefix = `${program}-${randomIdentity()}`;
    const open = () => Deno.openSync(path, { append: true, create: true });
    this.file = this.attempt("usage", open);
    this.recorder = new Recorder((event) => this.attempt("disk_failed", () => this.append(event)));
  }

  /** A name for a client that has nothing under way. */
  newClient(): string {
    this.clients += 1;
    return `${this.prefix}-${this.clients}`;
  }

  close(): void {
    this.file.close();
  }

  private append(event: Parameters<ConstructorParameters<typeof Recorder>[0]>[0]): void {
    this.file.lockSync(true);
    try {
      // The clock of the machine may be set back.
      this.latestMs = Math.max(this.latestMs, systemClock.wallMs());
      const line = utf8(`${jsonLine({ ...event, timeMs: this.latestMs })}\n`);
      for (let at = 0; at < line.length;) at += this.file.writeSync(line.subarray(at));
    } finally {
      this.file.unlockSync();
    }
  }

  private attempt<T>(code: ErrorCode, run: () => T): T {
    try {
      return run();
    } catch (thrown) {
      const state = thrown instanceof Error ? thrown.message : String(thrown);
      const message = `Cannot record in ${this.path}: ${state}`;
      throw new TrilogError(code, message, { cause: thrown });
    }
  }
}
