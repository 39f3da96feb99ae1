/** A simulated cluster: machines, groups, the network between them, and their invariants. */

import type { Membership } from "../raft/types.ts";
import type { Prng } from "../base/prng.ts";
import type { Replica } from "../replica/replica.ts";
import { TrilogError } from "../base/errors.ts";
import { equalBytes } from "../base/bytes.ts";
import type { Packable } from "../base/msgpack.ts";
import { SimNetwork } from "./network.ts";
import { SimNode, type World } from "./node.ts";
import type { SimOptions } from "./options.ts";
import { BrokenInvariant, GroupOracle } from "./oracle.ts";
import { SimProcess } from "./process.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Reach, System } from "./system.ts";

/** One group and what is known about it from outside. */
export interface SimGroup {
  readonly name: string;
  readonly oracle: GroupOracle;
}

/** A node's process ended by itself, and not because of an injected fault. */
export class NodeCrash extends Error {
  override readonly name = "NodeCrash";
}

/** Longest and shortest time until a node that ended by itself is started again. */
const RESTART_MS = [20, 400] as const;

export class Cluster implements World, Reach {
  readonly network: SimNetwork;
  readonly nodes: SimNode[];
  readonly groups: readonly SimGroup[];
  /** Kinds of ends and rebuilds that happened, for the run's report. */
  readonly events = new Map<string, number>();
  private readonly touchedNodes = new Set<SimNode>();
  /** The first failure noticed inside an event; the next step ends the run with it. */
  private failure: unknown = null;

  constructor(
    readonly scheduler: Scheduler,
    readonly options: SimOptions,
    readonly system: System,
    private readonly random: Prng,
  ) {
    this.network = new SimNetwork(scheduler, random.fork(), options.link);
    this.groups = [...Array(options.groups).keys()].map((at) => {
      const name = `g${at + 1}`;
      return { name, oracle: new GroupOracle(name) };
    });
    this.nodes = [...Array(options.nodes).keys()].map((at) => new SimNode(at, this, random.fork()));
    scheduler.afterEachStep(() => this.checkTouched());
  }

  /** Starts every node with all of them as the first members of every group. */
  bootstrap(): void {
    const bootstrap = this.membershipOf(this.nodes);
    for (const node of this.nodes) node.start(bootstrap);
  }

  /** Starts a node again, as somebody else if its logs cannot be trusted any more. */
  restart(node: SimNode): void {
    if (node.running) return;
    try {
      node.start(null);
      this.count("restart");
    } catch (error) {
      this.stopped(node, error);
    }
  }

  /** Ends a node's process and starts it again later. */
  crash(node: SimNode, kind: "kill" | "power", forMs: number): void {
    node.stop(kind);
    this.restartLater(node, forMs);
  }

  restartLater(node: SimNode, afterMs: number): void {
    this.scheduler.after(afterMs, `start ${node.name}`, () => this.restart(node));
  }

  /** The node comes back with an empty disk and a new identity. */
  rebuild(node: SimNode, forMs: number): void {
    node.stop("power");
    node.renew();
    this.count("rebuild");
    this.restartLater(node, forMs);
  }

  ended(node: SimNode, error: unknown): void {
    // What the process wrote stays in the system; its handles end after the present event.
    this.scheduler.after(0, `exit ${node.name}`, () => this.stopped(node, error));
  }

  touched(node: SimNode): void {
    this.touchedNodes.add(node);
  }

  membershipOf(nodes: readonly SimNode[]): Membership {
    return {
      voters: nodes.map(({ id }) => id).sort(),
      outgoing: [],
      learners: [],
      learnersNext: [],
      nodes: Object.fromEntries(nodes.map(({ id, name, address }) => [id, { name, address }])),
    };
  }

  /** The running replica that leads a group in the highest term. */
  leader(group: number): Replica | null {
    let best: Replica | null = null;
    for (const node of this.nodes) {
      const replica = node.replica(group);
      if (replica?.isLeader && (best === null || replica.raft.term > best.raft.term)) {
        best = replica;
      }
    }
    return best;
  }

  // What clients need.

  get addresses(): readonly string[] {
    return this.nodes.map(({ address }) => address);
  }

  get groupNames(): readonly string[] {
    return this.groups.map(({ name }) => name);
  }

  get callMs(): number {
    return 10 * this.options.electionTimeoutMs;
  }

  call(
    client: SimProcess,
    address: string,
    group: number,
    method: string,
    params: Packable,
  ): Promise<Packable> {
    const name = `${this.groups[group].name}/${method}`;
    return this.network.call(client, address, name, params, this.callMs);
  }

  highest(group: number): number {
    return this.groups[group].oracle.highest;
  }

  /** Compares what the running replicas hold with each other and with their logs. */
  auditReplicas(): void {
    this.groups.forEach(({ oracle }, group) => {
      const replicas = this.nodes.flatMap((node) => node.replica(group) ?? []);
      for (const replica of replicas) {
        this.auditState(oracle, replica);
        oracle.checkLogMatching(replicas[0], replica);
      }
    });
    for (const node of this.nodes) node.audit();
  }

  /** The state of every node and replica, for whoever has to find out why nothing goes on. */
  describe(): string {
    const lines = this.nodes.map((node) => {
      const replicas = this.groups.flatMap(({ name }, group) => {
        const status = node.replica(group)?.status();
        if (status === undefined) return [];
        const { role, term, commit, last, membership } = status;
        const members = JSON.stringify({ ...membership, nodes: undefined });
        return [`  ${name} ${role} term ${term} commit ${commit} last ${last.index} ${members}`];
      });
      return [`${node.name} ${node.id} ${node.running ? "runs" : "is down"}`, ...replicas];
    });
    return lines.flat().join("\n");
  }

  /**
   * A replica must hold exactly what its log gives, sessions and remembered requests included,
   * however it came there: entry by entry, after restarts, or by snapshots.
   */
  private auditState(oracle: GroupOracle, replica: Replica): void {
    const machine = this.system.blank();
    for (let index = 1; index <= replica.appliedIndex; index += 1) {
      const known = oracle.commands.get(index);
      if (known !== undefined) machine.apply(known.command, known.context);
    }
    if (!equalBytes(machine.snapshot(), replica.machine.snapshot())) {
      throw new BrokenInvariant(
        `group ${oracle.group}: a replica's state after ${replica.appliedIndex} is not its log's`,
      );
    }
  }

  private stopped(node: SimNode, error: unknown): void {
    node.stop("kill");
    const [low, high] = RESTART_MS;
    const againMs = this.random.between(low, high);
    if (!(error instanceof TrilogError)) {
      this.failure ??= new NodeCrash(`${node.name} ended: ${describe(error)}`);
    } else if (error.code === "disk_failed" || error.code === "disk_full") {
      this.count(`ended by ${error.code}`);
      this.restartLater(node, againMs);
    } else if (node.mayBeLost() && (error.code === "corrupt" || error.code === "rolled_back")) {
      this.count(error.code === "corrupt" ? "fenced" : error.code);
      this.rebuild(node, againMs);
    } else this.failure ??= new NodeCrash(`${node.name} ended: ${describe(error)}`);
  }

  private checkTouched(): void {
    for (const node of this.touchedNodes) {
      this.groups.forEach(({ oracle }, group) => {
        const replica = node.replica(group);
        if (replica !== undefined) oracle.check(replica);
        oracle.throwIfBroken();
      });
    }
    this.touchedNodes.clear();
    if (this.failure !== null) throw this.failure;
  }

  count(event: string): void {
    this.events.set(event, (this.events.get(event) ?? 0) + 1);
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : String(error);
}
