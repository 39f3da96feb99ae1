/** Requests to the managers: to whichever of them answers, repeated until a deadline. */

import { type Clock, sleep } from "../base/clock.ts";
import { type ErrorCode, toTrilogError, TrilogError } from "../base/errors.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Random } from "../base/prng.ts";
import type { Caller } from "../net/rpc_client.ts";
import { Failures, stateOf } from "../base/failures.ts";
import { LeaderTracker } from "./leader_tracker.ts";
import type { Method } from "./protocol_method.ts";

/** Time for one attempt, in milliseconds: a manager that does not answer is left for another. */
const ATTEMPT_MS = 3_000;
/** A manager that has not answered for this long is not waited for alone: another is asked too. */
const HEDGE_MS = 300;

/** A manager's name and address. */
export interface ManagerAddress {
  readonly id: string;
  readonly address: string;
}

/** The end of one call. */
type Outcome =
  | { readonly address: string; readonly answer: Packable }
  | { readonly address: string; readonly error: TrilogError };

export class Managers {
  private readonly tracker: LeaderTracker;
  private readonly names = new Map<string, string>();

  /**
   * `bootstrap`: addresses of some managers; the others are learnt with the metadata. These stay
   * candidates for good: the metadata may be older than the addresses that the user gave.
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
  update(managers: readonly ManagerAddress[]): void {
    if (managers.length === 0) return;
    this.names.clear();
    for (const { id, address } of managers) this.names.set(address, id);
    const addresses = managers.map(({ address }) => address);
    this.tracker.update([...new Set([...addresses, ...this.bootstrap])], null);
  }

  /**
   * The answer to a request that may be repeated without harm (a read, or a change that carries a
   * request id). Rejects with a refusal, or after `deadlineMs` with `unavailable` or, where an
   * attempt may have had an effect, `outcome_unknown`. `heldMs`: time for one attempt at a request
   * that a manager holds back; only a request that is answered at once is sent to a second manager
   * when the first takes long.
   */
  async request<Request, Answer>(
    method: Method<Request, Answer>,
    request: Request,
    deadlineMs: number,
    heldMs?: number,
  ): Promise<Answer> {
    const endMs = this.clock.monotonicMs() + deadlineMs;
    const params = method.request.encode(request);
    const failures = new Failures();
    const strangers = new Set<string>();
    let mayHaveHappened = false;
    for (;;) {
      const leftMs = Math.max(1, endMs - this.clock.monotonicMs());
      const attemptMs = Math.ceil(Math.min(leftMs, heldMs ?? ATTEMPT_MS));
      const outcomes = await this.attempt(method.name, params, attemptMs, heldMs === undefined);
      const last = outcomes[outcomes.length - 1];
      if ("answer" in last) {
        this.tracker.succeeded(last.address);
        return method.answer.decode(last.answer, method.name);
      }
      let pauseMs = Infinity;
      for (const outcome of outcomes) {
        if ("answer" in outcome) continue;
        const { address } = outcome;
        const error = noManager(address, outcome.error);
        if (error !== outcome.error) strangers.add(address);
        failures.note(address, this.names.get(address), error);
        mayHaveHappened ||= error.outcomeUnknown;
        const advice = this.tracker.failed(address, error);
        if (advice.kind === "give_up") throw error;
        pauseMs = Math.min(pauseMs, advice.delayMs);
        if (strangers.size === this.tracker.size) {
          throw new TrilogError("invalid_argument", error.message, { cause: error });
        }
      }
      if (this.clock.monotonicMs() + pauseMs >= endMs) {
        throw gaveUp(unreached(failures, last.error), mayHaveHappened);
      }
      await sleep(this.clock, pauseMs);
    }
  }

  /**
   * One attempt at the present manager and, where that takes long and `hedged` allows it, one at
   * the next. The last outcome decides; those before it are failures or did not come.
   */
  private async attempt(
    name: string,
    params: Packable,
    attemptMs: number,
    hedged: boolean,
  ): Promise<Outcome[]> {
    const aborted = new AbortController();
    const ask = async (address: string, deadlineMs: number): Promise<Outcome> => {
      const options = { deadlineMs, signal: aborted.signal };
      try {
        return { address, answer: await this.caller.call(address, name, params, options) };
      } catch (thrown) {
        return { address, error: toTrilogError(thrown) };
      }
    };
    const { current, next } = this.tracker;
    const first = ask(current, attemptMs);
    if (!hedged || next === current || attemptMs <= HEDGE_MS) return [await first];
    if (await this.settlesWithin(first, HEDGE_MS)) return [await first];
    const second = ask(next, attemptMs - HEDGE_MS);
    const quicker = await Promise.race([first, second]);
    const decided = "answer" in quicker || !quicker.error.retryable ||
      (quicker.error.leader !== undefined && quicker.error.leader !== current);
    const outcomes = decided && quicker.address === next
      ? [late(current, name), quicker]
      : decided
      ? [quicker]
      : [quicker, await (quicker.address === next ? first : second)];
    aborted.abort();
    return outcomes;
  }

  private settlesWithin(work: Promise<unknown>, forMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = this.clock.after(forMs, () => resolve(false));
      void work.then(() => {
        timer.cancel();
        resolve(true);
      });
    });
  }
}

/** The outcome of a call that another manager's answer made superfluous. */
function late(address: string, name: string): Outcome {
  const error = new TrilogError(
    "deadline_exceeded",
    `Cannot call ${name} at ${address}: no answer`,
  );
  return { address, error };
}

/** A server without the managers' methods is another kind of server: the next candidate is asked. */
function noManager(address: string, error: TrilogError): TrilogError {
  if (error.code !== "unknown_method") return error;
  const message = `Cannot use ${address}: ${stateOf(error)}, a manager is needed`;
  const details = { retryable: true, answered: true, cause: error };
  return new TrilogError(error.code, message, details);
}

/** A failure that says which managers are missing. */
function unreached(failures: Failures, last: TrilogError): TrilogError {
  const { silent, silentCount, answer, reason } = failures;
  if (silent === null) return last;
  const verb = silentCount === 1 ? "does" : "do";
  const state = answer === null
    ? `no manager answers at ${silent} (${reason})`
    : answer.includes("not heard")
    ? `no manager quorum: ${answer}`
    : `no manager quorum: ${silent} ${verb} not answer`;
  return new TrilogError(last.code, `Cannot reach the managers: ${state}`, { cause: last });
}

/** A request's end after its last attempt failed with `error`. */
export function gaveUp(error: TrilogError, mayHaveHappened: boolean): TrilogError {
  const code: ErrorCode = mayHaveHappened ? "outcome_unknown" : "unavailable";
  const act = mayHaveHappened
    ? "Cannot determine the outcome of request"
    : "Cannot complete request in time";
  return new TrilogError(code, `${act}: ${stateOf(error)}`, { cause: error });
}
