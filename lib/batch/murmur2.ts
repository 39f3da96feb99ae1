/** Kafka's default partitioner: equal keys meet in one partition, whoever produced them. */

import { assert } from "../base/assert.ts";

const SEED = 0x9747b28c;
const MIX = 0x5bd1e995;

/** MurmurHash2 (Appleby) with Kafka's seed, as a signed 32-bit number like Kafka's own. */
export function murmur2(bytes: Uint8Array): number {
  const length = bytes.length;
  const wordsEnd = length & ~3;
  let hash = SEED ^ length;
  for (let at = 0; at < wordsEnd; at += 4) {
    let word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    word = Math.imul(word, MIX);
    word ^= word >>> 24;
    hash = Math.imul(hash, MIX) ^ Math.imul(word, MIX);
  }
  if (wordsEnd < length) {
    for (let at = length - 1; at >= wordsEnd; at -= 1) hash ^= bytes[at] << (8 * (at - wordsEnd));
    hash = Math.imul(hash, MIX);
  }
  hash ^= hash >>> 13;
  hash = Math.imul(hash, MIX);
  return hash ^ (hash >>> 15);
}

/** The partition in [0, `partitions`) of a key, as Kafka's clients choose it. */
export function partitionOfKey(key: Uint8Array, partitions: number): number {
  assert(Number.isInteger(partitions) && partitions > 0, "a topic has at least one partition");
  return (murmur2(key) & 0x7fffffff) % partitions;
}
