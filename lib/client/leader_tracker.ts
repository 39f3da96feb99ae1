/**
 * PURE. Whom to ask of several servers of which one leads: the one that was right last time, the
 * one that a refusal named, else one after the other. It remembers and advises, and sends nothing.
 * Used for the managers and, once per partition, for brokers.
 */

import { assert } from "../base/assert.ts";
import type { ErrorCode, TrilogError } from "../base/errors.ts";
import type { Random } from "../base/prng.ts";
import { Backoff } from "../base/backoff.ts";

export interface RetrySettings {
  /** Longest pause before the first retry; doubles with each failure up to `maxDelayMs`. */
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
}
export const defaultRetry: RetrySettings = { firstDelayMs: 10, maxDelayMs: 500 };

export type Advice =
  /** Not to be had by asking again: the error is the answer. */
  | { readonly kind: "give_up" }
  /** Ask `current` after `delayMs`; with `refresh` the metadata may be out of date. */
  | { readonly kind: "retry"; readonly delayMs: number; readonly refresh: boolean };

/** Hints followed at once, in a row; then the servers are disagreeing and get a pause. */
const QUICK_HINTS = 2;

/** Answers of the right server, which may pass later, but not by asking it for a while. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set(["not_enough_brokers"]);

/** The right server was asked, and can do nothing just now. */
const STAY: ReadonlySet<ErrorCode> = new Set(["overloaded", "disk_full"]);

export class LeaderTracker {
  private candidates: readonly string[];
  private address: string;
  /** Position of the candidate that was asked last: the next one follows it. */
  private at = 0;
  private readonly backoff: Backoff;
  private hintsInARow = 0;

  /** `candidates`: addresses, the likeliest leader first; at least one. */
  constructor(
    candidates: readonly string[],
    random: Random,
    retry: RetrySettings = defaultRetry,
  ) {
    assert(candidates.length > 0, "there is somebody to ask");
    this.backoff = new Backoff(random, retry.firstDelayMs, retry.maxDelayMs);
    this.candidates = candidates;
    this.address = candidates[0];
  }

  /** Address to ask. A hint may name one that is not among the candidates. */
  get current(): string {
    return this.address;
  }

  /** The candidate that would be asked after `current`; the same where there is no other. */
  get next(): string {
    const place = this.candidates.indexOf(this.address);
    return this.candidates[((place < 0 ? this.at : place) + 1) % this.candidates.length];
  }

  get all(): readonly string[] {
    return this.candidates;
  }

  /** How many candidates there are. */
  get size(): number {
    return this.candidates.length;
  }

  /** The servers have changed; `leader` is their leader where that is news, else null. */
  update(candidates: readonly string[], leader: string | null): void {
    assert(candidates.length > 0, "there is somebody to ask");
    this.candidates = candidates;
    if (leader !== null) this.address = leader;
    else if (!candidates.includes(this.address)) this.address = candidates[0];
    this.at = Math.max(0, candidates.indexOf(this.address));
  }

  succeeded(address: string): void {
    this.address = address;
    this.hintsInARow = 0;
    this.backoff.reset();
  }

  /** The request to `address` failed: whom to ask next, and when. */
  failed(address: string, error: TrilogError): Advice {
    if (!error.retryable || REFUSALS.has(error.code)) return { kind: "give_up" };
    // Of many requests under way, the first failure moves the choice; the others just follow.
    if (address !== this.address) return { kind: "retry", delayMs: 0, refresh: false };
    this.address = this.successor(address, error);
    const hinted = error.leader !== undefined && error.leader !== address;
    this.hintsInARow = hinted ? this.hintsInARow + 1 : 0;
    const quick = hinted && this.hintsInARow <= QUICK_HINTS;
    return {
      kind: "retry",
      delayMs: quick ? 0 : this.backoff.next(),
      refresh: !quick && !STAY.has(error.code),
    };
  }

  private successor(address: string, error: TrilogError): string {
    const at = this.candidates.indexOf(address);
    if (at >= 0) this.at = at;
    if (error.leader !== undefined) return error.leader;
    if (STAY.has(error.code)) return address;
    // A hint that led nowhere is no candidate: go on behind the one that gave it.
    this.at = (this.at + 1) % this.candidates.length;
    return this.candidates[this.at];
  }
}
