/**
 * One simulation: a cluster under faults and load, then healed and made to prove that it lost
 * nothing. The seed decides everything; see DESIGN.md.
 */

import { Prng } from "../base/prng.ts";
import { Cluster } from "./cluster.ts";
import { type Fault, scheduleOf } from "./faults.ts";
import { Injector } from "./injector.ts";
import { Operator } from "./operator.ts";
import { optionsOf, type SimOptions } from "./options.ts";
import { BrokenInvariant } from "./oracle.ts";
import { SimProcess } from "./process.ts";
import { Scheduler } from "./scheduler.ts";
import type { Operations, SimClient, System } from "./system.ts";
import { newSystem } from "./systems.ts";

export interface SimResult {
  readonly seed: number;
  /** An invariant broke, nothing went on after healing, or a node's code failed. */
  readonly outcome: "ok" | "invariant" | "no_progress" | "crash";
  /** What failed, for people; empty when nothing did. */
  readonly detail: string;
  readonly traceHash: string;
  readonly steps: number;
  /** Virtual milliseconds. */
  readonly virtualMs: number;
  /** How often each kind of fault really happened. */
  readonly faultsFired: Readonly<Record<string, number>>;
  readonly operations: Operations;
}

export interface SimOverrides {
  readonly options?: Partial<SimOptions>;
  /** Replaces the schedule that the seed would give. */
  readonly faults?: readonly Fault[];
  /** Told of every event: its virtual time and what it is. */
  readonly onEvent?: (atMs: number, label: string) => void;
}

/** Virtual time that a healed cluster has to do what is asked of it. */
const PROGRESS_MS = 60_000;

class NoProgress extends Error {
  override readonly name = "NoProgress";
}

/** Runs the simulation of a seed. Never rejects: every failure is an outcome. */
export async function simulate(seed: number, overrides: SimOverrides = {}): Promise<SimResult> {
  const options = optionsOf(seed, overrides.options);
  const simulation = new Simulation(seed, options, overrides.faults ?? scheduleOf(seed, options));
  if (overrides.onEvent !== undefined) simulation.scheduler.onEvent = overrides.onEvent;
  try {
    await simulation.run();
    return simulation.result("ok", "");
  } catch (error) {
    if (error instanceof BrokenInvariant) return simulation.result("invariant", error.message);
    if (error instanceof NoProgress) return simulation.result("no_progress", error.message);
    return simulation.result("crash", error instanceof Error ? error.stack ?? "" : String(error));
  }
}

class Simulation {
  readonly scheduler = new Scheduler();
  private readonly cluster: Cluster;
  private readonly operator: Operator;
  private readonly injector: Injector;
  private readonly system: System;
  private readonly clients: SimClient[];

  constructor(
    private readonly seed: number,
    private readonly options: SimOptions,
    private readonly faults: readonly Fault[],
  ) {
    const random = new Prng(seed ^ 0x1a2b3c);
    this.system = newSystem(options);
    this.cluster = new Cluster(this.scheduler, options, this.system, random.fork());
    this.operator = new Operator(this.cluster);
    this.injector = new Injector(this.cluster, this.operator);
    this.clients = [...Array(options.clients).keys()].map((at) => {
      const process = new SimProcess(this.scheduler, `c${at + 1}`);
      return this.system.newClient(process, random.fork(), this.cluster);
    });
  }

  async run(): Promise<void> {
    this.cluster.bootstrap();
    this.operator.start();
    this.injector.schedule(this.faults);
    for (const client of this.clients) client.start();
    await this.scheduler.runUntil(this.options.faultsMs);
    this.injector.heal();
    for (const client of this.clients) client.stop();
    await this.demand("every operation ends", () => this.clients.every(({ busy }) => !busy));
    await this.demand("every group has its members", () => this.operator.settled);
    await this.proveProgress();
    await this.demand("every replica is level", () => this.level());
    this.audit();
  }

  result(outcome: SimResult["outcome"], detail: string): SimResult {
    return {
      seed: this.seed,
      outcome,
      detail,
      traceHash: this.scheduler.trace.digest(),
      steps: this.scheduler.steps,
      virtualMs: Math.round(this.scheduler.nowMs),
      faultsFired: this.injector.report(),
      operations: this.system.operations,
    };
  }

  /** Lets time pass until something holds; what takes too long is no progress. */
  private async demand(what: string, holds: () => boolean): Promise<void> {
    const untilMs = this.scheduler.nowMs + PROGRESS_MS;
    if (await this.scheduler.runUntil(untilMs, holds)) return;
    const message = `Within ${PROGRESS_MS} ms after healing it must hold that ${what}`;
    throw new NoProgress(`${message}\n${this.cluster.describe()}`);
  }

  /** One more change and one more look at it in each group, in turn. */
  private async proveProgress(): Promise<void> {
    const [client] = this.clients;
    for (let group = 0; group < this.options.groups; group += 1) {
      let done = false;
      client.prove(group).then(() => {
        done = true;
      });
      await this.demand(`group ${group + 1} takes a change and shows it`, () => done);
    }
  }

  /** Whether all replicas of each group's voters have applied everything. */
  private level(): boolean {
    return this.cluster.groups.every(({ oracle }, group) => {
      const members = this.cluster.leader(group)?.raft.membership.voters ?? [];
      return members.length > 0 &&
        this.cluster.nodes.every((node) =>
          !members.includes(node.id) || node.replica(group)?.appliedIndex === oracle.highest
        );
    });
  }

  private audit(): void {
    this.cluster.auditReplicas();
    this.cluster.groups.forEach((_, group) => this.system.audit(group));
  }
}
