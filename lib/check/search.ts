/**
 * PURE. The search for an order of operations: depth first, as Wing and Gong ("Testing and
 * Verifying Concurrent Objects", 1993) do it, with the configurations that were seen remembered, as
 * Lowe ("Testing for Linearizability", 2017) adds to it. An operation may come next if it was
 * invoked before any operation that is still to come returned.
 *
 * A configuration is the set of operations that have come and the state they led to. The set is
 * kept short: every operation that returned before the first outstanding return has come, none has
 * that was invoked after it, so only those between the two need a bit, and operations that never
 * overlap share one.
 *
 * Three rules leave out orders that cannot make a difference:
 * - What only observes, and may come next, comes at once: it takes nothing from what follows.
 * - A step of unknown outcome is not taken where it changes nothing: it may as well never happen.
 * - Of equal steps of unknown outcome, the one that was invoked first comes first.
 */

import { KeyTable } from "./key_table.ts";
import type { MemoryMeter } from "./memory_meter.ts";
import { IMPOSSIBLE, type StateSpace, type Step } from "./state_space.ts";

/** A step with the time in which it must take effect. */
export interface TimedStep {
  readonly step: Step;
  /** Position among the events before which it cannot take effect. */
  readonly from: number;
  /** Position by which it must have; null: it may take effect at any later time, or never. */
  readonly until: number | null;
}

const END = -1;
const BYTES_PER_STEP = 64;

export class Search {
  private readonly steps: readonly TimedStep[];
  /** Those that must come, first in `steps`. */
  private readonly requiredCount: number;
  /** Required steps in the order of their returns. */
  private readonly returns: Int32Array;
  private readonly fromAt: Float64Array;
  /** Of an optional step the equal one before it, or END. */
  private readonly equalBefore: Int32Array;
  /** Of every step its bit among those of a configuration. */
  private readonly bitOf: Int32Array;

  /** Steps that have not come: two lists, required and optional, each in the order of `from`. */
  private readonly next: Int32Array;
  private readonly previous: Int32Array;
  private readonly requiredHead: number;
  private readonly optionalHead: number;

  /** What came, in order, with what was before each. */
  private readonly order: Int32Array;
  private readonly statesBefore: Int32Array;
  private readonly returnsBefore: Int32Array;
  private readonly isForced: Uint8Array;
  private depth = 0;

  /** How many of `returns` have come without a gap; the next one bounds what may come. */
  private returned = 0;
  private state = 0;
  /** Step that is tried next in this configuration. */
  private candidate = END;
  private nextStart = 0;

  private readonly seen: KeyTable;
  /** Number of returns, state, and bits of the steps that have come. */
  private readonly configuration: Int32Array;
  private readonly takenBytes: number;

  private furthestReturned = -1;
  private longest: number[] = [];
  private longestState = 0;
  private stepsTaken = 0;
  private verdict: "running" | "ordered" | "impossible" = "running";

  /** Looks for an order that begins in one of the states `starts`. */
  constructor(
    timedSteps: readonly TimedStep[],
    private readonly space: StateSpace,
    private readonly meter: MemoryMeter,
    private readonly starts: readonly number[] = [0],
  ) {
    const byFrom = timedSteps.toSorted((left, right) => left.from - right.from);
    const required = byFrom.filter(({ until }) => until !== null);
    const optional = byFrom.filter(({ step, until }) => until === null && !step.action.readOnly);
    this.steps = [...required, ...optional];
    this.requiredCount = required.length;
    const count = this.steps.length;
    this.takenBytes = count * BYTES_PER_STEP;
    meter.take(this.takenBytes);
    this.returns = Int32Array.from(required.keys()).sort((left, right) =>
      required[left].until! - required[right].until!
    );
    this.fromAt = Float64Array.from(this.steps, ({ from }) => from);
    this.equalBefore = this.linkEqualSteps();
    const { bits, bitOf } = this.assignBits();
    this.bitOf = bitOf;
    this.requiredHead = count;
    this.optionalHead = count + 1;
    this.next = new Int32Array(count + 2);
    this.previous = new Int32Array(count + 2);
    this.linkLists();
    this.order = new Int32Array(count);
    this.statesBefore = new Int32Array(count);
    this.returnsBefore = new Int32Array(count);
    this.isForced = new Uint8Array(count);
    this.configuration = new Int32Array(2 + Math.ceil(bits / 32));
    this.seen = new KeyTable(this.configuration.length, meter);
  }

  /** Different configurations that were met. */
  get configurations(): number {
    return this.seen.size;
  }

  /** The step whose return no order gets past, after `impossible`. */
  get blocked(): Step {
    return this.steps[this.returns[this.furthestReturned]].step;
  }

  /** The order that gets furthest, of all that were tried; complete when ordered. */
  get longestOrder(): readonly Step[] {
    return this.longest.map((at) => this.steps[at].step);
  }

  /** The number of the state that {@link longestOrder} leads to. */
  get stateReached(): number {
    return this.longestState;
  }

  /** Goes on for at most `limit` steps, or throws `OutOfMemory`. */
  advance(limit: number): "running" | "ordered" | "impossible" {
    const end = this.stepsTaken + limit;
    while (this.verdict === "running" && this.stepsTaken < end) {
      this.stepsTaken += 1;
      if (this.candidate === END) this.retreat();
      else this.tryCandidate();
    }
    return this.verdict;
  }

  /** Gives the memory back; only what was found stays. */
  release(): void {
    this.seen.release();
    this.meter.give(this.takenBytes);
  }

  private tryCandidate(): void {
    const at = this.candidate;
    const next = this.stateAfter(at);
    if (next === IMPOSSIBLE || !this.take(at, next, false)) {
      this.candidate = this.candidateAfter(at);
    } else this.enter();
  }

  /** A new configuration: what only observes comes at once, as far as it can. */
  private enter(): void {
    while (this.returned < this.requiredCount) {
      const observer = this.possibleObserver();
      if (observer === END) {
        this.candidate = this.candidateAfter(this.requiredHead);
        return;
      }
      if (!this.take(observer, this.state, true)) {
        this.candidate = END;
        return;
      }
    }
    this.noteLongest();
    this.verdict = "ordered";
  }

  /** A dead end: back to the latest choice that has an alternative, or to the next start. */
  private retreat(): void {
    this.noteLongest();
    while (this.depth > 0) {
      const at = this.untake();
      if (this.isForced[this.depth] === 1) continue;
      this.candidate = this.candidateAfter(at);
      return;
    }
    if (this.nextStart === this.starts.length) {
      this.verdict = "impossible";
      return;
    }
    this.state = this.starts[this.nextStart];
    this.nextStart += 1;
    this.enter();
  }

  private possibleObserver(): number {
    const bound = this.bound();
    for (let at = this.next[this.requiredHead]; at !== END; at = this.next[at]) {
      if (this.fromAt[at] >= bound) return END;
      const { step } = this.steps[at];
      if (step.action.readOnly && this.space.after(this.state, step) !== IMPOSSIBLE) return at;
    }
    return END;
  }

  /** The step to try after `at`: of the required ones, then of the optional ones. */
  private candidateAfter(at: number): number {
    const bound = this.bound();
    let following = this.next[at];
    if (following !== END && this.fromAt[following] < bound) return following;
    if (this.isOptional(at)) return END;
    following = this.next[this.optionalHead];
    return following !== END && this.fromAt[following] < bound ? following : END;
  }

  private isOptional(at: number): boolean {
    return at === this.optionalHead || (at >= this.requiredCount && at !== this.requiredHead);
  }

  /** Return before which whatever comes next must have been invoked. */
  private bound(): number {
    return this.steps[this.returns[this.returned]].until!;
  }

  private stateAfter(at: number): number {
    const next = this.space.after(this.state, this.steps[at].step);
    if (at < this.requiredCount) return next;
    const before = this.equalBefore[at];
    const isOutOfTurn = before !== END && !this.hasBit(before);
    return isOutOfTurn || next === this.state ? IMPOSSIBLE : next;
  }

  /** Lets a step come, unless that leads to a configuration that was seen. */
  private take(at: number, nextState: number, forced: boolean): boolean {
    const { depth } = this;
    this.order[depth] = at;
    this.statesBefore[depth] = this.state;
    this.returnsBefore[depth] = this.returned;
    this.isForced[depth] = forced ? 1 : 0;
    this.depth += 1;
    this.state = nextState;
    this.next[this.previous[at]] = this.next[at];
    if (this.next[at] !== END) this.previous[this.next[at]] = this.previous[at];
    this.flipBit(at);
    this.passReturns();
    this.configuration[0] = this.returned;
    this.configuration[1] = this.state;
    const known = this.seen.size;
    if (this.seen.numberOf(this.configuration) === known) return true;
    this.untake();
    return false;
  }

  private untake(): number {
    this.depth -= 1;
    const at = this.order[this.depth];
    const returnsBefore = this.returnsBefore[this.depth];
    while (this.returned > returnsBefore) {
      this.returned -= 1;
      this.flipBit(this.returns[this.returned]);
    }
    this.flipBit(at);
    this.state = this.statesBefore[this.depth];
    this.next[this.previous[at]] = at;
    if (this.next[at] !== END) this.previous[this.next[at]] = at;
    return at;
  }

  /** Steps whose returns lie behind give their bits back. */
  private passReturns(): void {
    while (this.returned < this.requiredCount) {
      const at = this.returns[this.returned];
      if (!this.hasBit(at)) return;
      this.flipBit(at);
      this.returned += 1;
    }
  }

  private hasBit(at: number): boolean {
    const bit = this.bitOf[at];
    return (this.configuration[2 + (bit >>> 5)] & (1 << (bit & 31))) !== 0;
  }

  private flipBit(at: number): void {
    const bit = this.bitOf[at];
    this.configuration[2 + (bit >>> 5)] ^= 1 << (bit & 31);
  }

  private noteLongest(): void {
    const isFurther = this.returned > this.furthestReturned ||
      (this.returned === this.furthestReturned && this.depth > this.longest.length);
    if (!isFurther) return;
    this.furthestReturned = this.returned;
    this.longest = [...this.order.subarray(0, this.depth)];
    this.longestState = this.state;
  }

  private linkEqualSteps(): Int32Array {
    const equalBefore = new Int32Array(this.steps.length).fill(END);
    const latest = new Map<number, number>();
    for (let at = this.requiredCount; at < this.steps.length; at += 1) {
      const { kind } = this.steps[at].step;
      equalBefore[at] = latest.get(kind) ?? END;
      latest.set(kind, at);
    }
    return equalBefore;
  }

  /** Steps whose times do not overlap share bits; optional ones keep theirs to the end. */
  private assignBits(): { bits: number; bitOf: Int32Array } {
    const bitOf = new Int32Array(this.steps.length);
    const free: number[] = [];
    let bits = 0;
    let returned = 0;
    const byFrom = [...this.fromAt.keys()].sort((left, right) =>
      this.fromAt[left] - this.fromAt[right]
    );
    for (const at of byFrom) {
      while (returned < this.requiredCount) {
        const earlier = this.returns[returned];
        if (this.steps[earlier].until! >= this.fromAt[at]) break;
        free.push(bitOf[earlier]);
        returned += 1;
      }
      bitOf[at] = free.pop() ?? bits++;
    }
    return { bits, bitOf };
  }

  private linkLists(): void {
    const link = (head: number, first: number, end: number) => {
      let before = head;
      for (let at = first; at < end; at += 1) {
        this.next[before] = at;
        this.previous[at] = before;
        before = at;
      }
      this.next[before] = END;
    };
    link(this.requiredHead, 0, this.requiredCount);
    link(this.optionalHead, this.requiredCount, this.steps.length);
  }
}
