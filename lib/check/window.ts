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
import type { Operation } from "./history.ts";
import type { StateSpace, Step, Steps } from "./state_space.ts";

const SLICE = 4_096;
/** Steps of all searches for one window together. */
const MAX_STEPS = 500_000;

export interface Window {
  /** In the order of invocation. */
  readonly steps: readonly Step[];
  /** False where the budget ended first: the window cannot be ordered, but may not be smallest. */
  readonly isSmallest: boolean;
}

/**
 * The window of a history that a search over `space` has found impossible, `blocked` being the
 * operation whose answer no order gets past. The window is looked for among the plain steps: what
 * they may do does not depend on answers that it leaves out. Only if that takes too long is it
 * looked for among the narrowed ones.
 */
export function smallestWindow(
  { plain, narrowed }: Steps,
  space: StateSpace,
  blocked: Operation,
  meter: MemoryMeter,
  isOutOfTime: () => boolean,
): Window {
  const reachable = Array.from({ length: space.size }, (_, state) => state);
  const findAmong = (steps: readonly Step[]) =>
    new WindowFinder(steps, reachable, space, blocked, meter, isOutOfTime).find();
  const window = findAmong(plain);
  if (window.isSmallest || plain === narrowed) return window;
  const { steps } = findAmong(narrowed);
  return steps.length < window.steps.length ? { steps, isSmallest: false } : window;
}

class WindowFinder {
  private readonly all: readonly TimedStep[];
  /** What there is until the answer that no order gets past. */
  private readonly prefix: readonly TimedStep[];
  private stepsLeft = MAX_STEPS;
  private isExhausted = false;

  constructor(
    steps: readonly Step[],
    /** Every state that an order of some of the operations leads to. */
    private readonly reachable: readonly number[],
    private readonly space: StateSpace,
    private readonly blocked: Operation,
    private readonly meter: MemoryMeter,
    private readonly isOutOfTime: () => boolean,
  ) {
    this.all = steps.map((step) => {
      const { calledAt, returnedAt } = step.operation;
      return { step, from: calledAt, until: returnedAt };
    });
    const end = blocked.returnedAt!;
    this.prefix = this.all.filter(({ from }) => from < end).map((timed) =>
      timed.until !== null && timed.until > end ? { ...timed, until: null } : timed
    );
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
      until !== null && from <= this.blocked.calledAt
    ).map(({ from }) => from).reverse();
    for (let at = 0; at < begins.length; at = Math.max(at + 1, Math.floor(at * 1.5))) {
      const timed = this.cutAt(begins[at]);
      if (this.isImpossible(timed, this.reachable)) return { timed, starts: this.reachable };
      if (this.isExhausted) break;
    }
    // Answers that came later may have narrowed the search that found the contradiction.
    const isPrefixEnough = !this.isExhausted && this.isImpossible(this.prefix, [0]);
    return { timed: isPrefixEnough ? this.prefix : this.all, starts: [0] };
  }

  private cutAt(begin: number): TimedStep[] {
    return this.prefix.filter(({ until }) => until === null || until > begin).map((timed) =>
      timed.from < begin ? { ...timed, until: null } : timed
    );
  }

  /** Relaxes all that can be, in ever smaller groups. */
  private reduce(timed: readonly TimedStep[], starts: readonly number[]): readonly TimedStep[] {
    let reduced = timed;
    const needed = timed.filter(({ until }) => until !== null);
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
