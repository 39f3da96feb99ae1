/** Buffered output with back-pressure: many small writes become few large ones. */

import { utf8 } from "../base/bytes.ts";

/** Takes some of the bytes and says how many, like `Deno.stdout.write`. */
export type ByteSink = (bytes: Uint8Array) => Promise<number>;

const BUFFER_BYTES = 128 * 1024;

/**
 * Two buffers: one is filled while the other is on its way. A caller waits only when both are
 * full. What is buffered leaves by itself at the end of the turn, so that an interactive reader
 * never waits for a flush.
 */
export class BufferedOutput {
  private filling = new Uint8Array(BUFFER_BYTES);
  private spare = new Uint8Array(BUFFER_BYTES);
  private filled = 0;
  private writing: Promise<void> | null = null;
  private failure: unknown = null;
  private turnPlanned = false;
  /** The last of the writes that wait for room: what comes later goes behind it as a whole. */
  private waiting: Promise<void> | null = null;

  constructor(
    private readonly sink: ByteSink,
    private readonly nextTurn: (run: () => void) => void,
  ) {}

  write(bytes: Uint8Array): Promise<void> | void {
    if (this.failure !== null) return Promise.reject(this.failure);
    if (this.waiting !== null || this.filled + bytes.length > BUFFER_BYTES) {
      return this.writeInTurn(bytes);
    }
    this.filling.set(bytes, this.filled);
    this.filled += bytes.length;
    this.planTurn();
  }

  print(line: string): Promise<void> | void {
    return this.write(utf8(`${line}\n`));
  }

  /** Resolves when all that was written so far is out; rejects with the sink's error. */
  async flush(): Promise<void> {
    for (;;) {
      if (this.waiting !== null) await this.waiting.catch(() => {});
      else if (this.failure !== null || (this.filled === 0 && this.writing === null)) break;
      else await (this.writing ?? this.swap());
    }
    if (this.failure !== null) throw this.failure;
  }

  private writeInTurn(bytes: Uint8Array): Promise<void> {
    const begin = () => this.writeSlowly(bytes);
    // A write that failed keeps its failure for the next one to find.
    const own = this.waiting === null ? begin() : this.waiting.then(begin, begin);
    this.waiting = own;
    const done = () => {
      if (this.waiting === own) this.waiting = null;
    };
    own.then(done, done);
    return own;
  }

  private async writeSlowly(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const room = BUFFER_BYTES - this.filled;
      if (room === 0) {
        await (this.writing ?? this.swap());
        if (this.failure !== null) throw this.failure;
        continue;
      }
      const part = bytes.subarray(at, at + room);
      this.filling.set(part, this.filled);
      this.filled += part.length;
      at += part.length;
      if (this.writing === null) void this.swap();
    }
    if (this.failure !== null) throw this.failure;
  }

  private planTurn(): void {
    if (this.turnPlanned) return;
    this.turnPlanned = true;
    this.nextTurn(() => {
      this.turnPlanned = false;
      if (this.writing === null && this.filled > 0) void this.swap();
    });
  }

  /** Sends the filled buffer; never rejects, the failure is kept for the next caller. */
  private swap(): Promise<void> {
    const bytes = this.filling.subarray(0, this.filled);
    [this.filling, this.spare] = [this.spare, this.filling];
    this.filled = 0;
    this.writing = this.send(bytes).catch((thrown) => {
      this.failure = thrown;
    }).then(() => {
      this.writing = null;
      if (this.filled > 0 && this.failure === null) this.planTurn();
    });
    return this.writing;
  }

  private async send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.sink(bytes.subarray(at));
  }
}
