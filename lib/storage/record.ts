/**
 * A record of a segment file: a header of 40 bytes and a payload, little-endian.
 *
 *   0  u32  CRC-32 over bytes 4 to the end of the payload, seeded (see {@link checksumSeed})
 *   4  u32  payload length in bytes
 *   8  u8   kind (see {@link RecordKind})
 *   9  u8   entry: its entry kind; hard state: 1 if the payload names a vote; else 0
 *  10  u16  zero
 *  12  u32  bytes of this file that were known to be synced when the record was written
 *  16  u64  entry: index; hard state: commit; header: first index; base: its last index
 *  24  u64  term
 *  32  f64  entry and base: timeMs; else 0
 *  40       payload
 *
 * The checksum's seed holds cluster, group and segment number, and the record's own position is
 * mixed in, so that a record in another's place fails as surely as a damaged one.
 */

import { crc32 } from "node:zlib";
import { assert } from "../base/assert.ts";
import { utf8, viewOf } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import type { DiskFile } from "./disk.ts";
import { RecordSearch } from "./record_search.ts";
import type { GroupIdentity } from "./store.ts";

export const RECORD_HEADER_BYTES = 40;

/** The numbers are stored: never reuse one. */
export const RecordKind = {
  /** First record of a segment. */
  header: 1,
  entry: 2,
  /** Term, vote and commit. */
  hardState: 3,
  /** Carries nothing but the synced position. */
  marker: 4,
  /** The log now stands on this snapshot. */
  base: 5,
} as const;
export type RecordKind = typeof RecordKind[keyof typeof RecordKind];

const HIGHEST_RECORD_KIND = RecordKind.base;
const HIGHEST_ENTRY_KIND = 2;
const TWO_32 = 2 ** 32;
const HIGHEST_UPPER_HALF = 2 ** 21;

export interface RecordFields {
  readonly kind: RecordKind;
  readonly entryKind: number;
  readonly index: number;
  readonly term: number;
  readonly timeMs: number;
  readonly payload: Uint8Array;
}

export interface StoredRecord extends RecordFields {
  /** Where it starts in its file, and where the next one does. */
  readonly position: number;
  readonly end: number;
  readonly synced: number;
}

/** Seed of all checksums of one segment (or, with another `part`, of another file of the group). */
export function checksumSeed(
  identity: Pick<GroupIdentity, "cluster" | "group">,
  part: number | string,
): number {
  return crc32(utf8(`${identity.cluster}\0${identity.group}\0${part}`));
}

function checksum(bytes: Uint8Array, at: number, end: number, seed: number, position: number) {
  return crc32(bytes.subarray(at + 4, end), (seed ^ position) >>> 0);
}

const SCRATCH_KEPT_BYTES = 4 * 1024 * 1024;

/** Collects the records of one write in one buffer, which is reused by the next. */
export class RecordWriter {
  private bytes = new Uint8Array(4096);
  private view = viewOf(this.bytes);
  private length = 0;
  private seed = 0;
  private position = 0;
  private synced = 0;

  /** Starts a write at `position` of a segment of which `synced` bytes are known to be synced. */
  start(seed: number, position: number, synced: number): this {
    this.seed = seed;
    this.position = position;
    this.synced = synced;
    this.length = 0;
    return this;
  }

  /** Position of the next record. */
  get end(): number {
    return this.position + this.length;
  }

  add(
    kind: RecordKind,
    entryKind: number,
    index: number,
    term: number,
    timeMs: number,
    payload: Uint8Array,
  ): void {
    const at = this.length;
    const end = at + RECORD_HEADER_BYTES + payload.length;
    assert(this.position + end < TWO_32, "a segment stays below 4 GiB");
    if (end > this.bytes.length) this.grow(end);
    const view = this.view;
    view.setUint32(at + 4, payload.length, true);
    view.setUint8(at + 8, kind);
    view.setUint8(at + 9, entryKind);
    view.setUint16(at + 10, 0, true);
    view.setUint32(at + 12, this.synced, true);
    setUint64(view, at + 16, index);
    setUint64(view, at + 24, term);
    view.setFloat64(at + 32, timeMs, true);
    this.bytes.set(payload, at + RECORD_HEADER_BYTES);
    view.setUint32(at, checksum(this.bytes, at, end, this.seed, this.position + at), true);
    this.length = end;
  }

  /** The bytes of the write: a view that the next `start` overwrites. */
  finish(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** Gives a buffer back that one large write has blown up. */
  release(): void {
    if (this.bytes.length <= SCRATCH_KEPT_BYTES) return;
    this.bytes = new Uint8Array(4096);
    this.view = viewOf(this.bytes);
  }

  private grow(needed: number): void {
    let size = this.bytes.length;
    while (size < needed) size *= 2;
    const larger = new Uint8Array(size);
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
    this.view = viewOf(larger);
  }
}

export function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % TWO_32, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32), true);
}

export function getUint64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
}

/**
 * Reads records of one file through a window. Windows are never written again, so payloads are
 * views into them, not copies.
 */
export class RecordReader {
  private window = new Uint8Array(0);
  private view = viewOf(this.window);
  private start = 0;

  constructor(
    private readonly file: DiskFile,
    private readonly name: string,
    private readonly seed: number,
    /** Where the file, or the part of it that counts, ends. */
    readonly limit: number,
    private readonly windowBytes: number,
  ) {}

  /** The record at `position`, or null where the bytes there are not one. */
  at(position: number): StoredRecord | null {
    if (!this.load(position, RECORD_HEADER_BYTES)) return null;
    if (!this.plausible(position - this.start)) return null;
    const length = this.view.getUint32(position - this.start + 4, true);
    if (!this.load(position, RECORD_HEADER_BYTES + length)) return null;
    const at = position - this.start;
    const view = this.view;
    const end = at + RECORD_HEADER_BYTES + length;
    if (view.getUint32(at, true) !== checksum(this.window, at, end, this.seed, position)) {
      return null;
    }
    return {
      kind: view.getUint8(at + 8) as RecordKind,
      entryKind: view.getUint8(at + 9),
      index: getUint64(view, at + 16),
      term: getUint64(view, at + 24),
      timeMs: view.getFloat64(at + 32, true),
      payload: this.window.subarray(at + RECORD_HEADER_BYTES, end),
      position,
      end: position + RECORD_HEADER_BYTES + length,
      synced: view.getUint32(at + 12, true),
    };
  }

  /**
   * The first valid record that starts at or after `from`, found by trying every position. Holds
   * all bytes from there on in memory; a search of the whole file takes time linear in its length.
   */
  find(from: number): StoredRecord | null {
    if (from + RECORD_HEADER_BYTES > this.limit) return null;
    if (!this.load(from, this.limit - from)) return null;
    if (this.search?.bytes !== this.window) this.search = new RecordSearch(this.window);
    for (let position = from; position + RECORD_HEADER_BYTES <= this.limit; position += 1) {
      const at = position - this.start;
      if (!this.plausible(at)) continue;
      const end = at + RECORD_HEADER_BYTES + this.view.getUint32(at + 4, true);
      const seed = (this.seed ^ position) >>> 0;
      if (this.view.getUint32(at, true) !== this.search.checksum(at + 4, end, seed)) continue;
      return this.at(position);
    }
    return null;
  }
  private search: RecordSearch | null = null;

  /** Cheap checks that most positions fail, before a checksum is computed. */
  private plausible(at: number): boolean {
    const kind = this.window[at + 8];
    return kind >= 1 && kind <= HIGHEST_RECORD_KIND &&
      this.window[at + 9] <= HIGHEST_ENTRY_KIND &&
      this.window[at + 10] === 0 && this.window[at + 11] === 0 &&
      this.view.getUint32(at + 20, true) < HIGHEST_UPPER_HALF &&
      this.view.getUint32(at + 28, true) < HIGHEST_UPPER_HALF &&
      this.start + at + RECORD_HEADER_BYTES + this.view.getUint32(at + 4, true) <= this.limit;
  }

  /** Makes `length` bytes from `position` available; false where the file ends before. */
  private load(position: number, length: number): boolean {
    if (position + length > this.limit) return false;
    const inside = position >= this.start &&
      position + length <= this.start + this.window.length;
    if (inside) return true;
    const wanted = Math.min(Math.max(length, this.windowBytes), this.limit - position);
    const window = new Uint8Array(wanted);
    const count = readOrCorrupt(this.file, this.name, position, window);
    this.window = count === wanted ? window : window.subarray(0, count);
    this.view = viewOf(this.window);
    this.start = position;
    return count >= length;
  }
}

/** Reads; a disk that cannot give the bytes back is as bad as one that gives wrong ones. */
export function readOrCorrupt(
  file: DiskFile,
  name: string,
  position: number,
  into: Uint8Array,
): number {
  try {
    return file.readAt(position, into);
  } catch (thrown) {
    throw corrupt(name, position, "the disk cannot read it", thrown);
  }
}

/** Rot, or bytes that were never ours: always names file and offset. */
export class CorruptFileError extends TrilogError {
  constructor(readonly file: string, readonly offset: number, state: string, cause?: unknown) {
    super("corrupt", `Cannot trust ${file} at offset ${offset}: ${state}`, { cause });
  }
}

export function corrupt(
  file: string,
  offset: number,
  state: string,
  cause?: unknown,
): CorruptFileError {
  return new CorruptFileError(file, offset, state, cause);
}
