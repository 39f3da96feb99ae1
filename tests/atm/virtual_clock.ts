/** A clock that moves only when everybody waits: hours pass in no time, the same way each run. */

import type { Clock, Timer } from "../../lib/base/clock.ts";

/** Rounds of the microtask queue after which all promise chains of these tests have settled. */
const SETTLING_ROUNDS = 60;

export class VirtualClock implements Clock {
  private nowMs = 1_000;
  private readonly timers = new Set<{ readonly atMs: number; readonly run: () => void }>();

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const timer = { atMs: this.nowMs + delayMs, run };
    this.timers.add(timer);
    return { cancel: () => this.timers.delete(timer) };
  }

  nextTurn(run: () => void): void {
    this.after(0, run);
  }

  /** What `promise` resolves with; time moves on from timer to timer until it does. */
  async settle<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise.then(done, done);
    while (true) {
      for (let round = 0; round < SETTLING_ROUNDS; round += 1) await Promise.resolve();
      if (settled) return await promise;
      const next = [...this.timers].sort((left, right) => left.atMs - right.atMs)[0];
      if (next === undefined) throw new Error("everybody waits for ever");
      this.timers.delete(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.run();
    }
  }

  get pendingTimers(): number {
    return this.timers.size;
  }
}
