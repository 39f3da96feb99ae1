/** One end of a simulated stream: what has arrived and was not read, and what is on its way. */

import type { Prng } from "../base/prng.ts";
import type { Socket } from "../net/tcp.ts";
import { linkOf, type Links } from "./links.ts";
import type { SimProcess } from "./process.ts";

/** Bytes that a sender may have under way or unread at the other side. */
const WINDOW_BYTES = 512 * 1024;
/** Pause before a segment is repeated; it doubles up to the longest. */
const REPEAT_MS = 200;
const LONGEST_REPEAT_MS = 10_000;

/** What a socket needs of its surroundings. */
export interface Endpoint {
  readonly process: SimProcess;
  readonly links: Links;
  readonly random: Prng;
}

/** An error as the operating system gives it, see `isRefusal`. */
export function reset(kind: "refused" | "reset" | "broken"): Error {
  const names = { refused: "ConnectionRefused", reset: "ConnectionReset", broken: "BrokenPipe" };
  const error = new Error(`connection ${kind}`);
  error.name = names[kind];
  return error;
}

interface Segment {
  readonly parts: Uint8Array[];
  bytes: number;
  /** The sender writes nothing after it. */
  last: boolean;
  readonly writtenMs: number;
}

export class SimSocket implements Socket {
  readonly process: SimProcess;
  private other: SimSocket | null = null;
  private readonly inbox: Uint8Array[] = [];
  private inboxBytes = 0;
  private ended = false;
  private failure: Error | null = null;
  /** `closed`: by its process, or with it. `dead`: its machine lost its power. */
  private state: "open" | "closed" | "dead" = "open";
  private reading: { into: Uint8Array; wanted: PromiseWithResolvers<number | null> } | null = null;
  private writing: { bytes: Uint8Array; wanted: PromiseWithResolvers<number> } | null = null;
  /** Segments on their way to the other side, in order. */
  private readonly underWay: Segment[] = [];
  private underWayBytes = 0;
  private lastArrivalMs = 0;
  /** Pause before the next repetition while the link is cut; 0: nothing is held up. */
  private repeatMs = 0;

  constructor(private readonly endpoint: Endpoint, private readonly onClosed: () => void) {
    this.process = endpoint.process;
  }

  /** Names the other end of the stream. */
  join(other: SimSocket): void {
    this.other = other;
  }

  read(into: Uint8Array): Promise<number | null> {
    if (this.failure !== null) return Promise.reject(this.failure);
    if (this.state !== "open") return Promise.reject(reset("broken"));
    if (this.inboxBytes > 0) return Promise.resolve(this.take(into));
    if (this.ended) return Promise.resolve(null);
    this.reading = { into, wanted: Promise.withResolvers() };
    return this.reading.wanted.promise;
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.failure !== null) return Promise.reject(reset("broken"));
    if (this.state !== "open") return Promise.reject(reset("broken"));
    const room = this.room();
    if (room > 0) {
      const count = Math.min(room, bytes.length);
      this.transmit(bytes.subarray(0, count), false);
      return Promise.resolve(count);
    }
    this.writing = { bytes, wanted: Promise.withResolvers() };
    return this.writing.wanted.promise;
  }

  closeWrite(): Promise<void> {
    if (this.state === "open" && this.failure === null) this.transmit(EMPTY, true);
    return Promise.resolve();
  }

  close(): void {
    if (this.state !== "open") return;
    this.state = "closed";
    this.onClosed();
    this.rejectWaiting(reset("broken"));
    this.transmit(EMPTY, true);
  }

  unref(): void {}

  /** The process is gone: its kernel closes the stream, or says nothing without power. */
  abandon(powered: boolean): void {
    this.reading = null;
    this.writing = null;
    if (this.state !== "open") return;
    if (powered) {
      this.state = "closed";
      this.transmit(EMPTY, true);
      return;
    }
    this.state = "dead";
    // Of what was on its way some had left the machine.
    const left = this.endpoint.random.between(0, this.underWay.length);
    for (const segment of this.underWay.splice(left)) this.underWayBytes -= segment.bytes;
  }

  private room(): number {
    return WINDOW_BYTES - this.underWayBytes - (this.other?.inboxBytes ?? 0);
  }

  private transmit(bytes: Uint8Array, last: boolean): void {
    const { process, underWay } = this;
    process.scheduler.trace.bytes(bytes);
    this.underWayBytes += bytes.length;
    const nowMs = process.nowMs;
    const newest = underWay[underWay.length - 1];
    // What one turn writes leaves in one segment.
    if (newest !== undefined && newest.writtenMs === nowMs && !newest.last) {
      newest.parts.push(bytes.slice());
      newest.bytes += bytes.length;
      newest.last = last;
      return;
    }
    const segment = { parts: [bytes.slice()], bytes: bytes.length, last, writtenMs: nowMs };
    underWay.push(segment);
    if (this.repeatMs === 0) this.sendSegment(segment);
  }

  /** Schedules the arrival of a segment, behind those before it. */
  private sendSegment(segment: Segment): void {
    const { process, endpoint: { links } } = this;
    const { scheduler } = process;
    const to = this.other!.process.name;
    let delayMs = process.nowMs - scheduler.nowMs + links.delayMs(process.name, to);
    const losses = links.losses();
    for (let lost = 0; lost < losses; lost += 1) delayMs += REPEAT_MS * 2 ** lost;
    const atMs = Math.max(this.lastArrivalMs, scheduler.nowMs + delayMs);
    this.lastArrivalMs = atMs;
    scheduler.at(atMs, `bytes ${linkOf(process.name, to)}`, () => this.arrive(segment));
  }

  /** A segment reaches the other machine, or is held up with all behind it. */
  private arrive(segment: Segment): void {
    if (this.repeatMs > 0 || this.underWay[0] !== segment) return;
    const { process, endpoint: { links } } = this;
    const other = this.other!;
    if (!links.carries(process.name, other.process.name)) return this.holdUp();
    this.underWay.shift();
    this.hand(segment);
  }

  private hand(segment: Segment): void {
    this.underWayBytes -= segment.bytes;
    this.other!.receive(segment);
    this.writeOn();
  }

  /** Repeats with growing pauses until the link carries again; then everything arrives at once. */
  private holdUp(): void {
    const { process, endpoint: { links } } = this;
    const other = this.other!;
    if (this.state === "dead") return this.drop();
    this.repeatMs = Math.min(LONGEST_REPEAT_MS, Math.max(REPEAT_MS, 2 * this.repeatMs));
    process.scheduler.after(
      this.repeatMs,
      `repeat ${linkOf(process.name, other.process.name)}`,
      () => {
        if (this.underWay.length === 0 || this.failure !== null) return;
        if (!links.carries(process.name, other.process.name)) return this.holdUp();
        this.repeatMs = 0;
        for (const segment of this.underWay.splice(0)) this.hand(segment);
      },
    );
  }

  private drop(): void {
    this.underWay.splice(0);
    this.underWayBytes = 0;
  }

  /** A segment of the other side is here, at the kernel: the process may be paused or gone. */
  private receive(segment: Segment): void {
    if (this.state !== "open") {
      // A stream that this side has given up is answered by a reset, unless only its end came.
      if (segment.bytes > 0) this.sendReset();
      return;
    }
    for (const part of segment.parts) {
      if (part.length === 0) continue;
      this.inbox.push(part);
      this.inboxBytes += part.length;
    }
    this.ended ||= segment.last;
    if (this.reading !== null) this.process.deliver("read", () => this.readOn());
  }

  private sendReset(): void {
    const { process, endpoint: { links } } = this;
    const other = this.other!;
    const delayMs = links.delayMs(process.name, other.process.name);
    process.scheduler.after(delayMs, `reset ${linkOf(process.name, other.process.name)}`, () => {
      if (other.state !== "open" || other.failure !== null) return;
      if (!links.carries(process.name, other.process.name)) return;
      other.failure = reset("reset");
      other.drop();
      other.process.deliver("reset", () => other.rejectWaiting(other.failure!));
    });
  }

  private readOn(): void {
    const { reading } = this;
    if (reading === null || (this.inboxBytes === 0 && !this.ended)) return;
    this.reading = null;
    reading.wanted.resolve(this.inboxBytes === 0 ? null : this.take(reading.into));
  }

  private writeOn(): void {
    if (this.writing === null || this.state !== "open" || this.room() <= 0) return;
    this.process.deliver("writable", () => {
      const { writing } = this;
      const room = this.room();
      if (writing === null || room <= 0) return;
      this.writing = null;
      const count = Math.min(room, writing.bytes.length);
      this.transmit(writing.bytes.subarray(0, count), false);
      writing.wanted.resolve(count);
    });
  }

  private rejectWaiting(error: Error): void {
    const { reading, writing } = this;
    this.reading = this.writing = null;
    reading?.wanted.reject(error);
    writing?.wanted.reject(error);
  }

  /** Moves arrived bytes into a reader's buffer. */
  private take(into: Uint8Array): number {
    const { endpoint } = this;
    const there = Math.min(into.length, this.inboxBytes);
    const wanted = endpoint.links.chops() ? endpoint.random.between(1, there) : there;
    let count = 0;
    while (count < wanted) {
      const part = this.inbox[0];
      const taken = part.subarray(0, wanted - count);
      into.set(taken, count);
      count += taken.length;
      if (taken.length === part.length) this.inbox.shift();
      else this.inbox[0] = part.subarray(taken.length);
    }
    this.inboxBytes -= count;
    this.other?.writeOn();
    return count;
  }
}

const EMPTY = new Uint8Array(0);
