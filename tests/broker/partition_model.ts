/**
 * A partition by its plainest definition, for comparison: everything is kept for ever in lists and
 * looked up by walking over them.
 */

import type {
  BoundsResult,
  DequeueResult,
  GroupResult,
  ProduceResult,
} from "../../lib/broker/partition_commands.ts";

interface ModelBatch {
  readonly index: number;
  readonly baseOffset: number;
  readonly count: number;
  readonly producerId: number;
  readonly epoch: number;
  readonly sequence: number;
  readonly timeMs: number;
}

interface ModelConsumer {
  next: number;
  readonly answers: { requestId: string | null; answer: DequeueResult }[];
}

export class PartitionModel {
  readonly batches: ModelBatch[] = [];
  readonly groups = new Map<
    string,
    { generation: number; member: string; offset: number | null; commits: number[] }
  >();
  readonly consumers = new Map<number, ModelConsumer>();
  end = 0;
  private firstIndex = 0;

  kept(): ModelBatch[] {
    return this.batches.filter((batch) => batch.index >= this.firstIndex);
  }

  /** All offsets that can be read. */
  offsets(): number[] {
    return this.kept().flatMap(({ baseOffset, count }) =>
      Array.from({ length: count }, (_, at) => baseOffset + at)
    );
  }

  get start(): number {
    return this.kept()[0]?.baseOffset ?? this.end;
  }

  append(
    batch: Omit<ModelBatch, "baseOffset">,
  ): ProduceResult | "producer_fenced" | "out_of_order_sequence" {
    if (batch.producerId >= 0) {
      const own = this.batches.filter((other) => other.producerId === batch.producerId);
      const newestEpoch = Math.max(-1, ...own.map((other) => other.epoch));
      if (batch.epoch < newestEpoch) return "producer_fenced";
      const same = own.filter((other) => other.epoch === batch.epoch);
      const repeated = same.slice(-5).find((other) =>
        other.sequence === batch.sequence && other.count === batch.count
      );
      if (repeated !== undefined) {
        return { baseOffset: repeated.baseOffset, timeMs: repeated.timeMs, duplicate: true };
      }
      const expected = same.reduce((sum, other) => sum + other.count, 0);
      if (batch.sequence !== expected) return "out_of_order_sequence";
    }
    const baseOffset = this.end;
    this.batches.push({ ...batch, baseOffset });
    this.end += batch.count;
    return { baseOffset, timeMs: batch.timeMs, duplicate: false };
  }

  deleteGroup(group: string, below: number): boolean {
    const fence = this.groups.get(group);
    return fence !== undefined && fence.generation < below && this.groups.delete(group);
  }

  claim(
    group: string,
    born: number,
    generation: number,
    member: string,
  ): GroupResult | "fenced" {
    // What a deleted group of the same name left is as good as gone.
    if (generation >= born) this.deleteGroup(group, born);
    const fence = this.groups.get(group);
    if (fence !== undefined) {
      if (fence.generation > generation) return "fenced";
      if (fence.generation === generation && fence.member !== member) return "fenced";
    }
    const offset = fence?.offset ?? null;
    const commits = fence?.generation === generation ? fence.commits : [];
    this.groups.set(group, { generation, member, offset, commits });
    return { offset };
  }

  commit(
    group: string,
    generation: number,
    member: string,
    offset: number,
  ): GroupResult | "fenced" | "offset_out_of_range" {
    const fence = this.groups.get(group);
    if (fence?.generation !== generation || fence.member !== member) return "fenced";
    if (offset > this.end) return "offset_out_of_range";
    fence.commits.push(offset);
    fence.offset = Math.max(...fence.commits);
    return { offset: fence.offset };
  }

  dequeue(
    consumer: number,
    requestId: string | null,
    turn: number | null,
  ): DequeueResult | "stale_sequence" {
    const known = this.consumers.get(consumer) ?? { next: this.start, answers: [] };
    const last = known.answers.at(-1);
    if (requestId !== null && last?.requestId === requestId) return last.answer;
    if (turn !== null && turn !== known.answers.length) return "stale_sequence";
    this.consumers.set(consumer, known);
    const found = this.offsets().find((offset) => offset >= known.next);
    const arrived = found ?? Math.max(known.next, this.end);
    const answer = { offset: found ?? null, skipped: arrived - known.next };
    known.next = found === undefined ? arrived : found + 1;
    known.answers.push({ requestId, answer });
    return answer;
  }

  trim(index: number): BoundsResult {
    this.firstIndex = Math.max(this.firstIndex, index);
    return { startOffset: this.start, endOffset: this.end };
  }

  advance(offset: number): BoundsResult | "invalid_argument" {
    if (offset < this.end) return "invalid_argument";
    this.end = offset;
    return { startOffset: this.start, endOffset: this.end };
  }
}
