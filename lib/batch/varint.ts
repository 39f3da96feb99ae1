/**
 * The variable-length whole numbers of Kafka's records: zigzag, then seven bits a byte, lowest
 * first (as in Protocol Buffers). A varint holds 32 bits in at most 5 bytes; a varlong holds 64
 * bits in at most 10, of which trilog speaks those that a number holds exactly.
 */

import { TrilogError } from "../base/errors.ts";

const TWO_28 = 2 ** 28;
const TWO_31 = 2 ** 31;
const VARINT_BYTES = 5;
const VARLONG_BYTES = 10;

/** Bytes that `value` (32 bits, signed) takes. */
export function varintSize(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  if (zigzag < 1 << 7) return 1;
  if (zigzag < 1 << 14) return 2;
  if (zigzag < 1 << 21) return 3;
  return zigzag < TWO_28 ? 4 : 5;
}

/** Writes `value` (32 bits, signed) at `at`; returns the position behind it. */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  while (zigzag > 0x7f) {
    bytes[at++] = (zigzag & 0x7f) | 0x80;
    zigzag >>>= 7;
  }
  bytes[at++] = zigzag;
  return at;
}

/** Bytes that `value` (a safe integer) takes as a varlong. */
export function varlongSize(value: number): number {
  if (value >= -TWO_31 && value < TWO_31) return varintSize(value);
  let size = 1;
  for (let rest = value < 0 ? -1 - value : value; rest >= 64; rest = Math.floor(rest / 128)) {
    size += 1;
  }
  return size;
}

/** Writes `value` (a safe integer) as a varlong at `at`; returns the position behind it. */
export function writeVarlong(bytes: Uint8Array, at: number, value: number): number {
  if (value >= -TWO_31 && value < TWO_31) return writeVarint(bytes, at, value);
  // Zigzag of a 54-bit value does not fit a number: the lowest six bits and the sign go first.
  const negative = value < 0;
  let rest = negative ? -1 - value : value;
  let group = (rest % 64) * 2 + (negative ? 1 : 0);
  rest = Math.floor(rest / 64);
  while (rest > 0) {
    bytes[at++] = group | 0x80;
    group = rest % 128;
    rest = Math.floor(rest / 128);
  }
  bytes[at++] = group;
  return at;
}

/** Reads records front to back; whatever lies beyond `end` or is no number is `invalid_batch`. */
export class VarintReader {
  /** Position of the next byte. */
  at: number;

  constructor(readonly bytes: Uint8Array, at: number, readonly end: number) {
    this.at = at;
  }

  /** The next byte as an unsigned number. */
  byte(): number {
    if (this.at >= this.end) throw invalidBatch("a record ends too early");
    return this.bytes[this.at++];
  }

  /** A varint: 32 bits, signed. */
  varint(): number {
    const first = this.byte();
    if (first < 0x80) return (first >>> 1) ^ -(first & 1);
    let zigzag = first & 0x7f;
    for (let count = 1; count < VARINT_BYTES; count += 1) {
      const byte = this.byte();
      zigzag |= (byte & 0x7f) << (7 * count);
      if (byte < 0x80) {
        if (count === VARINT_BYTES - 1 && byte > 0x0f) break;
        return (zigzag >>> 1) ^ -(zigzag & 1);
      }
    }
    throw invalidBatch("a number in a record has more than 32 bits");
  }

  /** A varlong within the safe integers. */
  varlong(): number {
    const first = this.byte();
    if (first < 0x80) return (first >>> 1) ^ -(first & 1);
    let magnitude = (first & 0x7f) >>> 1;
    let factor = 64;
    for (let count = 1; count < VARLONG_BYTES; count += 1) {
      const byte = this.byte();
      magnitude += (byte & 0x7f) * factor;
      factor *= 128;
      if (byte < 0x80) {
        if (magnitude > Number.MAX_SAFE_INTEGER) break;
        return first & 1 ? -1 - magnitude : magnitude;
      }
    }
    throw invalidBatch("a number in a record is out of range");
  }

  /** Passes over `length` bytes; returns where they began. */
  skip(length: number): number {
    const start = this.at;
    if (length < 0 || length > this.end - start) throw invalidBatch("a record's parts overrun it");
    this.at = start + length;
    return start;
  }
}

/** The one error that reading a batch may end in. */
export function invalidBatch(state: string, cause?: unknown): TrilogError {
  return new TrilogError("invalid_batch", `Cannot read record batch: ${state}`, { cause });
}
