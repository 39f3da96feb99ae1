/**
 * What is durable on this node's own disk. Every Ready that must be synced is remembered until
 * its `synced` arrives; only then do its entries and its vote count.
 */

import { assert } from "../base/assert.ts";
import type { Index, ReplicaId, Term } from "./types.ts";

interface Unsynced {
  readonly sequence: number;
  /** Last index of the log when the Ready was taken, less what was truncated since. */
  last: Index;
  readonly term: Term;
  readonly vote: ReplicaId | null;
}

export class Durability {
  /** Every entry up to here is durable. */
  index: Index;
  term: Term;
  vote: ReplicaId | null;
  private readonly unsynced: Unsynced[] = [];
  private lastSequence = 0;
  /** When the disk last made progress, or got work after it had none. */
  private progressMs = 0;

  constructor(index: Index, term: Term, vote: ReplicaId | null) {
    this.index = index;
    this.term = term;
    this.vote = vote;
  }

  /** Whether a Ready waits for its `synced`. */
  get waiting(): boolean {
    return this.unsynced.length > 0;
  }

  /** A Ready with that content goes to the disk. */
  submit(sequence: number, last: Index, term: Term, vote: ReplicaId | null, nowMs: number): void {
    if (this.unsynced.length === 0) this.progressMs = nowMs;
    this.unsynced.push({ sequence, last, term, vote });
    this.lastSequence = sequence;
  }

  /** The disk answered for every Ready up to `sequence`. */
  complete(sequence: number, nowMs: number): void {
    let done: Unsynced | undefined;
    while (this.unsynced.length > 0 && this.unsynced[0].sequence <= sequence) {
      done = this.unsynced.shift();
    }
    if (done === undefined) return;
    assert(sequence >= done.sequence && this.lastSequence >= done.sequence, "syncs are in order");
    this.index = Math.max(this.index, done.last);
    this.term = done.term;
    this.vote = done.vote;
    this.progressMs = nowMs;
  }

  /** The log was cut after `last`: what a sync in flight writes beyond it counts no more. */
  truncate(last: Index): void {
    this.index = Math.min(this.index, last);
    for (const ready of this.unsynced) ready.last = Math.min(ready.last, last);
  }

  /** Since when the disk owes an answer, or null where it owes none. */
  get stalledSinceMs(): number | null {
    return this.unsynced.length === 0 ? null : this.progressMs;
  }
}
