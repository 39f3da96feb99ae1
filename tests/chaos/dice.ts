/** Randomness from a seed: which faults, where, how long, and what the clients ask for. */

export class Dice {
  private state: number;

  constructor(seed: number, purpose: string = "") {
    this.state = seed >>> 0;
    for (const char of purpose) this.state = (this.state * 31 + char.codePointAt(0)!) >>> 0;
  }

  /** A fraction from 0 (included) to 1 (excluded): the generator known as mulberry32. */
  fraction(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = this.state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.fraction() * (most - least + 1));
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.between(0, items.length - 1)];
  }

  shuffled<T>(items: readonly T[]): T[] {
    const left = [...items];
    for (let at = left.length - 1; at > 0; at -= 1) {
      const other = this.between(0, at);
      [left[at], left[other]] = [left[other], left[at]];
    }
    return left;
  }
}
