/**
 * The tries of a client's request. It is repeated while that is safe and makes sense, and what is
 * known of its outcome is kept: one try that may have had an effect makes it uncertain for good.
 */

import { type Clock, sleep } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";

/** A try that would have less time than this is not made: it could only blur what is known. */
const SHORTEST_ATTEMPT_MS = 500;
/** A backend that says nothing by the end of its own time gets this much more. */
const GRACE_MS = 250;

/** A request with less time than this might not be tried at all. */
export const SHORTEST_CALL_MS = SHORTEST_ATTEMPT_MS + GRACE_MS;

const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 200;

/** The tries of one request: until one answers, no more make sense, or time is up. */
export class Attempts {
  /** Whether no try so far can have had an effect. */
  certain = true;
  /** The last try's failure; null: none was made. */
  error: TrilogError | null = null;
  private pauseMs = FIRST_PAUSE_MS;

  /** `whom`: what is asked, such as `the bank`, for messages. `deadlineMs` is monotonic time. */
  constructor(
    private readonly clock: Clock,
    private readonly deadlineMs: number,
    private readonly whom: string,
  ) {}

  /** The first answer, or null. */
  async run<T>(attempt: (timeoutMs: number) => Promise<T>): Promise<T | null> {
    for (let left = this.left(); left >= SHORTEST_ATTEMPT_MS; left = this.left()) {
      try {
        return await this.within(left, attempt(left - GRACE_MS));
      } catch (thrown) {
        const error = toTrilogError(thrown);
        this.error = error;
        if (error.outcomeUnknown) this.certain = false;
        if (!error.retryable) return null;
      }
      await sleep(this.clock, this.pauseMs);
      this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
    }
    return null;
  }

  /** Why the last try failed. */
  get reason(): string {
    return this.error?.message ?? "the time was up";
  }

  /** What was tried so far was a question: it cannot have moved anything. */
  forgetDoubt(): void {
    this.certain = true;
  }

  private left(): number {
    return this.deadlineMs - this.clock.monotonicMs();
  }

  /** `promise`, or a rejection when it takes longer than it was told to. */
  private within<T>(timeoutMs: number, promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = this.clock.after(timeoutMs, () => {
        const message = `Cannot reach ${this.whom}: it did not answer in time`;
        reject(new TrilogError("deadline_exceeded", message));
      });
      promise.then(resolve, reject).finally(() => timer.cancel());
    });
  }
}
