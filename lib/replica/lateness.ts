/**
 * How much this process was kept from running: by other processes, by SIGSTOP, or by its own
 * long turns. Measured by how late its ticks come. Silence of others within such a time proves
 * nothing, since what they sent may wait unread.
 */

import type { Starvation } from "../raft/types.ts";

/** A tick that comes this many intervals after the one before is late; smaller delays are usual. */
const LATE_INTERVALS = 2;
/**
 * Patience falls by this share of the time that passes. So it lasts only where more than this
 * share of the time is lost, and is gone four times as long after what caused it.
 */
const PATIENCE_FALL = 0.25;

export class Lateness {
  private patienceMs = 0;
  private tickedMs: number;

  /**
   * `intervalMs`: time between two ticks. `longestPatienceMs`: bound of what is added to timeouts.
   */
  constructor(
    private readonly intervalMs: number,
    private readonly longestPatienceMs: number,
    nowMs: number,
  ) {
    this.tickedMs = nowMs;
  }

  /** Whether the next tick is late already: it must come before anything is judged. */
  isLate(nowMs: number): boolean {
    return nowMs - this.tickedMs > LATE_INTERVALS * this.intervalMs;
  }

  /** A tick; gives what it has to discount, undefined where that is nothing. */
  tick(nowMs: number): Starvation | undefined {
    const lateMs = this.isLate(nowMs) ? nowMs - this.tickedMs - this.intervalMs : 0;
    const fallenMs = this.patienceMs - (nowMs - this.tickedMs) * PATIENCE_FALL;
    this.patienceMs = Math.min(Math.max(0, fallenMs) + lateMs, this.longestPatienceMs);
    this.tickedMs = nowMs;
    return this.patienceMs > 0 ? { lateMs, patienceMs: this.patienceMs } : undefined;
  }
}
