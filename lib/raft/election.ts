/**
 * Elections (paper 5.2, 5.4.1) with a pre-vote that disturbs nobody (thesis 9.6), stickiness
 * towards a living leader (thesis 4.2.3), and quick campaigns when the leader's process is known
 * to be gone.
 */

import { assert } from "../base/assert.ts";
import type { Core } from "./core.ts";
import { becomeLeader, hearsQuorum } from "./leader.ts";
import { owedLeaseMs, owedUntilMs } from "./lease.ts";
import { quorumVote } from "./quorum.ts";
import { failReads } from "./reads.ts";
import { notifyIfRemoved } from "./removal.ts";
import type { Message, ReplicaId, VoteRequest, VoteResponse } from "./types.ts";

/** A hinted campaign starts within this many milliseconds, at random. */
const HINT_SPREAD_MS = 10;
/** A hinted campaign that split is repeated after this long, and twice as long each time. */
const HINT_RETRY_MIN_MS = 10;
const HINT_RETRY_MAX_MS = 50;

/** The timer ran out: asks whether an election could be won. */
export function tickElection(core: Core): void {
  // Only a leader's silence is waited for with patience: not a hint, nor the next attempt.
  const patienceMs = core.leader === null || core.hinted ? 0 : core.patienceMs;
  if (core.nowMs < core.electionDeadlineMs + patienceMs) return;
  if (core.mayCampaign) {
    preCampaign(core);
    return;
  }
  // Who may not campaign at least admits that it knows no leader any more.
  core.resetElectionTimer();
  core.leader = null;
  core.leaderContactMs = -Infinity;
  failReads(core);
}

/** Asks without changing any state; only a won pre-vote leads to a new term. */
function preCampaign(core: Core): void {
  core.role = "pre_candidate";
  core.leader = null;
  core.leaderContactMs = -Infinity;
  failReads(core);
  core.campaignTransfer = false;
  core.votes.clear();
  core.votes.set(core.id, true);
  if (core.hinted) core.hintedCampaigns += 1;
  setCampaignTimer(core);
  askVoters(core, true, (request) => core.send(request));
  settleVotes(core);
}

/** Starts a new term as a candidate (paper 5.2). */
function campaign(core: Core, transfer: boolean): void {
  core.term += 1;
  core.vote = core.id;
  core.role = "candidate";
  core.leader = null;
  core.leaderContactMs = -Infinity;
  failReads(core);
  core.campaignTransfer = transfer;
  core.votesLeaseUntilMs = core.nowMs + owedLeaseMs(core, transfer);
  // Not even the own vote counts before it is durable: see ownVoteSynced.
  core.votes.clear();
  setCampaignTimer(core);
  // The request itself waits too. Were it to leave first, a crash could forget the term, and the
  // same node could campaign in it again, with a shorter log, and count votes given to the longer.
  askVoters(core, false, (request) => core.sendAfterSync(request));
}

function askVoters(core: Core, preVote: boolean, send: (request: Message) => void): void {
  const { voters, outgoing } = core.membership;
  const ask = (to: ReplicaId) => {
    if (to === core.id) return;
    send({
      kind: "vote_request",
      from: core.id,
      to,
      term: preVote ? core.term + 1 : core.term,
      preVote,
      last: { index: core.log.last.index, term: core.log.last.term },
      transfer: core.campaignTransfer,
    });
  };
  for (const voter of voters) ask(voter);
  for (const voter of outgoing) if (!voters.includes(voter)) ask(voter);
}

function setCampaignTimer(core: Core): void {
  core.resetElectionTimer();
  if (!core.hinted) return;
  const spread = HINT_RETRY_MIN_MS +
    core.random.next() * (HINT_RETRY_MAX_MS - HINT_RETRY_MIN_MS);
  const delay = spread * 2 ** Math.min(core.hintedCampaigns - 1, 16);
  core.electionDeadlineMs = Math.min(core.electionDeadlineMs, core.nowMs + delay);
}

/** The disk answered: the own vote counts if it was for the campaign still under way. */
export function ownVoteSynced(core: Core): void {
  if (core.role !== "candidate" || core.votes.has(core.id)) return;
  const { term, vote } = core.durability;
  if (term !== core.term || vote !== core.id) return;
  core.votes.set(core.id, true);
  settleVotes(core);
}

function settleVotes(core: Core): void {
  const result = quorumVote(core.membership, (id) => core.votes.get(id));
  if (result === "pending") return;
  if (result === "lost") core.becomeFollower(core.term, null);
  else if (core.role === "pre_candidate") campaign(core, false);
  else becomeLeader(core);
}

/**
 * Whether a leader is alive as far as this node can tell. Then it supports no other, so that a
 * node that was removed or cut off disturbs nobody (thesis 4.2.3).
 */
function isSticky(core: Core): boolean {
  if (core.role === "leader") return hearsQuorum(core);
  return core.nowMs - core.leaderContactMs < core.options.electionTimeoutMs + core.patienceMs;
}

/** RequestVote (paper figure 2), and the pre-vote, which changes nothing here. */
export function onVoteRequest(core: Core, request: VoteRequest): void {
  notifyIfRemoved(core, request.from);
  const refused = !request.transfer && isSticky(core);
  if (request.preVote) {
    const granted = !refused && request.term > core.term && core.log.isUpToDate(request.last);
    core.send(voteResponse(core, request, granted));
    return;
  }
  if (request.term > core.term) {
    if (refused) {
      core.send(voteResponse(core, request, false));
      return;
    }
    core.becomeFollower(request.term, null);
  }
  const free = core.vote === request.from || (core.vote === null && core.leader === null);
  const granted = request.term === core.term && free && core.log.isUpToDate(request.last);
  if (granted) {
    core.vote = request.from;
    core.resetElectionTimer();
  }
  core.sendAfterSync(voteResponse(core, request, granted));
}

function voteResponse(core: Core, request: VoteRequest, granted: boolean): VoteResponse {
  return {
    kind: "vote_response",
    from: core.id,
    to: request.from,
    term: core.term,
    preVote: request.preVote,
    requestTerm: request.term,
    granted,
    owedLeaseMs: granted ? owedLeaseMs(core, request.transfer) : 0,
  };
}

/** A voter's answer; it counts only for the campaign that it answers. */
export function onVoteResponse(core: Core, response: VoteResponse): void {
  if (core.role !== (response.preVote ? "pre_candidate" : "candidate")) return;
  const asked = response.preVote ? core.term + 1 : core.term;
  if (response.requestTerm !== asked) return;
  if (response.granted) {
    core.votesLeaseUntilMs = Math.max(
      core.votesLeaseUntilMs,
      owedUntilMs(core, response.owedLeaseMs),
    );
  }
  core.votes.set(response.from, response.granted || core.votes.get(response.from) === true);
  settleVotes(core);
}

/** The leader wishes this node to take over: campaigns at once (thesis 3.10). */
export function onTimeoutNow(core: Core): void {
  assert(core.role !== "leader", "there is one leader in a term");
  if (core.mayCampaign && core.role === "follower") campaign(core, true);
}

/** A process is gone; if it was the leader's, nobody needs to wait for a timeout. */
export function leaderUnreachable(core: Core): void {
  core.leaderContactMs = -Infinity;
  core.hinted = true;
  core.hintedCampaigns = 0;
  if (!core.mayCampaign) return;
  const soon = core.nowMs + core.random.next() * HINT_SPREAD_MS;
  core.electionDeadlineMs = Math.min(core.electionDeadlineMs, soon);
}
