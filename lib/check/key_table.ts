/**
 * PURE. A set of keys of a fixed number of 32-bit words, numbered in the order in which they came:
 * what a search has seen. Open addressing over typed arrays: some 20 bytes a key, where a `Map` of
 * strings takes 100 and ends at 2^24.
 */

import type { MemoryMeter } from "./memory_meter.ts";

const FIRST_CAPACITY = 64;
const BYTES_PER_WORD = 4;

export class KeyTable {
  /** Key number n at n * words. */
  private keys: Int32Array;
  /** Numbers of keys plus one, 0 where free; twice as many as there is room for keys. */
  private slots: Int32Array;
  private capacity = FIRST_CAPACITY;
  private count = 0;
  private takenBytes = 0;

  constructor(private readonly words: number, private readonly meter: MemoryMeter) {
    this.takenBytes = this.bytesFor(FIRST_CAPACITY);
    meter.take(this.takenBytes);
    this.keys = new Int32Array(FIRST_CAPACITY * words);
    this.slots = new Int32Array(FIRST_CAPACITY * 2);
  }

  get size(): number {
    return this.count;
  }

  /** The number of `key`, which is `size` as it was before if the key is new. */
  numberOf(key: Int32Array): number {
    const { words } = this;
    let slot = this.firstSlot(key, 0);
    for (let taken = this.slots[slot]; taken !== 0; taken = this.slots[slot]) {
      if (this.equals(key, (taken - 1) * words)) return taken - 1;
      slot = (slot + 1) & (this.slots.length - 1);
    }
    if (this.count === this.capacity) {
      this.grow();
      slot = this.freeSlot(key, 0);
    }
    const number = this.count;
    this.keys.set(key, number * words);
    this.count += 1;
    this.slots[slot] = this.count;
    return number;
  }

  /** Gives the memory back; the table must not be used afterwards. */
  release(): void {
    this.meter.give(this.takenBytes);
    this.takenBytes = 0;
  }

  private bytesFor(capacity: number): number {
    return capacity * (this.words + 2) * BYTES_PER_WORD;
  }

  private grow(): void {
    const capacity = this.capacity * 2;
    const more = this.bytesFor(capacity);
    this.meter.take(more);
    const keys = new Int32Array(capacity * this.words);
    keys.set(this.keys);
    this.keys = keys;
    this.slots = new Int32Array(capacity * 2);
    for (let number = 0; number < this.count; number += 1) {
      this.slots[this.freeSlot(keys, number * this.words)] = number + 1;
    }
    this.meter.give(this.takenBytes);
    this.takenBytes = more;
    this.capacity = capacity;
  }

  private equals(key: Int32Array, at: number): boolean {
    for (let word = 0; word < this.words; word += 1) {
      if (this.keys[at + word] !== key[word]) return false;
    }
    return true;
  }

  private freeSlot(keys: Int32Array, at: number): number {
    let slot = this.firstSlot(keys, at);
    while (this.slots[slot] !== 0) slot = (slot + 1) & (this.slots.length - 1);
    return slot;
  }

  /** Mixes the words as MurmurHash3 does (Appleby, public domain). */
  private firstSlot(keys: Int32Array, at: number): number {
    let hash = 0;
    for (let word = 0; word < this.words; word += 1) {
      const mixed = Math.imul(keys[at + word], 0xcc9e2d51);
      hash ^= Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
      hash = Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64;
    }
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) & (this.slots.length - 1);
  }
}
