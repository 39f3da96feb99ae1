/**
 * PURE. The smallest set of operations that already cannot be ordered, for people to look at.
 *
 * A history without an order is relaxed step by step, always so that whatever could be ordered
 * before still can: an observation is left out, a change may take effect at any later time or
 * never, and what lies wholly before the window is replaced by every state that any order of it may
 * lead to. What cannot be relaxed without an order appearing is the window: each of its operations
 * is needed for the contradiction.
 */

import type { MemoryMeter } from "./memory_meter.ts";
import { OutOfMemory } from "./memory_meter.ts";
import { Search, type TimedStep } from "./search.ts";
import type { StateSpace, Step } from "./state_space.ts";

const SLICE = 4_096;
/** Steps of all searches for the window together. */
const MAX_STEPS = 20_000_000;

export interface Window {
  /** In the order of invocation. */
  readonly steps: readonly Step[];
  /** False where the budget ended first: the window cannot be ordered, but may not be smallest. */
  readonly isSmallest: boolean;
}

/**
 * The window of a history that a search over `space` has found impossible, `blocked` being the step
 * whose return no order gets past.
 */
export function smallestWindow(
  steps: readonly Step[],
  space: StateSpace,
  blocked: Step,
  meter: MemoryMeter,
  isOutOfTime: () => boolean,
): Window {
  return new WindowFinder(steps, space, blocked, meter, isOutOfTime).find();
}

class WindowFinder {
  private readonly prefix: readonly TimedStep[];
  /** Every state that an order of some of the operations leads to. */
  private readonly reachable: readonly number[];
  private stepsLeft = MAX_STEPS;
  private isExhausted = false;

  constructor(
    steps: readonly Step[],
    private readonly space: StateSpace,
    private readonly blocked: Step,
    private readonly meter: MemoryMeter,
    private readonly isOutOfTime: () => boolean,
  ) {
    const end = blocked.operation.returnedAt!;
    this.prefix = steps.filter(({ operation }) => operation.calledAt < end).map((step) => {
      const { calledAt, returnedAt } = step.operation;
      const until = returnedAt === null || returnedAt > end ? null : returnedAt;
      return { step, from: calledAt, until };
    });
    this.reachable = Array.from({ length: space.size }, (_, state) => state);
  }

  find(): Window {
    const { timed, starts } = this.latestCut();
    const reduced = this.reduce(timed, starts);
    const steps = reduced.filter(({ until }) => until !== null).map(({ step }) => step);
    return { steps, isSmallest: !this.isExhausted };
  }

  /** The latest beginning such that what follows has no order from any state. */
  private latestCut(): { timed: readonly TimedStep[]; starts: readonly number[] } {
    const begins = this.prefix.filter(({ from, until }) =>
      until !== null && from <= this.blocked.operation.calledAt
    ).map(({ from }) => from).reverse();
    for (let at = 0; at < begins.length; at = Math.max(at + 1, Math.floor(at * 1.5))) {
      const timed = this.cutAt(begins[at]);
      if (this.isImpossible(timed, this.reachable)) return { timed, starts: this.reachable };
      if (this.isExhausted) break;
    }
    return { timed: this.prefix, starts: [0] };
  }

  private cutAt(begin: number): TimedStep[] {
    return this.prefix.filter(({ until }) => until === null || until > begin).map((timed) =>
      timed.from < begin ? { ...timed, until: null } : timed
    );
  }

  /** Relaxes all that can be, in ever smaller groups. */
  private reduce(timed: readonly TimedStep[], starts: readonly number[]): readonly TimedStep[] {
    let reduced = timed;
    const needed = timed.filter(({ step, until }) => until !== null && step !== this.blocked);
    let size = needed.length;
    while (size >= 1) {
      for (let at = 0; at < needed.length; at += size) {
        if (this.isExhausted) return reduced;
        const group = new Set(needed.slice(at, at + size).map(({ step }) => step));
        const relaxed = reduced.map((one) => group.has(one.step) ? { ...one, until: null } : one);
        if (this.isImpossible(relaxed, starts)) reduced = relaxed;
      }
      size = size === 1 ? 0 : Math.ceil(size / 2);
    }
    return reduced;
  }

  private isImpossible(timed: readonly TimedStep[], starts: readonly number[]): boolean {
    let search: Search | null = null;
    try {
      search = new Search(timed, this.space, this.meter, starts);
      while (this.stepsLeft > 0 && !this.isOutOfTime()) {
        this.stepsLeft -= SLICE;
        const verdict = search.advance(SLICE);
        if (verdict !== "running") return verdict === "impossible";
      }
    } catch (thrown) {
      if (!(thrown instanceof OutOfMemory)) throw thrown;
    } finally {
      search?.release();
    }
    this.isExhausted = true;
    return false;
  }
}
