/**
 * Time enters every part of trilog through this interface, so that the simulator can own it.
 * `system_clock.ts` is the real one.
 */

/** A pending call; `cancel` after it ran does nothing. */
export interface Timer {
  /** Takes the call back. */
  cancel(): void;
}

/** Where code gets its time from. */
export interface Clock {
  /** Milliseconds since an arbitrary start; never goes back, not set by anyone. For durations. */
  monotonicMs(): number;
  /** Milliseconds since 1970 UTC; may jump in both directions. For stamps that people read. */
  wallMs(): number;
  /** Calls `run` once after at least `delayMs` (0 or more). */
  after(delayMs: number, run: () => void): Timer;
  /** Calls `run` when the input that is already waiting has been taken in (one event-loop turn). */
  nextTurn(run: () => void): void;
}

/** Resolves after `delayMs` of the clock's time. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(delayMs, resolve);
  });
}
