/**
 * The state machine of a queue partition. The log itself is the queue: record batches stay where
 * they are, and this machine decides, in the order of the log, which offsets each one took, which
 * were repeats, and how far everybody has consumed. It keeps no message.
 */

import { TrilogError } from "../base/errors.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";
import {
  type BatchHeader,
  NO_PRODUCER,
  ONE_BATCH_PRODUCERS_FROM,
  readBatchHeader,
} from "../batch/batch_header.ts";
import type { ApplyContext, StateMachine } from "../replica/state_machine.ts";
import {
  boundsAnswer,
  type BoundsResult,
  decodeCommand,
  decodeQuestion,
  deletedAnswer,
  dequeueAnswer,
  descriptionAnswer,
  encodeRefusal,
  groupAnswer,
  isBatch,
  type PartitionCommand,
  type PartitionDescription,
  produceAnswer,
  type ProduceResult,
} from "./partition_commands.ts";
import { ConsumerTable } from "./partition_consumers.ts";
import { GroupTable } from "./partition_groups.ts";
import { type Location, OffsetIndex } from "./partition_index.ts";
import { ProducerTable } from "./partition_producers.ts";
import { RequestTable } from "./partition_requests.ts";
import { TimeIndex } from "./partition_time.ts";

/** Highest offset to advance to: far beyond any real one, and no number overflows above it. */
const HIGHEST_ADVANCE = 2 ** 52;

const SNAPSHOT_VERSION = 2;

export class PartitionMachine implements StateMachine {
  private index = new OffsetIndex();
  private times = new TimeIndex();
  private producers = new ProducerTable();
  private requests = new RequestTable();
  private groups = new GroupTable();
  private consumers = new ConsumerTable();
  /**
   * Entry that the log may begin at by the last trim seen since the start; 0 before the first. Not
   * a part of the state: it tells the broker what to drop.
   */
  trimmedTo = 0;
  /** Stamps of commands seen since the start, like `trimmedTo` no part of the state. */
  private stamps = { term: 0, lastMs: 0, ofEarlierTermsMs: 0 };

  /** Offset of the first message that is kept; the end offset where there is none. */
  get startOffset(): number {
    return this.index.startOffset;
  }

  /** Offset that the next message will get. */
  get endOffset(): number {
    return this.index.endOffset;
  }

  /**
   * The entry that holds the message at `offset`, or the first after it where nothing has that
   * offset (before the start, or in a gap that a recovery left); null at or beyond the end.
   */
  locate(offset: number): Location | null {
    return this.index.locate(offset);
  }

  /**
   * The first offset of the batch in log entry `index`; null where that entry holds no batch, or
   * one that was refused, repeated or trimmed. Cheap for entries in order.
   */
  baseOffsetOf(index: number): number | null {
    return this.index.baseOffsetOf(index);
  }

  /** The first offset at or after log entry `index`, or the end offset. */
  offsetFrom(index: number): number {
    return this.index.offsetFrom(index);
  }

  /**
   * Where to begin reading, batch by batch, for the first message whose producer's timestamp is at
   * or after `timestampMs` (it follows within about a mebibyte); null where no message is.
   */
  searchFrom(timestampMs: number): Location | null {
    const index = this.times.searchFrom(timestampMs);
    return index === null ? null : this.index.locate(this.index.offsetFrom(index));
  }

  /** How many messages lie from `offset` to the end: the lag of who stands there. */
  messagesFrom(offset: number): number {
    return this.index.messagesFrom(offset);
  }

  /** How many messages are left for a consumer of the HTTP API. */
  messagesLeft(consumer: number): number {
    return this.consumers.messagesLeft(consumer, this.index);
  }

  /** How many requests of such a consumer were answered, repeats not counted. */
  consumerTurn(consumer: number): number {
    return this.consumers.turn(consumer);
  }

  /** Names of the consumer groups with a position here, with the generations that claimed last. */
  groupGenerations(): Iterable<readonly [group: string, generation: number]> {
    return this.groups.generations();
  }

  /** The offset that a consumer group made in generation `born` has committed, or null. */
  committedBy(group: string, born: number): number | null {
    return this.groups.committed(group, born);
  }

  /** How far the partition goes and where everybody stands. */
  describe(): PartitionDescription {
    return {
      startOffset: this.startOffset,
      endOffset: this.endOffset,
      sizeBytes: this.times.sizeBytes,
      producers: this.producers.size + this.requests.size,
      groups: this.groups.list(),
      consumers: this.consumers.list(),
    };
  }

  /** Stamp of the last command seen from leaders before `term`; 0 where there was none. */
  stampBefore(term: number): number {
    const { stamps } = this;
    return stamps.term < term ? stamps.lastMs : stamps.ofEarlierTermsMs;
  }

  apply(command: Uint8Array, context: ApplyContext): Uint8Array {
    const { stamps } = this;
    if (context.term !== stamps.term) {
      stamps.ofEarlierTermsMs = stamps.lastMs;
      stamps.term = context.term;
    }
    stamps.lastMs = context.timeMs;
    return answered(() =>
      isBatch(command)
        ? produceAnswer.encode(this.append(command, context))
        : this.run(decodeCommand(command), context)
    );
  }

  query(question: Uint8Array): Uint8Array {
    return answered(() => {
      decodeQuestion(question);
      return descriptionAnswer.encode(this.describe());
    });
  }

  /** Canonical: equal machines give equal bytes. */
  snapshot(): Uint8Array {
    return pack([
      SNAPSHOT_VERSION,
      this.index.store(),
      this.times.store(),
      this.producers.store(),
      this.requests.store(),
      this.groups.store(),
      this.consumers.store(),
    ]);
  }

  restore(snapshot: Uint8Array): void {
    const packed = unpack(snapshot);
    if (!Array.isArray(packed) || packed[0] !== SNAPSHOT_VERSION || packed.length !== 7) {
      throw new TrilogError(
        "unsupported_version",
        "Cannot restore partition: the snapshot's version is not known here",
      );
    }
    const [, index, times, producers, requests, groups, consumers] = packed as readonly Packable[];
    this.index = OffsetIndex.restore(index);
    this.times = TimeIndex.restore(times);
    this.producers = ProducerTable.restore(producers);
    this.requests = RequestTable.restore(requests);
    this.groups = GroupTable.restore(groups);
    this.consumers = ConsumerTable.restore(consumers);
  }

  /**
   * Throws `overloaded` where the sender of a batch, stamped `timeMs`, could not be remembered:
   * then it need not be appended to find out.
   */
  requireRoom(header: BatchHeader, timeMs: number): void {
    if (header.producerId !== NO_PRODUCER) this.senderTable(header).requireRoom(header, timeMs);
  }

  private senderTable({ producerId }: BatchHeader): ProducerTable | RequestTable {
    return producerId >= ONE_BATCH_PRODUCERS_FROM ? this.requests : this.producers;
  }

  /** Decides the offsets of a batch. The leader validated its records before it was proposed. */
  private append(batch: Uint8Array, context: ApplyContext): ProduceResult {
    const header = readBatchHeader(batch);
    if (header.sizeBytes !== batch.length) {
      throw new TrilogError("invalid_batch", "Cannot append batch: bytes follow it");
    }
    const { timeMs } = context;
    const senders = this.senderTable(header);
    const named = header.producerId !== NO_PRODUCER;
    const repeated = named ? senders.check(header, timeMs) : null;
    if (repeated !== null) {
      return { baseOffset: repeated.baseOffset, timeMs: repeated.timeMs, duplicate: true };
    }
    const baseOffset = this.index.append(context.index, header.count);
    this.times.append(context.index, header.sizeBytes, header.maxTimestampMs);
    if (named) senders.accept(header, baseOffset, timeMs);
    return { baseOffset, timeMs, duplicate: false };
  }

  private run(command: PartitionCommand, context: ApplyContext): Uint8Array {
    switch (command.kind) {
      case "claim":
        return groupAnswer.encode(this.groups.claim(command));
      case "commit":
        return groupAnswer.encode(this.groups.commit(command, this.endOffset));
      case "delete_group":
        return deletedAnswer.encode({ existed: this.groups.delete(command.group, command.below) });
      case "dequeue":
        return dequeueAnswer.encode(this.consumers.dequeue(command, this.index));
      case "delete_consumer":
        return deletedAnswer.encode({ existed: this.consumers.delete(command.consumer) });
      case "trim":
        return boundsAnswer.encode(this.trim(command.index, context.index));
      case "advance":
        return boundsAnswer.encode(this.advance(command.offset));
      case "stamp":
        return boundsAnswer.encode({ startOffset: this.startOffset, endOffset: this.endOffset });
    }
  }

  private trim(index: number, present: number): BoundsResult {
    if (index > present) {
      throw new TrilogError(
        "invalid_argument",
        `Cannot trim partition to entry ${index}: the log has only come to ${present}`,
      );
    }
    this.trimmedTo = Math.max(this.trimmedTo, index);
    this.index.trim(index);
    this.times.trim(index, this.startOffset === this.endOffset);
    return { startOffset: this.startOffset, endOffset: this.endOffset };
  }

  private advance(offset: number): BoundsResult {
    if (offset < this.endOffset || offset > HIGHEST_ADVANCE) {
      throw new TrilogError(
        "invalid_argument",
        `Cannot advance partition to offset ${offset}: it ends at ${this.endOffset}`,
      );
    }
    this.index.advance(offset);
    return { startOffset: this.startOffset, endOffset: this.endOffset };
  }
}

/** A refusal of any kind is an answer; what is no refusal is a bug and passes through. */
function answered(act: () => Uint8Array): Uint8Array {
  try {
    return act();
  } catch (thrown) {
    if (thrown instanceof TrilogError) return encodeRefusal(thrown);
    throw thrown;
  }
}
