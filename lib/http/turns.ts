/** One piece of work at a time for each key, in the order in which they came. */

import { TrilogError } from "../base/errors.ts";

export class Turns {
  /** Work that runs or waits, and the end of the last of it. */
  private readonly lines = new Map<number, { length: number; last: Promise<unknown> }>();

  /** `most`: how many may wait for the one that runs. */
  constructor(private readonly most: number) {}

  /** Keys with work that runs or waits. */
  get size(): number {
    return this.lines.size;
  }

  /** Runs when all earlier work of the key is done; rejects with `overloaded`. */
  async run<T>(key: number, work: () => Promise<T>): Promise<T> {
    const line = this.lines.get(key) ?? { length: 0, last: Promise.resolve() };
    if (line.length > this.most) {
      throw new TrilogError("overloaded", "Cannot serve request: too many wait for their turn");
    }
    line.length += 1;
    this.lines.set(key, line);
    const done = line.last.then(work);
    line.last = done.catch(() => {});
    try {
      return await done;
    } finally {
      line.length -= 1;
      if (line.length === 0) this.lines.delete(key);
    }
  }
}
