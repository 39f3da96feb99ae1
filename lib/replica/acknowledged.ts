/**
 * What replicas remember of each other's promises, so that a data directory that was put back
 * to an earlier state is recognised although its start counter looks right: a copy that was taken
 * while the process ran, and put back before the next start.
 *
 * A promise is an acknowledgement of entries or a vote. It leaves after its sync, so a replica that
 * promised something in a term comes back in that term or a later one; and in the term itself its
 * log never ends before what it acknowledged to that term's leader. Each replica remembers the
 * newest promise that it received from each peer, in memory. A peer that opens its log asks for
 * that, and judges itself: a claim stays true, so it may come late, twice, or out of order.
 */

import type { LogId, Message, ReplicaId } from "../raft/types.ts";

/** Term and highest index of a promise; index 0: a vote alone. */
export type Claim = LogId;

const NONE: Claim = { index: 0, term: 0 };

/** What a message promises durably, or null. */
export function promiseIn(message: Message): Claim | null {
  if (message.kind === "append_response") {
    return message.match === null ? null : { index: message.match, term: message.term };
  }
  const vote = message.kind === "vote_response" && message.granted && !message.preVote;
  return vote ? { index: 0, term: message.requestTerm } : null;
}

function isHigher(left: Claim, right: Claim): boolean {
  return left.term > right.term || (left.term === right.term && left.index > right.index);
}

export class Acknowledged {
  /** Newest promise of each peer to this replica. */
  private readonly received = new Map<ReplicaId, Claim>();
  /** Newest promise of this replica since it was opened. */
  private given: Claim = NONE;

  constructor(
    /** Term, and index of the last entry, with which this replica was opened. */
    private readonly opened: Claim,
    /** What was promised up to here, an earlier replica of this identity promised (floor.ts). */
    private readonly floor: LogId = NONE,
  ) {}

  /** A message leaves this replica. */
  sent(message: Message): void {
    const promise = promiseIn(message);
    if (promise !== null && isHigher(promise, this.given)) this.given = promise;
  }

  /** A message of a peer arrived. Returns whether it contradicts an earlier promise of that peer. */
  heard(message: Message): boolean {
    const promise = promiseIn(message);
    const known = this.received.get(message.from) ?? NONE;
    if (promise !== null) {
      if (isHigher(promise, known)) this.received.set(message.from, promise);
      return false;
    }
    if (message.term !== known.term) return false;
    if (message.kind === "heartbeat_response") return message.lastSynced < known.index;
    return message.kind === "append_response" && message.prevIndex <= known.index;
  }

  /** The newest promise that a peer made here; zeros where there was none. */
  of(peer: ReplicaId): Claim {
    return this.received.get(peer) ?? NONE;
  }

  /** Whether this replica promised `claim` and has forgotten it: its files were put back. */
  isForgotten(claim: Claim): boolean {
    const { opened, given, floor } = this;
    if (!isHigher(claim, floor) || !isHigher(claim, given)) return false;
    return opened.term < claim.term ||
      (opened.term === claim.term && opened.index < claim.index);
  }
}
