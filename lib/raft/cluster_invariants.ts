/**
 * The promises of Raft across all nodes of a group (paper figure 3): election safety, log
 * matching, leader completeness, state-machine safety, and one vote per term and node for ever. Leaders
 * and commits are counted again from what left the voters, in both halves of a joint configuration.
 * An observer with perfect memory: tell it everything that the nodes do, crashes included.
 */

import { assert } from "../base/assert.ts";
import { equalBytes } from "../base/bytes.ts";
import type {
  Entry,
  Index,
  InitialState,
  LogId,
  Membership,
  Message,
  RaftStatus,
  Ready,
  ReplicaId,
  Term,
} from "./types.ts";

/** Terms of one node's log, with what it may still lose in a crash. */
interface ObservedLog {
  base: LogId;
  /** Terms of base.index + 1, base.index + 2, ... */
  terms: Term[];
  applied: Index;
}

export class ClusterInvariants {
  private readonly leaders: Map<Term, ReplicaId> = new Map();
  private readonly votes: Map<string, ReplicaId> = new Map();
  /** Highest index that a node acknowledged to the leader of a term, by `node@term`. */
  private readonly acknowledged: Map<string, Index> = new Map();
  /** Leaders as last seen: the membership in force decides what the next step may commit. */
  private readonly leading: Map<ReplicaId, RaftStatus> = new Map();
  /** Every entry that any log ever held, by `index/term`, with the term before it. */
  private readonly entries: Map<string, { readonly entry: Entry; readonly before: Term }> =
    new Map();
  /** Every entry that any node ever applied. */
  private readonly applied: Map<Index, Entry> = new Map();
  private readonly logs: Map<ReplicaId, ObservedLog> = new Map();
  /** The last entry known to be committed. */
  private lastCommitted: LogId = { index: 0, term: 0 };

  /** A node starts, or starts again, with what its storage recovered. */
  started(id: ReplicaId, initial: InitialState): void {
    const { snapshot, last, termRuns, applied } = initial;
    const base = snapshot?.last ?? { index: 0, term: 0 };
    const terms: Term[] = [];
    for (const [at, [term, first]] of termRuns.entries()) {
      const end = at + 1 < termRuns.length ? termRuns[at + 1][1] - 1 : last.index;
      for (let index = Math.max(first, base.index + 1); index <= end; index += 1) terms.push(term);
    }
    this.logs.set(id, { base, terms, applied: Math.max(applied, base.index) });
  }

  /** After every step and every Ready. */
  observe(status: RaftStatus): void {
    if (status.role !== "leader") {
      this.leading.delete(status.id);
      return;
    }
    const before = this.leading.get(status.id);
    this.leading.set(status.id, status);
    if (before?.term === status.term) this.checkCommit(before, status);
    const known = this.leaders.get(status.term);
    assert(known === undefined || known === status.id, "election safety: one leader in a term");
    if (known !== undefined) return;
    this.leaders.set(status.term, status.id);
    const granted = (id: ReplicaId) => this.votes.get(`${id}@${status.term}`) === status.id;
    const won = countedIn(status.membership, granted);
    assert(won, "a leader has durable votes of a majority of both halves");
    const { index, term } = this.lastCommitted;
    if (term > status.term) return;
    const held = termIn(this.logs.get(status.id)!, index);
    const compacted = index <= this.logs.get(status.id)!.base.index;
    assert(compacted || held === term, "leader completeness: a leader holds what is committed");
  }

  private checkCommit(before: RaftStatus, { id: leader, term, synced, commit }: RaftStatus): void {
    if (commit === before.commit) return;
    const held = (id: ReplicaId) =>
      commit <= (id === leader ? synced : this.acknowledged.get(`${id}@${term}`) ?? 0);
    const counted = countedIn(before.membership, held);
    assert(counted, "what is committed was acknowledged by a majority of both halves");
  }

  /** When a node's Ready was taken. */
  took(id: ReplicaId, ready: Ready): void {
    const log = this.logs.get(id)!;
    if (ready.snapshot !== null) {
      const { last } = ready.snapshot;
      const kept = termIn(log, last.index) === last.term;
      log.terms = kept ? log.terms.slice(last.index - log.base.index) : [];
      log.base = last;
      log.applied = Math.max(log.applied, last.index);
      this.committed(last);
    }
    for (const entry of ready.entries) this.appended(log, entry);
    for (const entry of ready.committed) this.applies(log, entry);
  }

  /** When a node's Ready is durable: only now a vote is given, for a crash may still forget it. */
  synced(id: ReplicaId, ready: Ready): void {
    if (ready.hardState?.vote) this.voted(id, ready.hardState.term, ready.hardState.vote);
    for (const message of ready.messagesAfterSync) this.promised(message);
  }

  /** A node's log now starts after `base`. */
  compacted(id: ReplicaId, base: LogId): void {
    const log = this.logs.get(id)!;
    if (base.index <= log.base.index) return;
    assert(termIn(log, base.index) === base.term, "a log is compacted at an entry of its own");
    log.terms = log.terms.slice(base.index - log.base.index);
    log.base = base;
  }

  /** A node begins anew, blank, after its group let its former life go: that binds it no more. */
  begunAgain(id: ReplicaId): void {
    for (const promises of [this.votes, this.acknowledged]) {
      for (const key of [...promises.keys()]) if (key.startsWith(`${id}@`)) promises.delete(key);
    }
  }

  private voted(id: ReplicaId, term: Term, vote: ReplicaId): void {
    const key = `${id}@${term}`;
    const known = this.votes.get(key) ?? vote;
    assert(known === vote, "one vote per term and node");
    this.votes.set(key, vote);
  }

  /** An answer is on its way, or a test made it up: it counts as given. */
  promised(message: Message): void {
    if (message.kind === "append_response") {
      // An answer of round 0 is no acknowledgement: only the place for the next probe.
      if (message.match === null || message.round === 0) return;
      const key = `${message.from}@${message.term}`;
      this.acknowledged.set(key, Math.max(this.acknowledged.get(key) ?? 0, message.match));
    } else if (message.kind === "vote_response" && !message.preVote && message.granted) {
      this.voted(message.from, message.requestTerm, message.to);
    }
  }

  private appended(log: ObservedLog, entry: Entry): void {
    const before = termIn(log, entry.index - 1);
    assert(before !== null, "entries follow what the log holds");
    log.terms.length = entry.index - log.base.index - 1;
    log.terms.push(entry.term);
    const key = `${entry.index}/${entry.term}`;
    const known = this.entries.get(key);
    if (known === undefined) this.entries.set(key, { entry, before });
    else {
      const same = known.before === before && sameEntry(known.entry, entry);
      assert(same, "log matching: an entry's name stands for one entry and one prefix");
    }
  }

  private applies(log: ObservedLog, entry: Entry): void {
    assert(entry.index === log.applied + 1, "entries are applied once each, in order");
    log.applied = entry.index;
    const known = this.applied.get(entry.index);
    if (known === undefined) this.applied.set(entry.index, entry);
    else {
      const same = known.term === entry.term && sameEntry(known, entry);
      assert(same, "state-machine safety: an index is applied with one entry everywhere");
    }
    this.committed(entry);
  }

  private committed({ index, term }: LogId): void {
    if (index > this.lastCommitted.index) this.lastCommitted = { index, term };
  }
}

/** The definition of a quorum: more than half of each list that decides. */
function countedIn({ voters, outgoing }: Membership, counts: (id: ReplicaId) => boolean): boolean {
  return [voters, outgoing].every((list) =>
    list.length === 0 || 2 * list.filter(counts).length > list.length
  );
}

function termIn(log: ObservedLog, index: Index): Term | null {
  if (index === log.base.index) return log.base.term;
  return log.terms[index - log.base.index - 1] ?? null;
}

function sameEntry(left: Entry, right: Entry): boolean {
  return left === right ||
    (left.kind === right.kind && left.timeMs === right.timeMs && equalBytes(left.data, right.data));
}
