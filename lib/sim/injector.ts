/** Makes the faults of a schedule happen, and ends them all when the cluster is to heal. */

import { unreachable } from "../base/assert.ts";
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
        for (const number of fault.nodes) this.starve(this.cluster.nodes[number], fault);
        return true;
      case "membership":
        this.operator.want(fault.group, fault.voters);
        return true;
      case "transfer":
        this.operator.transfer(fault.group, fault.to);
        return true;
      default: {
        const node = this.nodeOf(fault);
        return node.running && this.befall(node, fault);
      }
    }
  }

  private nodeOf(fault: { readonly node: number; readonly leaderOf?: number | null }): SimNode {
    const { leaderOf = null, node } = fault;
    const leader = leaderOf === null ? undefined : this.cluster.leader(leaderOf)?.status().id;
    return this.cluster.nodes.find(({ id }) => id === leader) ?? this.cluster.nodes[node];
  }

  private befall(
    node: SimNode,
    fault: Exclude<Fault, { kind: "partition" | "clog" | "starve" | "membership" | "transfer" }>,
  ): boolean {
    const { cluster } = this;
    switch (fault.kind) {
      case "crash":
      case "power": {
        const crash = () =>
          cluster.crash(node, fault.kind === "power" ? "power" : "kill", fault.forMs);
        if (fault.promised) node.afterPromise(crash);
        else crash();
        return true;
      }
      case "pause":
        node.process.pause();
        this.later(fault.forMs, () => node.process.resume());
        return true;
      case "clock":
        node.jumpClock(fault.byMs);
        return true;
      case "slow_disk":
        node.disk.setSlow(fault.extraMs);
        this.later(fault.forMs, () => node.disk.setSlow(0));
        return true;
      case "disk_full":
        node.disk.fill(fault.freeBytes);
        this.later(fault.forMs, () => node.disk.setCapacity(null));
        return true;
      case "sync_error":
        node.disk.failSyncs(1);
        return true;
      case "read_error":
        node.damaged = true;
        node.disk.failReads(1);
        return true;
      case "rot":
        return this.rot(node, fault.place, fault.mask);
      case "misdirected_write":
        node.damaged = true;
        node.disk.misdirectWrite(fault.how);
        return true;
      case "wipe":
        cluster.rebuild(node, fault.forMs);
        return true;
      default:
        return unreachable(fault);
    }
  }

  /** Stops and continues a node's process, whichever one runs there, until the time is over. */
  private starve(
    node: SimNode,
    { forMs, onMs, offMs }: Extract<Fault, { kind: "starve" }>,
  ): void {
    const untilMs = this.cluster.scheduler.nowMs + forMs;
    const stop = () => {
      const { process } = node;
      process.pause();
      this.later(offMs, () => {
        process.resume();
        if (this.cluster.scheduler.nowMs < untilMs) this.later(onMs, stop);
      });
    };
    stop();
  }

  private rot(node: SimNode, place: number, mask: number): boolean {
    const files = node.disk.durableFiles();
    let at = Math.floor(place * files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
    for (const { path, sizeBytes } of files) {
      if (at < sizeBytes) {
        node.damaged = true;
        node.disk.rot(path, at, mask);
        return true;
      }
      at -= sizeBytes;
    }
    return false;
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
