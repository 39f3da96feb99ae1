/**
 * Frames: a 4-byte big-endian length, then that many bytes of MessagePack. Pure: bytes in, frames
 * out. The byte-exact layout stands in DESIGN.md.
 */

import { EMPTY_BYTES } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import { type Packable, packShared } from "../base/msgpack.ts";

/** Bytes of the length before each frame's payload. */
export const FRAME_HEADER_BYTES = 4;

/** Set aside for a frame before its bytes arrive; beyond it, memory follows what has arrived. */
const TRUSTED_FRAME_BYTES = 64 * 1024;

function tooLarge(bytes: number, limit: number): TrilogError {
  return new TrilogError(
    "frame_too_large",
    `Cannot take frame: it has ${bytes} bytes, the limit is ${limit}`,
  );
}

const SMALLEST_BUFFER_BYTES = 64 * 1024;
/** Unused buffers of the process that are kept for reuse, in bytes all together. */
const POOLED_BYTES = 32 * 1024 * 1024;

/**
 * Buffers that writes are done with. Fresh memory has to be cleared first, which costs more than
 * the encoding; and a connection that says nothing holds none.
 */
class BufferPool {
  private readonly unused: Uint8Array[] = [];
  private unusedBytes = 0;

  /** One that is too small is dropped for a larger one: the pool grows with the load's bursts. */
  acquire(bytes: number): Uint8Array {
    const buffer = this.unused.pop();
    this.unusedBytes -= buffer?.length ?? 0;
    if (buffer !== undefined && buffer.length >= bytes) return buffer;
    return new Uint8Array(Math.max(bytes, SMALLEST_BUFFER_BYTES));
  }

  release(buffer: Uint8Array): void {
    if (this.unusedBytes + buffer.length > POOLED_BYTES) return;
    this.unused.push(buffer);
    this.unusedBytes += buffer.length;
  }
}

const pool = new BufferPool();

/** Joins frames into one buffer, so that many of them leave in one write. */
export class FrameEncoder {
  private buffer: Uint8Array = EMPTY_BYTES;
  private used = 0;

  /** `maxFrameBytes`: largest payload; a larger one is refused with `frame_too_large`. */
  constructor(public maxFrameBytes: number) {}

  /** Bytes waiting to be taken. */
  get bytes(): number {
    return this.used;
  }

  /**
   * Appends one frame and returns its length with header; returns 0 and appends nothing if more
   * than `roomBytes` would be waiting then. Throws `frame_too_large` above the frame limit.
   */
  append(value: Packable, roomBytes: number = Infinity): number {
    const payload = packShared(value);
    if (payload.length > this.maxFrameBytes) throw tooLarge(payload.length, this.maxFrameBytes);
    const end = this.used + FRAME_HEADER_BYTES + payload.length;
    if (end > roomBytes) return 0;
    if (end > this.buffer.length) this.grow(end);
    const buffer = this.buffer;
    buffer[this.used] = payload.length >>> 24;
    buffer[this.used + 1] = payload.length >>> 16;
    buffer[this.used + 2] = payload.length >>> 8;
    buffer[this.used + 3] = payload.length;
    buffer.set(payload, this.used + FRAME_HEADER_BYTES);
    this.used = end;
    return FRAME_HEADER_BYTES + payload.length;
  }

  /** Hands out all waiting bytes; give them to {@link recycle} when they are written. */
  take(): Uint8Array {
    const taken = this.buffer.subarray(0, this.used);
    this.used = 0;
    this.buffer = EMPTY_BYTES;
    return taken;
  }

  /** Takes back what `take` handed out; nobody may use those bytes any more. */
  recycle(taken: Uint8Array): void {
    pool.release(new Uint8Array(taken.buffer as ArrayBuffer));
  }

  private grow(neededBytes: number): void {
    const larger = pool.acquire(Math.max(neededBytes, this.buffer.length * 2));
    larger.set(this.buffer.subarray(0, this.used));
    if (this.buffer.length > 0) pool.release(this.buffer);
    this.buffer = larger;
  }
}

/**
 * Cuts arbitrary chunks into frames: `push` one chunk, then call `next` until it gives null. A
 * frame that lies within one chunk is a view into it; one that spans chunks is copied together.
 */
export class FrameDecoder {
  private chunk: Uint8Array = EMPTY_BYTES;
  private at = 0;
  /** The header's value so far, and how many of its bytes have been seen. */
  private length = 0;
  private headerSeen = 0;
  /** The payload of a frame that spans chunks, and how much of it is there. */
  private partial: Uint8Array | null = null;
  private partialUsed = 0;

  /** `maxFrameBytes` may be raised between frames (after the handshake). */
  constructor(public maxFrameBytes: number) {}

  /** Whether the bytes so far end in the middle of a frame. */
  get midFrame(): boolean {
    return this.headerSeen > 0 || this.at < this.chunk.length;
  }

  /** Gives the next chunk; the last one must have been used up. The decoder only reads it. */
  push(chunk: Uint8Array): void {
    this.chunk = chunk;
    this.at = 0;
  }

  /** The next payload, or null when more bytes are needed. Throws `frame_too_large`. */
  next(): Uint8Array | null {
    if (!this.readHeader()) return null;
    if (this.partial === null && this.chunk.length - this.at >= this.length) {
      const payload = this.chunk.subarray(this.at, this.at + this.length);
      this.at += this.length;
      this.headerSeen = 0;
      return payload;
    }
    return this.gather();
  }

  private readHeader(): boolean {
    while (this.headerSeen < FRAME_HEADER_BYTES) {
      if (this.at === this.chunk.length) return false;
      this.length = (this.headerSeen === 0 ? 0 : this.length * 256) + this.chunk[this.at];
      this.at += 1;
      this.headerSeen += 1;
      if (this.headerSeen === FRAME_HEADER_BYTES && this.length > this.maxFrameBytes) {
        throw tooLarge(this.length, this.maxFrameBytes);
      }
    }
    return true;
  }

  /** Copies what the chunk has of a spanning frame; gives the payload once it is whole. */
  private gather(): Uint8Array | null {
    const count = Math.min(this.length - this.partialUsed, this.chunk.length - this.at);
    const partial = this.roomFor(this.partialUsed + count);
    partial.set(this.chunk.subarray(this.at, this.at + count), this.partialUsed);
    this.at += count;
    this.partialUsed += count;
    if (this.partialUsed < this.length) return null;
    this.partial = null;
    this.partialUsed = 0;
    this.headerSeen = 0;
    return partial.subarray(0, this.length);
  }

  /** A peer that claims a large frame and dribbles gets memory only as its bytes arrive. */
  private roomFor(bytes: number): Uint8Array {
    if (this.partial !== null && bytes <= this.partial.length) return this.partial;
    const wanted = Math.max(TRUSTED_FRAME_BYTES, bytes * 2);
    const larger = new Uint8Array(Math.min(this.length, wanted));
    if (this.partial !== null) larger.set(this.partial.subarray(0, this.partialUsed));
    this.partial = larger;
    return larger;
  }
}
