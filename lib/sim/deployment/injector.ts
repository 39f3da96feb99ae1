/** Makes the faults of a deployment happen, and ends them all when it is to heal. */

import { befall, starve, type Victim } from "../befall.ts";
import type { Link } from "../faults.ts";
import { limits } from "../../base/limits.ts";
import { raftGroup } from "../../broker/hosting_notes.ts";
import { listGroups } from "../../storage/groups.ts";
import { GROUPS_DIRECTORY, joinPath } from "../../storage/layout.ts";
import { goodLinks } from "../links.ts";
import type { ConsumerSeat } from "./clients.ts";
import type { Deployment } from "./deployment.ts";
import type { DeploymentFault } from "./faults.ts";
import { GoodCopies } from "./good_copies.ts";
import type { Machine } from "./machine.ts";
import type { Operator } from "./operator.ts";

export class DeploymentInjector {
  /** Kinds of faults that really happened, with how often. */
  readonly fired = new Map<string, number>();
  private readonly copies: GoodCopies;
  private healed = false;

  /** `clients`: names of the machines that clients run on. */
  constructor(
    private readonly deployment: Deployment,
    private readonly clients: readonly string[],
    private readonly operator: Operator,
    private readonly consumers: readonly ConsumerSeat[],
  ) {
    this.copies = new GoodCopies(deployment);
  }

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
      case "move":
      case "drain":
      case "rebalance":
      case "alter":
      case "grow":
      case "short_topic":
      case "retire":
        this.operator.wish(fault);
        return true;
      case "join":
        return this.join();
      case "recover":
        return this.loseMajority(fault);
      case "consumer":
        return this.consumers[fault.number].replace(fault.how, fault.forMs);
      case "restart":
        return this.restart(this.machineOf(fault), fault.forMs);
      case "crash_point":
        return this.setCrashPoint(this.machineOf(fault), fault);
      case "lost_group":
        return this.loseGroup(this.machineOf(fault), fault.group, fault.forMs);
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
    const { deployment } = this;
    return {
      process: machine.process,
      disk: machine.disk,
      crash: (kind, forMs) => deployment.crash(machine, kind, forMs),
      wipe: (forMs) => deployment.rebuild(machine, forMs),
      damage: (path) => this.mayRot(machine, path),
      afterPromise: (fault) => machine.afterPromise(fault),
      jumpClock: (byMs) => machine.jumpClock(byMs),
    };
  }

  private mayDamage(machine: Machine, path: string | null): boolean {
    if (path?.startsWith("set-aside")) return true;
    const group = path === null ? null : groupAt(machine, path);
    return this.copies.mayDamage(machine, group === null ? null : [group]);
  }

  /** The same for damage that leaves the files there. */
  private mayRot(machine: Machine, path: string | null): boolean {
    if (!this.mayDamage(machine, path)) return false;
    machine.rotted.add((path === null ? null : groupAt(machine, path)) ?? "*");
    return true;
  }

  private restart(machine: Machine, forMs: number): boolean {
    if (!machine.running) return false;
    const { process } = machine;
    void machine.stopGracefully().then(() => {
      if (machine.process === process) this.deployment.startLater(machine, forMs);
    });
    return true;
  }

  private setCrashPoint(
    machine: Machine,
    fault: Extract<DeploymentFault, { kind: "crash_point" }>,
  ): boolean {
    if (!machine.running) return false;
    const { operation, skip, how, forMs } = fault;
    machine.setCrashPoint({
      operation,
      skip,
      strike: (operation) => {
        this.count(`crash after ${operation}`);
        this.deployment.crash(machine, how, forMs);
      },
    });
    return true;
  }

  private join(): boolean {
    const spare = this.deployment.brokers.find(({ part }) => part === "spare");
    if (spare === undefined) return false;
    spare.part = "member";
    spare.start();
    return true;
  }

  /** Two sound replicas of three lose their files; the operator sees to the rest. */
  private loseMajority(fault: Extract<DeploymentFault, { kind: "recover" }>): boolean {
    const { metadata } = this.deployment;
    const topics = metadata?.sortedTopics() ?? [];
    if (topics.length === 0) return false;
    const topic = topics[fault.topic % topics.length];
    const number = fault.partition % topic.partitions.length;
    const group = raftGroup(topic.partitions[number]);
    const leader = this.deployment.leader(group)?.replica;
    if (leader === undefined) return false;
    const { membership: { voters, outgoing }, membershipIndex, commit } = leader.status();
    // The managers judge by what was reported to them whether a partition may be recovered.
    const reported = [...topic.partitions[number].voters].sort().join();
    if (membershipIndex > commit || [...voters].sort().join() !== reported) return false;
    const machines = this.deployment.brokers.filter(({ replicaId, host }) =>
      replicaId !== null && voters.includes(replicaId) && host?.replica(group) !== undefined
    );
    if (machines.length !== limits.partitionReplicas || outgoing.length > 0) return false;
    if (this.copies.isHurt(group)) return false;
    const survivor = machines[fault.survivor % machines.length];
    for (const machine of machines) {
      if (machine === survivor) continue;
      const directory = directoryOf(machine, group);
      machine.stop("kill");
      if (directory !== null) machine.disk.lose(directory);
      this.copies.note(machine, group);
      this.deployment.startLater(machine, fault.forMs);
    }
    this.operator.recover({ topic: topic.name, partition: number, group, survivor });
    return true;
  }

  private loseGroup(machine: Machine, number: number, forMs: number): boolean {
    if (!machine.running) return false;
    const directories = machine.disk.list(GROUPS_DIRECTORY)
      .map((name) => joinPath(GROUPS_DIRECTORY, name));
    if (directories.length === 0) return false;
    const directory = directories[number % directories.length];
    if (!this.mayDamage(machine, joinPath(directory, "x"))) return false;
    machine.stop("kill");
    machine.disk.lose(directory);
    this.deployment.startLater(machine, forMs);
    return true;
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

function directoryOf(machine: Machine, group: string): string | null {
  return listGroups(machine.disk).find(({ identity }) => identity?.group === group)?.directory ??
    null;
}

/** The group whose directory holds a file; null where the file is about the whole machine. */
function groupAt(machine: Machine, path: string): string | null {
  const directory = path.split("/").slice(0, 2).join("/");
  const found = listGroups(machine.disk).find((group) => group.directory === directory);
  return found?.identity?.group ?? null;
}
