/**
 * One simulation: a cluster under faults and load, then healed and made to prove that it lost
 * nothing. The seed decides everything; see DESIGN.md.
 */

import type { DeploymentFault } from "./deployment/faults.ts";
import { deploymentScheduleOf } from "./deployment/faults.ts";
import {
  DEPLOYMENT_FAULT_KINDS,
  type DeploymentFaultKind,
  deploymentOptionsOf,
} from "./deployment/options.ts";
import { DeploymentSimulation, MICROTASK_TURNS } from "./deployment/simulation.ts";
import { type Fault, scheduleOf } from "./faults.ts";
import { GroupSimulation } from "./group_simulation.ts";
import {
  FAULT_KINDS,
  type FaultKind,
  optionsOf,
  type SimOptions,
  type SystemName,
} from "./options.ts";
import { BrokenInvariant } from "./oracle.ts";
import { NoProgress, type SimResult } from "./outcome.ts";
import { Rejections } from "./rejections.ts";
import { Scheduler } from "./scheduler.ts";
import type { Operations } from "./system.ts";
import type { TlaWriter } from "./tla_trace.ts";

export type { SimResult } from "./outcome.ts";

export type AnyFault = Fault | DeploymentFault;
export type AnyFaultKind = FaultKind | DeploymentFaultKind;

/** Options that every system has. */
type CommonOptions = Partial<Pick<SimOptions, "faultsMs" | "faultEveryMs">>;

export interface SimOverrides {
  readonly options?: Partial<Omit<SimOptions, "system" | "kinds">> & {
    readonly system?: SystemName;
    readonly kinds?: readonly AnyFaultKind[];
  };
  /** Replaces the schedule that the seed would give. */
  readonly faults?: readonly AnyFault[];
  /** Told of every event: its virtual time and what it is. */
  readonly onEvent?: (atMs: number, label: string) => void;
  /** Takes the run of the first group as a trace of the Raft specification; not of `cluster`. */
  readonly onTla?: TlaWriter;
}

/** What a seed decides before anything runs, as far as all systems have it. */
export interface Plan {
  readonly faults: readonly AnyFault[];
  /** Virtual time under faults. */
  readonly faultsMs: number;
  /** Kinds of faults that are switched on. */
  readonly kinds: readonly AnyFaultKind[];
  readonly start: (faults: readonly AnyFault[]) => { scheduler: Scheduler; simulation: Simulation };
}

interface Simulation {
  writeTla?(write: TlaWriter): void;
  run(): Promise<void>;
  readonly faultsFired: Record<string, number>;
  readonly operations: Operations;
}

/** The plan of a seed. */
export function planOf(seed: number, { options: given = {}, faults }: SimOverrides = {}): Plan {
  const { system = "atm", kinds, ...rest } = given;
  if (system === "cluster") {
    const { faultsMs, faultEveryMs } = rest;
    const common: CommonOptions = {
      ...(faultsMs === undefined ? {} : { faultsMs }),
      ...(faultEveryMs === undefined ? {} : { faultEveryMs }),
    };
    const own = DEPLOYMENT_FAULT_KINDS.filter((kind) => kinds?.includes(kind));
    const overrides = kinds === undefined ? common : { ...common, kinds: own };
    const options = deploymentOptionsOf(seed, overrides);
    return {
      faults: faults ?? deploymentScheduleOf(seed, options),
      faultsMs: options.faultsMs,
      kinds: options.kinds,
      start: (faults) => {
        const scheduler = new Scheduler(MICROTASK_TURNS);
        const own = faults as readonly DeploymentFault[];
        return { scheduler, simulation: new DeploymentSimulation(seed, options, own, scheduler) };
      },
    };
  }
  const own = FAULT_KINDS.filter((kind) => kinds?.includes(kind));
  const overrides = kinds === undefined ? { ...rest, system } : { ...rest, system, kinds: own };
  const options = optionsOf(seed, overrides);
  return {
    faults: faults ?? scheduleOf(seed, options),
    faultsMs: options.faultsMs,
    kinds: options.kinds,
    start: (faults) => {
      const scheduler = new Scheduler();
      const own = faults as readonly Fault[];
      return { scheduler, simulation: new GroupSimulation(seed, options, own, scheduler) };
    },
  };
}

/** Runs the simulation of a seed. Never rejects: every failure is an outcome. */
export async function simulate(seed: number, overrides: SimOverrides = {}): Promise<SimResult> {
  const plan = planOf(seed, overrides);
  const { scheduler, simulation } = plan.start(plan.faults);
  scheduler.onEvent = overrides.onEvent ?? null;
  if (overrides.onTla !== undefined) simulation.writeTla?.(overrides.onTla);
  const result = (outcome: SimResult["outcome"], detail: string): SimResult => ({
    seed,
    outcome,
    detail,
    traceHash: scheduler.trace.digest(),
    steps: scheduler.steps,
    virtualMs: Math.round(scheduler.nowMs),
    kinds: plan.kinds,
    faultsFired: simulation.faultsFired,
    operations: simulation.operations,
  });
  const rejections = new Rejections();
  const failed = (error: unknown) => {
    if (error instanceof BrokenInvariant) return result("invariant", error.message);
    if (error instanceof NoProgress) return result("no_progress", error.message);
    return result("crash", error instanceof Error ? error.stack ?? "" : String(error));
  };
  try {
    await simulation.run();
  } catch (error) {
    await rejections.end();
    return failed(error);
  }
  const rejection = await rejections.end();
  return rejection === undefined ? result("ok", "") : failed(rejection);
}
