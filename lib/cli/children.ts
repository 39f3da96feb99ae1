/**
 * Server processes that one command runs: started from this very program, their logs in files,
 * stopped together. One of the few files that may touch `Deno`.
 */

import type { Clock } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import { selfCommand } from "./self_command.ts";

export interface ChildSpec {
  /** Node name such as `m1`. */
  readonly id: string;
  /** Words of our own command line. */
  readonly words: readonly string[];
  /** File that takes its log; appended to. */
  readonly logFile: string;
}

/** How a process ended by itself. */
export interface Ending {
  readonly code: number;
  readonly signal: string | null;
}

const LISTENING = /^listening on (\S+)$/m;

/** One server process. */
export class Child {
  private readonly process: Deno.ChildProcess;
  readonly ended: Promise<Ending>;
  private hasEnded = false;

  /** Starts it at once; use {@link listening} to learn when it serves. */
  constructor(readonly spec: ChildSpec) {
    const { executable, args } = selfCommand();
    this.process = new Deno.Command(executable, {
      args: [...args, ...spec.words],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.ended = this.process.status.then(({ code, signal }) => {
      this.hasEnded = true;
      return { code, signal };
    });
  }

  get pid(): number {
    return this.process.pid;
  }

  /**
   * Copies the process's log to its file and resolves with the address when it listens. Rejects
   * with `unavailable` and the log's last lines when the process ends before that.
   */
  listening(): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const { id, logFile } = this.spec;
    const log = Deno.openSync(logFile, { create: true, append: true });
    const seen: string[] = [];
    const follow = async () => {
      for await (const text of this.process.stderr.pipeThrough(new TextDecoderStream())) {
        await log.write(new TextEncoder().encode(text));
        if (seen.join("").length < 8_192) seen.push(text);
        const address = LISTENING.exec(seen.join(""))?.[1];
        if (address !== undefined) resolve(address);
      }
      log.close();
      const tail = seen.join("").trim().split("\n").at(-1) ?? "it said nothing";
      reject(new TrilogError("unavailable", `Cannot start ${id}: ${tail}`));
    };
    follow().catch(reject);
    return promise;
  }

  /** Asks it to end; after `graceMs` it is killed. Resolves when it has ended. */
  async stop(clock: Clock, graceMs: number): Promise<void> {
    if (this.hasEnded) return;
    this.signal("SIGTERM");
    const timer = clock.after(graceMs, () => this.signal("SIGKILL"));
    await this.ended;
    timer.cancel();
  }

  /** kill -9. */
  kill(): void {
    this.signal("SIGKILL");
  }

  private signal(name: Deno.Signal): void {
    try {
      this.process.kill(name);
    } catch {
      // It has ended in this very moment.
    }
  }
}

/** The words that start the same process by hand. */
export function commandLine(spec: ChildSpec): string {
  const { executable, args } = selfCommand();
  return [executable, ...args, ...spec.words].map(quoted).join(" ");
}

function quoted(word: string): string {
  return /^[a-zA-Z0-9_./:=,@-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
