/**
 * The broker role: one process with many partitions. It opens what its disk holds, registers with
 * the managers, makes what it hosts as they want it, and serves producers and consumers.
 */

import { type Clock, sleep, type Timer } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { MetricFamily } from "../base/metrics.ts";
import { Managers } from "../client/managers.ts";
import {
  advanceMethod,
  type Assignments,
  claimMethod,
  commitMethod,
  committedOffsetMethod,
  consumerPositionMethod,
  deleteConsumerMethod,
  dequeueMethod,
  fetchMethod,
  type KnownLeader,
  leadersMethod,
  type LeadersRequest,
  listOffsetsMethod,
  type Method,
  metricsMethod,
  produceMethod,
  surveyMethod,
} from "../client/protocol.ts";
import type { RemoteIdentity } from "../net/handshake.ts";
import type { Call } from "../net/rpc.ts";
import type { LogId, NodeInfo, ReplicaId } from "../raft/types.ts";
import { type ProcessOptions, ServerProcess } from "../replica/process.ts";
import { processFamilies } from "../replica/process_metrics.ts";
import { BrokerMetrics } from "./broker_metrics.ts";
import { consumerPosition, deleteConsumer, dequeue } from "./consuming.ts";
import { Fetching } from "./fetching.ts";
import { Hosting } from "./hosting.ts";
import { ManagerLink } from "./manager_link.ts";
import { OffsetCleaning } from "./offset_cleaning.ts";
import { claim, commit, committedOffset, listOffsets } from "./offsets.ts";
import { advance, produce } from "./producing.ts";
import { Rebuilder, release, releaseMethod } from "./rebuilding.ts";
import { Retention } from "./retention.ts";
import type { ServedPartition } from "./served_partition.ts";
import { Steering } from "./steering.ts";
import { Successors, survey } from "./succession.ts";

export interface BrokerOptions extends Omit<ProcessOptions, "addressesOf" | "onMembership"> {
  /** Addresses of some managers. */
  readonly managers: readonly string[];
  /** Failure domain; empty for none. */
  readonly rack: string;
  /** A segment of a partition's log is closed at this size. */
  readonly segmentBytes: number;
  /** How often retention is looked after; default five seconds. */
  readonly retentionEveryMs?: number;
  /** How often offsets of deleted groups are looked for; default ten seconds. */
  readonly offsetCleaningEveryMs?: number;
}

const HAND_OVER_MS = 2_000;
const RETENTION_EVERY_MS = 5_000;
const OFFSET_CLEANING_EVERY_MS = 10_000;
const MAKE_ROOM_EVERY_MS = 500;

export class Broker {
  readonly process: ServerProcess;
  readonly hosting: Hosting;
  private readonly steering: Steering;
  private readonly link: ManagerLink;
  private readonly fetching: Fetching;
  private readonly metrics: BrokerMetrics;
  private readonly retention: Retention;
  private readonly offsetCleaning: OffsetCleaning;
  private readonly clock: Clock;
  private retentionTimer: Timer | null = null;
  private offsetCleaningTimer: Timer | null = null;
  private retainedAtMs = -Infinity;
  private stopping = false;

  private constructor(private readonly options: BrokerOptions) {
    const { clock, logger, random } = options;
    this.clock = clock;
    this.process = new ServerProcess({
      ...options,
      addressesOf: (id, node) => [this.dialAddress(id, node), node.address],
      onCorrupt: (group, error) => this.rotted(group, error),
      onFatal: (error) => this.fatal(error),
    });
    const { directory, host, caller } = this.process;
    this.hosting = new Hosting({ ...options, host, identity: directory });
    this.steering = new Steering({
      self: directory.replicaId,
      hosting: this.hosting,
      clock,
      logger,
      electionTimeoutMs: options.electionTimeoutMs,
      onNews: () => this.link.tellNews(),
      rebuild: (hosted, assigned) => rebuilder.rebuild(hosted, assigned),
      succeed: (hosted, assigned) => successors.succeed(hosted, assigned),
    });
    const successors = new Successors({
      self: directory.replicaId,
      hosting: this.hosting,
      clock,
      logger,
      node: () => ({ name: options.name, address: this.process.address }),
      version: () => this.steering.version,
    });
    const rebuilder = new Rebuilder({
      self: directory.replicaId,
      hosting: this.hosting,
      caller,
      logger,
      addressOf: (id) => this.steering.addressOf(id),
      version: () => this.steering.version,
    });
    const managers = new Managers(caller, clock, random, options.managers);
    this.link = new ManagerLink({
      managers,
      clock,
      logger,
      registration: () => ({
        id: options.name,
        replicaId: directory.replicaId,
        address: this.process.address,
        rack: options.rack,
        clusterId: directory.cluster,
      }),
      heartbeat: () => ({
        replicaId: directory.replicaId,
        assignmentVersion: this.steering.version,
        led: this.steering.led(),
        hosted: [...this.hosting.all()].map(({ notes: { groupId, epoch, state }, partition }) => ({
          groupId,
          epoch,
          quarantined: state === "fenced",
          repairing: partition?.replica.repair.underWay ?? false,
        })),
        commitMs: this.metrics.takeCommitMs(),
      }),
      onRegistered: ({ clusterId }) => directory.becomeMember(clusterId),
      onAssignments: (assignments) => this.take(assignments),
      onRefused: (error) => this.fatal(error),
    });
    this.fetching = new Fetching(clock);
    this.metrics = new BrokerMetrics(clock);
    this.retention = new Retention({ clock, logger });
    const partitions = () => this.hosting.partitions();
    this.offsetCleaning = new OffsetCleaning({ managers, partitions, logger });
  }

  /**
   * Opens the data directory and every replica in it, binds the port and starts; registration goes
   * on in the background for as long as it takes.
   */
  static start(options: BrokerOptions): Broker {
    const broker = new Broker(options);
    try {
      broker.hosting.openAll();
      broker.serve();
    } catch (thrown) {
      void broker.process.stop();
      throw thrown;
    }
    return broker;
  }

  /** Address that others dial. */
  get address(): string {
    return this.process.address;
  }

  /** Hands leaderships over, then stops; nothing acknowledged is lost either way. */
  async stop(): Promise<void> {
    if (this.stopping) return;
    this.stopping = true;
    this.end();
    const { host } = this.process;
    host.handOverLeaderships();
    const endMs = this.clock.monotonicMs() + HAND_OVER_MS;
    while (this.leadsOthers() && this.clock.monotonicMs() < endMs) await sleep(this.clock, 5);
    for (const partition of this.hosting.partitions()) partition.wakeAll();
    await this.process.stop();
  }

  private serve(): void {
    this.handle(
      produceMethod,
      (partition, request) => this.metrics.producing(request, produce(partition, request)),
    );
    this.handle(
      fetchMethod,
      (partition, request, call) =>
        this.metrics.fetching(this.fetching.fetch(partition, request, () => call.signal)),
    );
    this.handle(listOffsetsMethod, (partition, request) => listOffsets(partition, request));
    this.handle(claimMethod, (partition, request) => claim(partition, request));
    this.handle(
      dequeueMethod,
      (partition, request) => this.metrics.dequeuing(dequeue(partition, request)),
    );
    this.handle(
      consumerPositionMethod,
      (partition, request) => consumerPosition(partition, request),
    );
    this.handle(deleteConsumerMethod, (partition, request) => deleteConsumer(partition, request));
    this.handle(commitMethod, (partition, request) => commit(partition, request));
    this.handle(committedOffsetMethod, (partition, request) => committedOffset(partition, request));
    this.handle(surveyMethod, (partition) => Promise.resolve(survey(partition)));
    this.handle(advanceMethod, (partition, request) => advance(partition, request));
    this.handle(releaseMethod, (partition, _, { caller }) => this.release(partition, caller));
    this.process.rpc.handle(leadersMethod.name, (params) => {
      const { groups } = leadersMethod.request.decode(params, leadersMethod.name);
      return leadersMethod.answer.encode({ leaders: this.knownLeaders(groups) });
    });
    this.process.rpc.handle(
      metricsMethod.name,
      () => metricsMethod.answer.encode({ families: this.families() }),
    );
    this.process.listen();
    this.steering.start();
    void this.link.run();
    this.lookAfterRetention();
    this.cleanOffsets();
  }

  /** Only a broker itself may give up its old life. */
  private release(partition: ServedPartition, caller: RemoteIdentity): Promise<LogId> {
    if (caller.role !== "peer" || caller.replicaId === null) {
      const state = "only a broker may ask for its own";
      throw new TrilogError(
        "unauthorized",
        `Cannot release a replica of ${partition.label}: ${state}`,
      );
    }
    const { replica } = partition;
    // The asker has no replica that could lead: the others need not wait until it is silent.
    if (replica.raft.leader === caller.replicaId) {
      replica.step({ kind: "peer_unreachable", peer: caller.replicaId });
    }
    return release(partition, caller.replicaId, this.clock);
  }

  /** What the replicas here know of who leads; without those that know nothing. */
  private knownLeaders(groups: LeadersRequest["groups"]): KnownLeader[] {
    return groups.flatMap(({ groupId, epoch }) => {
      const partition = this.hosting.get(groupId)?.partition ?? null;
      const address = partition?.replica.leaderAddress();
      if (partition?.epoch !== epoch || address === undefined) return [];
      return [{ groupId, address, term: partition.replica.raft.term }];
    });
  }

  private families(): MetricFamily[] {
    const { waiting } = this.fetching;
    const { leaderships } = this.steering;
    const own = this.metrics.families(this.hosting.partitions(), { waiting, leaderships });
    return [...own, ...processFamilies(this.process)];
  }

  /** Serves a method of one partition, which the request names by group and epoch. */
  private handle<Request extends { readonly groupId: string; readonly epoch: number }, Answer>(
    method: Method<Request, Answer>,
    run: (partition: ServedPartition, request: Request, call: Call) => Promise<Answer>,
  ): void {
    this.process.rpc.handle(method.name, async (params, call) => {
      const request = method.request.decode(params, method.name);
      const partition = this.partition(request.groupId, request.epoch);
      try {
        return method.answer.encode(await run(partition, request, call));
      } catch (thrown) {
        throw this.seenRot(partition, thrown);
      }
    });
  }

  /** Throws `unknown_group`: the caller's metadata, or this broker's assignments, are old. */
  private partition(groupId: string, epoch: number): ServedPartition {
    const hosted = this.hosting.get(groupId);
    const partition = hosted?.partition ?? null;
    if (partition !== null && partition.epoch === epoch) return partition;
    const state = hosted?.notes.state === "fenced"
      ? `its replica on ${this.options.name} is quarantined`
      : partition === null
      ? "it is not hosted here"
      : `its epoch is ${partition.epoch}`;
    throw new TrilogError("unknown_group", `Cannot serve ${groupId} in epoch ${epoch}: ${state}`);
  }

  private seenRot(partition: ServedPartition, thrown: unknown): unknown {
    if (!(thrown instanceof TrilogError) || thrown.code !== "corrupt") return thrown;
    this.rotted(partition.replica.group, thrown);
    const message = `Cannot serve ${partition.label}: its replica here has rotted`;
    return new TrilogError("unknown_group", message, { cause: thrown });
  }

  private rotted(group: string, error: TrilogError): void {
    const hosted = this.hosting.byRaftGroup(group);
    if (hosted !== undefined && hosted.notes.state === "open") this.hosting.fence(hosted, error);
  }

  private take(assignments: Assignments): void {
    const { directory, peers } = this.process;
    for (const id of assignments.superseded) {
      if (!directory.peerRecord(id).superseded) this.process.supersede(id);
    }
    this.steering.take(assignments);
    // A blank replica has no membership to learn addresses from, and must answer whoever leads it.
    const former = new Set(assignments.superseded);
    for (const { replicaId, address } of assignments.peers) {
      if (replicaId === directory.replicaId || former.has(replicaId)) continue;
      peers.setAddress(replicaId, address);
    }
    for (const { replica } of this.hosting.partitions()) {
      for (const [id, node] of Object.entries(replica.raft.membership.nodes)) {
        if (id === directory.replicaId) continue;
        peers.setAddress(id, this.dialAddress(id, node), [node.address]);
      }
    }
  }

  /** The managers know best where a broker is; a membership remembers where it was. */
  private dialAddress(id: ReplicaId, node: NodeInfo): string {
    return this.steering?.addressOf(id) ?? node.address;
  }

  /** New partitions, and those whose entries wait for room, are looked after more often. */
  private lookAfterRetention(): void {
    const everyMs = this.options.retentionEveryMs ?? RETENTION_EVERY_MS;
    const stepMs = Math.min(everyMs, MAKE_ROOM_EVERY_MS);
    this.retentionTimer = this.clock.after(stepMs, () => {
      const nowMs = this.clock.monotonicMs();
      const isDue = nowMs - this.retainedAtMs > everyMs - stepMs / 2;
      if (isDue) this.retainedAtMs = nowMs;
      for (const partition of this.hosting.partitions()) {
        if (!isDue && !partition.replica.diskFull && this.retention.knows(partition)) continue;
        const assigned = this.steering.assigned(partition.groupId);
        if (assigned !== undefined) this.retention.lookAfter(partition, assigned.settings);
      }
      this.lookAfterRetention();
    });
  }

  private cleanOffsets(): void {
    const everyMs = this.options.offsetCleaningEveryMs ?? OFFSET_CLEANING_EVERY_MS;
    this.offsetCleaningTimer = this.clock.after(everyMs, () => {
      void this.offsetCleaning.clean();
      this.cleanOffsets();
    });
  }

  private leadsOthers(): boolean {
    for (const replica of this.process.host.replicas()) {
      if (replica.isLeader && replica.raft.membership.voters.length > 1) return true;
    }
    return false;
  }

  private end(): void {
    this.link.stop();
    this.steering.stop();
    this.retentionTimer?.cancel();
    this.offsetCleaningTimer?.cancel();
  }

  private fatal(thrown: unknown): void {
    if (this.stopping) return;
    this.stopping = true;
    this.end();
    this.process.host.stop();
    this.options.onFatal(toTrilogError(thrown));
  }
}
