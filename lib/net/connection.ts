/**
 * One connection: frames in both directions over a socket. What is sent within one turn of the
 * event loop leaves in one write; while a write is under way, later frames wait for the next one.
 */

import { InvariantError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { deferred } from "../base/deferred.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Packable } from "../base/msgpack.ts";
import type { NetCounters } from "./counters.ts";
import { FrameDecoder, FrameEncoder } from "./frame.ts";
import type { Socket } from "./tcp.ts";

/** Read chunks start small, since most connections say little, and grow while reads fill them. */
const SMALLEST_CHUNK_BYTES = 4 * 1024;
const LARGEST_CHUNK_BYTES = 256 * 1024;
/** Less room than this part of a chunk is not read into: a new chunk is taken instead. */
const CHUNK_REST_DIVISOR = 4;

/** How long a closed connection may take to read its farewell. */
const LINGER_MS = 1_000;

/** What a connection's frames go to: first the handshake, then what it agreed on. */
export interface FrameSink {
  /**
   * Takes one frame's payload. Binary parts decoded from it may be kept, but each keeps its whole
   * chunk (up to 256 KiB) alive: copy what is small and kept for long. The next frame waits for a
   * returned promise, and so does the sender once the socket's buffers are full. What is thrown
   * closes the connection.
   */
  frame(payload: Uint8Array): void | Promise<void>;
  /** The last frame for the other side when this one closes the connection; null for none. */
  farewell(reason: TrilogError): Packable | null;
  /** Called once, whatever ended the connection. */
  closed(reason: TrilogError): void;
}

export interface ConnectionOptions {
  readonly socket: Socket;
  readonly clock: Clock;
  readonly counters: NetCounters;
  readonly sink: FrameSink;
}

/** Starts with the limits of the handshake; {@link Connection.admit} raises them. */
export class Connection {
  private readonly encoder = new FrameEncoder(limits.handshakeFrameBytes);
  private readonly decoder = new FrameDecoder(limits.handshakeFrameBytes);
  private sink: FrameSink;
  private reason: TrilogError | null = null;
  private socketClosed = false;
  private writeClosed = false;
  private lingering: Timer | null = null;
  private flushScheduled = false;
  private writing = false;
  private writingBytes = 0;
  private appended = 0;
  private handedOver = 0;
  private readonly gone = deferred<void>();
  private waiters: { readonly belowBytes: number; readonly resolve: () => void }[] = [];

  constructor(private readonly options: ConnectionOptions) {
    this.sink = options.sink;
  }

  /** Starts reading. */
  start(): void {
    void this.readLoop();
  }

  /** From the next frame on other limits hold, in bytes, and frames go to `sink`. */
  admit(maxBytesIn: number, maxBytesOut: number, sink: FrameSink): void {
    this.decoder.maxFrameBytes = maxBytesIn;
    this.encoder.maxFrameBytes = maxBytesOut;
    this.sink = sink;
  }

  /** Why the connection ended, or null while it stands. */
  get closeReason(): TrilogError | null {
    return this.reason;
  }

  /** Resolves when the socket itself is closed, after the last bytes. */
  get ended(): Promise<void> {
    return this.gone.promise;
  }

  /** Bytes sent and not yet taken by the socket. */
  get queuedBytes(): number {
    return this.encoder.bytes + this.writingBytes;
  }

  /** Bytes of all frames ever sent: the position in the stream where the next one begins. */
  get sentPosition(): number {
    return this.appended;
  }

  /** Position up to which bytes were, or still will be, given to the socket: they may arrive. */
  get handedOverPosition(): number {
    return this.handedOver;
  }

  /**
   * Queues one frame. False: the connection has ended, or its queue would exceed `queueBytes`,
   * and nothing was queued. Throws `frame_too_large`.
   */
  send(frame: Packable, queueBytes: number = limits.connectionQueueBytes): boolean {
    if (this.reason !== null) return false;
    const room = queueBytes - this.writingBytes;
    if (this.encoder.bytes >= room) return false;
    const bytes = this.encoder.append(frame, room);
    if (bytes === 0) return false;
    this.appended += bytes;
    this.options.counters.framesOut += 1;
    this.scheduleFlush();
    return true;
  }

  /** Resolves when fewer than `belowBytes` are queued, or the connection has ended. */
  drained(belowBytes: number): Promise<void> {
    if (this.reason !== null || this.queuedBytes < belowBytes) return Promise.resolve();
    return new Promise((resolve) => this.waiters.push({ belowBytes, resolve }));
  }

  /** Ends the connection; what is queued and the sink's farewell leave if they are taken soon. */
  close(reason: TrilogError): void {
    if (this.reason !== null) return;
    this.sayFarewell(reason);
    this.handedOver = this.appended;
    this.lingering = this.options.clock.after(LINGER_MS, () => this.closeSocket());
    this.end(reason);
    if (!this.writing) void this.flush();
  }

  /** Ends the connection at once, without a word. */
  abort(reason: TrilogError): void {
    this.end(reason);
    this.closeSocket();
  }

  /** The open connection alone no longer keeps the process running. */
  unref(): void {
    this.options.socket.unref();
  }

  private async readLoop(): Promise<void> {
    const { socket, counters } = this.options;
    let chunk = new Uint8Array(SMALLEST_CHUNK_BYTES);
    let used = 0;
    try {
      while (!this.socketClosed) {
        const count = await socket.read(chunk.subarray(used));
        if (count === null) return this.abort(closed("the other side closed it"));
        // After the end, reading on only lets the farewell arrive before a reset would.
        if (this.reason !== null) continue;
        counters.bytesIn += count;
        this.decoder.push(chunk.subarray(used, used + count));
        const waiting = this.takeFrames();
        if (waiting !== undefined) await waiting;
        used += count;
        // Frames handed out are views: the part of a chunk that was filled is never written again.
        if (chunk.length - used < chunk.length / CHUNK_REST_DIVISOR) {
          const full = used === chunk.length;
          chunk = new Uint8Array(nextChunkBytes(chunk.length, full));
          used = 0;
        }
      }
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  private takeFrames(): void | Promise<void> {
    while (this.reason === null) {
      const payload = this.decoder.next();
      if (payload === null) return;
      this.options.counters.framesIn += 1;
      const waiting = this.sink.frame(payload);
      if (waiting !== undefined) return waiting.then(() => this.takeFrames());
    }
  }

  private scheduleFlush(): void {
    if (this.flushScheduled || this.writing) return;
    this.flushScheduled = true;
    queueMicrotask(() => {
      this.flushScheduled = false;
      if (!this.writing) void this.flush();
    });
  }

  private async flush(): Promise<void> {
    this.writing = true;
    try {
      while (this.encoder.bytes > 0 && !this.socketClosed) await this.writeOnce();
      if (this.reason !== null) await this.closeWrite();
    } catch (thrown) {
      this.fail(thrown);
    }
    this.writing = false;
  }

  private async closeWrite(): Promise<void> {
    if (this.socketClosed || this.writeClosed) return;
    this.writeClosed = true;
    await this.options.socket.closeWrite();
  }

  private async writeOnce(): Promise<void> {
    const { socket, counters } = this.options;
    const bytes = this.encoder.take();
    this.handedOver = this.appended;
    this.writingBytes = bytes.length;
    while (this.writingBytes > 0) {
      counters.writes += 1;
      const count = await socket.write(bytes.subarray(bytes.length - this.writingBytes));
      counters.bytesOut += count;
      this.writingBytes -= count;
      if (this.waiters.length > 0) this.wakeWaiters();
    }
    this.encoder.recycle(bytes);
  }

  /** One that is too long for a frame is left out: nothing may keep a connection from closing. */
  private sayFarewell(reason: TrilogError): void {
    const farewell = this.sink.farewell(reason);
    if (farewell === null) return;
    try {
      this.send(farewell);
    } catch (thrown) {
      if (!(thrown instanceof TrilogError)) throw thrown;
    }
  }

  private wakeWaiters(): void {
    const queued = this.queuedBytes;
    const ready = (belowBytes: number) => this.reason !== null || queued < belowBytes;
    const woken = this.waiters.filter((waiter) => ready(waiter.belowBytes));
    this.waiters = this.waiters.filter((waiter) => !ready(waiter.belowBytes));
    for (const waiter of woken) waiter.resolve();
  }

  /**
   * A refusal of ours is told to the other side; a socket that failed is only closed. A broken
   * invariant in whoever took the frame ends the process, as it must.
   */
  private fail(thrown: unknown): void {
    if (thrown instanceof TrilogError) return this.close(thrown);
    if (thrown instanceof InvariantError) throw thrown;
    this.abort(closed(thrown instanceof Error ? thrown.message : String(thrown), thrown));
  }

  private end(reason: TrilogError): void {
    if (this.reason !== null) return;
    this.reason = reason;
    this.wakeWaiters();
    this.sink.closed(reason);
  }

  private closeSocket(): void {
    if (this.socketClosed) return;
    this.socketClosed = true;
    this.lingering?.cancel();
    this.options.socket.close();
    this.gone.resolve();
  }
}

function closed(state: string, cause?: unknown): TrilogError {
  return new TrilogError("connection_closed", `Cannot use connection: ${state}`, { cause });
}

/** A chunk that one read filled makes the next one larger. */
function nextChunkBytes(chunkBytes: number, full: boolean): number {
  return full ? Math.min(chunkBytes * 4, LARGEST_CHUNK_BYTES) : chunkBytes;
}
