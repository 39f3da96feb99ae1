/**
 * What must hold of one core at every moment, across every step and in every Ready. Tests and the
 * simulator run all of it after each step; nothing here reads the core's insides.
 */

import { assert } from "../base/assert.ts";
import { membersOf } from "./membership.ts";
import { quorumValue } from "./quorum.ts";
import type {
  Index,
  Input,
  Membership,
  Message,
  ProgressStatus,
  RaftStatus,
  Ready,
  ReplicaId,
} from "./types.ts";

/** Holds of every state. */
export function checkState(status: RaftStatus): void {
  const { applied, commit, last, firstIndex, synced, term, role } = status;
  assert(applied <= commit, "applied <= commit");
  assert(commit <= last.index, "commit <= last");
  assert(firstIndex - 1 <= applied, "only what is applied is compacted");
  assert(synced <= last.index, "synced <= last");
  assert(last.term <= term, "no entry is of a later term");
  assert(status.membershipIndex <= last.index, "the membership is in the log");
  checkMembership(status.membership);
  if (role === "leader") checkLeader(status);
  else {
    assert(status.progress.length === 0, "only a leader tracks others");
    assert(status.transferTo === null, "only a leader hands over");
    assert(!status.readReady && status.leaseUntilMs === null, "only a leader answers reads");
    assert(role === "follower" || status.leader === null, "who campaigns knows no leader");
    assert(status.leader !== status.id, "who does not lead is no leader");
  }
  if (role === "candidate") assert(status.vote === status.id, "a candidate votes for itself");
}

function checkLeader(status: RaftStatus): void {
  const { id, last, term, progress, membership } = status;
  assert(status.leader === id, "a leader knows that it leads");
  assert(status.vote === id, "a leader voted for itself");
  assert(last.term === term, "a leader's log ends in its term: its no-op is there");
  const others = membersOf(membership).filter((member) => member !== id);
  const tracked = progress.map((one) => one.id).sort();
  assert(tracked.join() === others.join(), "a leader tracks exactly the other members");
  for (const one of progress) checkProgress(one, last.index);
}

function checkProgress({ match, next, state, inflightMessages }: ProgressStatus, last: Index) {
  assert(match < next, "match < next");
  assert(next <= last + 1, "next <= last + 1");
  assert(state === "replicate" || inflightMessages === 0, "only replication is pipelined");
}

function checkMembership(membership: Membership): void {
  const { voters, outgoing, learners, learnersNext } = membership;
  for (const list of [voters, outgoing, learners, learnersNext]) {
    const ascending = list.every((id, at) => at === 0 || list[at - 1] < id);
    assert(ascending, "members are sorted and named once");
  }
  const votes = (id: ReplicaId) => voters.includes(id) || outgoing.includes(id);
  assert(!learners.some(votes), "a learner does not vote");
  assert(learnersNext.every((id) => outgoing.includes(id)), "next learners are outgoing voters");
  assert(membersOf(membership).every((id) => id in membership.nodes), "members have addresses");
}

/** Holds across every step. */
export function checkTransition(before: RaftStatus, after: RaftStatus, input: Input): void {
  assert(after.term >= before.term, "the term never goes back");
  assert(after.commit >= before.commit, "the commit index never goes back");
  assert(after.applied >= before.applied, "applied never goes back");
  assert(after.firstIndex >= before.firstIndex, "the log's start never goes back");
  assert(after.last.index >= before.commit, "committed entries are never removed");
  // A term's entries come from one leader, which only appends: a log that still ends in that term
  // has lost nothing of it (log matching, paper 5.3).
  assert(
    after.last.term !== before.last.term || after.last.index >= before.last.index,
    "what matches is never removed",
  );
  if (after.term === before.term) checkSameTerm(before, after);
  const replaces = input.kind === "message" &&
    (input.message.kind === "append_request" || input.message.kind === "snapshot_installed");
  if (!replaces) {
    assert(after.last.index >= before.last.index, "only a leader's message removes entries");
    assert(after.synced >= before.synced, "what is durable stays durable");
  }
  const asked = input.kind === "message" && input.message.kind === "vote_request" &&
    input.message.preVote;
  if (asked) {
    const same = after.term === before.term && after.vote === before.vote &&
      after.role === before.role && after.leader === before.leader;
    assert(same, "a pre-vote question changes nothing");
  }
  if (before.role === "leader" && after.role === "leader") checkLeading(before, after, input);
}

function checkSameTerm(before: RaftStatus, after: RaftStatus): void {
  assert(before.vote === null || after.vote === before.vote, "a vote is kept within its term");
  const { leader } = before;
  assert(
    leader === null || after.leader === null || after.leader === leader,
    "a term has one leader",
  );
  if (after.role === "leader" && before.role !== "leader") {
    assert(before.role === "candidate", "leaders were candidates of the same term");
  }
  if (before.role === "leader" && after.role !== "leader") {
    assert(after.role === "follower", "a leader becomes a follower");
  }
}

function checkLeading(before: RaftStatus, after: RaftStatus, input: Input): void {
  assert(after.last.index >= before.last.index, "a leader only appends (paper 5.3)");
  if (after.commit > before.commit) {
    const quorum = quorumValue(before.membership, (id) => matchIn(before, after, input, id));
    assert(after.commit <= quorum, "what is committed is durable on a majority of both halves");
  }
  if (after.membershipIndex > before.membershipIndex) {
    assert(before.membershipIndex <= after.commit, "one membership change at a time");
    assert(after.readReady, "no membership change before the no-op is committed");
  }
  for (const { id, match } of before.progress) {
    const now = after.progress.find((one) => one.id === id);
    assert(now === undefined || now.match >= match, "match never goes back within a term");
  }
}

/**
 * What a leader knew of a member when it committed within the step. The commit that completes a
 * joint configuration also leaves it: members that go with it are no longer tracked afterwards, and
 * the answer that was counted last is then found in the input only.
 */
function matchIn(before: RaftStatus, after: RaftStatus, input: Input, id: ReplicaId): Index {
  if (id === after.id) return after.synced;
  const tracked = [after, before].map(({ progress }) => progress.find((one) => one.id === id));
  const match = tracked[0]?.match ?? tracked[1]?.match ?? 0;
  if (input.kind !== "message" || input.message.kind !== "append_response") return match;
  const { from, term, match: answered } = input.message;
  const counted = tracked[0] === undefined && from === id && term === after.term;
  return counted ? Math.max(match, answered ?? 0) : match;
}

/** Holds of every Ready, given the state after it was taken. */
export function checkReady(ready: Ready, status: RaftStatus): void {
  const { entries, committed, hardState } = ready;
  for (let at = 1; at < entries.length; at += 1) {
    assert(entries[at].index === entries[at - 1].index + 1, "entries follow each other");
    assert(entries[at].timeMs >= entries[at - 1].timeMs, "time never goes back along a log");
  }
  for (let at = 1; at < committed.length; at += 1) {
    assert(committed[at].index === committed[at - 1].index + 1, "entries are applied in order");
  }
  if (committed.length > 0) {
    const last = committed[committed.length - 1].index;
    assert(last <= status.commit && last <= status.synced, "what is applied is durable here");
  }
  const writes = hardState !== null || entries.length > 0 || ready.snapshot !== null;
  assert(ready.mustSync || !writes, "what changes the disk is synced");
  assert(hardState === null || hardState.commit <= status.commit, "the commit hint lags");
  assert(!ready.messages.some(needsSync), "votes and acknowledgements wait for the disk");
  for (const message of [...ready.messages, ...ready.messagesAfterSync]) {
    assert(message.from === status.id && message.to !== status.id, "messages go to others");
    assert(message.kind !== "snapshot_installed", "nobody sends an installed snapshot");
  }
}

/** Messages that promise what must survive a crash. */
function needsSync(message: Message): boolean {
  if (message.kind === "append_response") return message.match !== null;
  if (message.kind === "vote_request") return !message.preVote;
  return message.kind === "vote_response" && !message.preVote && message.granted;
}
