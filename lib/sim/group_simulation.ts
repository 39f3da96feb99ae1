/** A simulation of hosts with groups on them, and a system on top. */

import { Prng } from "../base/prng.ts";
import { Cluster } from "./cluster.ts";
import type { Fault } from "./faults.ts";
import { Injector } from "./injector.ts";
import { Operator } from "./operator.ts";
import type { SimOptions } from "./options.ts";
import { NoProgress } from "./outcome.ts";
import { SimProcess } from "./process.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Operations, SimClient, System } from "./system.ts";
import { newSystem } from "./systems.ts";
import { TlaTrace, type TlaWriter } from "./tla_trace.ts";

/** Virtual time that a healed cluster has to do what is asked of it. */
const PROGRESS_MS = 60_000;

export class GroupSimulation {
  private readonly cluster: Cluster;
  private readonly operator: Operator;
  private readonly injector: Injector;
  private readonly system: System;
  private readonly clients: SimClient[];

  constructor(
    seed: number,
    private readonly options: SimOptions,
    private readonly faults: readonly Fault[],
    private readonly scheduler: Scheduler,
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

  /** Writes the run of the first group as a trace of the Raft specification; before {@link run}. */
  writeTla(write: TlaWriter): void {
    const servers = this.cluster.nodes.map(({ id }) => id);
    const trace = new TlaTrace(write, () => this.scheduler.nowMs, servers);
    this.cluster.groups[0].oracle.onFollow = (replica) => trace.follow(replica);
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

  get faultsFired(): Record<string, number> {
    return this.injector.report();
  }

  get operations(): Operations {
    return this.system.operations;
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
