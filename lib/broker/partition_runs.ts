/**
 * A compact list of runs: consecutive log entries with the same number of messages each. Runs are
 * packed into blocks of a few bytes a run, since an entry of a partition that takes turns between
 * messages and commits is a run of its own, and there may be millions of them in memory.
 *
 * A block begins with explicit numbers; a run in it is `[entries passed over since the last run,
 * entries, messages per entry]` as varlongs, and its offset follows from the run before. A gap in
 * the offsets begins a new block.
 */

import { assert } from "../base/assert.ts";
import { VarintReader, writeVarlong } from "../batch/varint.ts";

export interface Run {
  readonly firstIndex: number;
  readonly entries: number;
  /** Offset of the first entry's first message. */
  readonly baseOffset: number;
  readonly messagesPerEntry: number;
}

/** Index after the run's last entry. */
export function endIndexOf(run: Run): number {
  return run.firstIndex + run.entries;
}

/** Offset after the run's last message. */
export function endOffsetOf(run: Run): number {
  return run.baseOffset + run.entries * run.messagesPerEntry;
}

/** The part of a run from entry `index` on; null where nothing is left. */
export function runFrom(run: Run, index: number): Run | null {
  if (index <= run.firstIndex) return run;
  if (index >= endIndexOf(run)) return null;
  const dropped = index - run.firstIndex;
  return {
    firstIndex: index,
    entries: run.entries - dropped,
    baseOffset: run.baseOffset + dropped * run.messagesPerEntry,
    messagesPerEntry: run.messagesPerEntry,
  };
}

/** How a block is stored. */
export interface StoredBlock {
  readonly firstIndex: number;
  readonly firstOffset: number;
  readonly runs: number;
  readonly bytes: Uint8Array;
}

/** Runs decoded at a look-up: enough to save memory, few enough to be quick. */
const RUNS_PER_BLOCK = 64;
/** Three varlongs of a run at their largest. */
const RUN_BYTES = 30;

export class RunBlock {
  private bytes: Uint8Array = new Uint8Array(RUN_BYTES);
  private used = 0;
  private runs = 0;
  /** Index after the last entry. */
  endIndex: number;
  /** Offset after the last message. */
  endOffset: number;
  private decoded: readonly Run[] | null = null;

  constructor(readonly firstIndex: number, readonly firstOffset: number) {
    this.endIndex = firstIndex;
    this.endOffset = firstOffset;
  }

  static of(runs: readonly Run[]): RunBlock {
    const block = new RunBlock(runs[0].firstIndex, runs[0].baseOffset);
    for (const run of runs) assert(block.add(run), "a part of a block fits in a block");
    return block;
  }

  static restore({ firstIndex, firstOffset, runs, bytes }: StoredBlock): RunBlock {
    const block = new RunBlock(firstIndex, firstOffset);
    block.bytes = bytes.slice();
    block.used = bytes.length;
    block.runs = runs;
    const last = block.list().at(-1);
    assert(last !== undefined, "a stored block holds runs");
    block.endIndex = endIndexOf(last);
    block.endOffset = endOffsetOf(last);
    return block;
  }

  store(): StoredBlock {
    const { firstIndex, firstOffset, runs } = this;
    return { firstIndex, firstOffset, runs, bytes: this.bytes.subarray(0, this.used) };
  }

  /** Appends a run that follows; false where the block is full or the offsets have a gap. */
  add(run: Run): boolean {
    if (this.runs === RUNS_PER_BLOCK || run.baseOffset !== this.endOffset) return false;
    if (this.used + RUN_BYTES > this.bytes.length) this.grow();
    let at = writeVarlong(this.bytes, this.used, run.firstIndex - this.endIndex);
    at = writeVarlong(this.bytes, at, run.entries);
    this.used = writeVarlong(this.bytes, at, run.messagesPerEntry);
    this.runs += 1;
    this.endIndex = endIndexOf(run);
    this.endOffset = endOffsetOf(run);
    this.decoded = null;
    return true;
  }

  /** All runs in order. */
  list(): readonly Run[] {
    this.decoded ??= this.decode();
    return this.decoded;
  }

  /** Gives back the memory of decoded runs, after another block is looked at. */
  forgetDecoded(): void {
    this.decoded = null;
  }

  private decode(): readonly Run[] {
    const reader = new VarintReader(this.bytes, 0, this.used);
    const runs: Run[] = [];
    let index = this.firstIndex;
    let baseOffset = this.firstOffset;
    for (let count = 0; count < this.runs; count += 1) {
      const firstIndex = index + reader.varlong();
      const entries = reader.varlong();
      const run: Run = { firstIndex, entries, baseOffset, messagesPerEntry: reader.varlong() };
      runs.push(run);
      index = endIndexOf(run);
      baseOffset = endOffsetOf(run);
    }
    return runs;
  }

  private grow(): void {
    const grown = new Uint8Array(this.bytes.length * 2 + RUN_BYTES);
    grown.set(this.bytes.subarray(0, this.used));
    this.bytes = grown;
  }
}

/** The first of `items` for which `test` holds, given that it then holds for all that follow. */
export function firstWhere<T>(items: readonly T[], test: (item: T) => boolean): T | undefined {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (test(items[middle])) high = middle;
    else low = middle + 1;
  }
  return items[low];
}
