/**
 * What one server's disk may hold. The published specification writes each variable at once; here
 * a write is durable when its sync was answered. A restart may find any part of what was not: the
 * writes up to some moment, the last of them up to some entry.
 */

import type { Position, ReadyEvent, Restart, SpecEntry } from "./trace.ts";

type Write = Pick<ReadyEvent, "sequence" | "stored" | "snapshot" | "entries">;

interface Content {
  term: number;
  vote: string | null;
  log: SpecEntry[];
}

export class SpecDisk {
  private durable: Content = { term: 0, vote: null, log: [] };
  private writes: Write[] = [];

  /** A write that is not synced yet; `committed` is what snapshots stand for. */
  write(write: Write): void {
    this.writes.push(write);
  }

  synced(sequence: number, committed: readonly SpecEntry[]): void {
    while (this.writes.length > 0 && this.writes[0].sequence <= sequence) {
      for (const _ of states(this.durable, this.writes.shift()!, committed));
    }
  }

  /** Highest index up to which a log is durable here as it is. */
  durableIndex(log: readonly SpecEntry[]): number {
    let index = Math.min(log.length, this.durable.log.length);
    while (index > 0 && this.durable.log[index - 1][0] !== log[index - 1][0]) index -= 1;
    return index;
  }

  /** The log that a restart found, whole; null where the disk cannot hold it. */
  recover(found: Restart, committed: readonly SpecEntry[]): SpecEntry[] | null {
    const content = { ...this.durable, log: [...this.durable.log] };
    let log = logOf(content, found);
    for (const write of this.writes) {
      if (log !== null) break;
      for (const state of states(content, write, committed)) log ??= logOf(state, found);
    }
    if (log === null) return null;
    this.durable = { term: found.currentTerm, vote: found.votedFor, log: [...log] };
    this.writes = [];
    return log;
  }
}

/** Carries a write out on `content`, and shows each state in between. */
function* states(
  content: Content,
  { stored, snapshot, entries }: Write,
  committed: readonly SpecEntry[],
): Generator<Content> {
  if (snapshot !== undefined) adopt(content, snapshot, committed);
  if (stored !== undefined) [content.term, content.vote] = stored;
  yield content;
  for (const [index, term, value] of entries) {
    content.log.length = index - 1;
    content.log.push([term, value]);
    yield content;
  }
}

/** A snapshot replaces the log that it covers, and all of it where the log has another entry. */
function adopt(content: Content, [index, term]: Position, committed: readonly SpecEntry[]): void {
  const kept = content.log[index - 1]?.[0] === term;
  content.log = [...committed.slice(0, index), ...(kept ? content.log.slice(index) : [])];
}

/** The whole log where the content is what the restart found. */
function logOf({ term, vote, log }: Content, found: Restart): SpecEntry[] | null {
  const [baseIndex, baseTerm] = found.base;
  const same = term === found.currentTerm && vote === found.votedFor &&
    log.length === baseIndex + found.log.length &&
    (baseIndex === 0 || baseTerm === null || log[baseIndex - 1][0] === baseTerm) &&
    found.log.every(([entryTerm, value], at) => {
      const entry = log[baseIndex + at];
      return entry[0] === entryTerm && entry[1] === value;
    });
  return same ? [...log] : null;
}
