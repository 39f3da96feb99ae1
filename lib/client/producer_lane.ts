/**
 * One producer's way to one partition. Batches leave in order, at most five beyond the oldest that
 * is not acknowledged (`limits.producerInflight`, of which the partition can tell repeats). When one fails, nothing new
 * leaves until all that are out are settled; then what is left goes again in the same order, with
 * the same sequence numbers.
 *
 * A partition forgets a producer that was idle for long, or after a recovery with loss. It then
 * refuses the oldest open batch as out of order. Where no attempt at that batch is in doubt, all
 * that is open goes again under a new producer id; a batch in doubt ends as `outcome_unknown`.
 */

import { assert } from "../base/assert.ts";
import type { Timer } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Random } from "../base/prng.ts";
import { BatchBuilder, renumberBatch } from "../batch/batch_writer.ts";
import type { PartitionAccess } from "./access.ts";
import { gaveUp } from "./managers.ts";
import type { EncodedMessage } from "./outgoing.ts";
import type { Delivered, DeliveryCallback, ProducerOptions } from "./producer.ts";
import { type ProduceAnswer, produceMethod } from "./protocol.ts";

interface LaneEvents {
  /** Bytes taken (above zero) or settled (below). */
  buffered(bytes: number): void;
  batchClosed(): void;
}

interface Batch {
  /** Position in the lane's order. */
  readonly ordinal: number;
  readonly bytes: Uint8Array;
  readonly count: number;
  readonly callbacks: readonly DeliveryCallback[];
  readonly bufferedBytes: number;
  /** Monotonic time at which it fails if it is not acknowledged. */
  readonly deadlineMs: number;
  /** Monotonic time of its first attempt; null before that. */
  firstSentMs: number | null;
  /** An attempt at it may have had an effect. */
  mayHaveHappened: boolean;
  /** Acknowledged, and waiting for those before it: callers hear in order. */
  answer: ProduceAnswer | null;
}

/** A caller that waits until all batches up to one are settled. */
interface Flush {
  /** Ordinal of that batch. */
  readonly through: number;
  readonly resolve: () => void;
}

/** One attempt must not outlast a leader that died without a word. */
const ATTEMPT_MS = 3_000;
/** Sequence numbers wrap as in the batch format. */
const SEQUENCE_MODULUS = 2 ** 31;

/** The offset of a message that only the leader has acknowledged: it is decided later. */
export const UNKNOWN_OFFSET = -1;

export class ProducerLane {
  private producerId: number;
  private nextSequence = 0;
  private builder: BatchBuilder | null = null;
  private callbacks: DeliveryCallback[] = [];
  private openedAtMs = 0;
  private lastOrdinal = 0;
  /** Closed batches in order, until their callers have heard. */
  private readonly queue: Batch[] = [];
  /** How many at the head of the queue were sent since the last recovery. */
  private sent = 0;
  /** Attempts under way. */
  private inFlight = 0;
  /** A batch failed: wait until nothing is out, then for this long, then go again. */
  private recoveryPauseMs: number | null = null;
  /** A batch was given up, which leaves a gap in the sequence. */
  private identityBroken = false;
  /** The group that the partition is: another one is another topic's. Null before the first. */
  private groupId: string | null = null;
  /** The partition has forgotten the producer id, and no batch before the refused one is open. */
  private identityForgotten = false;
  private lingerTimer: Timer | null = null;
  private turnScheduled = false;
  /** In the order of their batches. */
  private readonly flushing: Flush[] = [];

  constructor(
    private readonly client: PartitionAccess,
    private readonly topic: string,
    private readonly partition: number,
    private readonly settings: Required<ProducerOptions>,
    private readonly events: LaneEvents,
  ) {
    this.producerId = newProducerId(client.random);
  }

  /** Takes a message, which always fits into an empty batch. */
  add(message: EncodedMessage, delivered: DeliveryCallback): void {
    if (this.builder !== null && !this.builder.hasRoomFor(message.sizeBytes)) {
      this.closeBatch();
      this.sendMore();
    }
    const builder = this.builder ?? this.openBatch();
    const before = builder.sizeBytes;
    const timestampMs = message.timestampMs ?? this.client.clock.wallMs();
    builder.add(message.key, message.value, timestampMs, message.headers);
    this.builder = builder;
    this.callbacks.push(delivered);
    this.events.buffered(builder.sizeBytes - before);
    if (builder.sizeBytes >= this.settings.batchBytes) {
      this.closeBatch();
      this.sendMore();
    } else if (!this.turnScheduled && this.callbacks.length === 1) this.sendAfterTurn();
  }

  /** Sends everything now; resolves when all that was added before is settled. */
  flush(): Promise<void> {
    if (this.builder !== null) this.closeBatch();
    this.sendMore();
    if (this.queue.length === 0) return Promise.resolve();
    const through = this.lastOrdinal;
    return new Promise((resolve) => this.flushing.push({ through, resolve }));
  }

  private openBatch(): BatchBuilder {
    this.openedAtMs = this.client.clock.monotonicMs();
    return new BatchBuilder();
  }

  /** With nothing under way a batch leaves at the end of the turn, else when it has lingered. */
  private sendAfterTurn(): void {
    this.turnScheduled = true;
    this.client.clock.nextTurn(() => {
      this.turnScheduled = false;
      this.sendWhatIsDue();
    });
  }

  private sendWhatIsDue(): void {
    if (this.builder === null || this.callbacks.length === 0) return;
    const waitMs = this.openedAtMs + this.settings.lingerMs - this.client.clock.monotonicMs();
    if (this.queue.length === 0 || waitMs <= 0) {
      this.closeBatch();
      this.sendMore();
      return;
    }
    this.lingerTimer?.cancel();
    this.lingerTimer = this.client.clock.after(waitMs, () => this.sendWhatIsDue());
  }

  /**
   * A batch that only the leader has may be lost without a word; with sequence numbers, all that
   * follow it would then be refused as out of order.
   */
  private get isNumbered(): boolean {
    return this.settings.acks === "quorum";
  }

  private closeBatch(): void {
    const builder = this.builder;
    assert(builder !== null, "there is a batch to close");
    const bufferedBytes = builder.sizeBytes;
    const count = builder.count;
    const numbered = { producerId: this.producerId, baseSequence: this.nextSequence };
    const bytes = builder.finish({
      ...(this.isNumbered ? { producerEpoch: 0, ...numbered } : {}),
      compression: this.settings.compression,
    });
    this.nextSequence = (this.nextSequence + count) % SEQUENCE_MODULUS;
    const deadlineMs = this.openedAtMs + this.settings.deliveryMs;
    const { callbacks } = this;
    const ordinal = ++this.lastOrdinal;
    const mayHaveHappened = false;
    this.queue.push({
      firstSentMs: null,
      ordinal,
      bytes,
      count,
      callbacks,
      bufferedBytes,
      deadlineMs,
      mayHaveHappened,
      answer: null,
    });
    this.builder = null;
    this.callbacks = [];
    this.lingerTimer?.cancel();
    this.events.batchClosed();
  }

  private sendMore(): void {
    if (this.recoveryPauseMs !== null) return;
    while (this.sent < this.queue.length) {
      const batch = this.queue[this.sent];
      // The partition remembers only so many: the oldest one out must stay recognisable.
      if (batch.ordinal >= this.queue[0].ordinal + limits.producerInflight) return;
      this.sent += 1;
      if (batch.answer !== null) continue;
      this.inFlight += 1;
      void this.attempt(batch);
    }
  }

  private async attempt(batch: Batch): Promise<void> {
    let failure: TrilogError | null = null;
    batch.firstSentMs ??= this.client.clock.monotonicMs();
    try {
      batch.answer = await this.ask(batch);
      this.settleHead();
    } catch (thrown) {
      failure = toTrilogError(thrown);
      batch.mayHaveHappened ||= failure.outcomeUnknown;
    }
    this.inFlight -= 1;
    if (failure !== null) this.failed(batch, failure);
    if (this.recoveryPauseMs !== null && this.inFlight === 0) this.recover();
    else this.continueSending();
  }

  private async ask(batch: Batch): Promise<ProduceAnswer> {
    const route = await this.client.route(this.topic, this.partition);
    this.noticeReplacement(route.groupId);
    const leftMs = batch.deadlineMs - this.client.clock.monotonicMs();
    const request = { batch: batch.bytes, acks: this.settings.acks };
    try {
      const attemptMs = Math.min(leftMs, ATTEMPT_MS);
      return await this.client.askLeader(route, produceMethod, request, attemptMs);
    } catch (thrown) {
      const error = toTrilogError(thrown);
      const pauseMs = this.client.noteFailure(route, error);
      if (pauseMs !== null) this.recoveryPauseMs = Math.max(this.recoveryPauseMs ?? 0, pauseMs);
      throw error;
    }
  }

  /**
   * The topic was deleted and made again: the new one has never heard of this producer, and what
   * the old one may have had is gone with it. So everything open goes under a new identity.
   */
  private noticeReplacement(groupId: string): void {
    const before = this.groupId;
    this.groupId = groupId;
    if (before === null || before === groupId) return;
    this.identityForgotten = true;
    const label = `${this.topic}/${this.partition}`;
    throw new TrilogError("unavailable", `Cannot send to ${label}: its topic was made again`);
  }

  /** Tells the callers of the oldest batches, as far as all before them are acknowledged. */
  private settleHead(): void {
    for (let batch = this.queue[0]; batch?.answer; batch = this.queue[0]) {
      const { baseOffset } = batch.answer;
      this.remove(batch);
      for (let at = 0; at < batch.count; at += 1) {
        const offset = baseOffset === null ? UNKNOWN_OFFSET : baseOffset + at;
        this.report(batch.callbacks[at], null, { partition: this.partition, offset });
      }
    }
  }

  private failed(batch: Batch, error: TrilogError): void {
    const overdue = this.client.clock.monotonicMs() >= lastRetryMs(batch);
    const outOfOrder = error.code === "out_of_order_sequence";
    // Refused only because one before it failed: that one decides.
    const followsFailure = outOfOrder &&
      this.queue.some((other) => other.ordinal < batch.ordinal && other.answer === null);
    const forgotten = outOfOrder && !followsFailure && !batch.mayHaveHappened;
    if ((error.retryable || followsFailure || forgotten) && !overdue) {
      this.recoveryPauseMs ??= 0;
      this.identityForgotten ||= forgotten;
      return;
    }
    const certain = !error.retryable && !batch.mayHaveHappened;
    this.giveUp(batch, certain ? error : gaveUp(error, batch.mayHaveHappened));
  }

  /** A batch is lost: those behind it would leave a gap, so they go on under a new producer id. */
  private giveUp(batch: Batch, error: TrilogError): void {
    this.remove(batch);
    for (const callback of batch.callbacks) this.report(callback, error, null);
    this.settleHead();
    this.recoveryPauseMs ??= 0;
    this.identityBroken = true;
  }

  private recover(): void {
    this.client.clock.after(this.recoveryPauseMs ?? 0, () => {
      if (this.identityForgotten) this.clearDoubts();
      if (this.identityBroken || this.identityForgotten) this.startNewIdentity();
      this.sent = 0;
      this.recoveryPauseMs = null;
      this.continueSending();
    });
  }

  /**
   * The oldest open batch was refused as out of order and left no trace. Those behind it follow it
   * in the sequence, so the partition can have accepted none of them, and it never will.
   */
  private clearDoubts(): void {
    for (const batch of this.queue) if (batch.answer === null) batch.mayHaveHappened = false;
  }

  /** Only batches that certainly left no trace may be sent again under another identity. */
  private startNewIdentity(): void {
    const unanswered = this.queue.filter(({ answer }) => answer === null);
    for (const batch of unanswered.filter(({ mayHaveHappened }) => mayHaveHappened)) {
      const state = "one before it could not be delivered";
      const text = `Cannot determine the outcome of message: ${state}`;
      this.giveUp(batch, new TrilogError("outcome_unknown", text));
    }
    this.identityBroken = false;
    this.identityForgotten = false;
    this.producerId = newProducerId(this.client.random);
    this.nextSequence = 0;
    for (const batch of this.queue.filter(({ answer }) => answer === null)) {
      if (this.isNumbered) renumberBatch(batch.bytes, this.producerId, this.nextSequence);
      this.nextSequence = (this.nextSequence + batch.count) % SEQUENCE_MODULUS;
    }
  }

  private remove(batch: Batch): void {
    const at = this.queue.indexOf(batch);
    this.queue.splice(at, 1);
    if (at < this.sent) this.sent -= 1;
    this.events.buffered(-batch.bufferedBytes);
    const oldest = this.queue[0]?.ordinal ?? Infinity;
    while (this.flushing.length > 0 && this.flushing[0].through < oldest) {
      this.flushing.shift()!.resolve();
    }
  }

  /** An error of a callback is its program's: it must not look like a failure to deliver. */
  private report(
    callback: DeliveryCallback,
    error: TrilogError | null,
    delivered: Delivered | null,
  ): void {
    try {
      callback(error, delivered);
    } catch (thrown) {
      this.client.clock.nextTurn(() => {
        throw thrown;
      });
    }
  }

  private continueSending(): void {
    this.sendMore();
    if (this.queue.length === 0) this.sendWhatIsDue();
  }
}

/**
 * Until when a batch may be sent again: after the partition has forgotten the producer, a repeat of
 * its first batch would be stored twice.
 */
function lastRetryMs({ deadlineMs, firstSentMs, mayHaveHappened }: Batch): number {
  if (!mayHaveHappened || firstSentMs === null) return deadlineMs;
  return Math.min(deadlineMs, firstSentMs + limits.producerLeastMemoryMs / 2);
}

/** Ids below 2^52 are drawn at random: two producers never meet in practice. */
function newProducerId(random: Random): number {
  return random.below(2 ** 26) * 2 ** 26 + random.below(2 ** 26);
}
