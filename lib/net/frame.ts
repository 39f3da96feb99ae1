/**
 * Frames: a 4-byte big-endian length, then that many bytes of MessagePack. Pure: bytes in, frames
 * out. The byte-exact layout stands in DESIGN.md.
 */

import { TrilogError } from "../base/errors.ts";
import { type Packable, packShared } from "../base/msgpack.ts";

/** Bytes of the length before each frame's payload. */
export const FRAME_HEADER_BYTES = 4;

const INITIAL_BUFFER_BYTES = 4 * 1024;
/** A buffer that one burst made larger than this is not kept for the next. */
const KEPT_BUFFER_BYTES = 1024 * 1024;
/** Set aside for a frame before its bytes arrive; beyond it, memory follows what has arrived. */
const TRUSTED_FRAME_BYTES = 64 * 1024;

function tooLarge(bytes: number, limit: number): TrilogError {
  return new TrilogError(
    "frame_too_large",
    `Cannot take frame: it has ${bytes} bytes, the limit is ${limit}`,
  );
}

/** Joins frames into one buffer, so that many of them leave in one write. */
export class FrameEncoder {
  private buffer = new Uint8Array(INITIAL_BUFFER_BYTES);
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

  /**
   * Hands out all waiting bytes; the caller owns them. `spare` is a buffer handed out earlier
   * that is no longer in use: it takes the next frames.
   */
  take(spare: Uint8Array | null): Uint8Array {
    const taken = this.buffer.subarray(0, this.used);
    this.used = 0;
    this.buffer = spare !== null && spare.buffer.byteLength <= KEPT_BUFFER_BYTES
      ? new Uint8Array(spare.buffer as ArrayBuffer)
      : new Uint8Array(INITIAL_BUFFER_BYTES);
    return taken;
  }

  private grow(neededBytes: number): void {
    const larger = new Uint8Array(Math.max(neededBytes, this.buffer.length * 2));
    larger.set(this.buffer.subarray(0, this.used));
    this.buffer = larger;
  }
}

/**
 * Cuts arbitrary chunks into frames: `push` one chunk, then call `next` until it gives null. A
 * frame that lies within one chunk is a view into it; one that spans chunks is copied together.
 */
export class FrameDecoder {
  private chunk: Uint8Array = new Uint8Array(0);
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
