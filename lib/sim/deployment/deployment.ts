/** A simulated deployment: its machines, the network between them, and their invariants. */

import { TrilogError } from "../../base/errors.ts";
import type { Prng } from "../../base/prng.ts";
import type { MetadataView } from "../../manager/state.ts";
import type { NodeInfo } from "../../raft/types.ts";
import type { Replica } from "../../replica/replica.ts";
import { NodeCrash } from "../cluster.ts";
import type { CrashKind } from "../disk.ts";
import { Links } from "../links.ts";
import type { Scheduler } from "../scheduler.ts";
import { SimStreams } from "../streams.ts";
import type { Machine, Surroundings } from "./machine.ts";
import type { DeploymentOptions } from "./options.ts";
import { BrokerMachine, ManagerMachine } from "./servers.ts";
import { Oracles } from "./watched_host.ts";

/** Shortest and longest time until a process that ended by itself is started again. */
const RESTART_MS = [20, 400] as const;
/** Servers of a new deployment are started within this time. */
const FIRST_START_MS = 300;
const PORT = 7000;

export class Deployment implements Surroundings {
  readonly links: Links;
  readonly streams: SimStreams;
  readonly oracles = new Oracles();
  readonly managers: readonly ManagerMachine[];
  readonly brokers: readonly BrokerMachine[];
  /** Kinds of ends that happened, for the run's report. */
  readonly events = new Map<string, number>();
  private readonly touchedMachines = new Set<Machine>();
  /** The first failure noticed inside an event; the next step ends the run with it. */
  private failure: unknown = null;

  constructor(
    readonly scheduler: Scheduler,
    readonly options: DeploymentOptions,
    private readonly random: Prng,
  ) {
    this.links = new Links(random.fork(), options.links);
    this.streams = new SimStreams(this.links, random.fork());
    const peers = numbered(options.managers).map((number) => infoOf(`m${number}`));
    this.managers = peers.map(({ name, address }) =>
      new ManagerMachine(name, address, this, random.fork(), peers)
    );
    this.brokers = numbered(options.brokers + options.spares).map((number) => {
      const { name, address } = infoOf(`b${number}`);
      const rack = options.racks === 0 ? "" : `r${number % options.racks}`;
      const broker = new BrokerMachine(name, address, this, random.fork(), this.addresses, rack);
      if (number > options.brokers) broker.part = "spare";
      return broker;
    });
    scheduler.afterEachStep(() => this.checkTouched());
  }

  /** Addresses of all managers. */
  get addresses(): string[] {
    return this.managers.map(({ address }) => address);
  }

  /** Managers, then brokers. */
  get machines(): readonly Machine[] {
    return [...this.managers, ...this.brokers];
  }

  start(): void {
    for (const machine of this.machines) {
      this.startLater(machine, this.random.below(FIRST_START_MS));
    }
  }

  /** Ends a machine's process and starts it again later. */
  crash(machine: Machine, kind: CrashKind, forMs: number): void {
    machine.stop(kind);
    this.startLater(machine, forMs);
  }

  startLater(machine: Machine, afterMs: number): void {
    this.scheduler.after(afterMs, `start ${machine.name}`, () => machine.start());
  }

  /** The machine loses its disk, and starts with an empty one. */
  rebuild(machine: Machine, forMs: number): void {
    machine.stop("power");
    machine.wipe();
    this.count("rebuild");
    this.startLater(machine, forMs);
  }

  ended(machine: Machine, error: unknown): void {
    machine.stop("kill");
    const againMs = this.random.between(...RESTART_MS);
    const code = error instanceof TrilogError ? error.code : null;
    if (code !== null && MAY_END.includes(code)) {
      this.count(`ended by ${code}`);
      this.startLater(machine, againMs);
    } else if (machine.part === "leaving" && code === "superseded") {
      machine.part = "gone";
    } else if (code === "corrupt" && machine.damaged.size > 0) {
      this.count("ended by corrupt");
      // A server that sets its own files aside starts the next time; of others the disk is replaced.
      if (machine.failedStarts > 1) this.rebuild(machine, againMs);
      else this.startLater(machine, againMs);
    } else this.failure ??= new NodeCrash(`${machine.name} ended: ${describeError(error)}`);
  }

  touched(machine: Machine): void {
    this.touchedMachines.add(machine);
  }

  count(event: string): void {
    this.events.set(event, (this.events.get(event) ?? 0) + 1);
  }

  /** The running replica that leads a group in the highest term. */
  leader(group: string): { readonly machine: Machine; readonly replica: Replica } | null {
    let best: { machine: Machine; replica: Replica } | null = null;
    for (const machine of this.machines) {
      const replica = machine.host?.replica(group);
      if (!replica?.isLeader) continue;
      if (best === null || replica.raft.term > best.replica.raft.term) best = { machine, replica };
    }
    return best;
  }

  /** The newest metadata that a running manager has. */
  get metadata(): MetadataView | null {
    let newest: MetadataView | null = null;
    for (const { running, metadata: { state } } of this.managers) {
      if (running && state.version > (newest?.version ?? 0)) newest = state;
    }
    return newest;
  }

  /** First offset that a partition's replicas still keep, as far as any has trimmed. */
  startOffset(groupId: string): number {
    const starts = this.brokers.filter(({ running }) => running)
      .map(({ broker }) => broker?.hosting.get(groupId)?.partition?.machine.startOffset ?? 0);
    return Math.max(0, ...starts);
  }

  private checkTouched(): void {
    for (const machine of this.touchedMachines) {
      for (const replica of machine.host?.replicas() ?? []) {
        this.oracles.of(replica.group).check(replica);
      }
    }
    if (this.touchedMachines.size > 0) this.oracles.throwIfBroken();
    this.touchedMachines.clear();
    if (this.failure !== null) throw this.failure;
  }
}

/** Codes of errors that faults explain; a supervisor starts the process again. */
const MAY_END = ["disk_failed", "disk_full"];

function numbered(count: number): number[] {
  return Array.from({ length: count }, (_, at) => at + 1);
}

function infoOf(name: string): NodeInfo {
  return { name, address: `${name}:${PORT}` };
}

export function describeError(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : String(error);
}
