/**
 * Randomness enters through this interface. `Prng` is xoshiro128** (Blackman and Vigna 2018),
 * seeded through splitmix32: small, fast, and the same on every machine, which the simulator needs.
 */

export interface Random {
  /** A number in [0, 1). */
  next(): number;
  /** A whole number in [0, bound); `bound` from 1 to 2^32. */
  below(bound: number): number;
}

export class Prng implements Random {
  private readonly state = new Uint32Array(4);

  /** `seed` is any whole number up to 2^53; equal seeds give equal sequences. */
  constructor(seed: number) {
    let mixed = (seed >>> 0) ^ Math.imul(Math.floor(seed / 2 ** 32) >>> 0, 0x9e3779b9);
    for (let slot = 0; slot < 4; slot += 1) {
      mixed = (mixed + 0x9e3779b9) >>> 0;
      let z = mixed;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      this.state[slot] = (z ^ (z >>> 15)) >>> 0;
    }
  }

  /** 32 random bits. */
  nextUint32(): number {
    const state = this.state;
    const scrambled = Math.imul(rotateLeft(Math.imul(state[1], 5), 7), 9) >>> 0;
    const shifted = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotateLeft(state[3], 11);
    return scrambled;
  }

  next(): number {
    return this.nextUint32() / 2 ** 32;
  }

  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  /** True with the given probability in [0, 1]. */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** A whole number in [low, high], both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** One element of a list that is not empty. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }

  /** A new list with the same elements in random order. */
  shuffled<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let last = result.length - 1; last > 0; last -= 1) {
      const other = this.below(last + 1);
      [result[last], result[other]] = [result[other], result[last]];
    }
    return result;
  }

  /** A generator of its own, so that one part's draws do not shift another's. */
  fork(): Prng {
    return new Prng(this.nextUint32() * 2 ** 20 + (this.nextUint32() >>> 12));
  }
}

function rotateLeft(value: number, count: number): number {
  return ((value << count) | (value >>> (32 - count))) >>> 0;
}
