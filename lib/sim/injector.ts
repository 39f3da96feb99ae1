/** Makes the faults of a schedule happen, and ends them all when the cluster is to heal. */

import { befall, starve, type Victim } from "./befall.ts";
import type { Cluster } from "./cluster.ts";
import type { Fault, Link } from "./faults.ts";
import { perfectLink } from "./network.ts";
import type { SimNode } from "./node.ts";
import type { Operator } from "./operator.ts";

export class Injector {
  /** Kinds of faults that really happened, with how often. */
  readonly fired = new Map<string, number>();
  private readonly healed = { yet: false };

  constructor(private readonly cluster: Cluster, private readonly operator: Operator) {}

  /** Schedules all faults of a run. */
  schedule(faults: readonly Fault[]): void {
    for (const fault of faults) {
      this.cluster.scheduler.at(fault.atMs, `fault ${fault.kind}`, () => {
        if (this.inject(fault)) this.count(fault.kind);
      });
    }
  }

  /** Ends every fault; whoever is down starts again. */
  heal(): void {
    this.healed.yet = true;
    const { network, nodes } = this.cluster;
    network.heal();
    network.setOptions(perfectLink);
    for (const node of nodes) {
      node.process.resume();
      node.disk.setCapacity(null);
      node.disk.setSlow(0);
      node.disk.failSyncs(0);
      node.disk.failReads(0);
      this.cluster.restart(node);
    }
  }

  /** Counts of everything that fired, those of disks and network included. */
  report(): Record<string, number> {
    const all = new Map(this.fired);
    const sources = [this.cluster.network.faultsFired, this.cluster.events];
    for (const source of [...sources, ...this.cluster.nodes.map(({ disk }) => disk.faultsFired)]) {
      for (const [name, count] of source) all.set(name, Math.max(count, all.get(name) ?? 0));
    }
    return Object.fromEntries([...all].sort(([left], [right]) => left < right ? -1 : 1));
  }

  /** Whether the fault found something to befall. */
  private inject(fault: Fault): boolean {
    switch (fault.kind) {
      case "partition":
        return this.cut(fault.links, fault.forMs);
      case "clog":
        return this.clog(fault.links, fault.extraMs, fault.forMs);
      case "starve":
        for (const number of fault.nodes) {
          const node = this.cluster.nodes[number];
          starve(() => node.process, fault, (afterMs, end) => this.later(afterMs, end));
        }
        return true;
      case "reads": {
        const node = this.cluster.nodes[fault.node];
        node.leases = fault.leases;
        if (node.running) this.cluster.crash(node, "kill", fault.forMs);
        return true;
      }
      case "membership":
        this.operator.want(fault.group, fault.voters);
        return true;
      case "transfer":
        this.operator.transfer(fault.group, fault.to);
        return true;
      case "delete_group":
        return this.deleteGroup(this.nodeOf(fault), fault);
      case "put_back":
        return this.putBack(this.nodeOf(fault), fault);
      default: {
        const node = this.nodeOf(fault);
        const later = (afterMs: number, end: () => void) => this.later(afterMs, end);
        return node.running && befall(this.victimOf(node), fault, later);
      }
    }
  }

  private nodeOf(fault: { readonly node: number; readonly leaderOf?: number | null }): SimNode {
    const { leaderOf = null, node } = fault;
    const leader = leaderOf === null ? undefined : this.cluster.leader(leaderOf)?.status().id;
    return this.cluster.nodes.find(({ id }) => id === leader) ?? this.cluster.nodes[node];
  }

  private victimOf(node: SimNode): Victim {
    const { cluster } = this;
    return {
      process: node.process,
      disk: node.disk,
      crash: (kind, forMs) => cluster.crash(node, kind, forMs),
      wipe: (forMs) => cluster.rebuild(node, forMs),
      damage: () => {
        node.damaged = true;
        return true;
      },
      afterPromise: (fault) => node.afterPromise(fault),
      jumpClock: (byMs) => node.jumpClock(byMs),
    };
  }

  private deleteGroup(
    node: SimNode,
    { group, forMs }: Extract<Fault, { kind: "delete_group" }>,
  ): boolean {
    if (!node.running) return false;
    this.cluster.crash(node, "kill", forMs);
    node.loseGroup(group);
    return true;
  }

  /** What the disk holds now comes back later, unless the disk was replaced meanwhile. */
  private putBack(
    node: SimNode,
    { afterMs, forMs }: Extract<Fault, { kind: "put_back" }>,
  ): boolean {
    if (!node.running) return false;
    const { id } = node;
    const copy = node.disk.snapshotState();
    this.later(afterMs, () => {
      if (node.id !== id || !node.running) return;
      this.cluster.crash(node, "kill", forMs);
      node.damaged = true;
      node.disk.restoreState(copy);
    });
    return true;
  }

  private cut(links: readonly Link[], forMs: number): boolean {
    const { network } = this.cluster;
    const named = links.map((link) => this.namesOf(link));
    for (const [from, to] of named) network.cut(from, to);
    this.later(forMs, () => named.forEach(([from, to]) => network.mend(from, to)));
    return links.length > 0;
  }

  private clog(links: readonly Link[], extraMs: number, forMs: number): boolean {
    const { network } = this.cluster;
    const named = links.map((link) => this.namesOf(link));
    for (const [from, to] of named) network.clog(from, to, extraMs);
    this.later(forMs, () => named.forEach(([from, to]) => network.clog(from, to, 0)));
    return links.length > 0;
  }

  private namesOf([from, to]: Link): [string, string] {
    return [this.cluster.nodes[from].name, this.cluster.nodes[to].name];
  }

  /** Ends a fault after a while, unless everything was healed before. */
  private later(afterMs: number, end: () => void): void {
    this.cluster.scheduler.after(afterMs, "fault ends", () => {
      if (!this.healed.yet) end();
    });
  }

  private count(kind: string): void {
    this.fired.set(kind, (this.fired.get(kind) ?? 0) + 1);
  }
}
