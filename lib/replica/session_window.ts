/**
 * The numbers of one session's commands. The machine remembers `limits.sessionAnswers` answers and
 * refuses a command beyond that. A refusal of a command that was handed over before would make its
 * outcome unknown, so the bound is kept here, before a command has a number: those that find no
 * room wait in order.
 */

import type { Clock, Timer } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";

interface Waiting {
  readonly timer: Timer;
  resolve(sequence: number): void;
}

export class SessionWindow {
  private last = 0;
  /** Numbers in use. A set keeps the order of insertion, so its first is the lowest. */
  private readonly used = new Set<number>();
  /** A map keeps the order of arrival, and one that gives up leaves it in no time. */
  private readonly waiting = new Map<number, Waiting>();
  private arrivals = 0;

  /** `size`: the most numbers from the lowest in use to the newest, both included. */
  constructor(
    private readonly clock: Clock,
    private readonly size: number = limits.sessionAnswers,
  ) {}

  /** The lowest number in use: all answers below it have arrived. */
  get lowest(): number {
    const [lowest] = this.used;
    return lowest ?? this.last + 1;
  }

  /**
   * The next number, at once or when there is room for it. Rejects with `overloaded`, which is
   * certain, when there is none by `endMs` (monotonic).
   */
  async take(endMs: number): Promise<number> {
    if (this.waiting.size === 0 && this.hasRoom()) return this.next();
    return await new Promise((resolve, reject) => {
      const arrival = ++this.arrivals;
      const timer = this.clock.after(Math.max(0, endMs - this.clock.monotonicMs()), () => {
        this.waiting.delete(arrival);
        reject(
          new TrilogError("overloaded", "Cannot run command: too many others of this node wait"),
        );
      });
      this.waiting.set(arrival, { timer, resolve });
    });
  }

  /** The number's command has its answer, or its caller has given up. */
  release(sequence: number): void {
    this.used.delete(sequence);
    for (const [arrival, { timer, resolve }] of this.waiting) {
      if (!this.hasRoom()) return;
      this.waiting.delete(arrival);
      timer.cancel();
      resolve(this.next());
    }
  }

  private hasRoom(): boolean {
    return this.last + 1 - this.lowest < this.size;
  }

  private next(): number {
    this.last += 1;
    this.used.add(this.last);
    return this.last;
  }
}
