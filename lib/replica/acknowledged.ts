/**
 * What replicas remember of each other's promises, so that a data directory that was put back
 * to an earlier state is recognised although its start counter looks right: a copy that was taken
 * while the process ran, and put back before the next start.
 *
 * A promise is an acknowledgement of entries, a vote, or a leader's word in its heartbeats for what
 * it has stored itself: its copy counts towards commits as well. It leaves after its sync, so a
 * replica that promised something in a term comes back in that term or a later one; and in the term
 * itself its log never ends before what it promised. Each replica remembers the newest promise that
 * it received from each peer in each of the last terms, in memory: a peer whose files were put back
 * may have promised something in a later term before it asks. A peer that opens its log asks for
 * that, and judges itself: a claim stays true, so it may come late, twice, or out of order.
 */

import type { Index, LogId, Message, ReplicaId, Term } from "../raft/types.ts";

/** Term and highest index of a promise; index 0: a vote alone. */
export type Claim = LogId;

export const NO_CLAIM: Claim = { index: 0, term: 0 };

/** Terms in which promises are remembered. */
const MOST_TERMS = 8;

/** What a message promises durably, or null. */
export function promiseIn(message: Message): Claim | null {
  if (message.kind === "append_response") {
    return message.match === null ? null : { index: message.match, term: message.term };
  }
  if (message.kind === "heartbeat_request") {
    return message.synced === 0 ? null : { index: message.synced, term: message.term };
  }
  const vote = message.kind === "vote_response" && message.granted && !message.preVote;
  return vote ? { index: 0, term: message.requestTerm } : null;
}

function isHigher(left: Claim, right: Claim): boolean {
  return left.term > right.term || (left.term === right.term && left.index > right.index);
}

/** The highest promises of one replica, by term, for the last terms in which there were some. */
class Promises {
  private readonly byTerm = new Map<Term, Index>();
  /** Promises up to this term may be forgotten. */
  private forgottenTerm: Term = 0;

  note({ index, term }: Claim): void {
    if (term <= this.forgottenTerm) return;
    this.byTerm.set(term, Math.max(index, this.byTerm.get(term) ?? 0));
    if (this.byTerm.size <= MOST_TERMS) return;
    this.forgottenTerm = Math.min(...this.byTerm.keys());
    this.byTerm.delete(this.forgottenTerm);
  }

  /** The highest index in a term; null where there is none, or where it was forgotten. */
  in(term: Term): Index | null {
    return this.byTerm.get(term) ?? null;
  }

  /** Whether `claim` is known to be above all promises in its term. */
  isExceededBy({ index, term }: Claim): boolean {
    return term > this.forgottenTerm && index > (this.in(term) ?? -1);
  }

  all(): Claim[] {
    return [...this.byTerm].map(([term, index]) => ({ index, term }));
  }
}

export class Acknowledged {
  /** Promises of each peer to this replica. */
  private readonly received = new Map<ReplicaId, Promises>();
  /** Promises of this replica since it was opened. */
  private readonly given = new Promises();

  constructor(
    /** Term, and index of the last entry, with which this replica was opened. */
    private readonly opened: Claim,
    /** What was promised up to here, an earlier replica of this identity promised (floor.ts). */
    private readonly floor: LogId = NO_CLAIM,
  ) {}

  /** A message leaves this replica. */
  sent(message: Message): void {
    const promise = promiseIn(message);
    if (promise !== null) this.given.note(promise);
  }

  /** A message of a peer arrived. Returns whether it contradicts an earlier promise of that peer. */
  heard(message: Message): boolean {
    const promise = promiseIn(message);
    if (promise !== null) {
      this.promisesOf(message.from).note(promise);
      return false;
    }
    const known = this.received.get(message.from)?.in(message.term) ?? null;
    if (known === null) return false;
    if (message.kind === "heartbeat_response") return message.lastSynced < known;
    return message.kind === "append_response" && message.prevIndex <= known;
  }

  private promisesOf(peer: ReplicaId): Promises {
    const known = this.received.get(peer) ?? new Promises();
    this.received.set(peer, known);
    return known;
  }

  /** The newest promise of a peer in each of the last terms in which it made one here. */
  of(peer: ReplicaId): Claim[] {
    return this.received.get(peer)?.all() ?? [];
  }

  /** Whether this replica promised `claim` and has forgotten it: its files were put back. */
  isForgotten(claim: Claim): boolean {
    return isHigher(claim, this.floor) && this.given.isExceededBy(claim) &&
      isHigher(claim, this.opened);
  }
}
