/**
 * What must hold over a whole cluster, checked from outside after every step: the safety
 * properties of the paper (figure 3) and what the system promises on top of them. It sees what no
 * node can see: every replica at once, across restarts.
 */

import { equalBytes } from "../base/bytes.ts";
import type { Replica } from "../replica/replica.ts";
import type { ApplyContext, StateMachine } from "../replica/state_machine.ts";
import type { HardState, Index, LogId, ReplicaId, Term } from "../raft/types.ts";

/** A property that must hold does not. */
export class BrokenInvariant extends Error {
  override readonly name = "BrokenInvariant";
}

/** A command as the first replica applied it. */
export interface AppliedCommand {
  readonly context: ApplyContext;
  readonly command: Uint8Array;
}

/** What one replica had shown to the outside, for its next step and its next life. */
interface Shown {
  commit: Index;
  applied: Index;
  /** Up to here the terms of what it applied were compared with the others'. */
  compared: Index;
  term: Term;
  /** Last entry it said to hold durably. */
  synced: LogId;
  /** Term in which it was found to lead with a complete log; 0: none. */
  ledTerm: Term;
}

/** Everything known about one group. */
export class GroupOracle {
  readonly group: string;
  /** Terms of the committed entries, by index. */
  readonly terms: Term[] = [0];
  /** Committed commands by index. */
  readonly commands = new Map<Index, AppliedCommand>();
  private readonly leaders = new Map<Term, ReplicaId>();
  /** Votes that left a node, by `replica/term`. */
  private readonly votes = new Map<string, ReplicaId>();
  private readonly shown = new Map<ReplicaId, Shown>();
  /** What each replica has called durable in the present step, and to the leader of which term. */
  private readonly acknowledgements = new Map<ReplicaId, LogId[]>();
  private broken: string | null = null;

  constructor(group: string) {
    this.group = group;
  }

  /** Highest index that any replica has applied. */
  highest: Index = 0;

  /** Throws what an observer inside a process noticed; it could not throw there. */
  throwIfBroken(): void {
    if (this.broken !== null) throw new BrokenInvariant(this.broken);
  }

  /** Notes a broken invariant; the next check throws it. */
  breaks(message: string): void {
    this.broken ??= `group ${this.group}: ${message}`;
  }

  /** The machine with every command it applies compared with what other replicas applied. */
  watch(replica: ReplicaId, machine: StateMachine): StateMachine {
    return {
      apply: (command, context) => {
        this.applied(replica, command, context);
        return machine.apply(command, context);
      },
      query: (question) => machine.query(question),
      snapshot: () => machine.snapshot(),
      restore: (snapshot) => machine.restore(snapshot),
    };
  }

  /** A vote leaves a node: at most one in a term (paper 5.2), whatever restarts lie between. */
  voted(voter: ReplicaId, term: Term, candidate: ReplicaId): void {
    const key = `${voter}/${term}`;
    const before = this.votes.get(key) ?? candidate;
    this.votes.set(key, before);
    this.demand(
      before === candidate,
      `one vote: ${voter} voted for ${before} and for ${candidate} in term ${term}`,
    );
  }

  /** A replica tells the leader of a term that it holds everything up to `match` durably. */
  acknowledged(id: ReplicaId, match: Index, term: Term): void {
    const list = this.acknowledgements.get(id) ?? [];
    list.push({ index: match, term });
    this.acknowledgements.set(id, list);
  }

  /** Checks one replica after a step of its process. */
  check(replica: Replica): void {
    const { store } = replica;
    const { id, role, term, commit, synced, last, firstIndex } = replica.status();
    const before = this.shown.get(id);
    this.demand(commit <= last.index, `${id}: commit ${commit} is beyond its log's end`);
    this.demand(replica.appliedIndex <= commit, `${id}: applied what is not committed`);
    if (before !== undefined) {
      this.demand(commit >= before.commit, `${id}: commit went back from ${before.commit}`);
      this.demand(replica.appliedIndex >= before.applied, `${id}: applied went back`);
      this.demand(term >= before.term, `${id}: term went back from ${before.term} to ${term}`);
    }
    // What a stored snapshot stands for is durable, whatever becomes of its entries' sync.
    this.checkAcknowledgements(id, term, Math.max(synced, firstIndex - 1));
    this.highest = Math.max(this.highest, replica.appliedIndex);
    if (role === "leader") this.checkElection(id, term);
    const shown: Shown = {
      commit,
      applied: replica.appliedIndex,
      compared: before?.compared ?? 0,
      term,
      synced: { index: synced, term: store.termAt(synced) ?? 0 },
      ledTerm: before?.ledTerm ?? 0,
    };
    this.shown.set(id, shown);
    // While its disk is full the end of a replica's log stands in its memory only.
    if (!replica.diskFull) {
      this.compareTerms(id, replica, shown);
      if (role === "leader" && shown.ledTerm !== term) this.checkComplete(id, replica, shown);
    }
    this.throwIfBroken();
  }

  /**
   * A replica was opened again: whether it forgot entries or a vote that it had called durable.
   * Its volatile indexes begin anew.
   */
  reopened(id: ReplicaId, hardState: HardState, last: LogId): string | null {
    const before = this.shown.get(id);
    this.acknowledgements.delete(id);
    if (before === undefined) return null;
    this.shown.delete(id);
    const { synced } = before;
    if (last.term < synced.term || (last.term === synced.term && last.index < synced.index)) {
      return `durability: ${id} had synced entry ${synced.index} and now ends at ${last.index}`;
    }
    for (const [key, candidate] of this.votes) {
      const [voter, termText] = key.split("/");
      const term = Number(termText);
      if (voter !== id || term < hardState.term) continue;
      if (term > hardState.term || hardState.vote !== candidate) {
        return `durability: ${id} forgot its vote for ${candidate} in term ${term}`;
      }
    }
    return null;
  }

  /** Paper 5.3: where two logs hold the same log id, everything before is the same too. */
  checkLogMatching(left: Replica, right: Replica): void {
    const low = Math.max(left.store.firstIndex(), right.store.firstIndex());
    let agreed = Math.min(left.store.lastIndex(), right.store.lastIndex());
    while (agreed >= low && left.store.termAt(agreed) !== right.store.termAt(agreed)) agreed -= 1;
    for (let index = low; index < agreed; index += 1) {
      this.demand(
        left.store.termAt(index) === right.store.termAt(index),
        `log matching: equal at ${agreed} but not at ${index}`,
      );
    }
    this.throwIfBroken();
  }

  private applied(replica: ReplicaId, command: Uint8Array, context: ApplyContext): void {
    const known = this.commands.get(context.index);
    if (known === undefined) {
      this.commands.set(context.index, { context: { ...context }, command: command.slice() });
      return;
    }
    this.demand(
      known.context.term === context.term && known.context.timeMs === context.timeMs &&
        equalBytes(known.command, command),
      `state machine safety: ${replica} applied another command at index ${context.index}`,
    );
  }

  /**
   * An answer to an older leader may speak of entries that a newer one has replaced since: it was
   * true when they stood in the log, and that leader can commit nothing more by it.
   */
  private checkAcknowledgements(id: ReplicaId, term: Term, durable: Index): void {
    for (const acknowledged of this.acknowledgements.get(id) ?? []) {
      this.demand(
        acknowledged.term < term || acknowledged.index <= durable,
        `durability: ${id} acknowledged entry ${acknowledged.index}, durable is ${durable}`,
      );
    }
    this.acknowledgements.delete(id);
  }

  /** Notes and compares the terms of what a replica has newly applied. */
  private compareTerms(id: ReplicaId, replica: Replica, shown: Shown): void {
    for (let index = shown.compared + 1; index <= shown.applied; index += 1) {
      const term = replica.store.termAt(index);
      if (term === null) continue;
      const known = this.terms[index];
      this.terms[index] = known ?? term;
      this.demand(
        known === undefined || known === term,
        `state machine safety: ${id} committed term ${term} at ${index}, others ${known}`,
      );
    }
    shown.compared = shown.applied;
  }

  private checkElection(id: ReplicaId, term: Term): void {
    const other = this.leaders.get(term) ?? id;
    this.leaders.set(term, other);
    this.demand(other === id, `election safety: ${other} and ${id} lead in term ${term}`);
  }

  private checkComplete(id: ReplicaId, { store }: Replica, shown: Shown): void {
    const { term } = shown;
    shown.ledTerm = term;
    for (let index = store.firstIndex(); index < this.terms.length; index += 1) {
      const committed = this.terms[index];
      if (committed === undefined || committed >= term) continue;
      this.demand(
        store.termAt(index) === committed,
        `leader completeness: ${id}, leader of term ${term}, lacks committed entry ${index}`,
      );
    }
  }

  private demand(holds: boolean, message: string): void {
    if (!holds) this.breaks(message);
  }
}
