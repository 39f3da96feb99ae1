/**
 * Requests that wait: a proposal for its entry to be applied, a read for its index. Every one is
 * settled exactly once.
 */

import { TrilogError } from "../base/errors.ts";
import type { Entry, Index, LogId, Outcome, ReplicaId } from "../raft/types.ts";
import type { Applied } from "./replica.ts";

interface Proposal {
  resolve(applied: Applied): void;
  reject(error: TrilogError): void;
  /** Settles the proposal as soon as it is in the leader's log. */
  readonly logged?: (id: LogId) => void;
}

interface AcceptedProposal extends Proposal {
  readonly id: LogId;
}

interface Read {
  resolve(index: Index): void;
  reject(error: TrilogError): void;
}

type Accepted = Extract<Outcome, { kind: "accepted" }>;
type Readable = Extract<Outcome, { kind: "readable" }>;
type Rejected = Extract<Outcome, { kind: "rejected" }>;

export class PendingRequests {
  private lastRequest = 0;
  /** Stepped into the core, not yet answered by it. */
  private readonly asked = new Map<number, Proposal>();
  /** In the log, not yet applied, by index. */
  private readonly inLog = new Map<Index, AcceptedProposal>();
  private readonly reads = new Map<number, Read>();
  /** Confirmed reads that wait for the state machine, in order of arrival. */
  private waitingReads: { readonly index: Index; readonly read: Read }[] = [];

  constructor(private readonly addressOf: (replica: ReplicaId | null) => string | undefined) {}

  /** Opens a proposal; `step` gives it to the core under the request id. */
  open(step: (requestId: number) => void): Promise<Applied> {
    return new Promise((resolve, reject) => {
      const requestId = ++this.lastRequest;
      this.asked.set(requestId, { resolve, reject });
      step(requestId);
    });
  }

  /** Opens a proposal that is settled when the leader has it in its log, committed or not. */
  openLogged(step: (requestId: number) => void): Promise<LogId> {
    return new Promise((resolve, reject) => {
      const requestId = ++this.lastRequest;
      this.asked.set(requestId, { resolve: () => {}, reject, logged: resolve });
      step(requestId);
    });
  }

  openRead(step: (requestId: number) => void): Promise<Index> {
    return new Promise((resolve, reject) => {
      const requestId = ++this.lastRequest;
      this.reads.set(requestId, { resolve, reject });
      step(requestId);
    });
  }

  accepted(outcome: Accepted): void {
    const proposal = this.asked.get(outcome.requestId);
    if (proposal === undefined) return;
    this.asked.delete(outcome.requestId);
    if (proposal.logged !== undefined) return proposal.logged(outcome.id);
    this.inLog.set(outcome.id.index, { ...proposal, id: outcome.id });
  }

  readable(outcome: Readable, applied: Index): void {
    const read = this.reads.get(outcome.requestId);
    if (read === undefined) return;
    this.reads.delete(outcome.requestId);
    if (outcome.index <= applied) read.resolve(outcome.index);
    else this.waitingReads.push({ index: outcome.index, read });
  }

  rejected(outcome: Rejected, group: string): void {
    const request = this.asked.get(outcome.requestId) ?? this.reads.get(outcome.requestId);
    this.asked.delete(outcome.requestId);
    this.reads.delete(outcome.requestId);
    request?.reject(rejection(outcome, group, this.addressOf(outcome.leader)));
  }

  /** An entry is applied: its proposal is done, or another term's entry took its place. */
  applied(entry: Entry, answer: Uint8Array): void {
    const proposal = this.inLog.get(entry.index);
    if (proposal === undefined) return;
    this.inLog.delete(entry.index);
    if (proposal.id.term === entry.term) {
      proposal.resolve({ id: proposal.id, timeMs: entry.timeMs, answer });
    } else {
      proposal.reject(
        new TrilogError("not_leader", "Cannot commit command: another leader's took its place"),
      );
    }
  }

  readsUpTo(applied: Index): void {
    if (this.waitingReads.length === 0) return;
    const waiting = this.waitingReads;
    this.waitingReads = [];
    for (const entry of waiting) {
      if (entry.index <= applied) entry.read.resolve(entry.index);
      else this.waitingReads.push(entry);
    }
  }

  /** A snapshot stands for these entries now: whether they were in it cannot be told. */
  supersededBySnapshot(index: Index): void {
    for (const [at, proposal] of this.inLog) {
      if (at > index) continue;
      this.inLog.delete(at);
      proposal.reject(unknownOutcome("a snapshot replaced the log", undefined));
    }
    this.readsUpTo(index);
  }

  leadershipLost(group: string, leader: string | undefined): void {
    const error = unknownOutcome(`leadership of ${group} was lost`, leader);
    const proposals = [...this.inLog.values()];
    this.inLog.clear();
    for (const proposal of proposals) proposal.reject(error);
  }

  rejectAll(error: TrilogError): void {
    const unknown = unknownOutcome("the replica is closing", undefined);
    for (const proposal of this.inLog.values()) proposal.reject(unknown);
    for (const request of this.asked.values()) request.reject(error);
    for (const read of this.reads.values()) read.reject(error);
    for (const { read } of this.waitingReads) read.reject(error);
    this.inLog.clear();
    this.asked.clear();
    this.reads.clear();
    this.waitingReads = [];
  }
}

function unknownOutcome(state: string, leader: string | undefined): TrilogError {
  return new TrilogError("outcome_unknown", `Cannot determine the outcome of command: ${state}`, {
    leader,
  });
}

function rejection(outcome: Rejected, group: string, leader: string | undefined): TrilogError {
  const details = { leader };
  switch (outcome.reason) {
    case "not_leader":
    case "leadership_lost":
      return new TrilogError("not_leader", `Cannot serve ${group}: not its leader`, details);
    case "transferring":
      return new TrilogError(
        "not_leader",
        `Cannot serve ${group}: leadership is being handed over`,
        details,
      );
    case "overloaded":
      return new TrilogError("overloaded", `Cannot write to ${group}: too much is under way`);
    case "not_ready":
      return new TrilogError(
        "unavailable",
        `Cannot change members of ${group}: its leader was just elected`,
      );
    case "membership_change_in_progress":
      return new TrilogError(
        "membership_change_in_progress",
        `Cannot change members of ${group}: another change is under way`,
      );
    case "invalid_membership":
      return new TrilogError(
        "invalid_membership",
        `Cannot change members of ${group}: no such membership is possible`,
      );
  }
}
