/**
 * The Raft core: one way in, {@link Raft.step}, and one way out, {@link Raft.takeReady}. Pure and
 * synchronous: the same inputs at the same times with the same random source give the same
 * outputs. DESIGN.md beside this file explains the parts.
 */

import { unreachable } from "../base/assert.ts";
import type { Random } from "../base/prng.ts";
import { Core, emptyOutbox } from "./core.ts";
import {
  leaderUnreachable,
  onTimeoutNow,
  onVoteRequest,
  onVoteResponse,
  ownVoteSynced,
  tickElection,
} from "./election.ts";
import { onAppendRequest, onHeartbeatRequest, onSnapshotInstalled } from "./follower.ts";
import {
  advanceCommit,
  changeMembers,
  checkLeadership,
  flushLeader,
  propose,
  quorumContactMs,
  tickLeader,
  transferLeadership,
} from "./leader.ts";
import { leaseValid } from "./lease.ts";
import { assembleReady } from "./ready.ts";
import { onRemovalNotice } from "./removal.ts";
import { askLeader, onReadIndexRequest, onReadIndexResponse, read, tickReads } from "./reads.ts";
import {
  followerUnreachable,
  onAppendResponse,
  onFetchedFor,
  onHeartbeatResponse,
  onSnapshotSent,
} from "./replication.ts";
import { isIdle, statusOf } from "./status.ts";
import type {
  Entry,
  Index,
  InitialState,
  Input,
  LogId,
  Membership,
  Message,
  RaftOptions,
  RaftStatus,
  Ready,
  ReplicaId,
  Role,
  SnapshotMeta,
  Starvation,
  Term,
} from "./types.ts";

export class Raft {
  private readonly core: Core;
  private sequence = 0;

  /** `initial` is what storage recovered; everything in it is durable. */
  constructor(options: RaftOptions, initial: InitialState, random: Random) {
    this.core = new Core(options, initial, random);
  }

  /**
   * Takes one input. `nowMs` is monotonic time; a smaller value than before counts as no time
   * passed. Throws `InvariantError` where continuing could break a promise of Raft.
   */
  step(input: Input, nowMs: number): void {
    const { core } = this;
    if (nowMs > core.nowMs) core.nowMs = nowMs;
    if (!core.started) start(core, nowMs);
    this.dispatch(input);
  }

  private dispatch(input: Input): void {
    const { core } = this;
    switch (input.kind) {
      case "tick":
        return tick(core, input.starvation);
      case "message":
        return onMessage(core, input.message);
      case "propose":
        return propose(core, input.requestId, input.data, input.timeMs);
      case "change_members":
        return changeMembers(core, input.requestId, input.next, input.timeMs);
      case "read":
        if (core.role === "leader") checkLeadership(core);
        return read(core, input.requestId);
      case "transfer_leadership":
        return transferLeadership(core, input.to);
      case "synced":
        return onSynced(core, input.sequence);
      case "applied":
        return onApplied(core, input.index);
      case "fetched":
        return onFetched(core, input.to, input.entries);
      case "compacted":
        return onCompacted(core, input.snapshot);
      case "snapshot_sent":
        return onSnapshotSent(core, input.to, input.ok);
      case "peer_unreachable":
        return onPeerUnreachable(core, input.peer);
      case "resume":
        return onResume(core);
      default:
        return unreachable(input);
    }
  }

  /** What the host must do about all inputs since the last call; null: nothing. */
  takeReady(): Ready | null {
    const { core } = this;
    if (core.role === "leader") flushLeader(core);
    else askLeader(core);
    const ready = assembleReady(core, this.sequence + 1);
    if (ready === null) return null;
    this.sequence = ready.sequence;
    core.out = emptyOutbox();
    return ready;
  }

  get role(): Role {
    return this.core.role;
  }

  get term(): Term {
    return this.core.term;
  }

  get leader(): ReplicaId | null {
    return this.core.leader;
  }

  /** The newest membership in the log, committed or not. */
  get membership(): Membership {
    return this.core.membership;
  }

  get lastIndex(): Index {
    return this.core.log.last.index;
  }

  /** Position of the log's last entry. */
  get last(): LogId {
    return this.core.log.last;
  }

  /** Stamp of the log's last entry, milliseconds since 1970; 0 before the first. */
  get lastTimeMs(): number {
    return this.core.log.lastTimeMs;
  }

  /** See {@link RaftStatus.removed}. */
  get isRemoved(): boolean {
    return this.core.removed;
  }

  /** Highest index known here to be committed. */
  get commitIndex(): Index {
    return this.core.log.commit;
  }

  /** Leader: until when an older leader's lease may last; nothing is committed before. Else null. */
  get leaseWaitUntilMs(): number | null {
    return this.core.leadership?.leaseWaitUntilMs ?? null;
  }

  /** See {@link RaftStatus.idle}; costs little. */
  get isIdle(): boolean {
    return isIdle(this.core);
  }

  /** Leader: whether every other member, learners included, has answered at or after `ms`. */
  heardAllSince(ms: number): boolean {
    const { leadership } = this.core;
    if (leadership === null) return false;
    for (const { lastHeardMs } of leadership.progress.values()) {
      if (lastHeardMs === null || lastHeardMs < ms) return false;
    }
    return true;
  }

  /** A picture of the present state; costs more than a step, so not for every message. */
  status(): RaftStatus {
    return statusOf(this.core);
  }

  /**
   * Whether reads may be served at `nowMs` from this node's state alone, as soon as it has
   * applied its commit index. False without leases. Ask at the moment of serving: a pause of the
   * process between a step and the answer must not go unnoticed.
   */
  leaseValid(nowMs: number): boolean {
    return leaseValid(this.core, nowMs);
  }
}

/** The first input tells the time: timers start, and old promises may still bind this node. */
function start(core: Core, nowMs: number): void {
  core.started = true;
  core.nowMs = nowMs;
  const { leaseMs, formerLeaseMs } = core.options;
  core.owedLeaseUntilMs = nowMs + Math.max(leaseMs, formerLeaseMs ?? 0);
  core.resetElectionTimer();
  const { voters, outgoing } = core.membership;
  // Nobody else could win an election: there is nothing to wait for.
  if (voters.length === 1 && voters[0] === core.id && outgoing.length === 0) {
    core.electionDeadlineMs = nowMs;
  }
}

function tick(core: Core, starvation?: Starvation): void {
  core.patienceMs = starvation?.patienceMs ?? 0;
  if (starvation !== undefined) discount(core, starvation.lateMs);
  if (core.role === "leader") {
    tickLeader(core);
    return;
  }
  tickElection(core);
  tickReads(core);
}

/**
 * The host did not run for `lateMs`: what the others sent meanwhile may wait unread. Election
 * timeouts and check-quorum measure time in which it could have been heard. Leases are promises in
 * real time and are not touched.
 */
function discount(core: Core, lateMs: number): void {
  if (lateMs === 0) return;
  const { leadership, nowMs } = core;
  if (leadership !== null) {
    leadership.watchedFromMs = Math.min(nowMs, quorumContactMs(core) + lateMs);
    return;
  }
  if (core.hinted) return;
  const latestMs = nowMs + 2 * core.options.electionTimeoutMs;
  core.electionDeadlineMs = Math.min(core.electionDeadlineMs + lateMs, latestMs);
  core.leaderContactMs = Math.min(core.leaderContactMs + lateMs, nowMs);
}

/** Paper figure 2, "rules for all servers": a higher term is taken over, a lower one is stale. */
function onMessage(core: Core, message: Message): void {
  switch (message.kind) {
    case "vote_request":
      return onVoteRequest(core, message);
    case "snapshot_installed":
      if (message.term > core.term) core.becomeFollower(message.term, null);
      return onSnapshotInstalled(core, message);
    case "append_request":
    case "heartbeat_request":
      if (message.term < core.term) return answerStale(core, message);
      if (message.term > core.term) core.becomeFollower(message.term, message.from);
      return message.kind === "append_request"
        ? onAppendRequest(core, message)
        : onHeartbeatRequest(core, message);
    default:
      if (message.term > core.term) core.becomeFollower(message.term, null);
      return onOther(core, message);
  }
}

/** Answers and requests that no leader makes. */
function onOther(
  core: Core,
  message: Exclude<
    Message,
    { kind: "vote_request" | "append_request" | "heartbeat_request" | "snapshot_installed" }
  >,
): void {
  const current = message.term === core.term;
  switch (message.kind) {
    case "vote_response":
      // It names the campaign that it answers; a voter's own term may be lower than that.
      return onVoteResponse(core, message);
    case "append_response":
      if (current) onAppendResponse(core, message);
      return;
    case "heartbeat_response":
      if (current) onHeartbeatResponse(core, message);
      return;
    case "read_index_request":
      return onReadIndexRequest(core, message.from, message.context);
    case "read_index_response":
      if (current) onReadIndexResponse(core, message.context, message.index);
      return;
    case "timeout_now":
      if (current) onTimeoutNow(core);
      return;
    case "removal_notice":
      return onRemovalNotice(core, message);
    default:
      return unreachable(message);
  }
}

/** A deposed leader learns of the new term from the answer, and steps down. */
function answerStale(
  core: Core,
  message: Extract<Message, { kind: "append_request" | "heartbeat_request" }>,
): void {
  const envelope = { from: core.id, to: message.from, term: core.term, round: message.round };
  if (message.kind === "append_request") {
    const prevIndex = message.prev.index;
    core.send({ kind: "append_response", ...envelope, prevIndex, match: null, hint: null });
  } else {
    core.send({ kind: "heartbeat_response", ...envelope, lastSynced: core.durability.index });
  }
}

function onSynced(core: Core, sequence: number): void {
  core.durability.complete(sequence, core.nowMs);
  ownVoteSynced(core);
  if (core.leadership !== null) advanceCommit(core);
  core.log.evict(core.durability.index, core.options.entryCacheBytes);
}

function onApplied(core: Core, index: Index): void {
  const { log } = core;
  if (index <= log.applied) return;
  log.applied = Math.min(index, log.applying);
  log.evict(core.durability.index, core.options.entryCacheBytes);
}

function onFetched(core: Core, to: ReplicaId, entries: readonly Entry[]): void {
  core.fetching.delete(to);
  if (to !== core.id) return onFetchedFor(core, to, entries);
  // Only what is committed and durable can no longer change. The read may be older than that: it
  // then shows a tail that was replaced since, at the same indexes but of another term.
  const { log } = core;
  const limit = Math.min(log.commit, core.durability.index);
  if (entries[0]?.index !== log.applying + 1) return;
  let count = 0;
  while (count < entries.length && entries[count].index <= limit && log.matches(entries[count])) {
    count += 1;
  }
  core.fetchedSelf = entries.slice(0, count);
}

function onCompacted(core: Core, snapshot: SnapshotMeta): void {
  const { log } = core;
  if (snapshot.last.index <= log.base.index) return;
  log.compact(snapshot.last);
  core.memberships.compact(snapshot.last.index, snapshot.membership);
  if (core.leadership !== null) core.leadership.sendPending = true;
}

function onPeerUnreachable(core: Core, peer: ReplicaId): void {
  if (core.role === "leader") followerUnreachable(core, peer);
  else if (core.leader === peer) leaderUnreachable(core);
}

function onResume(core: Core): void {
  if (core.leadership !== null) {
    core.leadership.watchedFromMs = core.nowMs;
    core.leadership.heartbeatDueMs = core.nowMs;
  } else {
    if (core.leader !== null) core.leaderContactMs = core.nowMs;
    core.resetElectionTimer();
  }
}
