/**
 * The content of one simulated file, as the running system sees it (page cache) and as it lies on
 * the medium, with the writes between the two.
 *
 * The medium takes sectors of 512 bytes whole or not at all, in pages of 4,096 bytes, in any order.
 * A sector that was not synced when the power went shows the file as it was after some of the
 * waiting writes, each page choosing for itself; a page may also be torn, each sector choosing for
 * itself. The file's length is written apart, so that the end may be zeros that nobody wrote.
 */

import type { Prng } from "../base/prng.ts";

const SECTOR_BYTES = 512;
const PAGE_BYTES = 4096;

/** Where a write ends up on the medium instead of its own place; null: nowhere at all. */
export type Misdirection = { readonly file: FileContent; readonly position: number } | null;

type Waiting =
  | {
    readonly kind: "write";
    readonly sequence: number;
    readonly position: number;
    readonly bytes: Uint8Array;
    readonly misdirected?: Misdirection;
  }
  | { readonly kind: "truncate"; readonly sequence: number; readonly size: number };

/** Bytes that grow; what lies between the end and a later write is zeros. */
export class GrowingBytes {
  private buffer: Uint8Array;
  size: number;

  constructor(from: Uint8Array = new Uint8Array(0)) {
    this.buffer = from.slice();
    this.size = from.length;
  }

  bytes(): Uint8Array {
    return this.buffer.subarray(0, this.size);
  }

  write(position: number, bytes: Uint8Array): void {
    if (bytes.length > 0) this.resize(Math.max(this.size, position + bytes.length));
    this.buffer.set(bytes, position);
  }

  resize(size: number): void {
    if (size < this.size) this.buffer.fill(0, size, this.size);
    if (size > this.buffer.length) {
      const grown = new Uint8Array(Math.max(size, 2 * this.buffer.length, 1024));
      grown.set(this.bytes());
      this.buffer = grown;
    }
    this.size = size;
  }
}

export class FileContent {
  private seen: GrowingBytes;
  private durable: GrowingBytes;
  private waiting: Waiting[] = [];
  private nextSequence = 1;

  constructor(durable: Uint8Array = new Uint8Array(0)) {
    this.seen = new GrowingBytes(durable);
    this.durable = new GrowingBytes(durable);
  }

  get size(): number {
    return this.seen.size;
  }

  /** Content as the running system reads it; a view. */
  bytes(): Uint8Array {
    return this.seen.bytes();
  }

  /** Content on the medium; a view. */
  durableBytes(): Uint8Array {
    return this.durable.bytes();
  }

  write(position: number, bytes: Uint8Array, misdirected?: Misdirection): void {
    const kept = bytes.slice();
    this.seen.write(position, kept);
    const write = { kind: "write", sequence: this.nextSequence, position, bytes: kept } as const;
    this.waiting.push(misdirected === undefined ? write : { ...write, misdirected });
    this.nextSequence += 1;
  }

  truncate(size: number): void {
    this.seen.resize(size);
    this.waiting.push({ kind: "truncate", sequence: this.nextSequence, size });
    this.nextSequence += 1;
  }

  /** A mark for {@link settle}: everything written so far. */
  mark(): number {
    return this.nextSequence;
  }

  /** The writes before `mark` reach the medium. */
  settle(mark: number): void {
    this.takeBefore(mark).forEach((operation) => this.reach(operation));
  }

  /**
   * The sync of the writes before `mark` failed: the system forgets that they have to be written
   * (as Linux does), so no later sync makes them durable either, although reads still show them.
   */
  forget(mark: number): void {
    this.takeBefore(mark);
  }

  /**
   * The power goes: what waits is kept, lost or torn, and the file is what the medium holds.
   * Without `random` all of it is lost.
   */
  losePower(random: Prng | null): void {
    const waiting = this.waiting;
    this.waiting = [];
    if (waiting.length > 0 && random !== null) this.land(waiting, random);
    this.seen = new GrowingBytes(this.durable.bytes());
  }

  /** One byte on the medium changes; the cache too, unless it holds a newer one. */
  rot(position: number, mask: number): void {
    if (position >= this.durable.size) return;
    this.durable.bytes()[position] ^= mask;
    const newer = this.waiting.some((operation) =>
      operation.kind === "write" && operation.position <= position &&
      position < operation.position + operation.bytes.length
    );
    if (!newer && position < this.seen.size) this.seen.bytes()[position] ^= mask;
  }

  private takeBefore(mark: number): Waiting[] {
    const taken = this.waiting.filter((operation) => operation.sequence < mark);
    this.waiting = this.waiting.filter((operation) => operation.sequence >= mark);
    return taken;
  }

  private reach(operation: Waiting): void {
    if (operation.kind === "truncate") return this.durable.resize(operation.size);
    const { misdirected, position, bytes } = operation;
    if (misdirected === undefined) return this.durable.write(position, bytes);
    // The file's length is right; the bytes lie elsewhere, or nowhere.
    this.durable.resize(Math.max(this.durable.size, position + bytes.length));
    if (misdirected === null) return;
    const room = Math.max(0, misdirected.file.durable.size - misdirected.position);
    misdirected.file.durable.write(misdirected.position, bytes.subarray(0, room));
  }

  /** Builds the file of the medium from some of the waiting operations, see the file's header. */
  private land(waiting: readonly Waiting[], random: Prng): void {
    const count = waiting.length;
    const before = this.durable.bytes().slice();
    const pick = picker(random, count);
    const longest = Math.max(before.length, ...waiting.map(endOf));
    const landed = new GrowingBytes(before);
    landed.resize(longest);
    for (let page = 0; page < longest; page += PAGE_BYTES) {
      const torn = random.chance(0.2);
      let taken = pick();
      for (let at = page; at < Math.min(page + PAGE_BYTES, longest); at += SECTOR_BYTES) {
        if (torn) taken = pick();
        landSector(landed, at, waiting, taken);
      }
    }
    landed.resize(sizeAfter(before.length, waiting, pick()));
    this.durable = landed;
  }
}

/** How many of the waiting operations took effect: mostly all or none, sometimes some. */
function picker(random: Prng, count: number): () => number {
  const style = random.below(4);
  const shared = random.between(0, count);
  return () => {
    if (style === 0) return shared;
    if (style === 1) return random.chance(0.5) ? count : 0;
    return random.between(0, count);
  };
}

function endOf(operation: Waiting): number {
  if (operation.kind === "truncate") return operation.size;
  return operation.position + operation.bytes.length;
}

function sizeAfter(size: number, waiting: readonly Waiting[], taken: number): number {
  let result = size;
  for (const operation of waiting.slice(0, taken)) {
    const truncates = operation.kind === "truncate";
    result = truncates ? operation.size : Math.max(result, endOf(operation));
  }
  return result;
}

/** Applies the first `taken` operations to one sector. */
function landSector(
  landed: GrowingBytes,
  at: number,
  waiting: readonly Waiting[],
  taken: number,
): void {
  const sector = landed.bytes().subarray(at, at + SECTOR_BYTES);
  for (const operation of waiting.slice(0, taken)) {
    if (operation.kind === "truncate") {
      if (operation.size < at + sector.length) sector.fill(0, Math.max(0, operation.size - at));
      continue;
    }
    if (operation.misdirected !== undefined) continue;
    const low = Math.max(at, operation.position);
    const high = Math.min(at + sector.length, endOf(operation));
    if (low >= high) continue;
    const from = operation.position;
    sector.set(operation.bytes.subarray(low - from, high - from), low - at);
  }
}
