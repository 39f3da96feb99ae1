/**
 * The clocks of one simulated machine. The monotonic clock runs a little too fast or too slow, the
 * wall clock is wrong by an offset that jumps; both go on while the process is paused.
 */

import type { Clock, Timer } from "../base/clock.ts";
import type { SimProcess } from "./process.ts";

/** 2024-01-01T00:00:00Z: a date for wall clocks to start from. */
const WALL_START_MS = 1_704_067_200_000;

export interface SimClockOptions {
  /** Milliseconds of this clock per millisecond of true virtual time, such as 0.99 to 1.01. */
  readonly rate: number;
  /** How far the wall clock is ahead of (or behind) the true time at the start. */
  readonly wallOffsetMs: number;
  /** How long one event-loop turn takes: input that arrives within it is taken in together. */
  readonly turnMs: number;
}

export const exactClock: SimClockOptions = { rate: 1, wallOffsetMs: 0, turnMs: 0 };

export class SimClock implements Clock {
  private readonly process: SimProcess;
  private readonly options: SimClockOptions;
  private wallJumpsMs = 0;

  constructor(process: SimProcess, options: SimClockOptions = exactClock) {
    this.process = process;
    this.options = options;
  }

  monotonicMs(): number {
    return this.process.nowMs * this.options.rate;
  }

  wallMs(): number {
    const ownMs = this.monotonicMs() + this.options.wallOffsetMs + this.wallJumpsMs;
    return WALL_START_MS + Math.floor(ownMs);
  }

  after(delayMs: number, run: () => void): Timer {
    // A microsecond more, lest rounding fires it before this clock has reached the moment.
    return this.process.after(delayMs / this.options.rate + 0.001, "timer", run);
  }

  nextTurn(run: () => void): void {
    this.process.after(this.options.turnMs, "turn", run);
  }

  /** Somebody sets the wall clock, forward or back; the monotonic clock does not notice. */
  jumpWall(byMs: number): void {
    this.wallJumpsMs += byMs;
  }
}
