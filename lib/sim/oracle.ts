/**
 * What must hold over a whole cluster, checked from outside after every step: the safety
 * properties of the paper (figure 3) and what the system promises on top of them. It sees what no
 * node can see: every replica at once, across restarts.
 */

import { InvariantError } from "../base/assert.ts";
import { equalBytes } from "../base/bytes.ts";
import type { Replica } from "../replica/replica.ts";
import { LARGEST_STEP_MS, SLEW } from "../replica/stamps.ts";
import type { ApplyContext, StateMachine } from "../replica/state_machine.ts";
import { ClusterInvariants } from "../raft/cluster_invariants.ts";
import { checkState } from "../raft/invariants.ts";
import type { HardState, Index, LogId, Message, Ready, ReplicaId, Term } from "../raft/types.ts";

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
  term: Term;
  /** Last entry it said to hold durably. */
  synced: LogId;
}

/** Everything known about one group. */
export class GroupOracle {
  readonly group: string;
  /** Committed commands by index. */
  readonly commands = new Map<Index, AppliedCommand>();
  private readonly invariants = new ClusterInvariants();
  /** Replicas that did something since they were last checked. */
  private readonly changed = new Set<Replica>();
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
  /** Shown every replica that is opened, after the group's invariants. */
  onFollow: ((replica: Replica) => void) | null = null;

  /** Throws what an observer inside a process noticed; it could not throw there. */
  throwIfBroken(): void {
    if (this.broken !== null) throw new BrokenInvariant(this.broken);
  }

  /** Notes a broken invariant; the next check throws it. */
  breaks(message: string): void {
    this.broken ??= `group ${this.group}: ${message}`;
  }

  /** From now on every command that the machine applies is compared with the other replicas'. */
  watch(replica: ReplicaId, machine: StateMachine): StateMachine {
    const apply = machine.apply.bind(machine);
    machine.apply = (command, context) => {
      this.applied(replica, command, context);
      return apply(command, context);
    };
    return machine;
  }

  /** Shows everything that a replica's core takes in and gives out to the group's invariants. */
  follow(replica: Replica): void {
    const { raft, store, appliedIndex } = replica;
    const { id } = replica.status();
    this.guard(() => this.invariants.started(id, { ...store.recovered, applied: appliedIndex }));
    let candidacies: Ready[] = [];
    const takeReady = raft.takeReady.bind(raft);
    raft.takeReady = () => {
      const ready = takeReady();
      if (ready === null) return null;
      if (ready.hardState?.vote === id) candidacies.push(ready);
      this.changed.add(replica);
      this.guard(() => this.invariants.took(id, ready));
      return ready;
    };
    const step = raft.step.bind(raft);
    const pace = new StampPace();
    raft.step = (input, nowMs) => {
      const { role, commitIndex, membership } = raft;
      if (input.kind === "synced" && candidacies.length > 0) {
        const durable = candidacies.filter(({ sequence }) => sequence <= input.sequence);
        candidacies = candidacies.slice(durable.length);
        this.guard(() => durable.forEach((ready) => this.invariants.synced(id, ready)));
      }
      step(input, nowMs);
      // A commit is counted in the membership before its step, so that none may be missed.
      const moved = raft.commitIndex !== commitIndex || raft.membership !== membership;
      if (raft.role === "leader" && (moved || role !== "leader")) {
        this.guard(() => this.invariants.observe(raft.status()));
      }
      if (input.kind === "propose" && raft.role === "leader" && !pace.allows(raft, nowMs)) {
        this.breaks(`${id}: the stamps of term ${raft.term} ran ahead of the monotonic clock`);
      }
      // Most ticks change nothing, and there are many.
      if (input.kind !== "tick" || raft.role !== role) this.changed.add(replica);
      if (input.kind !== "compacted") return;
      this.guard(() => this.invariants.compacted(id, input.snapshot.last));
    };
    this.onFollow?.(replica);
  }

  /** A vote or an acknowledgement leaves a node: it cannot be taken back. */
  promised(message: Message): void {
    this.guard(() => this.invariants.promised(message));
    if (message.kind === "append_response" && message.match !== null) {
      this.acknowledged(message.from, message.match, message.term);
    } else if (message.kind === "vote_response" && !message.preVote && message.granted) {
      this.voted(message.from, message.requestTerm, message.to);
    }
  }

  /** At most one vote in a term (paper 5.2), whatever restarts lie between. */
  private voted(voter: ReplicaId, term: Term, candidate: ReplicaId): void {
    const key = `${voter}/${term}`;
    const before = this.votes.get(key) ?? candidate;
    this.votes.set(key, before);
    this.demand(
      before === candidate,
      `one vote: ${voter} voted for ${before} and for ${candidate} in term ${term}`,
    );
  }

  /** A replica tells the leader of a term that it holds everything up to `match` durably. */
  private acknowledged(id: ReplicaId, match: Index, term: Term): void {
    const list = this.acknowledgements.get(id) ?? [];
    list.push({ index: match, term });
    this.acknowledgements.set(id, list);
  }

  /** Checks one replica after a step of its process, unless nothing happened to it. */
  check(replica: Replica): void {
    if (!this.changed.delete(replica)) return;
    const { store } = replica;
    const status = replica.status();
    const { id, term, commit, last, firstIndex } = status;
    const before = this.shown.get(id);
    this.demand(commit <= last.index, `${id}: commit ${commit} is beyond its log's end`);
    this.demand(replica.appliedIndex <= commit, `${id}: applied what is not committed`);
    if (before !== undefined) {
      this.demand(commit >= before.commit, `${id}: commit went back from ${before.commit}`);
      this.demand(replica.appliedIndex >= before.applied, `${id}: applied went back`);
      this.demand(term >= before.term, `${id}: term went back from ${before.term} to ${term}`);
    }
    // What a stored snapshot stands for is durable, whatever becomes of its entries' sync.
    this.checkAcknowledgements(id, term, Math.max(status.synced, firstIndex - 1));
    this.highest = Math.max(this.highest, replica.appliedIndex);
    const synced = { index: status.synced, term: store.termAt(status.synced) ?? 0 };
    this.shown.set(id, { commit, applied: replica.appliedIndex, term, synced });
    this.guard(() => {
      checkState(status);
      this.invariants.observe(status);
    });
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

  /**
   * A replica begins anew under its identity, blank, after its group has let the former one go:
   * what that had shown binds it no more. A vote of the former one in a later term than the removal
   * may be followed by another one in the same term, and harms nothing: whoever committed the
   * removal did so without it, and supports no candidate that lacks the removal.
   */
  begunAgain(id: ReplicaId): void {
    this.shown.delete(id);
    this.acknowledgements.delete(id);
    this.invariants.begunAgain(id);
    for (const key of [...this.votes.keys()]) if (key.startsWith(`${id}/`)) this.votes.delete(key);
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

  /** What the core's own invariants throw is noted; a process must not end by it. */
  private guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof InvariantError)) throw error;
      this.breaks(error.message);
    }
  }

  private demand(holds: boolean, message: string): void {
    if (!holds) this.breaks(message);
  }
}

/** How fast the stamps of one leadership rise, by the leader's monotonic clock. */
class StampPace {
  private last: { readonly term: Term; readonly stampMs: number; readonly nowMs: number } | null =
    null;

  /** Notes the present stamp; false where it has risen faster than the rule of stamps allows. */
  allows({ term, lastTimeMs }: Pick<Replica["raft"], "term" | "lastTimeMs">, nowMs: number) {
    const { last } = this;
    this.last = { term, stampMs: lastTimeMs, nowMs };
    if (last === null || last.term !== term || last.stampMs === 0) return true;
    const slewedMs = (nowMs - last.nowMs) * (1 + SLEW);
    return lastTimeMs - last.stampMs <= slewedMs + LARGEST_STEP_MS + 1;
  }
}
