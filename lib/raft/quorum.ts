/**
 * Majorities, simple and joint (paper 6). Commit index, confirmed round, check-quorum and leases
 * are all the same question: which value has a majority reached? Votes are its yes-or-no form.
 */

import type { Membership, ReplicaId } from "./types.ts";

/** The two voter lists that decide; `outgoing` is empty outside a joint configuration. */
export type Electorate = Pick<Membership, "voters" | "outgoing">;

/** Reused by every call, so that counting a commit index allocates nothing. */
let scratch = new Float64Array(16);

/**
 * The highest value that a majority of `voters` has reached. An empty list has reached
 * everything: it then does not weigh on the other half of a joint decision.
 */
export function majorityValue(
  voters: readonly ReplicaId[],
  valueOf: (id: ReplicaId) => number,
): number {
  const count = voters.length;
  if (count === 0) return Infinity;
  if (count > scratch.length) scratch = new Float64Array(count * 2);
  for (let filled = 0; filled < count; filled += 1) {
    const value = valueOf(voters[filled]);
    let slot = filled;
    while (slot > 0 && scratch[slot - 1] < value) {
      scratch[slot] = scratch[slot - 1];
      slot -= 1;
    }
    scratch[slot] = value;
  }
  return scratch[count >> 1];
}

/** The highest value that a quorum has reached: a majority of both lists. */
export function quorumValue(
  electorate: Electorate,
  valueOf: (id: ReplicaId) => number,
): number {
  const incoming = majorityValue(electorate.voters, valueOf);
  if (electorate.outgoing.length === 0) return incoming;
  return Math.min(incoming, majorityValue(electorate.outgoing, valueOf));
}

export type VoteResult = "won" | "lost" | "pending";

/** How an election among one list stands; undefined: that voter has not answered. */
export function majorityVote(
  voters: readonly ReplicaId[],
  voteOf: (id: ReplicaId) => boolean | undefined,
): VoteResult {
  if (voters.length === 0) return "won";
  const needed = (voters.length >> 1) + 1;
  let granted = 0;
  let denied = 0;
  for (const voter of voters) {
    const vote = voteOf(voter);
    if (vote === true) granted += 1;
    else if (vote === false) denied += 1;
  }
  if (granted >= needed) return "won";
  return voters.length - denied < needed ? "lost" : "pending";
}

/** How an election stands: won in both lists, or lost in either. */
export function quorumVote(
  electorate: Electorate,
  voteOf: (id: ReplicaId) => boolean | undefined,
): VoteResult {
  const incoming = majorityVote(electorate.voters, voteOf);
  const outgoing = majorityVote(electorate.outgoing, voteOf);
  if (incoming === "lost" || outgoing === "lost") return "lost";
  return incoming === "won" && outgoing === "won" ? "won" : "pending";
}
