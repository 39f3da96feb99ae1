/**
 * Makes one command of what many callers want within a short time. The first goes at once; what
 * arrives while it is under way, or within a pause after it began, goes with the next.
 */

import type { Clock } from "../base/clock.ts";

interface Waiting<Item, Answer> {
  readonly item: Item;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (reason: unknown) => void;
}

export interface GathererOptions<Item, Answer> {
  readonly clock: Clock;
  /** Least time between two commands, in milliseconds, as of now. */
  readonly pauseMs: (items: readonly Item[]) => number;
  /** Answers in the order of the items; a rejection rejects all of them. */
  readonly run: (items: readonly Item[]) => Promise<readonly Answer[]>;
}

export class Gatherer<Item, Answer> {
  private waiting: Waiting<Item, Answer>[] = [];
  private beganMs = -Infinity;
  private busy = false;

  constructor(private readonly options: GathererOptions<Item, Answer>) {}

  add(item: Item): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ item, resolve, reject });
      this.runSoon();
    });
  }

  private runSoon(): void {
    if (this.busy || this.waiting.length === 0) return;
    this.busy = true;
    const { clock, pauseMs } = this.options;
    const pause = pauseMs(this.waiting.map(({ item }) => item));
    const waitMs = this.beganMs + pause - clock.monotonicMs();
    if (waitMs > 0) clock.after(waitMs, () => void this.runNow());
    else clock.nextTurn(() => void this.runNow());
  }

  private async runNow(): Promise<void> {
    const together = this.waiting;
    this.waiting = [];
    this.beganMs = this.options.clock.monotonicMs();
    try {
      const answers = await this.options.run(together.map(({ item }) => item));
      together.forEach(({ resolve }, at) => resolve(answers[at]));
    } catch (thrown) {
      for (const { reject } of together) reject(thrown);
    }
    this.busy = false;
    this.runSoon();
  }
}
