/** Growing pauses between attempts, spread so that many who lost the same server do not return at once. */

import type { Random } from "./prng.ts";

export class Backoff {
  private failures = 0;

  /** Pauses double from `smallestMs` up to `largestMs`. */
  constructor(
    private readonly random: Random,
    private readonly smallestMs: number,
    private readonly largestMs: number,
  ) {}

  /** The next pause in milliseconds: at random between half of its step and the whole. */
  next(): number {
    const step = Math.min(this.largestMs, this.smallestMs * 2 ** Math.min(this.failures, 30));
    this.failures += 1;
    return step / 2 + this.random.next() * step / 2;
  }

  /** It worked: the next pause is a short one again. */
  reset(): void {
    this.failures = 0;
  }
}
