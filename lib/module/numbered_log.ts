/**
 * The log since the snapshot, with its commands numbered: entries that are not commands (every
 * new leader's no-op) have positions in the log, but no numbers.
 *
 *     position   1      2   3   4      5
 *     entry      no-op  a   b   no-op  c
 *     number     0      1   2   2      3      (commands up to and including the position)
 */

import { assert } from "../base/assert.ts";
import { type Entry, EntryKind, type Index, type LogId } from "../raft/types.ts";

/** Where the log starts: the last entry that the snapshot contains. */
export interface Base {
  readonly last: LogId;
  /** Stamp of that entry. */
  readonly timeMs: number;
  /** Commands up to and including that entry. */
  readonly commands: number;
}

const START: Base = { last: { index: 0, term: 0 }, timeMs: 0, commands: 0 };

export class NumberedLog {
  base: Base = START;
  entries: Entry[] = [];
  /** Commands up to and including each of `entries`. */
  private counts: number[] = [];

  get last(): LogId {
    return this.entries[this.entries.length - 1] ?? this.base.last;
  }

  /** Commands in the whole log, those of the snapshot included. */
  get commands(): number {
    return this.counts[this.counts.length - 1] ?? this.base.commands;
  }

  /** Commands up to and including a position that is not before the base. */
  commandsAt(index: Index): number {
    assert(index >= this.base.last.index && index <= this.last.index, "a position in the log");
    const at = index - this.base.last.index - 1;
    return at < 0 ? this.base.commands : this.counts[at];
  }

  entryAt(index: Index): Entry | undefined {
    return this.entries[index - this.base.last.index - 1];
  }

  /** The entry of the command with this number; undefined where it is not in the log. */
  commandEntry(number: number): Entry | undefined {
    if (number <= this.base.commands) return undefined;
    let low = 0;
    let high = this.counts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.counts[middle] < number) low = middle + 1;
      else high = middle;
    }
    return this.entries[low];
  }

  /** Adds entries; the first may replace a tail. */
  append(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const at = entries[0].index - this.base.last.index - 1;
    assert(at >= 0 && at <= this.entries.length, "entries follow the log or replace its tail");
    this.entries.length = at;
    this.counts.length = at;
    let count = this.commands;
    for (const entry of entries) {
      if (entry.kind === EntryKind.command) count += 1;
      this.entries.push(entry);
      this.counts.push(count);
    }
  }

  /** Moves the start of the log; what follows is kept if the base's entry is in the log. */
  rebase(base: Base): void {
    const { index, term } = base.last;
    const count = this.entryAt(index)?.term === term ? index - this.base.last.index : Infinity;
    this.entries = this.entries.slice(count);
    this.counts = this.counts.slice(count);
    this.base = base;
  }
}
