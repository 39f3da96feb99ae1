/** Makes the faults of a deployment happen, and ends them all when it is to heal. */

import { befall, starve, type Victim } from "../befall.ts";
import type { Link } from "../faults.ts";
import { goodLinks } from "../links.ts";
import type { Deployment } from "./deployment.ts";
import type { DeploymentFault } from "./faults.ts";
import type { Machine } from "./machine.ts";

export class DeploymentInjector {
  /** Kinds of faults that really happened, with how often. */
  readonly fired = new Map<string, number>();
  private healed = false;

  /** `clients`: names of the machines that clients run on. */
  constructor(
    private readonly deployment: Deployment,
    private readonly clients: readonly string[],
  ) {}

  schedule(faults: readonly DeploymentFault[]): void {
    for (const fault of faults) {
      this.deployment.scheduler.at(fault.atMs, `fault ${fault.kind}`, () => {
        if (this.inject(fault)) this.count(fault.kind);
      });
    }
  }

  /** Ends every fault; machines that are down start again. */
  heal(): void {
    this.healed = true;
    const { links, machines } = this.deployment;
    links.heal();
    links.setQuality(goodLinks);
    for (const machine of machines) {
      machine.disarm();
      machine.process.resume();
      machine.disk.setCapacity(null);
      machine.disk.setSlow(0);
      machine.disk.failSyncs(0);
      machine.disk.failReads(0);
      machine.start();
    }
  }

  /** Counts of everything that fired, those of disks and links included. */
  report(): Record<string, number> {
    const { links, events, machines } = this.deployment;
    const all = new Map(this.fired);
    for (
      const source of [
        links.faultsFired,
        events,
        ...machines.map(({ disk }) => disk.faultsFired),
      ]
    ) {
      for (const [name, count] of source) all.set(name, Math.max(count, all.get(name) ?? 0));
    }
    return Object.fromEntries([...all].sort(([left], [right]) => left < right ? -1 : 1));
  }

  /** Whether the fault found something to befall. */
  private inject(fault: DeploymentFault): boolean {
    switch (fault.kind) {
      case "partition":
        return this.onLinks(fault.links, fault.forMs, {
          begin: (from, to) => this.deployment.links.cut(from, to),
          end: (from, to) => this.deployment.links.mend(from, to),
        });
      case "clog":
        return this.onLinks(fault.links, fault.forMs, {
          begin: (from, to) => this.deployment.links.clog(from, to, fault.extraMs),
          end: (from, to) => this.deployment.links.clog(from, to, 0),
        });
      case "starve":
        for (const number of fault.nodes) {
          const machine = this.deployment.machines[number];
          starve(() => machine.process, fault, (afterMs, end) => this.later(afterMs, end));
        }
        return true;
      default: {
        const machine = this.machineOf(fault);
        const later = (afterMs: number, end: () => void) => this.later(afterMs, end);
        return machine.running && befall(this.victimOf(machine), fault, later);
      }
    }
  }

  /** The machine that a fault names, or the one that leads a group. */
  private machineOf(fault: { readonly node: number; readonly leaderOf?: number | null }): Machine {
    const { leaderOf = null, node } = fault;
    const { machines, oracles } = this.deployment;
    const { names } = oracles;
    if (leaderOf === null || names.length === 0) return machines[node];
    return this.deployment.leader(names[leaderOf % names.length])?.machine ?? machines[node];
  }

  private victimOf(machine: Machine): Victim {
    return {
      process: machine.process,
      disk: machine.disk,
      crash: (kind, forMs) => this.deployment.crash(machine, kind, forMs),
      wipe: () => {},
      damage: () => false,
      afterPromise: (fault) => machine.afterPromise(fault),
      jumpClock: (byMs) => machine.jumpClock(byMs),
    };
  }

  private onLinks(
    links: readonly Link[],
    forMs: number,
    act: Record<"begin" | "end", (from: string, to: string) => void>,
  ): boolean {
    const names = [...this.deployment.machines.map(({ name }) => name), ...this.clients];
    for (const [from, to] of links) act.begin(names[from], names[to]);
    this.later(forMs, () => links.forEach(([from, to]) => act.end(names[from], names[to])));
    return links.length > 0;
  }

  /** Ends a fault after a while, unless everything was healed before. */
  private later(afterMs: number, end: () => void): void {
    this.deployment.scheduler.after(afterMs, "fault ends", () => {
      if (!this.healed) end();
    });
  }

  private count(kind: string): void {
    this.fired.set(kind, (this.fired.get(kind) ?? 0) + 1);
  }
}
