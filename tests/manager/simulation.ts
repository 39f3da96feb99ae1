/**
 * Real managers (hosts, logs, sessions and the role) and brokers that only do as they are told, on
 * virtual time, network and disks.
 */

import { assert } from "@std/assert";
import { type Clock, sleep } from "../../lib/base/clock.ts";
import { toTrilogError, TrilogError } from "../../lib/base/errors.ts";
import { silentLogger } from "../../lib/base/logger.ts";
import { Prng } from "../../lib/base/prng.ts";
import { Managers as ManagersClient } from "../../lib/client/managers.ts";
import {
  type Assignments,
  heartbeatBrokerMethod,
  registerBrokerMethod,
} from "../../lib/client/protocol.ts";
import { Manager } from "../../lib/manager/manager.ts";
import { MetadataMachine } from "../../lib/manager/metadata.ts";
import type { MetadataView } from "../../lib/manager/state.ts";
import type { Call, Handler } from "../../lib/net/rpc.ts";
import type { Membership } from "../../lib/raft/types.ts";
import { GroupService, PROPOSE_METHOD } from "../../lib/replica/group_service.ts";
import { Host } from "../../lib/replica/host.ts";
import type { NodeStatus } from "../../lib/replica/node_protocol.ts";
import { raftOptions } from "../../lib/replica/raft_options.ts";
import type { Replica } from "../../lib/replica/replica.ts";
import { SessionMachine } from "../../lib/replica/sessions.ts";
import { SimClock } from "../../lib/sim/clock.ts";
import { SimDisk } from "../../lib/sim/disk.ts";
import { SimNetwork } from "../../lib/sim/network.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";
import { openSegmentLog } from "../../lib/storage/segment_log.ts";

const TIMING = { heartbeatMs: 50, electionTimeoutMs: 300 };
const CLUSTER = "00000000000000c1";
export const LIVENESS = { intervalMs: 500, timeToDeadMs: 5_000 };
const UPKEEP = { replaceAfterMs: 2_000, rebalancing: "auto" } as const;

const names = ["m1", "m2", "m3"];
const addresses = names.map((name) => `${name}:9001`);
const membership: Membership = {
  voters: names,
  outgoing: [],
  learners: [],
  learnersNext: [],
  nodes: Object.fromEntries(names.map((name) => [name, { name, address: `${name}:9001` }])),
};

/** One manager's machine; a process comes and goes on it. */
export class SimManager {
  process: SimProcess;
  readonly disk: SimDisk;
  machine = new MetadataMachine();
  replica: Replica | null = null;

  constructor(readonly name: string, private readonly world: World) {
    this.process = new SimProcess(world.scheduler, name);
    this.disk = new SimDisk(this.process, world.random.fork());
    this.start();
  }

  kill(): void {
    this.process.kill();
    this.disk.crash("power");
    this.replica = null;
  }

  restart(): void {
    this.process = new SimProcess(this.world.scheduler, this.name);
    this.disk.attach(this.process);
    this.machine = new MetadataMachine();
    this.start();
  }

  get leads(): boolean {
    return this.replica?.isLeader === true && this.replica.status().readReady;
  }

  private start(): void {
    const { network, random } = this.world;
    const { name, process, machine } = this;
    const clock = new SimClock(process);
    const transport = network.listen(process, name, `${name}:9001`);
    for (const other of names) transport.setAddress(other, `${other}:9001`);
    const onFatal = (error: unknown) => {
      throw error;
    };
    const logger = silentLogger;
    const host = new Host({
      self: name,
      clock,
      random: random.fork(),
      logger,
      transport,
      ...TIMING,
      onFatal,
    });
    const store = openSegmentLog(this.disk, {
      identity: { cluster: CLUSTER, group: "metadata" },
      directory: "g1",
      bootstrap: membership,
      segmentBytes: 8 * 1024,
    });
    const replica = host.open({
      group: "metadata",
      machine: new SessionMachine(machine),
      store,
      raft: raftOptions(TIMING),
      compaction: "previous",
    });
    this.replica = replica;
    const service = new GroupService({
      clock,
      random: random.fork(),
      caller: {
        call: (address, method, params, { deadlineMs }) =>
          network.call(process, address, method, params, deadlineMs),
      },
      replica: () => replica,
      addressOf: (id) => membership.nodes[id]?.address,
    });
    const handlers = new Map<string, Handler>();
    handlers.set(PROPOSE_METHOD, (params) => service.servePropose(params));
    const status = () => nodeStatus(name, replica);
    new Manager({
      node: { service, replica, status },
      machine,
      rpc: { handle: (method, handler) => void handlers.set(method, handler) },
      clock,
      logger,
      liveness: LIVENESS,
      upkeep: UPKEEP,
    });
    transport.setRequestHandler(async (method, params) => {
      const call = { method, deadlineMs: 3_000 } as Call;
      return await handlers.get(method)!(params, call);
    });
  }
}

function nodeStatus(name: string, replica: Replica): NodeStatus {
  const { role, term, leader, commit, applied, last, progress } = replica.status();
  const leaderAddress = leader === null ? null : membership.nodes[leader].address;
  return {
    name,
    replicaId: name,
    address: `${name}:9001`,
    cluster: CLUSTER,
    role,
    term,
    leader,
    leaderAddress,
    commit,
    applied,
    lastIndex: last.index,
    caughtUp: null,
    members: names.map((id) => ({
      name: id,
      replicaId: id,
      address: `${id}:9001`,
      role: "voter",
      lag: progress.find((other) => other.id === id)?.match ?? null,
      heardMs: null,
    })),
  };
}

/**
 * A broker without messages: it hosts what it is told to, deletes what it is told to, and claims
 * to lead what it is the preferred leader of, with the wanted voters.
 */
export class SimBroker {
  process: SimProcess;
  readonly hosted = new Set<string>();
  assignments: Assignments | null = null;
  readonly replicaId: string;

  constructor(readonly id: string, private readonly world: World) {
    this.replicaId = `r-${id}`;
    this.process = new SimProcess(world.scheduler, id);
    void this.run();
  }

  restart(): void {
    this.process = new SimProcess(this.world.scheduler, this.id);
    this.assignments = null;
    void this.run();
  }

  private async run(): Promise<void> {
    const clock = new SimClock(this.process);
    const client = this.world.client(this.process);
    const identity = { id: this.id, replicaId: this.replicaId, address: `${this.id}:9101` };
    await until(
      clock,
      () => client.request(registerBrokerMethod, { ...identity, rack: "", clusterId: null }, 2_000),
    );
    for (;;) {
      const request = {
        replicaId: this.replicaId,
        assignmentVersion: this.assignments?.version ?? 0,
        led: this.led(),
        hosted: [...this.hosted].map((groupId) => ({
          groupId,
          epoch: 1,
          quarantined: false,
          repairing: false,
        })),
        maxWaitMs: LIVENESS.intervalMs,
        commitMs: null,
      };
      const answer = await until(
        clock,
        () => client.request(heartbeatBrokerMethod, request, 2_000),
      );
      if (answer.assignments !== null) this.obey(answer.assignments);
      else await sleep(clock, 10);
    }
  }

  private obey(assignments: Assignments): void {
    // An answer may overtake another; what is older than what is known counts for nothing.
    if (assignments.version <= (this.assignments?.version ?? 0)) return;
    this.assignments = assignments;
    for (const { groupId, replicas } of assignments.replicas) {
      if (replicas.includes(this.replicaId)) this.hosted.add(groupId);
    }
    for (const { groupId } of assignments.tombstones) {
      if (this.hosted.delete(groupId)) this.world.deleted(this, groupId);
    }
  }

  private led() {
    const version = this.assignments?.version ?? 1;
    return (this.assignments?.replicas ?? []).filter(({ replicas }) =>
      replicas[0] === this.replicaId
    ).map(({ groupId, epoch, replicas }) => ({
      groupId,
      epoch,
      term: version,
      membershipIndex: version,
      voters: [...replicas].sort(),
      startOffset: 0,
      endOffset: version,
      sizeBytes: 0,
    }));
  }
}

/** Tries again until it works. */
async function until<T>(clock: Clock, attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt();
    } catch (thrown) {
      if (!(thrown instanceof TrilogError)) throw toTrilogError(thrown);
      await sleep(clock, 20);
    }
  }
}

export class World {
  readonly scheduler = new Scheduler();
  readonly random: Prng;
  readonly network: SimNetwork;
  readonly managers: SimManager[];
  readonly brokers: SimBroker[];
  deletions = 0;

  constructor(seed: number, brokers: number) {
    this.random = new Prng(seed);
    this.network = new SimNetwork(this.scheduler, this.random.fork());
    this.managers = names.map((name) => new SimManager(name, this));
    this.brokers = Array.from({ length: brokers }, (_, at) => new SimBroker(`b${at + 1}`, this));
  }

  /** A client of the managers in a process. */
  client(process: SimProcess): ManagersClient {
    const call = (
      address: string,
      method: string,
      params: Parameters<Handler>[0],
      options: { readonly deadlineMs: number },
    ) => this.network.call(process, address, method, params, options.deadlineMs);
    const bootstrap = this.random.shuffled(addresses);
    return new ManagersClient({ call }, new SimClock(process), this.random.fork(), bootstrap);
  }

  /** The newest state that any running manager has. */
  newest(): MetadataView {
    const running = this.managers.filter(({ process }) => process.alive);
    return running.map(({ machine }) => machine.state)
      .reduce((best, state) => state.version > best.version ? state : best);
  }

  /** A broker deleted a replica: nobody may want or count on it. */
  deleted(broker: SimBroker, groupId: string): void {
    this.deletions += 1;
    const placed = this.newest().partitionOf(groupId);
    if (placed === undefined) return;
    const { replicas, voters } = placed.topic.partitions[placed.partition];
    assert(!replicas.includes(broker.replicaId), `${broker.id} deleted wanted ${groupId}`);
    assert(!voters.includes(broker.replicaId), `${broker.id} deleted a voter of ${groupId}`);
  }

  async run(forMs: number): Promise<void> {
    await this.scheduler.runUntil(this.scheduler.nowMs + forMs);
  }

  async until(what: string, done: () => boolean, withinMs = 20_000): Promise<void> {
    const ended = await this.scheduler.runUntil(this.scheduler.nowMs + withinMs, done);
    assert(ended, `not within ${withinMs} ms of virtual time: ${what}`);
  }

  /** What a promise resolves with, after the virtual time that it needs. */
  async settle<T>(promise: Promise<T>, withinMs = 20_000): Promise<T> {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise.then(done, done);
    await this.until("a promise settles", () => settled, withinMs);
    return await promise;
  }

  leader(): SimManager | undefined {
    return this.managers.find(({ process, leads }) => process.alive && leads);
  }

  async ready(): Promise<void> {
    await this.until(
      "brokers are registered",
      () => this.newest().brokers.size === this.brokers.length,
    );
  }
}
