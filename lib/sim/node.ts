/**
 * One machine of a simulated cluster: its disk and clock outlive the processes that run on it one
 * after the other. The process is what production runs: a host with a replica of every group on
 * segment logs, and a service per group for customers.
 */

import { TrilogError } from "../base/errors.ts";
import { silentLogger } from "../base/logger.ts";
import type { Packable } from "../base/msgpack.ts";
import { Prng } from "../base/prng.ts";
import type { HardState, LogId, Membership, ReplicaId } from "../raft/types.ts";
import { Acknowledged } from "../replica/acknowledged.ts";
import { Host } from "../replica/host.ts";
import { raftOptions } from "../replica/raft_options.ts";
import type { Replica } from "../replica/replica.ts";
import type { LogStore } from "../storage/store.ts";
import { SimClock } from "./clock.ts";
import type { SimGroup } from "./cluster.ts";
import { SimDisk } from "./disk.ts";
import { HostedGroups } from "./hosted_groups.ts";
import type { SimNetwork } from "./network.ts";
import type { SimOptions } from "./options.ts";
import type { GroupOracle } from "./oracle.ts";
import { SimProcess } from "./process.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Seat, Serve, System, SystemReplica } from "./system.ts";
import { WatchedTransport } from "./watched_transport.ts";

/** Closed segments are read again and again: a run is short. */
const SCRUB = { bytesPerSecond: 1024 * 1024, everyMs: 1_000 };

/** From a promise to the fault that waited for it: shorter than any sync. */
const PROMISE_MS = 0.02;

/** What a node shares with the rest of the simulation. */
export interface World {
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly options: SimOptions;
  readonly system: System;
  readonly groups: readonly SimGroup[];
  readonly nodes: readonly SimNode[];
  /** A node's process ended by itself. */
  ended(node: SimNode, error: unknown): void;
  /** A node ran: its replicas are to be checked. */
  touched(node: SimNode): void;
  /** Something worth counting happened. */
  count(event: string): void;
}

export class SimNode {
  readonly name: string;
  readonly address: string;
  readonly disk: SimDisk;
  /** Identity of the present disk content. */
  id: ReplicaId;
  process: SimProcess;
  clock: SimClock;
  host: Host | null = null;
  /** Whether its next process answers reads under leases. */
  leases: boolean;
  /** Whether a fault may have made durable bytes other than they were written. */
  damaged = false;
  /** Groups whose directory a fault has removed: their loss must be noticed. */
  private readonly removed = new Set<string>();
  /** The groups on its disk. */
  readonly hosted: HostedGroups;
  /** The system's parts in the running process, by group. */
  private parts: SystemReplica[] = [];
  private services = new Map<string, Serve>();
  private lives = 0;
  private onPromise: (() => void) | null = null;
  private readonly random: Prng;
  private readonly clockRate: number;
  private wallOffsetMs: number;

  constructor(readonly number: number, private readonly world: World, random: Prng) {
    const { options, scheduler } = world;
    this.name = `n${number + 1}`;
    this.leases = options.leases;
    this.address = `${this.name}:7000`;
    this.random = random;
    this.clockRate = 1 + (2 * random.next() - 1) * options.clockError;
    this.wallOffsetMs = random.between(-5_000, 5_000);
    this.id = identityOf(number, this.lives);
    this.process = new SimProcess(scheduler, this.name);
    this.disk = new SimDisk(this.process, random.fork(), {
      syncMs: options.syncMs,
      capacityBytes: null,
    });
    this.clock = this.newClock();
    this.hosted = new HostedGroups({
      disk: this.disk,
      name: this.name,
      id: () => this.id,
      segmentBytes: options.segmentBytes,
    });
  }

  get running(): boolean {
    return this.host !== null;
  }

  replica(group: number): Replica | undefined {
    return this.host?.replica(this.world.groups[group].name);
  }

  /** What the system serves here agrees with the logs; else throws `BrokenInvariant`. */
  audit(): void {
    if (!this.running) return;
    try {
      for (const [group, part] of this.parts.entries()) {
        // A group that was quarantined and is not rebuilt yet serves nothing.
        if (this.replica(group) !== undefined) part.audit();
      }
    } catch (error) {
      // Rot that nothing has come across yet is no fault, nor is one that is being repaired.
      const rot = error instanceof TrilogError && this.damaged &&
        (error.code === "corrupt" || error.code === "unavailable");
      if (!rot) throw error;
    }
  }

  /**
   * Starts a process on what the disk holds. `bootstrap` is the first membership of blank logs;
   * null for a node that joins. Throws what opening a log throws: `corrupt` means that the node
   * must come back as somebody else.
   */
  start(bootstrap: Membership | null): void {
    const { scheduler, network, options, system } = this.world;
    this.onPromise = null;
    this.disk.onRename = (to) => {
      if (to.endsWith(".snapshot")) this.faultAfterPromise();
    };
    this.process = new SimProcess(scheduler, this.name, (thrown) => this.exit(thrown));
    this.process.onRun(() => this.world.touched(this));
    this.disk.attach(this.process);
    this.clock = this.newClock();
    this.hosted.start();
    const lost = this.hosted.lost();
    const stores = this.world.groups.map((group) =>
      this.openOrQuarantine(group, bootstrap, lost.get(group.name))
    );
    const endpoint = network.listen(this.process, this.id, this.address);
    // As every node knows its `--peers`; the memberships of the logs come on top.
    for (const { id, address } of this.world.nodes) endpoint.setAddress(id, address);
    const host = new Host({
      self: this.id,
      clock: this.clock,
      random: this.random.fork(),
      logger: silentLogger,
      transport: new WatchedTransport(endpoint, (group) => this.promised(group)),
      heartbeatMs: options.heartbeatMs,
      electionTimeoutMs: options.electionTimeoutMs,
      scrub: SCRUB,
      onFatal: (error) => this.exit(error),
      ...(this.losesOneGroup
        ? { onCorrupt: (group: string, error: TrilogError) => this.quarantine(group, error) }
        : {}),
    });
    this.host = host;
    this.services = new Map();
    this.parts = this.world.groups.map((_, at) => system.open(at));
    stores.forEach((store, at) => {
      if (store !== null) this.openReplica(at, store);
    });
    endpoint.setRequestHandler((method, params) => serve(this.services, method, params));
  }

  private openReplica(at: number, store: LogStore): void {
    const { options, system } = this.world;
    const group = this.world.groups[at];
    const replica = this.host!.open({
      group: group.name,
      machine: group.oracle.watch(this.id, this.parts[at].machine),
      store,
      raft: {
        ...raftOptions(options, leaseOf(this.leases, options)),
        maxAppendBytes: options.appendBytes,
        maxInflightMessages: options.inflightMessages,
        entryCacheBytes: options.cacheBytes,
      },
      compaction: system.compaction,
      sliceBytes: options.sliceBytes,
      floor: this.hosted.floors.get(group.name),
    });
    group.oracle.follow(replica);
    this.services.set(group.name, this.parts[at].serve(this.newSeat(group, replica)));
  }

  /** Whether damage costs a node one replica, as a broker, and not its whole identity. */
  private get losesOneGroup(): boolean {
    return this.world.options.system === "queue";
  }

  /** The replica of a group takes no part any more, and the others of this node go on. */
  private quarantine(group: string, error: TrilogError): void {
    if (!this.mayBeLost(group)) return this.exit(new Error(`undamaged, but ${error.message}`));
    this.hosted.quarantined.add(group);
    this.services.delete(group);
    this.world.count("quarantined");
  }

  /** The group has let the former replica go: a blank one may take part from `floor` on. */
  beginAgain(at: number, floor: LogId): void {
    const { name, oracle } = this.world.groups[at];
    try {
      const store = this.hosted.beginAgain(name, floor);
      this.removed.delete(name);
      oracle.begunAgain(this.id);
      this.parts[at] = this.world.system.open(at);
      this.openReplica(at, store);
      this.world.count("begun again");
    } catch (error) {
      if (!(error instanceof TrilogError) || error.code !== "disk_full") this.exit(error);
    }
  }

  /** The directory of a group is removed. Between processes only. */
  loseGroup(at: number): void {
    const directory = this.hosted.directoryOf(this.world.groups[at].name);
    if (directory === null) return;
    this.removed.add(this.world.groups[at].name);
    this.disk.lose(directory);
  }

  /** Whether a fault explains that files are not what they were; of one group, or of any. */
  mayBeLost(group?: string): boolean {
    if (this.damaged) return true;
    return group === undefined ? this.removed.size > 0 : this.removed.has(group);
  }

  /** The process is gone; `power`: and so may be what it had not synced. */
  stop(kind: "kill" | "power"): void {
    this.process.kill();
    this.host = null;
    this.disk.crash(kind);
  }

  /** The disk is a new one, and with it comes a new identity. Between processes only. */
  renew(): void {
    this.disk.wipe();
    this.hosted.forget();
    this.removed.clear();
    this.lives += 1;
    this.id = identityOf(this.number, this.lives);
    this.damaged = false;
  }

  /**
   * Runs `fault` a moment after the node next promised something or stored a snapshot, which its
   * log has not adopted yet, if it is the same process.
   */
  afterPromise(fault: () => void): void {
    this.onPromise = fault;
  }

  /** Somebody sets the wall clock. */
  jumpClock(byMs: number): void {
    this.wallOffsetMs += byMs;
    this.clock.jumpWall(byMs);
  }

  private exit(error: unknown): void {
    if (!this.process.alive) return;
    this.process.kill();
    this.host = null;
    this.world.ended(this, error);
  }

  /** The log of a group; null where its replica takes no part. */
  private openOrQuarantine(
    group: SimGroup,
    bootstrap: Membership | null,
    fault: TrilogError | undefined,
  ): LogStore | null {
    if (this.hosted.quarantined.has(group.name)) return null;
    try {
      if (fault !== undefined) throw fault;
      return this.openStore(group, bootstrap);
    } catch (error) {
      const rotted = error instanceof TrilogError && error.code === "corrupt";
      if (!rotted || !this.losesOneGroup) throw error;
      this.quarantine(group.name, error);
      return null;
    }
  }

  private openStore(group: SimGroup, bootstrap: Membership | null): LogStore {
    const store = this.hosted.open(group.name, bootstrap);
    const { hardState, last } = store.recovered;
    const amnesia = group.oracle.reopened(this.id, hardState, last);
    if (amnesia === null) return store;
    this.world.count(this.isAccused(group, hardState, last) ? "amnesia accused" : "amnesia");
    // Rot in the last record before a stop cannot be told from a write that was never synced, nor
    // an old copy from one that peers have forgotten.
    if (this.damaged) throw new TrilogError("corrupt", amnesia);
    group.oracle.breaks(amnesia);
    return store;
  }

  /** Whether a running peer remembers more than this log holds. */
  private isAccused({ name }: SimGroup, { term }: HardState, { index }: LogId): boolean {
    const opened = new Acknowledged({ term, index }, this.hosted.floors.get(name));
    return this.world.nodes.some(({ host }) => {
      const claims = host?.replica(name)?.questions.claimsOf(this.id) ?? [];
      return claims.some((claim) => opened.isForgotten(claim));
    });
  }

  private newSeat(group: SimGroup, replica: Replica): Seat {
    const { network } = this.world;
    const { process } = this;
    return {
      replica,
      leases: this.leases,
      clock: this.clock,
      random: this.random.fork(),
      fail: (error) => this.exit(error),
      caller: {
        call: (address, method, params, { deadlineMs }) =>
          network.call(process, address, `${group.name}/${method}`, params, deadlineMs),
      },
    };
  }

  private newClock(): SimClock {
    return new SimClock(this.process, {
      rate: this.clockRate,
      wallOffsetMs: this.wallOffsetMs,
      turnMs: this.world.options.turnMs,
    });
  }

  private faultAfterPromise(): void {
    const fault = this.onPromise;
    this.onPromise = null;
    if (fault !== null) this.process.after(PROMISE_MS, "fault after promise", fault);
  }

  /** A vote or an acknowledgement leaves; gives the oracle that judges it. */
  private promised(group: string): GroupOracle {
    this.faultAfterPromise();
    return this.world.groups[Number(group.slice(1)) - 1].oracle;
  }
}

/** 16 hexadecimal digits that name a node's n-th disk. */
function identityOf(node: number, lives: number): ReplicaId {
  return (node + 1).toString(16).padStart(8, "0") + lives.toString(16).padStart(8, "0");
}

/** Leases as long as the election timeout, shortened by what two clocks may differ at most. */
function leaseOf(leases: boolean, { electionTimeoutMs, clockError }: SimOptions) {
  return leases
    ? { leaseMs: electionTimeoutMs, clockErrorRatio: 2 * clockError }
    : { leaseMs: 0, clockErrorRatio: 0 };
}

/** Requests are named `group/method`. */
async function serve(
  services: ReadonlyMap<string, Serve>,
  request: string,
  params: Packable,
): Promise<Packable> {
  const [group, method] = request.split("/");
  const service = services.get(group);
  if (service !== undefined) return await service(method, params);
  throw new TrilogError("unknown_group", `Cannot answer ${request}: no such group here`);
}
