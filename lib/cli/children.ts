/**
 * Server processes that one command runs: started from this very program, their logs in files,
 * stopped together. One of the few files that may touch `Deno`.
 */

import type { Clock } from "../base/clock.ts";
import { isErrorCode, TrilogError } from "../base/errors.ts";
import { LogFile } from "./deno_log_file.ts";
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

/** Of a process that starts, this much of its log is read. */
const SEEN_CHARACTERS = 8_192;
/** How a command reports the failure that ended it. */
const FAILURE = /^trilog: Cannot (.*) \((\w+)\)$/;

/** Why a process ended before it listened; `line`: the last of its log, "" for none. */
function startError(id: string, line: string): TrilogError {
  const [, failure, code] = FAILURE.exec(line) ?? [];
  if (failure !== undefined && isErrorCode(code)) {
    return new TrilogError(code, `Cannot start ${id}: cannot ${failure}`);
  }
  const state = line === "" ? "it ended without a message" : line;
  return new TrilogError("unavailable", `Cannot start ${id}: ${state}`);
}

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
   * with the process's own failure when it ends before that.
   */
  listening(): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const { id, logFile } = this.spec;
    const log = new LogFile(logFile);
    const decoder = new TextDecoder();
    let seen = "";
    const follow = async () => {
      for await (const chunk of this.process.stderr) {
        log.append(chunk);
        if (seen.length >= SEEN_CHARACTERS) continue;
        seen += decoder.decode(chunk, { stream: true });
        const address = LISTENING.exec(seen)?.[1];
        if (address !== undefined) resolve(address);
      }
      log.close();
      reject(startError(id, seen.trim().split("\n").at(-1) ?? ""));
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
