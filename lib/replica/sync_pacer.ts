/**
 * Decides between the two ways to make a write durable. While the process waits in `fdatasync`
 * the answer comes 0.15 ms sooner, but every other group and connection waits along; that pays
 * only while there is nothing else to do and the disk is quick.
 */

import type { Clock } from "../base/clock.ts";

/** When synchronous syncs take longer than this on average, the habit stops. */
const QUICK_SYNC_MS = 1;
/** Weight of the latest one in the average: a single slow one in a thousand changes little. */
const LATEST_WEIGHT = 0.1;
/** No single one counts for more, so that one bad moment is soon forgotten. */
const SLOWEST_COUNTED_MS = 5;
/** After that the synchronous way is tried again when this much time went by. */
const RETRY_AFTER_MS = 1_000;
/** Share of the recent time that may go into waiting for the disk. */
const BUSY_SHARE = 0.5;
const WINDOW_MS = 20;

export class SyncPacer {
  private underWay = 0;
  private slowUntilMs = -Infinity;
  private averageMs = 0;
  private windowStartMs = -Infinity;
  private waitedMs = 0;

  constructor(private readonly clock: Clock) {}

  maySyncNow(): boolean {
    const nowMs = this.clock.monotonicMs();
    if (this.underWay > 0 || nowMs < this.slowUntilMs) return false;
    if (nowMs - this.windowStartMs > WINDOW_MS) {
      this.windowStartMs = nowMs;
      this.waitedMs = 0;
    }
    return this.waitedMs < WINDOW_MS * BUSY_SHARE;
  }

  /** Runs a synchronous sync and learns from its time. */
  timed(sync: () => void): void {
    const startMs = this.clock.monotonicMs();
    sync();
    const tookMs = this.clock.monotonicMs() - startMs;
    this.waitedMs += tookMs;
    const counted = Math.min(tookMs, SLOWEST_COUNTED_MS);
    this.averageMs += (counted - this.averageMs) * LATEST_WEIGHT;
    if (this.averageMs <= QUICK_SYNC_MS) return;
    this.slowUntilMs = startMs + RETRY_AFTER_MS;
    this.averageMs = 0;
  }

  /** Counts a sync in the background until it ends. */
  track(sync: Promise<void>): void {
    this.underWay += 1;
    sync.finally(() => {
      this.underWay -= 1;
    });
  }
}
