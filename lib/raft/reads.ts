/**
 * Linearizable reads without writing (thesis 6.4). A leader remembers its commit index when a
 * read arrives and waits for a quorum to answer a round that was sent after that; a follower asks
 * its leader for such an index. With a valid lease the leader answers from its clock alone.
 */

import type { Random } from "../base/prng.ts";
import type { Core } from "./core.ts";
import { leaseValid } from "./lease.ts";
import { quorumValue } from "./quorum.ts";
import type { Index, Message, ReplicaId } from "./types.ts";

/** A read that waits on the leader: its own, or a follower's. */
interface WaitingRead {
  /** The follower that asked; null: `number` is a request of this node's own. */
  readonly from: ReplicaId | null;
  /** Request id, or the follower's context. */
  readonly number: number;
  /** Commit index when the read was registered. */
  readonly index: Index;
  /** It is confirmed by a quorum's answers to this round or a later one. */
  readonly round: number;
}

/** A follower's question that waits for its leader's answer. */
interface AskedBatch {
  readonly context: number;
  readonly requestIds: number[];
  readonly deadlineMs: number;
  repeatMs: number;
}

export class Reads {
  /** Leader: ascending in round. */
  readonly waiting: WaitingRead[] = [];
  /** Leader: reads that arrived before its no-op was committed. */
  readonly early: { readonly from: ReplicaId | null; readonly number: number }[] = [];
  /** Follower: reads of this turn that are not yet asked for. */
  readonly unasked: number[] = [];
  /** Follower: questions without an answer, ascending in deadline. */
  readonly asked: AskedBatch[] = [];
  private nextContext: number;

  /**
   * Contexts start at a random place: after a restart an answer to the life before must not meet
   * a question with the same number.
   */
  constructor(random: Random) {
    this.nextContext = random.below(2 ** 32) * 2 ** 20 + 1;
  }

  takeContext(): number {
    this.nextContext += 1;
    return this.nextContext - 1;
  }

  get idle(): boolean {
    return this.waiting.length + this.early.length + this.unasked.length + this.asked.length === 0;
  }
}

/** A read of this node's own. */
export function read(core: Core, requestId: number): void {
  if (core.role === "leader") register(core, null, requestId);
  else if (core.leader === null) core.reject(requestId, "not_leader");
  else core.reads.unasked.push(requestId);
}

/** A follower asks for a read index. */
export function onReadIndexRequest(core: Core, from: ReplicaId, context: number): void {
  if (core.role === "leader") register(core, from, context);
  else answer(core, from, context, null);
}

function register(core: Core, from: ReplicaId | null, number: number): void {
  const leadership = core.leadership!;
  const { reads, log } = core;
  if (log.commit < leadership.noop) {
    reads.early.push({ from, number });
  } else if (leaseValid(core, core.nowMs)) {
    answer(core, from, number, log.commit);
  } else {
    reads.waiting.push({ from, number, index: log.commit, round: leadership.rounds.latest + 1 });
  }
}

/** The leader's no-op is committed: what arrived before counts from now. */
export function releaseEarlyReads(core: Core): void {
  for (const { from, number } of core.reads.early.splice(0)) register(core, from, number);
}

/** Whether a read waits for a round that is not yet sent. */
export function needsRound(core: Core): boolean {
  const { waiting } = core.reads;
  return waiting.length > 0 &&
    waiting[waiting.length - 1].round > core.leadership!.rounds.latest;
}

/** Answers the reads that a quorum's answers to rounds have confirmed. */
export function confirmReads(core: Core): void {
  const { waiting } = core.reads;
  if (waiting.length === 0) return;
  const round = quorumValue(core.membership, core.roundOf);
  let count = 0;
  while (count < waiting.length && waiting[count].round <= round) count += 1;
  if (count === 0) return;
  for (const { from, number, index } of waiting.splice(0, count)) {
    answer(core, from, number, index);
  }
}

function answer(core: Core, from: ReplicaId | null, number: number, index: Index | null): void {
  if (from !== null) {
    core.send({
      kind: "read_index_response",
      from: core.id,
      to: from,
      term: core.term,
      context: number,
      index,
    });
  } else if (index === null) core.reject(number, "leadership_lost");
  else core.out.outcomes.push({ kind: "readable", requestId: number, index });
}

/** Follower: asks the leader for one index for all reads of this turn. */
export function askLeader(core: Core): void {
  const { reads } = core;
  if (reads.unasked.length === 0) return;
  const batch: AskedBatch = {
    context: reads.takeContext(),
    requestIds: reads.unasked.splice(0),
    deadlineMs: core.nowMs + core.options.electionTimeoutMs,
    repeatMs: core.nowMs + core.options.heartbeatMs,
  };
  reads.asked.push(batch);
  core.send(question(core, batch));
}

function question(core: Core, batch: AskedBatch): Message {
  return {
    kind: "read_index_request",
    from: core.id,
    to: core.leader!,
    term: core.term,
    context: batch.context,
  };
}

/** Follower: the leader's answer; one to an unknown question is a repeat or too late. */
export function onReadIndexResponse(core: Core, context: number, index: Index | null): void {
  const at = core.reads.asked.findIndex((batch) => batch.context === context);
  if (at < 0) return;
  const [batch] = core.reads.asked.splice(at, 1);
  for (const requestId of batch.requestIds) answer(core, null, requestId, index);
}

/** Follower: repeats lost questions and gives up old ones. */
export function tickReads(core: Core): void {
  const { asked } = core.reads;
  if (asked.length === 0) return;
  while (asked.length > 0 && asked[0].deadlineMs <= core.nowMs) {
    for (const requestId of asked.shift()!.requestIds) core.reject(requestId, "leadership_lost");
  }
  for (const batch of asked) {
    if (batch.repeatMs > core.nowMs) continue;
    batch.repeatMs = core.nowMs + core.options.heartbeatMs;
    core.send(question(core, batch));
  }
}

/** Leadership is lost or the leader is another: nothing that waits can be confirmed any more. */
export function failReads(core: Core): void {
  const { reads } = core;
  if (reads.idle) return;
  const { waiting, early } = reads;
  for (const { from, number } of [...waiting.splice(0), ...early.splice(0)]) {
    answer(core, from, number, null);
  }
  for (const batch of reads.asked.splice(0)) {
    for (const requestId of batch.requestIds) core.reject(requestId, "leadership_lost");
  }
  for (const requestId of reads.unasked.splice(0)) core.reject(requestId, "leadership_lost");
}
