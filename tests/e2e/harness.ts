/**
 * Real processes for tests: the single file is built once, everything started is stopped, every
 * directory is removed, whatever a test does. Imports nothing of lib: what it drives is the binary.
 */

import { existsSync, walkSync } from "@std/fs";
import { join } from "@std/path";

export { freePort, portBlock } from "./ports.ts";

const ROOT = join(import.meta.dirname!, "..", "..");

/** How long a test waits for something that should take a moment; the machine may be busy. */
export const PATIENCE_MS = 30_000;

/** Milliseconds of the monotonic clock, for durations. */
export function nowMs(): number {
  return performance.now();
}

export function sleep(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}

/** Tries `attempt` until it gives something else than null or undefined; fails with `what`. */
export async function eventually<T>(
  what: string,
  attempt: () => Promise<T | null | undefined> | T | null | undefined,
  patienceMs: number = PATIENCE_MS,
): Promise<T> {
  const until = nowMs() + patienceMs;
  let last: unknown = null;
  while (nowMs() < until) {
    try {
      const value = await attempt();
      if (value !== null && value !== undefined) return value;
    } catch (thrown) {
      last = thrown;
    }
    await sleep(25);
  }
  const reason = last instanceof Error ? `; last: ${last.message}` : "";
  throw new Error(`${what} did not happen within ${patienceMs} ms${reason}`);
}

let built: Promise<string> | null = null;

/**
 * Path of the single file, made anew where a source is newer. `TRILOG_BINARY` names another one
 * to test instead.
 */
export function binary(): Promise<string> {
  return built ??= build();
}

async function build(): Promise<string> {
  const given = Deno.env.get("TRILOG_BINARY");
  if (given !== undefined) return given;
  const path = join(ROOT, "dist", "trilog");
  if (existsSync(path) && (Deno.statSync(path).mtime?.getTime() ?? 0) > newestSourceMs()) {
    return path;
  }
  const { code, stderr } = await new Deno.Command("bash", {
    args: [join(ROOT, "compile.sh")],
    env: { DENO: Deno.execPath() },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  if (code !== 0) throw new Error(`compile.sh failed: ${new TextDecoder().decode(stderr)}`);
  return path;
}

function newestSourceMs(): number {
  let newest = 0;
  const see = (path: string) => {
    newest = Math.max(newest, Deno.statSync(path).mtime?.getTime() ?? 0);
  };
  for (const file of ["main.ts", "deno.json", "deno.lock", "compile.sh"]) see(join(ROOT, file));
  for (const folder of ["lib", "cmd"]) {
    for (const { path } of walkSync(join(ROOT, folder), { includeDirs: false })) see(path);
  }
  return newest;
}

/** Lines that a process wrote to one of its streams, and those that wait for them. */
class LineLog {
  readonly lines: string[] = [];
  /** What follows the last newline. */
  open = "";
  private waiting: (() => void)[] = [];
  ended = false;

  constructor(stream: ReadableStream<Uint8Array>) {
    void this.follow(stream);
  }

  /** Resolves when a line arrives or the stream ends. */
  change(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private async follow(stream: ReadableStream<Uint8Array>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const parts = (this.open + text).split("\n");
      this.open = parts.pop()!;
      this.lines.push(...parts);
      this.wake();
    }
    if (this.open !== "") this.lines.push(this.open);
    this.open = "";
    this.ended = true;
    this.wake();
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

export type StreamName = "stdout" | "stderr";

/** A trilog process that runs. */
export class Running {
  private readonly child: Deno.ChildProcess;
  private readonly input: WritableStreamDefaultWriter<Uint8Array>;
  private readonly logs: Readonly<Record<StreamName, LineLog>>;
  private stopped = false;
  exited = false;

  constructor(command: string, readonly args: readonly string[]) {
    const options = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
    // A test must not leave its lines in the history of the user who runs it.
    const env = { TRILOG_HISTORY: "" };
    this.child = new Deno.Command(command, { args: [...args], ...options, env }).spawn();
    this.input = this.child.stdin.getWriter();
    this.logs = {
      stdout: new LineLog(this.child.stdout),
      stderr: new LineLog(this.child.stderr),
    };
    void this.child.status.then(() => {
      this.exited = true;
    });
  }

  get pid(): number {
    return this.child.pid;
  }

  lines(stream: StreamName): readonly string[] {
    return this.logs[stream].lines;
  }

  /** All that it wrote so far, an unfinished line included. */
  text(stream: StreamName): string {
    const { lines, open } = this.logs[stream];
    return lines.map((line) => `${line}\n`).join("") + open;
  }

  /** Sends text to its standard input. */
  async write(text: string): Promise<void> {
    await this.input.write(new TextEncoder().encode(text));
  }

  /** Ends its standard input. */
  async endInput(): Promise<void> {
    await this.input.close();
  }

  /** The next line at or after place `from` that matches, and its place. */
  async line(
    stream: StreamName,
    pattern: RegExp,
    options: { readonly from?: number; readonly patienceMs?: number } = {},
  ): Promise<{ readonly text: string; readonly place: number }> {
    const { from = 0, patienceMs = PATIENCE_MS } = options;
    const log = this.logs[stream];
    const until = nowMs() + patienceMs;
    for (let place = from;;) {
      for (; place < log.lines.length; place += 1) {
        if (pattern.test(log.lines[place])) return { text: log.lines[place], place };
      }
      const left = until - nowMs();
      if (left <= 0 || log.ended) throw this.missing(stream, pattern);
      await within(left, log.change());
    }
  }

  private missing(stream: StreamName, pattern: RegExp): Error {
    const tail = [...this.lines("stdout"), ...this.lines("stderr")].slice(-20).join("\n");
    return new Error(`no line ${pattern} on ${stream} of trilog ${this.args.join(" ")}:\n${tail}`);
  }

  /** Sends a signal; a stopped process is let go on first where the signal needs that. */
  signal(signal: Deno.Signal): void {
    if (this.exited) return;
    this.child.kill(signal);
    if (signal === "SIGSTOP") this.stopped = true;
    if (signal === "SIGCONT") this.stopped = false;
  }

  /** kill -9, and waits for the end. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.child.status;
  }

  /** The exit status of a process that ends by itself or was told to. */
  async status(patienceMs: number = PATIENCE_MS): Promise<number> {
    const status = await within(patienceMs, this.child.status);
    if (status === null) throw new Error(`trilog ${this.args.join(" ")} does not end`);
    await eventually("the end of its output", () => this.drained() || null);
    return status.code;
  }

  private drained(): boolean {
    return this.logs.stdout.ended && this.logs.stderr.ended;
  }

  /** Asks it to stop, as SIGTERM does, and gives its exit status. */
  async terminate(patienceMs: number = PATIENCE_MS): Promise<number> {
    if (this.stopped) this.signal("SIGCONT");
    this.signal("SIGTERM");
    return await this.status(patienceMs);
  }

  /** Ends it by force and closes its streams. */
  async dispose(): Promise<void> {
    if (!this.exited) await this.kill();
    await this.input.close().catch(() => {});
    await eventually("the end of its output", () => this.drained() || null);
  }
}

/** `promise`, or null when it takes longer. */
async function within<T>(delayMs: number, promise: Promise<T>): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), delayMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Everything a test starts and makes; see {@link withHarness}. */
export class Harness {
  private readonly running: Running[] = [];
  private readonly directories: string[] = [];
  private readonly closers: (() => Promise<void> | void)[] = [];

  constructor(readonly binary: string) {}

  /** Starts `trilog` with these words. */
  start(...args: string[]): Running {
    return this.startCommand(this.binary, ...args);
  }

  /** Starts any program, such as one that gives `trilog` a terminal. */
  startCommand(command: string, ...args: string[]): Running {
    const process = new Running(command, args);
    this.running.push(process);
    return process;
  }

  /** Runs `trilog` with these words and this input to its end. */
  async run(args: readonly string[], input: string = ""): Promise<Finished> {
    const process = this.start(...args);
    await process.write(input).catch(() => {});
    await process.endInput().catch(() => {});
    const code = await process.status();
    return { code, stdout: process.text("stdout"), stderr: process.text("stderr") };
  }

  temporaryDirectory(): string {
    const directory = Deno.makeTempDirSync({ prefix: "trilog-e2e-" });
    this.directories.push(directory);
    return directory;
  }

  /** Has something closed at the end. */
  defer(close: () => Promise<void> | void): void {
    this.closers.push(close);
  }

  async dispose(): Promise<void> {
    await Promise.all(this.running.map((process) => process.dispose()));
    for (const close of this.closers.reverse()) await close();
    for (const directory of this.directories) Deno.removeSync(directory, { recursive: true });
  }
}

/**
 * Runs a test with a harness of its own, and stops and removes all of it afterwards. `program`: what
 * runs as `trilog`; the single file by default.
 */
export async function withHarness(
  test: (harness: Harness) => Promise<void>,
  program?: string,
): Promise<void> {
  const harness = new Harness(program ?? await binary());
  try {
    await test(harness);
  } finally {
    await harness.dispose();
  }
}
