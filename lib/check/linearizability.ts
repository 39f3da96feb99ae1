/**
 * PURE. Is a history linearizable: is there an order of its operations, each between its invocation
 * and its answer, in which every answer is right? Herlihy and Wing, "Linearizability: A Correctness
 * Condition for Concurrent Objects" (1990); a history is linearizable exactly if that of each of
 * its objects is, so each is searched by itself.
 *
 * The searches take turns, so that one hopeless part does not hide that another is wrong, and the
 * first that is not linearizable ends them all. Without a time budget, the same history gives the
 * same report.
 */

import type { Operation } from "./history.ts";
import { MemoryMeter, OutOfMemory } from "./memory_meter.ts";
import type { Model } from "./models/model.ts";
import { type ModelName, modelNamed } from "./models/models.ts";
import { Search } from "./search.ts";
import { StateSpace, type Step, type Steps, stepsOf } from "./state_space.ts";
import { smallestWindow } from "./window.ts";

const MIB = 1024 * 1024;
const DEFAULT_MEMORY_BYTES = 512 * MIB;

/** Steps of one turn: few at first, so that easy violations come out at once. */
const FIRST_TURN = 256;
const LONGEST_TURN = 16_384;

export interface CheckOptions {
  /** What all searches together may hold on to; 512 MiB by default. */
  readonly memoryBytes?: number;
  /** Steps of all searches together; no limit by default. */
  readonly maxSteps?: number;
  /** Asked again and again; true ends the check. */
  readonly isOutOfTime?: () => boolean;
}

export type Verdict = "linearizable" | "not_linearizable" | "unknown";

/** What came out for one object. */
export interface PartReport {
  /** The key, or "" where there is only one object. */
  readonly name: string;
  readonly verdict: Verdict;
  /** All of them, in the order of invocation. */
  readonly operations: readonly Operation[];
  /** The longest order that was found; complete for a linearizable part. */
  readonly order: readonly Operation[];
  /** The state that `order` leads to, for people. */
  readonly stateAfter: string;
}

export interface Violation {
  readonly part: PartReport;
  /** No order of the operations gets past the answer of this one. */
  readonly blocked: Operation;
  /** Operations that cannot be ordered, in the order of invocation. */
  readonly window: readonly Operation[];
  /** Whether each operation of the window is needed for the contradiction. */
  readonly isSmallest: boolean;
}

export interface CheckReport {
  readonly model: ModelName;
  readonly verdict: Verdict;
  /** How many operations the history has. */
  readonly operations: number;
  /** In the order of their first operations. */
  readonly parts: readonly PartReport[];
  readonly violation: Violation | null;
  /** What ran out, where the verdict is `unknown`. */
  readonly exhausted: "time" | "steps" | "memory" | null;
  readonly configurations: number;
  /** The most memory that the searches held at one time, as they count it themselves. */
  readonly peakMemoryBytes: number;
}

/** Judges a history; throws `malformed` for an operation that the model does not know. */
export function checkHistory(
  operations: readonly Operation[],
  modelName: ModelName,
  options: CheckOptions = {},
): CheckReport {
  const turns = checkInTurns(operations, modelName, options);
  for (;;) {
    const { done, value } = turns.next();
    if (done) return value;
  }
}

/** The same, stopping after each turn, so that the caller can see to other things. */
export function checkInTurns(
  operations: readonly Operation[],
  modelName: ModelName,
  options: CheckOptions = {},
): Generator<void, CheckReport, void> {
  return new Check(operations, modelName, options).run();
}

class Check {
  private readonly meter: MemoryMeter;
  private readonly parts: Part[];
  private stepsLeft: number;
  private exhausted: CheckReport["exhausted"] = null;

  constructor(
    private readonly operations: readonly Operation[],
    private readonly modelName: ModelName,
    private readonly options: CheckOptions,
  ) {
    this.meter = new MemoryMeter(options.memoryBytes ?? DEFAULT_MEMORY_BYTES);
    this.stepsLeft = options.maxSteps ?? Infinity;
    const model = modelNamed(modelName);
    const byName = Map.groupBy(operations, (operation) => model.partOf(operation));
    this.parts = [...byName].map(([name, own]) => new Part(name, own, model, this.meter));
  }

  *run(): Generator<void, CheckReport, void> {
    let waiting = this.parts;
    for (let turn = FIRST_TURN; waiting.length > 0; turn = Math.min(turn * 2, LONGEST_TURN)) {
      const undecided: Part[] = [];
      for (const part of waiting) {
        if (this.isOver()) return this.report(null);
        const steps = Math.min(turn, this.stepsLeft);
        this.stepsLeft -= steps;
        const outcome = part.advance(steps);
        if (outcome === "impossible") return this.report(this.violationOf(part));
        if (outcome === "running") undecided.push(part);
        if (outcome === "out_of_memory") this.exhausted = "memory";
        yield;
      }
      waiting = undecided;
    }
    return this.report(null);
  }

  private isOver(): boolean {
    if (this.options.isOutOfTime?.()) this.exhausted = "time";
    else if (this.stepsLeft <= 0) this.exhausted = "steps";
    else return false;
    return true;
  }

  private violationOf(part: Part): Violation {
    for (const other of this.parts) if (other !== part) other.release();
    const isOutOfTime = () => this.options.isOutOfTime?.() ?? false;
    const { blocked, window, isSmallest } = part.violation(isOutOfTime);
    return { part: part.report(), blocked, window, isSmallest };
  }

  private report(violation: Violation | null): CheckReport {
    const parts = this.parts.map((part) => part.report());
    const isProven = parts.every(({ verdict }) => verdict === "linearizable");
    const verdict = violation !== null ? "not_linearizable" : isProven ? "linearizable" : "unknown";
    let configurations = 0;
    for (const part of this.parts) configurations += part.configurations;
    return {
      model: this.modelName,
      verdict,
      operations: this.operations.length,
      parts,
      violation,
      exhausted: verdict === "unknown" ? this.exhausted : null,
      configurations,
      peakMemoryBytes: this.meter.peakBytes,
    };
  }
}

/** One object and its search, which begins with its first turn. */
class Part {
  private readonly steps: Steps;
  private verdict: Verdict = "unknown";
  private space: StateSpace | null = null;
  private search: Search | null = null;
  private order: readonly Step[] = [];
  private stateAfter: string;

  constructor(
    private readonly name: string,
    private readonly operations: readonly Operation[],
    private readonly model: Model<unknown>,
    private readonly meter: MemoryMeter,
  ) {
    this.steps = stepsOf(model, operations);
    this.stateAfter = model.describe(model.initial);
  }

  get configurations(): number {
    return this.search?.configurations ?? 0;
  }

  advance(steps: number): "running" | "ordered" | "impossible" | "out_of_memory" {
    try {
      const outcome = this.begun().advance(steps);
      if (outcome === "ordered") this.verdict = "linearizable";
      if (outcome === "impossible") this.verdict = "not_linearizable";
      if (outcome === "ordered") this.release();
      return outcome;
    } catch (thrown) {
      if (!(thrown instanceof OutOfMemory)) throw thrown;
      this.release();
      return "out_of_memory";
    }
  }

  violation(isOutOfTime: () => boolean): Omit<Violation, "part"> {
    const blocked = this.search!.blocked.operation;
    const space = this.space!;
    this.keepOrder();
    this.search!.release();
    const window = smallestWindow(this.steps, space, blocked, this.meter, isOutOfTime);
    return {
      blocked,
      window: window.steps.map(({ operation }) => operation),
      isSmallest: window.isSmallest,
    };
  }

  report(): PartReport {
    this.keepOrder();
    const { name, verdict, operations, stateAfter } = this;
    return {
      name,
      verdict,
      operations,
      order: this.order.map((step) => step.operation),
      stateAfter,
    };
  }

  /** Gives the memory back; what was found stays. */
  release(): void {
    this.keepOrder();
    this.search?.release();
    this.space?.release();
    this.space = null;
  }

  private begun(): Search {
    this.space ??= new StateSpace(this.model, this.meter);
    this.search ??= new Search(
      this.steps.narrowed.map((step) => {
        const { calledAt, returnedAt } = step.operation;
        return { step, from: calledAt, until: returnedAt };
      }),
      this.space,
      this.meter,
    );
    return this.search;
  }

  private keepOrder(): void {
    if (this.search === null || this.space === null) return;
    this.order = this.search.longestOrder;
    this.stateAfter = this.space.describe(this.search.stateReached);
  }
}
