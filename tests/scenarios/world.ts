/**
 * Where a scenario happens: its clock, its randomness and its end. In a virtual world a minute
 * takes milliseconds and the seed decides everything; in the real one time passes as it does.
 */

import { assert } from "@std/assert";
import type { Clock } from "../../lib/base/clock.ts";
import { Prng } from "../../lib/base/prng.ts";
import { systemClock } from "../../lib/base/system_clock.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";

/** No scenario may take longer, by its own clock. */
export const LIMIT_MS = 120_000;
/** How often the real world is looked at; the virtual one after every event. */
const WATCH_MS = 5;

export abstract class World {
  abstract readonly clock: Clock;
  /** Whether durations say something about the servers alone, and nothing about the machine. */
  abstract readonly isExact: boolean;
  readonly random: Prng;
  private readonly closers: (() => void)[] = [];
  private failure: unknown = null;

  constructor(readonly seed: number) {
    this.random = new Prng(seed);
  }

  /** Calls `check` all the time; what it throws ends the scenario. */
  abstract watch(check: () => void): void;

  get nowMs(): number {
    return this.clock.monotonicMs();
  }

  async sleep(durationMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.clock.after(durationMs, resolve);
    });
    if (this.failure !== null) throw this.failure;
  }

  /** Remembers a failure that nobody can be told at once: the next sleep throws it. */
  guard(run: () => void): void {
    try {
      run();
    } catch (thrown) {
      this.failure ??= thrown;
    }
  }

  /** Something to stop when the scenario is over. */
  onClose(close: () => void): void {
    this.closers.push(close);
  }

  protected close(): void {
    for (const closer of this.closers.splice(0)) closer();
    if (this.failure !== null) throw this.failure;
  }
}

class VirtualWorld extends World {
  readonly clock: Clock;
  readonly isExact = true;
  private readonly scheduler = new Scheduler();

  constructor(seed: number) {
    super(seed);
    const { scheduler } = this;
    this.clock = {
      monotonicMs: () => scheduler.nowMs,
      wallMs: () => Math.floor(scheduler.nowMs),
      after: (delayMs, run) => scheduler.after(delayMs, "", run),
      nextTurn: (run) => {
        scheduler.after(0, "", run);
      },
    };
  }

  watch(check: () => void): void {
    this.scheduler.afterEachStep(() => this.guard(check));
  }

  async run(scenario: (world: World) => Promise<void>): Promise<number> {
    let ended: { readonly thrown: unknown } | null = null;
    scenario(this).then(() => ended = { thrown: null }, (thrown) => ended = { thrown });
    await this.scheduler.runUntil(LIMIT_MS, () => ended !== null);
    return this.finish(ended);
  }

  private finish(ended: { readonly thrown: unknown } | null): number {
    const { nowMs } = this;
    this.close();
    assert(ended !== null, `the scenario has not ended after ${LIMIT_MS} ms`);
    if (ended.thrown !== null) throw ended.thrown;
    return nowMs;
  }
}

class RealWorld extends World {
  readonly clock = systemClock;
  readonly isExact = false;

  watch(check: () => void): void {
    const timer = setInterval(() => this.guard(check), WATCH_MS);
    this.onClose(() => clearInterval(timer));
  }

  async run(scenario: (world: World) => Promise<void>): Promise<number> {
    const startMs = this.nowMs;
    try {
      await scenario(this);
    } finally {
      this.close();
    }
    const tookMs = this.nowMs - startMs;
    assert(tookMs < LIMIT_MS, `the scenario took ${Math.round(tookMs)} ms`);
    return tookMs;
  }
}

export interface Scenario {
  readonly name: string;
  readonly run: (world: World) => Promise<void>;
}

/** Runs a scenario and returns how long it took by its own clock; what failed names the seed. */
export async function play(scenario: Scenario, seed: number, real: boolean): Promise<number> {
  const world = real ? new RealWorld(seed) : new VirtualWorld(seed);
  try {
    return await world.run(scenario.run);
  } catch (thrown) {
    throw new Error(`${scenario.name}, seed ${seed}: ${(thrown as Error).message}`, {
      cause: thrown,
    });
  }
}
