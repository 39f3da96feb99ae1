/**
 * The manager role: the methods of the managers on top of a node that replicates the metadata.
 *
 * Every manager answers metadata and takes changes of topics, which reach the leader by
 * themselves. What depends on the leader's memory (heartbeats, registrations, the status of the
 * whole cluster) is answered by the leader alone; the others name it. That memory begins empty
 * with each leadership.
 */

import type { Clock, Timer } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import { isValidName, limits } from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import { pack } from "../base/msgpack.ts";
import {
  alterTopicMethod,
  type ClusterMetadata,
  type ClusterStatus,
  clusterStatusMethod,
  type Consistency,
  createTopicMethod,
  deleteTopicMethod,
  drainBrokerMethod,
  heartbeatBrokerMethod,
  type ManagerStatus,
  metadataMethod,
  type MetadataRequest,
  type MetadataUpdate,
  metadataUpdateMethod,
  type MetadataUpdateRequest,
  type Method,
  movePartitionMethod,
  rebalanceMethod,
  recoverPartitionMethod,
  registerBrokerMethod,
  removeBrokerMethod,
} from "../client/protocol.ts";
import type { Call, RpcServer } from "../net/rpc.ts";
import type { RaftStatus } from "../raft/types.ts";
import type { NodeStatus } from "../replica/node_protocol.ts";
import { declare, initialise } from "./brokers.ts";
import { BrokerDesk } from "./broker_desk.ts";
import { type Command, decodeAnswer, encodeCommand } from "./command.ts";
import { GroupDesk } from "./group_desk.ts";
import { Liveness, type LivenessSettings } from "./liveness.ts";
import type { MetadataMachine } from "./metadata.ts";
import { drain, removeBroker } from "./drains.ts";
import { place } from "./moves.ts";
import { recover } from "./recoveries.ts";
import { keepSilences } from "./silences.ts";
import { serveRegistrations } from "./registration_desk.ts";
import { alterTopic, createTopic, deleteTopic } from "./topics.ts";
import { UpkeepDesk, type UpkeepSettings } from "./upkeep_desk.ts";
import { brokerStatuses, brokersView, partitionStatuses, topicsView } from "./views.ts";

/** What the manager needs of its node; `lib/replica/node.ts` has it. */
export interface ManagerNode {
  readonly service: {
    /** Replicates a command exactly once, whoever leads; resolves with the machine's answer. */
    command(command: Uint8Array, deadlineMs?: number): Promise<Uint8Array>;
    /** Answers after a read barrier, unless `stale`. */
    query(question: Uint8Array, stale?: boolean, deadlineMs?: number): Promise<Uint8Array>;
  };
  /** Null until the node belongs to a cluster. */
  readonly replica: {
    status(): Pick<RaftStatus, "role" | "term" | "readReady">;
    /** The stamp that an entry would get now. */
    stampMs(): number;
  } | null;
  status(): NodeStatus;
}

export interface ManagerOptions {
  readonly node: ManagerNode;
  /** The machine that `node` replicates. */
  readonly machine: MetadataMachine;
  readonly rpc: Pick<RpcServer, "handle">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly liveness: LivenessSettings;
  /** What this manager moves by itself while it leads; nothing by default. */
  readonly upkeep?: UpkeepSettings;
  /** Time after a group's last member left when the group is deleted; 0, the default: never. */
  readonly groupRetentionMs?: number;
}

/** Any question serves as a read barrier; this one has a short answer. */
const BARRIER = pack("cluster");
/** Time left for an answer's way back. */
const MARGIN_MS = 200;
const NO_UPKEEP: UpkeepSettings = { replaceAfterMs: Infinity, rebalancing: "off" };

export class Manager {
  private readonly liveness: Liveness;
  private readonly desk: BrokerDesk;
  private readonly groupDesk: GroupDesk;
  private readonly upkeep: UpkeepDesk;
  /** Term in which this manager leads and may trust its state; null while it does not lead. */
  private leadingTerm: number | null = null;
  /** How often this manager came to lead since it started. */
  leaderships = 0;
  private timer: Timer | null = null;
  private stopped = false;

  constructor(private readonly options: ManagerOptions) {
    this.liveness = new Liveness(options.liveness);
    const { machine, clock, logger } = options;
    this.desk = new BrokerDesk({
      machine,
      clock,
      logger,
      liveness: this.liveness,
      run: (command, fields) => this.run(command, fields, ""),
      barrier: (call) => this.barrier("linearizable", call),
      requireLeadership: (act) => this.requireLeadership(act),
    });
    this.groupDesk = new GroupDesk({
      machine,
      clock,
      logger,
      serve: (method, run) => this.serve(method, run),
      run: (command, fields, requestId, call) => this.run(command, fields, requestId, call),
      barrier: (call, stale) => this.barrier(stale ? "stale" : "linearizable", call),
      requireLeadership: (act) => this.requireLeadership(act),
      leadingTerm: () => {
        this.noticeLeadership();
        return this.leadingTerm;
      },
      groupRetentionMs: options.groupRetentionMs ?? 0,
      stampMs: () => options.node.replica?.stampMs() ?? 0,
    });
    this.upkeep = new UpkeepDesk({
      machine,
      clock,
      logger,
      settings: options.upkeep ?? NO_UPKEEP,
      run: (command, fields) => this.run(command, fields, ""),
    });
    machine.onPlacement(() => this.desk.releaseWaiting());
    this.serveAll();
    this.lookAfterLater();
  }

  /** Ends the leader's duties; the node is its owner's. */
  stop(): void {
    this.stopped = true;
    this.timer?.cancel();
    this.desk.releaseWaiting();
    this.groupDesk.stop();
  }

  /** The cluster as clients see it. */
  async metadata(request: MetadataRequest, call?: Call): Promise<ClusterMetadata> {
    await this.barrier(request.consistency, call);
    const { state } = this.options.machine;
    const { leader, members } = this.options.node.status();
    if (state.clusterId === "") {
      throw new TrilogError("unavailable", "Cannot read metadata: the cluster is being founded");
    }
    return {
      clusterId: state.clusterId,
      version: state.version,
      topics: topicsView(state, request.topics),
      brokers: brokersView(state),
      managers: currentMembers(members).map(({ name, replicaId, address }) => ({
        id: name,
        replicaId,
        address,
        leader: name === leader,
      })),
    };
  }

  /** The same, unless the client has it already. */
  private async metadataUpdate(
    request: MetadataUpdateRequest,
    call: Call,
  ): Promise<MetadataUpdate> {
    const { topics, consistency, knownVersion } = request;
    await this.barrier(consistency, call);
    if (this.options.machine.state.version <= knownVersion) return { metadata: null };
    return { metadata: await this.metadata({ topics, consistency: "stale" }, call) };
  }

  /** The cluster as its operator sees it; complete on the leader only. */
  async status(consistency: Consistency, call?: Call): Promise<ClusterStatus> {
    if (consistency === "linearizable") this.requireLeadership("read cluster status");
    await this.barrier(consistency, call);
    const { machine: { state }, clock } = this.options;
    const node = this.options.node.status();
    const memory = {
      silentMs: (replicaId: string) => {
        const heardMs = this.liveness.lastHeardMs(replicaId);
        return heardMs === null ? null : Math.max(0, Math.round(clock.monotonicMs() - heardMs));
      },
      commitMs: (replicaId: string) => this.desk.heartbeats.commitMs(replicaId),
      led: (groupId: string) => this.desk.heartbeats.led(groupId),
      repairing: () => this.desk.heartbeats.repairing(),
    };
    return {
      clusterId: state.clusterId,
      version: state.version,
      term: node.term,
      managers: currentMembers(node.members).map((member) => managerStatus(member, node.leader)),
      brokers: brokerStatuses(state, memory),
      partitions: partitionStatuses(state, memory),
      tombstones: state.tombstones.size,
      heartbeatIntervalMs: this.liveness.settings.intervalMs,
    };
  }

  private serveAll(): void {
    this.serve(metadataMethod, (request, call) => this.metadata(request, call));
    this.serve(metadataUpdateMethod, (request, call) => this.metadataUpdate(request, call));
    this.serve(clusterStatusMethod, ({ consistency }, call) => this.status(consistency, call));
    this.serve(
      createTopicMethod,
      ({ requestId, ...fields }, call) => this.run(createTopic, fields, requestId, call),
    );
    this.serve(
      alterTopicMethod,
      ({ requestId, ...fields }, call) => this.run(alterTopic, fields, requestId, call),
    );
    this.serve(
      deleteTopicMethod,
      ({ requestId, ...fields }, call) => this.run(deleteTopic, fields, requestId, call),
    );
    this.serve(
      movePartitionMethod,
      ({ requestId, ...fields }, call) => this.run(place, fields, requestId, call),
    );
    this.serveUpkeep();
    serveRegistrations({
      machine: this.options.machine,
      serve: (method, run) => this.serve(method, run),
      run: (command, fields, requestId, call) => this.run(command, fields, requestId, call),
      barrier: (call) => this.barrier("linearizable", call),
    });
    this.serve(registerBrokerMethod, (request) => this.desk.register(request));
    this.serve(heartbeatBrokerMethod, (request, call) => this.desk.heartbeat(request, call));
  }

  /** Brokers that leave, the balance of the load, and lost partitions. */
  private serveUpkeep(): void {
    this.serve(
      drainBrokerMethod,
      ({ requestId, ...fields }, call) => this.run(drain, fields, requestId, call),
    );
    this.serve(
      removeBrokerMethod,
      ({ requestId, ...fields }, call) => this.run(removeBroker, fields, requestId, call),
    );
    this.serve(
      recoverPartitionMethod,
      ({ requestId, ...fields }, call) => this.run(recover, fields, requestId, call),
    );
    this.serve(rebalanceMethod, async (_, call) => {
      this.requireLeadership("rebalance");
      await this.barrier("linearizable", call);
      this.requireLeadership("rebalance");
      return this.upkeep.rebalance(this.leadingTerm!);
    });
  }

  private serve<Request, Answer>(
    method: Method<Request, Answer>,
    run: (request: Request, call: Call) => Promise<Answer>,
  ): void {
    this.options.rpc.handle(method.name, async (params, call) => {
      const request = method.request.decode(params, method.name);
      return method.answer.encode(await run(request, call));
    });
  }

  private async run<Fields, Answer>(
    command: Command<Fields, Answer>,
    fields: Fields,
    requestId: string,
    call?: Call,
  ): Promise<Answer> {
    const bytes = encodeCommand(command, fields, requestId);
    return decodeAnswer(command, await this.options.node.service.command(bytes, timeFor(call)));
  }

  private async barrier(consistency: Consistency, call?: Call): Promise<void> {
    await this.options.node.service.query(BARRIER, consistency === "stale", timeFor(call));
  }

  /** Throws `not_leader` with the leader's address; or `unavailable` where it is just elected. */
  private requireLeadership(act: string): void {
    this.noticeLeadership();
    if (this.leadingTerm !== null) return;
    const { role, leaderAddress } = this.options.node.status();
    if (role === "leader") {
      throw new TrilogError("unavailable", `Cannot ${act}: the leader was just elected`);
    }
    throw new TrilogError("not_leader", `Cannot ${act}: this manager does not lead`, {
      leader: leaderAddress ?? undefined,
    });
  }

  /** Old news ends here: memory of an earlier leadership is dropped before it is used. */
  private noticeLeadership(): void {
    const status = this.options.node.replica?.status();
    const leads = status?.role === "leader" && status.readReady;
    const term = leads ? status.term : null;
    if (term === this.leadingTerm) return;
    this.leadingTerm = term;
    this.leaderships += Number(leads);
    this.liveness.startAfresh();
    this.desk.startAfresh();
    this.groupDesk.startAfresh();
    this.upkeep.startAfresh();
  }

  private lookAfterLater(): void {
    this.timer = this.options.clock.after(this.liveness.judgeIntervalMs, () => {
      if (this.stopped) return;
      this.noticeLeadership();
      if (this.leadingTerm !== null) this.lookAfterCluster(this.leadingTerm);
      this.lookAfterLater();
    });
  }

  /** The leader's duties. */
  private lookAfterCluster(term: number): void {
    const { machine: { state }, clock, node } = this.options;
    const { cluster } = node.status();
    if (state.clusterId === "" && cluster !== null) {
      this.inBackground("name the cluster", this.run(initialise, { clusterId: cluster }, ""));
    }
    const brokers = state.sortedBrokers();
    const nowMs = clock.monotonicMs();
    const judged = this.liveness.judge(brokers, nowMs, state.silences);
    const silences = this.liveness.toStore(brokers, nowMs, state.silences);
    if (silences.length > 0) {
      this.inBackground("store silence", this.run(keepSilences, { term, silences }, ""));
    }
    if (judged.dead.length + judged.alive.length > 0) {
      this.options.logger.info("declaring brokers", {
        dead: judged.dead.join(","),
        alive: judged.alive.join(","),
      });
      this.inBackground("declare brokers", this.run(declare, { term, ...judged }, ""));
    }
    this.desk.reportNews();
    this.upkeep.look(term);
  }

  /** What fails is due again at the next look. */
  private inBackground(act: string, work: Promise<unknown>): void {
    work.catch((thrown) => {
      this.options.logger.debug(`could not ${act}`, { reason: toTrilogError(thrown).message });
    });
  }
}

function timeFor(call: Call | undefined): number {
  const allowedMs = limits.answerMs - MARGIN_MS;
  if (call === undefined) return allowedMs;
  return Math.max(1, Math.min(allowedMs, call.deadlineMs - MARGIN_MS));
}

/** Members under their own names: an identity that is being replaced has another one. */
function currentMembers(members: NodeStatus["members"]): NodeStatus["members"] {
  return members.filter(({ name }) => isValidName(name));
}

function managerStatus(
  member: NodeStatus["members"][number],
  leader: string | null,
): ManagerStatus {
  const { name, replicaId, address, role, lag, heardMs } = member;
  return {
    id: name,
    replicaId,
    address,
    role: name === leader ? "leader" : role === "learner" ? "learner" : "follower",
    behind: lag,
    lastHeardMs: heardMs,
  };
}
