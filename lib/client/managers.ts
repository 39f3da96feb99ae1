/** Requests to the managers: to whichever of them answers, repeated until a deadline. */

import { type Clock, sleep } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Random } from "../base/prng.ts";
import type { Caller } from "../net/rpc_client.ts";
import { LeaderTracker } from "./leader_tracker.ts";
import type { Method } from "./protocol_method.ts";

/** Time for one attempt, in milliseconds: a manager that does not answer is left for another. */
const ATTEMPT_MS = 3_000;

export class Managers {
  private readonly tracker: LeaderTracker;

  /**
   * `bootstrap`: addresses of some managers; the others are learnt with the metadata. They stay
   * candidates: metadata may be older than the addresses that a user gave.
   */
  constructor(
    private readonly caller: Caller,
    private readonly clock: Clock,
    random: Random,
    private readonly bootstrap: readonly string[],
  ) {
    this.tracker = new LeaderTracker(bootstrap, random);
  }

  /** The managers are these now; the leading one first. */
  update(addresses: readonly string[]): void {
    const candidates = new Set([...addresses, ...this.bootstrap]);
    if (addresses.length > 0) this.tracker.update([...candidates], null);
  }

  /**
   * The answer to a request that may be repeated without harm (a read, or a change that carries a
   * request id). Rejects with a refusal, or after `deadlineMs` with `unavailable` or, where an
   * attempt may have had an effect, `outcome_unknown`. `attemptMs`: time for one attempt, for
   * requests that a manager holds back.
   */
  async request<Request, Answer>(
    method: Method<Request, Answer>,
    request: Request,
    deadlineMs: number,
    attemptMs: number = ATTEMPT_MS,
  ): Promise<Answer> {
    const endMs = this.clock.monotonicMs() + deadlineMs;
    const params = method.request.encode(request);
    let mayHaveHappened = false;
    for (;;) {
      const address = this.tracker.current;
      const leftMs = Math.max(1, endMs - this.clock.monotonicMs());
      try {
        const options = { deadlineMs: Math.ceil(Math.min(leftMs, attemptMs)) };
        const answer = await this.caller.call(address, method.name, params, options);
        this.tracker.succeeded(address);
        return method.answer.decode(answer, method.name);
      } catch (thrown) {
        const error = toTrilogError(thrown);
        mayHaveHappened ||= error.outcomeUnknown;
        const advice = this.tracker.failed(address, error);
        if (advice.kind === "give_up") throw error;
        if (this.clock.monotonicMs() + advice.delayMs >= endMs) {
          throw gaveUp(error, mayHaveHappened);
        }
        await sleep(this.clock, advice.delayMs);
      }
    }
  }
}

/** A request's end after its last attempt failed with `error`. */
export function gaveUp(error: TrilogError, mayHaveHappened: boolean): TrilogError {
  const state = error.message.slice(error.message.indexOf(": ") + 2);
  return mayHaveHappened
    ? new TrilogError("outcome_unknown", `Cannot tell the outcome of request: ${state}`, {
      cause: error,
    })
    : new TrilogError("unavailable", `Cannot complete request in time: ${state}`, {
      cause: error,
    });
}
