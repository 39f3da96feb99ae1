/**
 * The time that leaders stamp entries with. Stamps decide when keys, sessions, messages and groups
 * expire, so an error of one clock must neither end them at once nor keep them for as long as the
 * error was large. The rules:
 *
 * 1. A process follows its wall clock while that keeps pace with the monotonic clock, to within
 *    `LARGEST_STEP_MS`. After a larger jump, in either direction, its time goes on at the pace of
 *    the monotonic clock, at most `SLEW` faster or slower, towards the wall clock. It follows the
 *    wall clock again when that comes back, or when it has kept pace from its new place for
 *    `BELIEVED_AFTER_MS`, in which an operator can set it right.
 * 2. Stamps of a log never go back. Where the log is ahead of the leader's time, because the clock
 *    of an earlier leader was wrong, stamps go on from there, `SLEW` slower than the monotonic
 *    clock, until the leader's time has come up. They never stand still.
 * 3. What expires is judged by comparing stamps with stamps: the leader's present stamp is
 *    `Replica.stampMs`, never its wall clock.
 */

import type { Clock } from "../base/clock.ts";

/** A step of the wall clock that is followed at once, in milliseconds. */
export const LARGEST_STEP_MS = 10_000;
/** A wall clock that jumped is believed after it has kept pace for this long, in milliseconds. */
export const BELIEVED_AFTER_MS = 3_600_000;
/** Part by which time may go faster or slower than the monotonic clock. */
export const SLEW = 0.1;

type Clocks = Pick<Clock, "wallMs" | "monotonicMs">;

/** The wall clock of a process without its jumps. */
export class SteadyTime {
  private timeMs: number;
  private readAtMs: number;
  /** The jump that is not believed: when it was noticed, and the wall clock's new lead. */
  private doubt: { readonly sinceMs: number; readonly leadMs: number } | null = null;

  constructor(private readonly clock: Clocks) {
    this.timeMs = clock.wallMs();
    this.readAtMs = clock.monotonicMs();
  }

  /** Milliseconds since 1970. */
  nowMs(): number {
    const monotonicMs = this.clock.monotonicMs();
    const wallMs = this.clock.wallMs();
    const elapsedMs = monotonicMs - this.readAtMs;
    const steadyMs = this.timeMs + elapsedMs;
    this.readAtMs = monotonicMs;
    this.timeMs = this.believes(wallMs, steadyMs, monotonicMs)
      ? wallMs
      : steadyMs + Math.sign(wallMs - steadyMs) * elapsedMs * SLEW;
    return this.timeMs;
  }

  private believes(wallMs: number, steadyMs: number, monotonicMs: number): boolean {
    if (Math.abs(wallMs - steadyMs) <= LARGEST_STEP_MS) {
      this.doubt = null;
      return true;
    }
    const leadMs = wallMs - monotonicMs;
    if (this.doubt === null || Math.abs(leadMs - this.doubt.leadMs) > LARGEST_STEP_MS) {
      this.doubt = { sinceMs: monotonicMs, leadMs };
    }
    if (monotonicMs - this.doubt.sinceMs < BELIEVED_AFTER_MS) return false;
    this.doubt = null;
    return true;
  }
}

/** The stamps of one log, as its leader would give them now. */
export class Stamps {
  private stampMs = 0;
  private readAtMs = 0;

  constructor(private readonly time: SteadyTime, private readonly clock: Clocks) {}

  /** Milliseconds since 1970, at least `lastMs`, the stamp of the log's last entry. */
  nowMs(lastMs: number): number {
    const monotonicMs = this.clock.monotonicMs();
    // Stamps that were not made here are as old as their first look here.
    const slowMs = lastMs > this.stampMs
      ? lastMs
      : this.stampMs + (monotonicMs - this.readAtMs) * (1 - SLEW);
    this.stampMs = Math.max(this.time.nowMs(), slowMs);
    this.readAtMs = monotonicMs;
    return Math.floor(this.stampMs);
  }
}
