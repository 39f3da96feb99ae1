/**
 * The books of one simulated partition: what must follow from its log by the simplest possible
 * rules. Accepted batches take the next offsets, repeats get the first answer, consumer groups do
 * not see each other, and a trim takes only what lies before it.
 */

import { equalBytes, textOf } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type BatchHeader, patchBaseOffset, readBatchHeader } from "../batch/batch_header.ts";
import { recordsOf } from "../batch/batch_reader.ts";
import {
  boundsAnswer,
  decodeCommand,
  groupAnswer,
  isBatch,
  type PartitionCommand,
  produceAnswer,
} from "../broker/partition_commands.ts";
import type { Index } from "../raft/types.ts";
import type { Noted } from "./command_watch.ts";
import { BrokenInvariant } from "./oracle.ts";

/** What an entry of the log holds. */
export type QueueCommand =
  | { readonly kind: "batch"; readonly bytes: Uint8Array; readonly header: BatchHeader }
  | PartitionCommand;

export function decodeQueueCommand(bytes: Uint8Array): QueueCommand {
  if (!isBatch(bytes)) return decodeCommand(bytes);
  return { kind: "batch", bytes, header: readBatchHeader(bytes) };
}

/** Under which a command is found again; batches are found by producer and sequence. */
export function nameOfCommand(command: QueueCommand): string {
  return command.kind === "batch" ? batchName(command.header) : JSON.stringify(command);
}

export function batchName({ producerId, baseSequence }: BatchHeader): string {
  return `${producerId}/${baseSequence}`;
}

/** A batch that took offsets, as consumers see it. */
export interface BookedBatch {
  readonly index: Index;
  readonly baseOffset: number;
  readonly count: number;
  readonly timeMs: number;
  readonly bytes: Uint8Array;
}

interface Fence {
  readonly generation: number;
  readonly member: string;
  readonly offset: number | null;
  readonly fresh: boolean;
}

export class QueueBooks {
  /** In the order of their offsets. */
  private readonly batches: BookedBatch[] = [];
  /** The batch that holds each offset. */
  private readonly places: BookedBatch[] = [];
  /** The value at each offset. */
  readonly values: string[] = [];
  /** Entry that the log begins at by each trim so far. */
  private readonly trims: { readonly index: Index; readonly to: Index }[] = [];
  private readonly byName = new Map<string, BookedBatch>();
  private readonly nextSequences = new Map<number, number>();
  private readonly recent = new Map<number, BookedBatch[]>();
  private readonly fences = new Map<string, Fence>();
  /** Right answers to claims and commits. */
  private readonly positions = new Map<string, number | string | null>();

  constructor(private readonly group: string) {}

  get endOffset(): number {
    return this.values.length;
  }

  /** Takes the next entry of the log and compares what the machine answered. */
  enter({ index, term, timeMs, command, answer }: Noted<QueueCommand>): void {
    switch (command.kind) {
      case "batch":
        return this.enterBatch({ index, timeMs, term }, command, answer);
      case "trim":
      case "stamp":
        if (command.kind === "trim") this.trims.push({ index, to: command.index });
        this.expect(index, () => boundsAnswer.decode(answer).endOffset, this.endOffset);
        return;
      case "claim":
      case "commit": {
        const right = command.kind === "claim" ? this.claim(command) : this.commit(command);
        this.positions.set(nameOfCommand(command), right);
        this.expect(index, () => groupAnswer.decode(answer).offset, right);
        return;
      }
      default:
        this.demand(false, `nobody asked for the ${command.kind} at ${index}`);
    }
  }

  /** The batch that a producer sent under a sequence, where it took offsets. */
  batchOf(header: BatchHeader): BookedBatch | undefined {
    return this.byName.get(batchName(header));
  }

  /** The right answer to a claim or a commit: an offset or a refusal; undefined: it is nowhere. */
  positionAfter(command: QueueCommand): number | string | null | undefined {
    return this.positions.get(nameOfCommand(command));
  }

  /** Where the partition ended when the log had been applied up to `index`. */
  endAfter(index: Index): number {
    const last = this.batches.findLast((batch) => batch.index <= index);
    return last === undefined ? 0 : last.baseOffset + last.count;
  }

  /** Where the partition began when the log had been applied up to `index`. */
  startAfter(index: Index): number {
    const to = Math.max(0, ...this.trims.filter((trim) => trim.index <= index).map(({ to }) => to));
    return this.batches.find((batch) => batch.index >= to)?.baseOffset ?? this.endOffset;
  }

  /** Batches as a consumer got them: whole, without a gap, from the one that holds `offset`. */
  checkBatches(offset: number, batches: readonly Uint8Array[]): number {
    let next = offset;
    for (const bytes of batches) {
      const booked = this.places[next];
      const right = booked !== undefined && equalBytes(booked.bytes, bytes);
      this.demand(right, `a consumer got something else at offset ${next}`);
      next = booked.baseOffset + booked.count;
    }
    return next;
  }

  demand(holds: boolean, message: string): void {
    if (!holds) throw new BrokenInvariant(`group ${this.group}: ${message}`);
  }

  private enterBatch(
    { index, timeMs, term }: { index: Index; timeMs: number; term: number },
    { bytes, header }: Extract<QueueCommand, { kind: "batch" }>,
    answer: Uint8Array,
  ): void {
    const { producerId, baseSequence, count } = header;
    const told = () => {
      const { baseOffset, timeMs, duplicate } = produceAnswer.decode(answer);
      return `${baseOffset} at ${timeMs}${duplicate ? " again" : ""}`;
    };
    if (baseSequence === (this.nextSequences.get(producerId) ?? 0)) {
      const baseOffset = this.endOffset;
      const own = bytes.slice();
      patchBaseOffset(own, baseOffset, term);
      const batch = { index, baseOffset, count, timeMs, bytes: own };
      for (const { value } of recordsOf(own)) {
        this.values.push(textOf(value!));
        this.places.push(batch);
      }
      this.batches.push(batch);
      this.byName.set(batchName(header), batch);
      this.nextSequences.set(producerId, baseSequence + count);
      const recent = [...this.recent.get(producerId) ?? [], batch];
      this.recent.set(producerId, recent.slice(-limits.producerInflight));
      this.expect(index, told, `${baseOffset} at ${timeMs}`);
      return;
    }
    const first = this.byName.get(batchName(header));
    if (first !== undefined && this.recent.get(producerId)?.includes(first)) {
      this.expect(index, told, `${first.baseOffset} at ${first.timeMs} again`);
    } else this.expect(index, told, "out_of_order_sequence");
  }

  private claim(command: Extract<QueueCommand, { kind: "claim" }>): number | null | "fenced" {
    const { group, generation, member } = command;
    const fence = this.fences.get(group);
    const late = fence !== undefined && (generation < fence.generation ||
      (generation === fence.generation && member !== fence.member));
    if (late) return "fenced";
    const offset = fence?.offset ?? null;
    const fresh = fence?.generation === generation && fence.fresh;
    this.fences.set(group, { generation, member, offset, fresh });
    return offset;
  }

  private commit(command: Extract<QueueCommand, { kind: "commit" }>): number | string {
    const { group, generation, member, offset } = command;
    const fence = this.fences.get(group);
    if (fence?.generation !== generation || fence.member !== member) return "fenced";
    if (offset > this.endOffset) return "offset_out_of_range";
    if (fence.fresh && fence.offset !== null && offset < fence.offset) return fence.offset;
    this.fences.set(group, { generation, member, offset, fresh: true });
    return offset;
  }

  /** What the machine answered, or the code of its refusal, must be `right`. */
  private expect<T>(index: Index, told: () => T, right: T | string): void {
    let given: T | string;
    try {
      given = told();
    } catch (error) {
      if (!(error instanceof TrilogError)) throw error;
      given = error.code;
    }
    this.demand(given === right, `the answer at ${index} is ${given} instead of ${right}`);
  }
}
