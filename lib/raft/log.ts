/**
 * The log as the core sees it: the terms of everything in it, and the newest entries themselves.
 * Entries that are durable and applied leave the memory once they are older than the cache is
 * large; the host reads them from its store when a follower, or this node itself, needs them.
 *
 *     base        cacheFirst                taken        last
 *      |--- terms only ---|------- entries in memory -------|
 *              applied <= applying <= commit        (commit and taken in either order)
 */

import { assert } from "../base/assert.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { Entry, Index, InitialState, LogId, SnapshotMeta, Term, TermRun } from "./types.ts";

/** What an entry costs beside its data, so that empty ones are not free. */
const ENTRY_OVERHEAD_BYTES = 32;

/** Evicted slots that are tolerated at the front of the cache before it is copied together. */
const SLACK_SLOTS = 1024;

export function entryBytes(entry: Entry): number {
  return entry.data.length + ENTRY_OVERHEAD_BYTES;
}

export class Log {
  /** Last entry of the snapshot that this log follows. */
  base: LogId;
  last: LogId;
  commit: Index;
  /** Highest index that the state machine is known to have applied. */
  applied: Index;
  /** Highest index that was handed out for applying. */
  applying: Index;
  /** Highest index that was handed to storage, durable or not. */
  taken: Index;
  /** Latest stamp in the log: later entries are never stamped earlier. */
  lastTimeMs: number;
  /** `[term, first index]`, ascending. */
  private runs: TermRun[];
  private cache: Entry[] = [];
  /** Slot of the entry `cacheFirst`; those before it are evicted. */
  private head = 0;
  cacheFirst: Index;
  cacheBytes = 0;

  constructor(initial: InitialState) {
    const { snapshot, last, hardState, termRuns, applied } = initial;
    this.base = snapshot?.last ?? { index: 0, term: 0 };
    this.last = last;
    this.taken = last.index;
    this.cacheFirst = last.index + 1;
    this.lastTimeMs = initial.lastTimeMs;
    this.applied = Math.max(applied, this.base.index);
    this.applying = this.applied;
    this.commit = Math.max(Math.min(hardState.commit, last.index), this.applied);
    this.runs = termRuns.filter(([, first]) => first > this.base.index);
    const covering = termRuns.findLast(([, first]) => first <= this.base.index);
    const baseTerm = covering?.[0] ?? this.base.term;
    if (this.runs.length === 0 || this.runs[0][1] > this.base.index + 1) {
      this.runs.unshift([baseTerm, this.base.index + 1]);
    }
    assert(this.commit <= last.index, "a log holds everything that is committed and applied");
    assert(this.termAt(last.index) === last.term, "the term runs end with the last entry");
  }

  get firstIndex(): Index {
    return this.base.index + 1;
  }

  /** Term of the entry at `index` or of the snapshot that ends there; null where unknown. */
  termAt(index: Index): Term | null {
    if (index === this.last.index) return this.last.term;
    if (index < this.base.index || index > this.last.index) return null;
    if (index === this.base.index) return this.base.term;
    return this.runs[this.runAt(index)][0];
  }

  /** Position of the run that holds `index`, which lies between base and last. */
  private runAt(index: Index): number {
    let low = 0;
    let high = this.runs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.runs[middle][1] <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Whether this log holds the entry named, and so the same prefix (log matching, paper 5.3). */
  matches(id: LogId): boolean {
    return this.termAt(id.index) === id.term;
  }

  /** Whether a candidate whose log ends with `other` may be voted for (paper 5.4.1). */
  isUpToDate(other: LogId): boolean {
    return other.term > this.last.term ||
      (other.term === this.last.term && other.index >= this.last.index);
  }

  /**
   * The highest log id at or below `index` whose term is at most `term`: where two logs that
   * conflict above it may still match, a whole term further down per question (paper 5.3).
   * Below the base nothing is known; the answer then lies before it and calls for a snapshot.
   */
  lastAtMost(index: Index, term: Term): LogId {
    let at = Math.min(index, this.last.index);
    while (at > this.base.index) {
      const [runTerm, first] = this.runs[this.runAt(at)];
      if (runTerm <= term) return { index: at, term: runTerm };
      at = first - 1;
    }
    if (at === this.base.index && this.base.term <= term) return this.base;
    return { index: Math.max(0, this.base.index - 1), term: 0 };
  }

  /** Adds an entry that follows the last one. */
  append(entry: Entry): void {
    assert(entry.index === this.last.index + 1, "entries follow each other");
    assert(entry.term >= this.last.term, "terms never go back along a log");
    if (this.runs[this.runs.length - 1][0] !== entry.term) {
      if (this.last.index === this.base.index) this.runs.pop();
      this.runs.push([entry.term, entry.index]);
    }
    this.cache.push(entry);
    this.cacheBytes += entryBytes(entry);
    this.last = entry;
    if (entry.timeMs > this.lastTimeMs) this.lastTimeMs = entry.timeMs;
  }

  /** Drops the entries from `from` on, which conflict with the leader's (paper 5.3). */
  truncate(from: Index): void {
    assert(from > this.commit, "committed entries are never removed");
    assert(from > this.base.index && from <= this.last.index, "only what is there can go");
    const term = this.termAt(from - 1)!;
    while (this.runs.length > 1 && this.runs[this.runs.length - 1][1] >= from) this.runs.pop();
    if (this.runs[0][1] >= from) this.runs[0] = [this.base.term, this.base.index + 1];
    this.last = { index: from - 1, term };
    this.taken = Math.min(this.taken, from - 1);
    if (from <= this.cacheFirst) {
      this.clearCache(from);
      return;
    }
    const keep = this.head + (from - this.cacheFirst);
    for (let slot = keep; slot < this.cache.length; slot += 1) {
      this.cacheBytes -= entryBytes(this.cache[slot]);
    }
    this.cache.length = keep;
  }

  /** Moves the commit index forward; never back, never beyond the last entry. */
  commitTo(index: Index): boolean {
    const next = Math.min(index, this.last.index);
    if (next <= this.commit) return false;
    this.commit = next;
    return true;
  }

  isCached(index: Index): boolean {
    return index >= this.cacheFirst;
  }

  /** An entry in memory; null where it was evicted or never was. */
  cached(index: Index): Entry | null {
    if (index < this.cacheFirst || index > this.last.index) return null;
    return this.cache[this.head + (index - this.cacheFirst)];
  }

  /** Cached entries from `from` to `to`: at least one, then while they fit in `maxBytes`. */
  slice(from: Index, to: Index, maxBytes: number): Entry[] {
    const start = this.head + (from - this.cacheFirst);
    const stop = this.head + (to - this.cacheFirst) + 1;
    let end = start;
    let bytes = 0;
    while (end < stop) {
      bytes += entryBytes(this.cache[end]);
      if (bytes > maxBytes && end > start) break;
      end += 1;
    }
    return this.cache.slice(start, end);
  }

  /** Entries that storage has not been given yet; it has them from now on. */
  takeUnstored(): Entry[] {
    const entries = this.slice(this.taken + 1, this.last.index, Infinity);
    this.taken = this.last.index;
    return entries;
  }

  /** Lets go of entries that are durable and applied, beyond `keepBytes` of them. */
  evict(synced: Index, keepBytes: number): void {
    const limit = Math.min(synced, this.applied);
    while (this.cacheBytes > keepBytes && this.cacheFirst <= limit) this.dropFirst();
    this.shrink();
  }

  private dropFirst(): void {
    this.cacheBytes -= entryBytes(this.cache[this.head]);
    this.head += 1;
    this.cacheFirst += 1;
  }

  /** Copies the cache together once its evicted front has become the larger part. */
  private shrink(): void {
    if (this.head < SLACK_SLOTS || this.head * 2 < this.cache.length) {
      // Slots that wait to be cut must not keep their entries alive.
      for (let slot = this.head - 1; slot >= 0 && this.cache[slot] !== GONE; slot -= 1) {
        this.cache[slot] = GONE;
      }
      return;
    }
    this.cache = this.cache.slice(this.head);
    this.head = 0;
  }

  private clearCache(first: Index): void {
    this.cache = [];
    this.head = 0;
    this.cacheBytes = 0;
    this.cacheFirst = first;
  }

  /** The log now starts after `last`, which is applied here. */
  compact(last: LogId): void {
    assert(last.index <= this.applied, "only what is applied is compacted");
    assert(this.matches(last), "a log is compacted up to an entry of its own");
    while (this.cacheFirst <= last.index && this.cacheFirst <= this.last.index) this.dropFirst();
    this.shrink();
    this.rebase(last);
  }

  /** Makes `base` the start of the log and forgets the terms up to it. */
  private rebase(base: LogId): void {
    while (this.runs.length > 1 && this.runs[1][1] <= base.index + 1) this.runs.shift();
    if (this.runs[0][1] <= base.index) this.runs[0] = [this.runs[0][0], base.index + 1];
    this.base = base;
  }

  /**
   * Takes over a snapshot newer than the commit index. What follows its last entry is kept if
   * that entry is in this log, else nothing is (paper figure 13, steps 6 and 7). Tells which.
   */
  restore(meta: SnapshotMeta): boolean {
    const { last } = meta;
    assert(last.index > this.commit, "a snapshot restores what is newer than the commit index");
    const kept = this.matches(last);
    this.commit = last.index;
    this.applied = last.index;
    this.applying = last.index;
    this.lastTimeMs = Math.max(this.lastTimeMs, meta.timeMs);
    this.taken = Math.max(this.taken, last.index);
    if (kept) {
      while (this.cacheFirst <= last.index && this.cacheFirst <= this.last.index) this.dropFirst();
      this.shrink();
      this.rebase(last);
      return true;
    }
    this.clearCache(last.index + 1);
    this.runs = [[last.term, last.index + 1]];
    this.base = last;
    this.last = last;
    this.taken = last.index;
    return false;
  }

  /** Entries of the next batch to apply, if they are in memory. */
  takeCommitted(limit: Index, maxBytes: number): Entry[] {
    const entries = this.slice(this.applying + 1, limit, maxBytes);
    this.applying = entries[entries.length - 1].index;
    return entries;
  }
}

/** Fills evicted slots. */
const GONE: Entry = { index: 0, term: 0, kind: 0, timeMs: 0, data: EMPTY_BYTES };
