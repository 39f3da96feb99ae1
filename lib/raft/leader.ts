/**
 * The leader: its log (paper 5.3), its commit index (5.4.2), its watch over its own right to
 * lead, and what is asked of it. What goes to each follower is in replication.ts.
 */

import { EMPTY_BYTES } from "../base/bytes.ts";
import { type Core, Leadership } from "./core.ts";
import { renewDeadlineMs } from "./lease.ts";
import { entryBytes } from "./log.ts";
import {
  encodeMembership,
  enterMembership,
  isJoint,
  leaveMembership,
  targetFault,
} from "./membership.ts";
import { quorumValue } from "./quorum.ts";
import { needsRound, releaseEarlyReads } from "./reads.ts";
import { broadcastHeartbeat, replicate } from "./replication.ts";
import { EntryKind, type LogId, type MembershipTarget, type ReplicaId } from "./types.ts";

/** Won the election: appends a no-op, for only an entry of its own term tells what is committed. */
export function becomeLeader(core: Core): void {
  core.role = "leader";
  core.leader = core.id;
  core.votes.clear();
  core.endHint();
  // Votes carry the promises of nodes that may use leases although this one does not.
  const leadership = new Leadership(core.log.last.index + 1, core.nowMs, core.votesLeaseUntilMs);
  core.leadership = leadership;
  for (let index = core.log.commit + 1; index <= core.log.last.index; index += 1) {
    leadership.uncommittedBytes += cachedBytes(core, index);
  }
  core.membershipChanged();
  appendEntry(core, EntryKind.noop, 0, EMPTY_BYTES);
  broadcastHeartbeat(core);
}

function cachedBytes(core: Core, index: number): number {
  const entry = core.log.cached(index);
  return entry === null ? 0 : entryBytes(entry);
}

function appendEntry(core: Core, kind: EntryKind, timeMs: number, data: Uint8Array): LogId {
  const { log, term } = core;
  const index = log.last.index + 1;
  const entry = { index, term, kind, timeMs: Math.max(Math.floor(timeMs), log.lastTimeMs), data };
  log.append(entry);
  const leadership = core.leadership!;
  leadership.uncommittedBytes += entryBytes(entry);
  leadership.sendPending = true;
  return { index, term };
}

/** A command of the application. */
export function propose(core: Core, requestId: number, data: Uint8Array, timeMs: number): void {
  const leadership = core.leadership;
  if (leadership === null) return core.reject(requestId, "not_leader");
  if (leadership.transfer !== null) return core.reject(requestId, "transferring");
  const { uncommittedBytes } = leadership;
  if (
    uncommittedBytes > 0 && uncommittedBytes + data.length > core.options.maxUncommittedBytes
  ) return core.reject(requestId, "overloaded");
  const id = appendEntry(core, EntryKind.command, timeMs, data);
  core.out.outcomes.push({ kind: "accepted", requestId, id });
}

/**
 * A change of members. One at a time, and none before the no-op is committed: until then an
 * older leader's change may be committed that this leader does not know to be (the bug found in
 * single-server changes after the thesis was published; joint changes need the same rule).
 */
export function changeMembers(
  core: Core,
  requestId: number,
  target: MembershipTarget,
  timeMs: number,
): void {
  const leadership = core.leadership;
  if (leadership === null) return core.reject(requestId, "not_leader");
  if (leadership.transfer !== null) return core.reject(requestId, "transferring");
  const { commit } = core.log;
  const busy = core.memberships.index > commit || isJoint(core.membership);
  if (commit < leadership.noop && !busy) return core.reject(requestId, "not_ready");
  if (busy) return core.reject(requestId, "membership_change_in_progress");
  if (targetFault(target) !== null) return core.reject(requestId, "invalid_membership");
  const id = appendMembership(core, enterMembership(core.membership, target), timeMs);
  core.out.outcomes.push({ kind: "accepted", requestId, id });
}

function appendMembership(core: Core, next: typeof core.membership, timeMs: number): LogId {
  const id = appendEntry(core, EntryKind.membership, timeMs, encodeMembership(next));
  core.memberships.append(id.index, next);
  core.membershipChanged();
  return id;
}

/**
 * Commits what a quorum holds durably, if that is of this leader's own term; what is older is
 * then committed with it, and never by counting copies (paper 5.4.2, figure 8).
 */
export function advanceCommit(core: Core): void {
  const { log } = core;
  const leadership = core.leadership!;
  // An old leader may still answer reads by its lease; a commit now would make it lie.
  if (core.nowMs < leadership.leaseWaitUntilMs) return;
  const index = quorumValue(core.membership, core.matchOf);
  if (index <= log.commit || log.termAt(index) !== core.term) return;
  const before = log.commit;
  log.commitTo(index);
  for (let at = before + 1; at <= index; at += 1) {
    leadership.uncommittedBytes -= cachedBytes(core, at);
  }
  if (before < leadership.noop) releaseEarlyReads(core);
  settleMembership(core);
}

/** A committed joint configuration is left; a leader that a committed final one removes goes. */
function settleMembership(core: Core): void {
  const { membership, memberships, log } = core;
  if (memberships.index > log.commit) return;
  if (isJoint(membership)) {
    appendMembership(core, leaveMembership(membership), 0);
  } else if (!core.isVoter) {
    // Its last word tells the others that the change is committed.
    broadcastHeartbeat(core);
    core.becomeFollower(core.term, null);
  }
}

/** When the latest round was sent that a quorum answered. */
export function quorumContactMs(core: Core): number {
  const contact = quorumValue(core.membership, core.graceContactOf);
  return Math.max(contact, core.leadership!.watchedFromMs);
}

/** Check-quorum: whether a quorum answered something sent within an election timeout. */
export function hearsQuorum(core: Core): boolean {
  return core.nowMs < quorumContactMs(core) + core.options.electionTimeoutMs + core.patienceMs;
}

/**
 * When the own disk will have owed an answer for too long, while the others commit without it.
 * Where they stand still, too (every disk is full), nobody could do better, and this leader at
 * least answers reads.
 */
function stallDeadlineMs(core: Core): number {
  const since = core.durability.stalledSinceMs;
  const outrun = core.log.commit > core.durability.index;
  return since === null || !outrun ? Infinity : since + core.options.diskStallMs;
}

/**
 * Steps down where it has lost the right to lead: it cannot hear a quorum (thesis 6.2), cannot
 * renew its lease, or its own disk stands still. Tells whether it still leads.
 */
export function checkLeadership(core: Core): boolean {
  const stays = hearsQuorum(core) && core.nowMs < renewDeadlineMs(core) &&
    core.nowMs < stallDeadlineMs(core);
  if (!stays) core.becomeFollower(core.term, null);
  return stays;
}

export function tickLeader(core: Core): void {
  if (!checkLeadership(core)) return;
  const leadership = core.leadership!;
  const { transfer } = leadership;
  if (transfer !== null && core.nowMs >= transfer.deadlineMs) leadership.transfer = null;
  if (core.log.commit < leadership.noop) advanceCommit(core);
  if (core.leadership === leadership && core.nowMs >= leadership.heartbeatDueMs) {
    broadcastHeartbeat(core);
  }
}

/** Hands leadership over (thesis 3.10); ignored where `to` cannot lead or it is too early. */
export function transferLeadership(core: Core, to: ReplicaId): void {
  const leadership = core.leadership;
  if (leadership === null || to === core.id || !core.membership.voters.includes(to)) return;
  if (core.log.commit < leadership.noop) return;
  const deadlineMs = core.nowMs + core.options.electionTimeoutMs;
  leadership.leaseGivenUp = true;
  leadership.transfer = { to, deadlineMs, told: false };
  tellTransfer(core);
}

/** Tells the target to campaign as soon as it has the whole log. */
export function tellTransfer(core: Core): void {
  const transfer = core.leadership!.transfer;
  if (transfer === null || transfer.told) return;
  if (core.leadership!.progress.get(transfer.to)?.match !== core.log.last.index) return;
  transfer.told = true;
  core.send({ kind: "timeout_now", from: core.id, to: transfer.to, term: core.term });
}

/** Everything that this turn's inputs make the leader send. */
export function flushLeader(core: Core): void {
  if (core.leadership!.roundWanted || needsRound(core)) broadcastHeartbeat(core);
  replicate(core);
}

/** When a tick has something to do for a leader. */
export function leaderDeadlineMs(core: Core): number {
  const leadership = core.leadership!;
  const { transfer, leaseWaitUntilMs, noop } = leadership;
  return Math.min(
    leadership.heartbeatDueMs,
    quorumContactMs(core) + core.options.electionTimeoutMs + core.patienceMs,
    renewDeadlineMs(core),
    stallDeadlineMs(core),
    transfer?.deadlineMs ?? Infinity,
    core.log.commit < noop && leaseWaitUntilMs > core.nowMs ? leaseWaitUntilMs : Infinity,
  );
}
