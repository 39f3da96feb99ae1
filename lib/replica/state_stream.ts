/**
 * PURE. The state of a machine as a stream of bytes, so that no part of it is ever in memory twice as a
 * whole: a mark, the version of what follows, and frames of one packed value each.
 *
 *   0  u8   0xc1, which no MessagePack value begins with: snapshots of version 1 were one value
 *   1  u8   version, from 2 on
 *      u32  length of a frame, little-endian; the value as MessagePack; and so on
 *
 * One machine may carry another: its own frames come first, then the other's stream.
 */

import { concatBytes, viewOf } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";
import type { StateMachine } from "./state_machine.ts";

const MARK = 0xc1;
const START_BYTES = 2;
const LENGTH_BYTES = 4;
/** No frame is longer; a length beyond it is not one. */
const LONGEST_FRAME_BYTES = 64 * 1024 * 1024;

/** The bytes of a stream with these values, by parts; values are taken as the parts are. */
export function* streamOf(
  version: number,
  values: Iterable<Packable>,
): Generator<Uint8Array, void, void> {
  yield new Uint8Array([MARK, version]);
  for (const value of values) {
    const packed = pack(value);
    const frame = new Uint8Array(LENGTH_BYTES + packed.length);
    viewOf(frame).setUint32(0, packed.length, true);
    frame.set(packed, LENGTH_BYTES);
    yield frame;
  }
}

/** Groups items into lists of about `bytes`, for frames that are neither short nor long. */
export function* batched<T>(
  items: Iterable<T>,
  sizeOf: (item: T) => number,
  bytes: number,
): Generator<T[], void, void> {
  let batch: T[] = [];
  let size = 0;
  for (const item of items) {
    batch.push(item);
    size += sizeOf(item);
    if (size < bytes) continue;
    yield batch;
    batch = [];
    size = 0;
  }
  if (batch.length > 0) yield batch;
}

/** Reads a stream from parts of any size. */
export class StateReader {
  /** Version of the stream; null: it is none, and `rest` brings all of it. */
  readonly version: number | null;
  private readonly parts: Iterator<Uint8Array>;
  /** What is left of the part at hand. */
  private part: Uint8Array = new Uint8Array(0);

  constructor(parts: Iterable<Uint8Array>) {
    this.parts = parts[Symbol.iterator]();
    const start = this.take(START_BYTES);
    this.version = start?.[0] === MARK ? start[1] : null;
    if (start !== null && this.version === null) this.part = concatBytes([start, this.part]);
  }

  /** The value of the next frame; throws `malformed` where there is none. */
  next(): Packable {
    const length = this.take(LENGTH_BYTES);
    if (length === null) throw malformed("it ends too early");
    const size = viewOf(length).getUint32(0, true);
    if (size > LONGEST_FRAME_BYTES) throw malformed("a frame is too long");
    const frame = this.take(size);
    if (frame === null) throw malformed("it ends too early");
    return unpack(frame);
  }

  /** The values up to the next null, which ends a list. */
  *list(): Generator<Packable, void, void> {
    for (let value = this.next(); value !== null; value = this.next()) yield value;
  }

  /** What follows, in parts. */
  *rest(): Generator<Uint8Array, void, void> {
    if (this.part.length > 0) yield this.part;
    for (let next = this.parts.next(); !next.done; next = this.parts.next()) yield next.value;
  }

  /** The next `count` bytes, in an array of their own; null where fewer are left. */
  private take(count: number): Uint8Array | null {
    const bytes = new Uint8Array(count);
    let filled = 0;
    while (filled < count) {
      if (this.part.length === 0) {
        const next = this.parts.next();
        if (next.done) {
          this.part = bytes.slice(0, filled);
          return null;
        }
        this.part = next.value;
        continue;
      }
      const part = this.part.subarray(0, count - filled);
      bytes.set(part, filled);
      filled += part.length;
      this.part = this.part.subarray(part.length);
    }
    return bytes;
  }
}

/** A machine's state as of this moment, in parts; commands that are applied meanwhile do not show. */
export function frozenState(machine: StateMachine): Iterable<Uint8Array> {
  return machine.freeze?.() ?? [machine.snapshot()];
}

/** Replaces a machine's state by one in parts. */
export function restoreState(machine: StateMachine, parts: Iterable<Uint8Array>): void {
  if (machine.restoreParts !== undefined) machine.restoreParts(parts);
  else machine.restore(concatBytes([...parts]));
}

function malformed(state: string): TrilogError {
  return new TrilogError("malformed", `Cannot restore a state: ${state}`);
}
