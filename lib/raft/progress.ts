/**
 * What a leader knows about one other replica, and how fast it may send to it (thesis 10.2.1).
 *
 * - `probe`: where the logs match is not known; one message at a time.
 * - `replicate`: they match; messages are pipelined up to the inflight limits.
 * - `snapshot`: the replica needs entries that are compacted; nothing is sent until it has the
 *   snapshot.
 */

import type { Index, ProgressStatus, ReplicaId } from "./types.ts";

interface Inflight {
  readonly last: Index;
  readonly bytes: number;
  readonly round: number;
  readonly sentMs: number;
}

export class Progress {
  readonly id: ReplicaId;
  /** Highest index known to be durable there and equal to the leader's. */
  match: Index = 0;
  /** Next index to send. Always above `match`. */
  next: Index;
  state: "probe" | "replicate" | "snapshot" = "probe";
  /** Probe: a message is under way; another goes out when it is answered or seems lost. */
  paused = false;
  /** Round and time at which the last probe was sent. */
  probeRound = 0;
  probeSentMs = 0;
  /** Snapshot: index of the snapshot being sent. */
  snapshotIndex: Index = 0;
  /** Highest round it answered, and when that round was sent. */
  round = 0;
  roundSentMs = -Infinity;
  lastHeardMs: number | null = null;
  /** When the leader began to track it: it cannot have answered before. */
  readonly sinceMs: number;
  /**
   * First round of this tracking. An answer to an earlier one was given by a replica that was a
   * member before, was removed and may have been made anew since: it says nothing about this one.
   */
  readonly sinceRound: number;
  /** Highest commit index that it is known to know. */
  commitKnown: Index = 0;
  /** A commit index that it knows once it answers `commitRound`; 0: none is under way. */
  private commitTold: Index = 0;
  private commitRound = 0;

  private inflights: Inflight[] = [];
  private inflightHead = 0;
  inflightBytes = 0;

  constructor(id: ReplicaId, next: Index, nowMs: number, sinceRound: number) {
    this.id = id;
    this.next = next;
    this.sinceMs = nowMs;
    this.sinceRound = sinceRound;
  }

  get inflightMessages(): number {
    return this.inflights.length - this.inflightHead;
  }

  /** The oldest unanswered message, or undefined. */
  get oldest(): Inflight | undefined {
    return this.inflights[this.inflightHead];
  }

  /** Entries up to `last` were sent: `next` runs ahead without waiting for the answer. */
  sent(last: Index, bytes: number, round: number, nowMs: number): void {
    this.inflights.push({ last, bytes, round, sentMs: nowMs });
    this.inflightBytes += bytes;
    this.next = last + 1;
  }

  /** A probe was sent; nothing else goes out until it is answered or a later round is. */
  probed(round: number, nowMs: number): void {
    this.paused = true;
    this.probeRound = round;
    this.probeSentMs = nowMs;
  }

  /** It acknowledged everything up to `index`; tells whether that is news. */
  acknowledged(index: Index): boolean {
    while (this.inflightHead < this.inflights.length && this.oldest!.last <= index) {
      this.inflightBytes -= this.oldest!.bytes;
      this.inflightHead += 1;
    }
    if (this.inflightHead === this.inflights.length) this.clearInflights();
    else if (this.inflightHead > 64) {
      this.inflights = this.inflights.slice(this.inflightHead);
      this.inflightHead = 0;
    }
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    return true;
  }

  /** It answered a round; an older one than before tells nothing new. */
  answered(round: number, sentMs: number): boolean {
    if (round <= this.round) return false;
    this.round = round;
    this.roundSentMs = Math.max(this.roundSentMs, sentMs);
    if (this.commitTold > 0 && round >= this.commitRound) {
      this.commitKnown = Math.max(this.commitKnown, this.commitTold);
      this.commitTold = 0;
    }
    return true;
  }

  /** Heartbeat `round` carries `commit`. */
  tell(commit: Index, round: number): void {
    if (this.commitTold > 0 || commit <= this.commitKnown) return;
    this.commitTold = commit;
    this.commitRound = round;
  }

  toProbe(next: Index): void {
    this.state = "probe";
    this.paused = false;
    this.next = Math.max(next, this.match + 1);
    this.clearInflights();
  }

  toReplicate(): void {
    this.state = "replicate";
    this.paused = false;
    this.next = this.match + 1;
    this.clearInflights();
  }

  toSnapshot(index: Index): void {
    this.state = "snapshot";
    this.paused = false;
    this.snapshotIndex = index;
    this.clearInflights();
  }

  private clearInflights(): void {
    if (this.inflights.length > 0) this.inflights = [];
    this.inflightHead = 0;
    this.inflightBytes = 0;
  }

  status(): ProgressStatus {
    const { id, match, next, state, inflightMessages, lastHeardMs, sinceMs } = this;
    return { id, match, next, state, inflightMessages, lastHeardMs, sinceMs };
  }
}
