/**
 * Which log entry holds which offsets. A batch that is accepted takes the next offsets, all other
 * entries take none; so that a reader of the log knows for each entry the offset it got, this
 * index is a part of the replicated state.
 */

import { assert } from "../base/assert.ts";
import { binary, type Codec, list, nullable, record, whole } from "../base/codec.ts";
import type { Packable } from "../base/msgpack.ts";
import {
  endIndexOf,
  endOffsetOf,
  firstWhere,
  type Run,
  RunBlock,
  runFrom,
  type StoredBlock,
} from "./partition_runs.ts";

/** Where an offset is to be found. */
export interface Location {
  /** Index of the log entry that holds it. */
  readonly index: number;
  /** Offset of the first message of that entry. */
  readonly baseOffset: number;
  /** Messages in that entry. */
  readonly count: number;
}

/** Offsets that no message has: what a recovery with loss passed over. */
interface OffsetGap {
  readonly from: number;
  /** Offset after the last one missing. */
  readonly to: number;
}

export class OffsetIndex {
  private blocks: RunBlock[] = [];
  /** The run that may still grow. */
  private open: Run | null = null;
  private gaps: OffsetGap[] = [];
  private next = 0;
  /** The block that was looked at last, whose runs stay decoded. */
  private warm: RunBlock | null = null;

  /** Offset of the first message that is kept, or the end offset where there is none. */
  get startOffset(): number {
    return this.blocks[0]?.firstOffset ?? this.open?.baseOffset ?? this.next;
  }

  /** Offset that the next message will get. */
  get endOffset(): number {
    return this.next;
  }

  /** Gives the next `count` offsets to the batch in entry `index`; returns the first of them. */
  append(index: number, count: number): number {
    const baseOffset = this.next;
    assert(Number.isSafeInteger(baseOffset + count), "offsets are exact numbers");
    this.next += count;
    const open = this.open;
    if (open !== null && endIndexOf(open) === index && open.messagesPerEntry === count) {
      this.open = { ...open, entries: open.entries + 1 };
      return baseOffset;
    }
    this.seal();
    this.open = { firstIndex: index, entries: 1, baseOffset, messagesPerEntry: count };
    return baseOffset;
  }

  /** The next message gets `offset`, which must not lie below the end offset. */
  advance(offset: number): void {
    assert(offset >= this.next, "offsets never go back");
    if (offset === this.next) return;
    this.seal();
    this.gaps.push({ from: this.next, to: offset });
    this.next = offset;
  }

  /** Forgets all entries below `index`; going back changes nothing. */
  trim(index: number): void {
    const kept = this.blocks.filter((block) => block.endIndex > index);
    if (kept.length > 0 && kept[0].firstIndex < index) {
      const runs = kept[0].list().map((run) => runFrom(run, index)).filter((run) => run !== null);
      kept[0] = RunBlock.of(runs);
    }
    this.blocks = kept;
    if (this.open !== null) this.open = runFrom(this.open, index);
    this.gaps = this.gaps.filter((gap) => gap.to > this.startOffset);
  }

  /**
   * The entry that holds the message at `offset`, or the first one after it where nothing has
   * that offset; null at or beyond the end.
   */
  locate(offset: number): Location | null {
    const run = this.runAtOffset(offset);
    if (run === null) return null;
    const passed = Math.floor(Math.max(0, offset - run.baseOffset) / run.messagesPerEntry);
    return {
      index: run.firstIndex + passed,
      baseOffset: run.baseOffset + passed * run.messagesPerEntry,
      count: run.messagesPerEntry,
    };
  }

  /** The first offset of the batch in entry `index`; null where that entry took none. */
  baseOffsetOf(index: number): number | null {
    const run = this.runAtIndex(index);
    if (run === null || index < run.firstIndex) return null;
    return run.baseOffset + (index - run.firstIndex) * run.messagesPerEntry;
  }

  /** The first offset at or after entry `index`, or the end offset. */
  offsetFrom(index: number): number {
    const run = this.runAtIndex(index);
    if (run === null) return this.next;
    return run.baseOffset + Math.max(0, index - run.firstIndex) * run.messagesPerEntry;
  }

  /** How many messages lie from offset `from` to the end. */
  messagesFrom(from: number): number {
    const start = Math.max(from, this.startOffset);
    let missing = 0;
    for (const gap of this.gaps) {
      if (gap.to > start) missing += gap.to - Math.max(gap.from, start);
    }
    return Math.max(0, this.next - start - missing);
  }

  store(): Packable {
    return storedIndex.encode({
      next: this.next,
      blocks: this.blocks.map((block) => block.store()),
      open: this.open,
      gaps: this.gaps,
    });
  }

  /** The index that `store` described; throws `malformed`. */
  static restore(packed: Packable): OffsetIndex {
    const stored = storedIndex.decode(packed, "offset index");
    const index = new OffsetIndex();
    index.next = stored.next;
    index.blocks = stored.blocks.map((block) => RunBlock.restore(block));
    index.open = stored.open;
    index.gaps = [...stored.gaps];
    return index;
  }

  /** Moves the open run, if any, into the blocks. */
  private seal(): void {
    if (this.open === null) return;
    if (this.blocks.at(-1)?.add(this.open) !== true) this.blocks.push(RunBlock.of([this.open]));
    this.open = null;
  }

  /** The first run that ends beyond `offset`. */
  private runAtOffset(offset: number): Run | null {
    const block = firstWhere(this.blocks, (one) => one.endOffset > offset);
    if (block === undefined) {
      return this.open !== null && endOffsetOf(this.open) > offset ? this.open : null;
    }
    return firstWhere(this.runsOf(block), (run) => endOffsetOf(run) > offset) ?? null;
  }

  /** The first run that ends beyond entry `index`. */
  private runAtIndex(index: number): Run | null {
    const block = firstWhere(this.blocks, (one) => one.endIndex > index);
    if (block === undefined) {
      return this.open !== null && endIndexOf(this.open) > index ? this.open : null;
    }
    return firstWhere(this.runsOf(block), (run) => endIndexOf(run) > index) ?? null;
  }

  private runsOf(block: RunBlock): readonly Run[] {
    if (this.warm !== block) {
      this.warm?.forgetDecoded();
      this.warm = block;
    }
    return block.list();
  }
}

interface StoredIndex {
  readonly next: number;
  readonly blocks: readonly StoredBlock[];
  readonly open: Run | null;
  readonly gaps: readonly OffsetGap[];
}

const storedIndex: Codec<StoredIndex> = record<StoredIndex>({
  next: whole,
  blocks: list(record<StoredBlock>({
    firstIndex: whole,
    firstOffset: whole,
    runs: whole,
    bytes: binary,
  })),
  open: nullable(record<Run>({
    firstIndex: whole,
    entries: whole,
    baseOffset: whole,
    messagesPerEntry: whole,
  })),
  gaps: list(record<OffsetGap>({ from: whole, to: whole })),
});
