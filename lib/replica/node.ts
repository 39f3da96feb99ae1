/**
 * A server of one replicated machine: the bank, the key-value store, the managers. It founds or
 * joins its cluster, replicates commands, answers questions, and takes its leave.
 */

import { type Clock, sleep, type Timer } from "../base/clock.ts";
import { PacedLog } from "../base/paced_log.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Membership, NodeInfo, RaftStatus, ReplicaId } from "../raft/types.ts";
import { setAside } from "../storage/identity.ts";
import { takeCensus } from "../storage/groups.ts";
import { groupDirectory } from "../storage/layout.ts";
import { corrupt } from "../storage/record.ts";
import { openSegmentLog } from "../storage/segment_log.ts";
import type { LogStore } from "../storage/store.ts";
import { Bootstrap, HELLO_METHOD, PREPARE_METHOD } from "./bootstrap.ts";
import { CatchUp, type CaughtUp, Observers } from "./catch_up.ts";
import { GroupService, PROPOSE_METHOD, type ReadMode } from "./group_service.ts";
import { JOIN_METHOD, JoinDriver } from "./join_driver.ts";
import { identitiesOf } from "./join_plan.ts";
import { MemberService } from "./member_service.ts";
import {
  COMMAND_METHOD,
  commandCodec,
  MEMBER_METHOD,
  type NodeStatus,
  nodeStatusCodec,
  QUERY_METHOD,
  queryCodec,
  STATUS_METHOD,
} from "./node_protocol.ts";
import { type ProcessOptions, ServerProcess } from "./process.ts";
import { type LeaseOptions, raftOptions } from "./raft_options.ts";
import type { Replica } from "./replica.ts";
import { SessionMachine } from "./sessions.ts";
import type { StateMachine } from "./state_machine.ts";
import { Story, type StoryWords } from "./story.ts";

export interface NodeOptions extends Omit<ProcessOptions, "addressesOf" | "onMembership"> {
  /** Group id, such as `atm`: the same on all nodes. */
  readonly group: string;
  /** Made anew for each start; the node adds sessions around it. */
  readonly machine: () => StateMachine;
  /** Everybody of `--peers`, this node included; addresses as seen from here. */
  readonly peers: readonly NodeInfo[];
  /** A segment of the log is closed at this size, and a checkpoint taken. */
  readonly segmentBytes: number;
  /** How questions are answered; default `index`. */
  readonly reads?: ReadMode;
  /** Leader leases (see `RaftOptions`); none by default. The same on all nodes. */
  readonly lease?: LeaseOptions;
  /** Silence after which a blank node elsewhere takes a member's name; default one minute. */
  readonly takeoverMs?: number;
  /** Called when this node has again what it had missed while it was away. */
  readonly onCaughtUp?: (caughtUp: CaughtUp) => void;
  /** The node is not in a cluster yet, and why; see `Bootstrap`. */
  readonly onWaiting?: (reason: string) => void;
  /** Has the log tell the story of the consensus, in these words for requests. */
  readonly story?: StoryWords;
}

/** How often the leader looks after joins, and a node after its own place in the membership. */
const CARE_MS = 100;
const ANNOUNCE_MS = 500;
const HAND_OVER_MS = 1_000;
const TAKEOVER_MS = 60_000;

export class Node {
  readonly process: ServerProcess;
  readonly service: GroupService;
  /** The machine that is replicated, without the sessions around it. */
  readonly machine: StateMachine;
  private readonly bootstrap: Bootstrap;
  private readonly joins: JoinDriver;
  /** Adds and removes members, wherever the leader is. */
  readonly membership: MemberService;
  private readonly clock: Clock;
  private readonly requestLog: PacedLog;
  private current: Replica | null = null;
  private readonly catchUp = new CatchUp((caughtUp) => this.caughtUp(caughtUp));
  /** What is replicated: the machine with the memory of its clients and its invitations. */
  private readonly replicated: SessionMachine;
  /** Addresses in force when this process started: `--peers` stands for these. */
  private readonly firstAddresses = new Map<string, string>();
  private careTimer: Timer | null = null;
  private announcedAtMs = -Infinity;
  private stopping = false;

  private constructor(private readonly options: NodeOptions) {
    this.clock = options.clock;
    this.requestLog = new PacedLog(options.logger, options.clock);
    this.machine = options.machine();
    this.replicated = new SessionMachine(this.machine);
    this.process = new ServerProcess({
      ...options,
      advertise: options.advertise ?? ownAddress(options),
      addressesOf: (_, node) => this.dialAddresses(node),
      whyFormer: (name) => {
        const membership = this.current?.raft.membership;
        return membership === undefined ? undefined : whyFormer(membership, name);
      },
      onMembership: (_, membership, previous) => this.membershipCommitted(membership, previous),
      onFatal: (error) => this.fatal(error),
    });
    const { directory, caller } = this.process;
    this.service = new GroupService({
      clock: this.clock,
      random: options.random,
      caller,
      replica: () => this.current,
      waitingFor: () => this.bootstrap.waitingFor,
      addressOf: (id) => this.addressOf(id),
      reads: options.reads,
    });
    this.joins = new JoinDriver({
      clock: this.clock,
      logger: options.logger,
      electionTimeoutMs: options.electionTimeoutMs,
      takeoverMs: options.takeoverMs ?? TAKEOVER_MS,
      replica: () => this.current,
      invitations: () => this.replicated.invitations,
    });
    this.membership = new MemberService({
      clock: this.clock,
      caller,
      joins: this.joins,
      invitations: () => this.replicated.invitations,
      replica: () => this.current,
      addressOf: (id) => this.addressOf(id),
      handOver: () => this.process.host.handOverLeaderships(),
    });
    this.bootstrap = new Bootstrap({
      clock: this.clock,
      logger: options.logger,
      caller,
      store: directory,
      self: () => ({ name: options.name, address: this.process.address }),
      peers: options.peers,
      members: () => Object.values(this.current?.raft.membership.nodes ?? {}),
      newClusterId: options.newIdentity,
      stopped: () => this.stopping,
      onMembers: (nodes) => this.noteAddresses(nodes),
      onPeer: (id, address) => {
        if (id !== directory.replicaId) this.process.peers.setAddress(id, address);
      },
      onWaiting: options.onWaiting,
    });
  }

  /**
   * Opens the data directory, binds the port and starts; founding or joining goes on in the
   * background. A directory whose log has rotted is set aside where peers can rebuild it.
   */
  static start(options: NodeOptions): Node {
    const node = new Node(options);
    try {
      if (node.process.directory.isMember()) node.openGroup();
    } catch (thrown) {
      node.process.abandon();
      const error = toTrilogError(thrown);
      if (error.code !== "corrupt" || options.peers.length < 2) throw error;
      options.logger.error("the log has rotted: it is set aside and rebuilt from the peers", {
        reason: error.message,
      });
      fence(options);
      return Node.start(options);
    }
    node.serve();
    return node;
  }

  /** Address really bound. */
  get address(): string {
    return this.process.bound;
  }

  /** This node's replica; null until it belongs to a cluster. */
  get replica(): Replica | null {
    return this.current;
  }

  status(): NodeStatus {
    const { directory, address } = this.process;
    const base = {
      name: this.options.name,
      replicaId: directory.replicaId,
      address,
      cluster: directory.cluster,
    };
    if (this.current === null) {
      return {
        ...base,
        role: "blank",
        term: 0,
        leader: null,
        leaderAddress: null,
        commit: 0,
        applied: 0,
        lastIndex: 0,
        members: [],
        caughtUp: null,
      };
    }
    const status = this.current.status();
    const leader = status.leader === null ? undefined : status.membership.nodes[status.leader];
    return {
      ...base,
      role: status.membership.learners.includes(status.id) ? "learner" : status.role,
      term: status.term,
      leader: leader?.name ?? null,
      leaderAddress: leader?.address ?? null,
      commit: status.commit,
      applied: status.applied,
      lastIndex: status.last.index,
      members: this.members(status),
      caughtUp: this.lastCatchUp(),
    };
  }

  /** Hands leadership over, then stops; nothing acknowledged is lost either way. */
  async stop(): Promise<void> {
    if (this.stopping) return;
    this.stopping = true;
    this.careTimer?.cancel();
    const replica = this.current;
    if (replica?.isLeader && replica.raft.membership.voters.length > 1) {
      this.process.host.handOverLeaderships();
      const endMs = this.clock.monotonicMs() + HAND_OVER_MS;
      while (replica.isLeader && this.clock.monotonicMs() < endMs) await sleep(this.clock, 5);
    }
    await this.process.stop();
  }

  private serve(): void {
    const { rpc } = this.process;
    rpc.handle(HELLO_METHOD, (_, { caller }) => this.bootstrap.hello(caller));
    rpc.handle(PREPARE_METHOD, (params) => this.bootstrap.prepare(params));
    rpc.handle(JOIN_METHOD, (params) => this.joins.request(params));
    rpc.handle(PROPOSE_METHOD, (params) => this.service.servePropose(params));
    rpc.handle(COMMAND_METHOD, (params) => this.serveCommand(params));
    rpc.handle(QUERY_METHOD, (params) => this.serveQuery(params));
    rpc.handle(STATUS_METHOD, () => nodeStatusCodec.encode(this.status()));
    rpc.handle(MEMBER_METHOD, (params, call) => this.membership.serve(params, call));
    this.process.listen();
    void this.enterCluster();
    this.careLater();
  }

  private async enterCluster(): Promise<void> {
    if (this.current !== null) return;
    try {
      await this.bootstrap.run();
      if (!this.stopping) this.openGroup();
    } catch (error) {
      this.fatal(error);
    }
  }

  /**
   * Opens the group's log. It is made only once in the life of this identity: after that a missing
   * one is damage, since a log made anew would have forgotten votes and acknowledged entries.
   */
  private openLog(): LogStore {
    const { directory } = this.process;
    const { disk, group, segmentBytes, logger } = this.options;
    const { sound, lost, unnamed } = takeCensus(disk, directory.stored);
    if (lost.length > 0) throw lost[0].fault;
    const found = [...sound, ...unnamed][0];
    const number = found?.number ?? 1;
    const founding = directory.founding();
    const founder = founding?.cluster === directory.cluster;
    const store = openSegmentLog(disk, {
      identity: { cluster: directory.cluster!, group, replica: directory.replicaId },
      directory: groupDirectory(number),
      bootstrap: founder ? founding!.membership : NOBODY,
      segmentBytes,
      logger,
    });
    if (sound.length > 0 && directory.groups !== null) return store;
    const { hardState, last } = store.recovered;
    if (unnamed.length > 0 && hardState.term + last.index > 0) {
      store.close();
      throw corrupt(groupDirectory(number), 0, "the identity file does not name this log");
    }
    directory.setGroups([{ number, group }]);
    return store;
  }

  private openGroup(): void {
    const { host } = this.process;
    const { options } = this;
    const store = this.openLog();
    const { memberships, baseMembership } = store.recovered;
    const { nodes } = memberships[memberships.length - 1]?.membership ?? baseMembership;
    for (const node of Object.values(nodes)) {
      this.firstAddresses.set(node.name, node.address);
    }
    this.current = host.open({
      group: options.group,
      machine: this.replicated,
      store,
      raft: raftOptions(options, options.lease),
      compaction: "previous",
      observer: new Observers([this.catchUp, ...this.story()]),
    });
  }

  private caughtUp(caughtUp: CaughtUp): void {
    const { entries, from } = caughtUp;
    this.options.logger.info("caught up", { entries, from });
    this.options.onCaughtUp?.(caughtUp);
  }

  private story(): Story[] {
    const { story: words, logger, heartbeatMs } = this.options;
    if (words === undefined || !logger.enabled("info")) return [];
    return [new Story({ logger, clock: this.clock, words, heartbeatMs })];
  }

  private async serveCommand(params: Packable): Promise<Packable> {
    const { command, deadlineMs } = commandCodec.decode(params, "command");
    this.tellRequest(() => this.options.story?.command(command));
    return await this.service.command(command, deadlineMs);
  }

  private async serveQuery(params: Packable): Promise<Packable> {
    const { question, stale, deadlineMs } = queryCodec.decode(params, "question");
    this.tellRequest(() => this.options.story?.question(question));
    return await this.service.query(question, stale, deadlineMs);
  }

  private tellRequest(words: () => string | undefined): void {
    if (this.options.story === undefined) return;
    this.requestLog.write("a request received", () => ({ request: words() }));
  }

  /**
   * Where a member is dialled: `--peers` says how this node reaches it, unless the member has
   * moved since this process started. The other address is kept for when that one fails.
   */
  private dialAddresses(node: NodeInfo): readonly string[] {
    const configured = this.options.peers.find(({ name }) => name === node.name);
    if (configured === undefined) return [node.address];
    const first = this.firstAddresses.get(node.name) ?? node.address;
    this.firstAddresses.set(node.name, first);
    const both = [configured.address, node.address];
    return node.address === first ? both : both.reverse();
  }

  /** A learner answers members that neither its log nor `--peers` names yet. */
  private noteAddresses(nodes: Membership["nodes"]): void {
    const { directory, peers } = this.process;
    for (const [id, node] of Object.entries(nodes)) {
      const [address, ...others] = this.dialAddresses(node);
      if (id !== directory.replicaId) peers.setAddress(id, address, others);
    }
  }

  private addressOf(id: ReplicaId): string | undefined {
    const node = this.current?.raft.membership.nodes[id];
    return node === undefined ? undefined : this.dialAddresses(node)[0];
  }

  /** Identities that are members no more are never listened to again. */
  private membershipCommitted(membership: Membership, previous: Membership): void {
    for (const id of Object.keys(previous.nodes)) {
      if (membership.nodes[id] !== undefined) continue;
      if (id === this.process.directory.replicaId) this.endAsFormer(membership);
      else this.process.supersede(id);
    }
  }

  private endAsFormer(membership: Membership): void {
    const { name } = this.options;
    const message = `Cannot take part as ${name}: ${whyFormer(membership, name)}`;
    this.fatal(new TrilogError("superseded", message));
  }

  private lastCatchUp(): NodeStatus["caughtUp"] {
    const { last } = this.catchUp;
    if (last === null) return null;
    const { entries, from, atMs } = last;
    return { entries, from, agoMs: Math.max(0, Math.round(this.clock.monotonicMs() - atMs)) };
  }

  private members(status: RaftStatus): NodeStatus["members"] {
    const { membership, progress, last } = status;
    const nowMs = this.clock.monotonicMs();
    return Object.entries(membership.nodes).map(([id, { name, address }]) => {
      const known = progress.find((other) => other.id === id);
      const heardMs = known?.lastHeardMs ?? null;
      return {
        name,
        replicaId: id,
        address,
        role: membership.voters.includes(id) ? "voter" as const : "learner" as const,
        lag: known === undefined ? null : last.index - known.match,
        heardMs: heardMs === null ? null : Math.round(nowMs - heardMs),
      };
    }).sort((left, right) => left.name < right.name ? -1 : 1);
  }

  private careLater(): void {
    this.careTimer = this.clock.after(CARE_MS, () => {
      if (this.stopping) return;
      this.joins.tick();
      this.announceIfMissing();
      this.careLater();
    });
  }

  /** A member that the membership lacks, or has under an old address or a former name, asks. */
  private announceIfMissing(): void {
    if (this.current === null) return;
    const { membership, isRemoved } = this.current.raft;
    if (isRemoved) {
      const message = `Cannot take part as ${this.options.name}: it was removed, or another ` +
        "identity took its place, while it was away";
      return this.fatal(new TrilogError("superseded", message));
    }
    const own = membership.nodes[this.process.directory.replicaId];
    const voter = membership.voters.includes(this.process.directory.replicaId);
    const { address } = this.process;
    if (voter && own?.address === address && own.name === this.options.name) return;
    const nowMs = this.clock.monotonicMs();
    if (nowMs - this.announcedAtMs < ANNOUNCE_MS) return;
    this.announcedAtMs = nowMs;
    // A leader is among those that record addresses: it enters its own.
    const announced = this.current.isLeader
      ? Promise.try(() => this.joins.request(this.bootstrap.joinRequest()))
      : this.bootstrap.announce();
    announced.catch((thrown) => {
      const error = toTrilogError(thrown);
      if (own === undefined) this.bootstrap.logMissing(error);
      else this.options.logger.debug("not recorded yet", { reason: error.message });
    });
  }

  private fatal(thrown: unknown): void {
    const error = toTrilogError(thrown);
    if (this.stopping) return;
    this.stopping = true;
    this.careTimer?.cancel();
    this.process.host.stop();
    if (error.code === "corrupt" && this.options.peers.length > 1) {
      this.process.directory.close();
      fence(this.options);
    }
    this.options.onFatal(error);
  }
}

/** Why an identity of a node called `name` is not in this membership. */
function whyFormer(membership: Membership, name: string): string {
  const [holder] = identitiesOf(membership, name);
  return holder === undefined ? "it was removed" : `identity ${holder} has its name now`;
}

const NOBODY: Membership = { voters: [], outgoing: [], learners: [], learnersNext: [], nodes: {} };

/** The rotted content is kept for people to look at; the node comes back blank. */
function fence(options: NodeOptions): void {
  const { disk, name, newIdentity } = options;
  setAside(disk, { name, newReplicaId: newIdentity }).close();
}

function ownAddress(options: NodeOptions): string | undefined {
  return options.peers.find(({ name }) => name === options.name)?.address;
}
