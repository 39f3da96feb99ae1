/**
 * Recognises the retries of producers. Each batch carries (producer id, epoch, base sequence); the
 * sequences of a producer's batches follow each other without gaps, modulo 2^31. The last few
 * batches of each producer are remembered: sent again, they get their first answer.
 *
 * A producer that is not remembered begins with sequence 0. Producers are forgotten by age, by the
 * stamps of the log, and earlier where they need too many bytes: first those that have sent a
 * single batch, then the others, each time the one that is silent for longest. A producer younger
 * than `producerLeastMemoryMs` is never forgotten, because a retry of its first batch would then
 * be stored twice; where only such producers are left, a new producer is refused until one is old
 * enough.
 */

import { type Codec, list, record, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Packable } from "../base/msgpack.ts";
import type { BatchHeader } from "../batch/batch_header.ts";

/** A batch that took offsets. */
export interface RememberedBatch {
  readonly baseSequence: number;
  readonly count: number;
  readonly baseOffset: number;
  readonly timeMs: number;
}

interface Producer {
  readonly epoch: number;
  /** Ascending by sequence (modulo 2^31), never empty, at most `limits.producerInflight`. */
  readonly batches: readonly RememberedBatch[];
}

const SEQUENCES = 2 ** 31;

/** Upper bounds of what is stored for one batch and for one producer with all its batches. */
const BATCH_BYTES = 40;
const PRODUCER_BYTES = 24 + limits.producerInflight * BATCH_BYTES;
export const MOST_PRODUCERS = Math.floor(limits.partitionProducersBytes / PRODUCER_BYTES);

export class ProducerTable {
  /** Both in the order of the last accepted batch. */
  private single = new Map<number, Producer>();
  private continuing = new Map<number, Producer>();

  get size(): number {
    return this.single.size + this.continuing.size;
  }

  /**
   * Judges a batch, stamped `timeMs`, that names a producer: null to accept it, or the batch
   * remembered of which it is a repeat. Throws `producer_fenced`, `out_of_order_sequence`, or
   * `overloaded` for a new producer without room. Changes nothing.
   */
  check(header: BatchHeader, timeMs: number): RememberedBatch | null {
    const { producerId, producerEpoch, baseSequence, count } = header;
    const producer = this.producerOf(producerId);
    if (producer !== undefined && producerEpoch < producer.epoch) {
      throw new TrilogError(
        "producer_fenced",
        `Cannot append batch of producer ${producerId}: epoch ${producerEpoch} was followed by ` +
          `epoch ${producer.epoch}`,
      );
    }
    if (producer === undefined || producerEpoch > producer.epoch) {
      if (baseSequence !== 0) throw outOfOrder(producerId, baseSequence, 0);
      this.requireRoom(header, timeMs);
      return null;
    }
    const last = lastOf(producer);
    const expected = (last.baseSequence + last.count) % SEQUENCES;
    if (baseSequence === expected) return null;
    for (const batch of producer.batches) {
      if (batch.baseSequence === baseSequence && batch.count === count) return batch;
    }
    throw outOfOrder(producerId, baseSequence, expected);
  }

  /** Remembers a batch that `check` accepted, and forgets the producers whose time is over. */
  accept(header: BatchHeader, baseOffset: number, timeMs: number): void {
    const { producerId, producerEpoch: epoch, baseSequence, count } = header;
    const batch: RememberedBatch = { baseSequence, count, baseOffset, timeMs };
    const known = this.producerOf(producerId);
    this.single.delete(producerId);
    this.continuing.delete(producerId);
    const earlier = known?.epoch === epoch ? known.batches : [];
    const batches = [...earlier, batch].slice(-limits.producerInflight);
    const table = known === undefined ? this.single : this.continuing;
    table.set(producerId, { epoch, batches });
    this.forget(this.single, (age) => age > limits.producerMemoryMs, timeMs);
    this.forget(this.continuing, (age) => age > limits.producerMemoryMs, timeMs);
    const mustGo = (age: number) => this.size > MOST_PRODUCERS && isOldEnough(age);
    this.forget(this.single, mustGo, timeMs);
    this.forget(this.continuing, mustGo, timeMs);
  }

  store(): Packable {
    return [this.single, this.continuing].map((table) =>
      storedProducers.encode([...table].map(([id, producer]) => ({ id, ...producer })))
    );
  }

  /** The table that `store` described; throws `malformed`. */
  static restore(packed: Packable): ProducerTable {
    const table = new ProducerTable();
    const [single, continuing] = storedTables.decode(packed, "producers");
    for (const { id, ...producer } of single ?? []) table.single.set(id, producer);
    for (const { id, ...producer } of continuing ?? []) table.continuing.set(id, producer);
    return table;
  }

  private producerOf(id: number): Producer | undefined {
    return this.single.get(id) ?? this.continuing.get(id);
  }

  /** Throws `overloaded` where the producer is new and has no room. */
  requireRoom({ producerId }: BatchHeader, timeMs: number): void {
    if (this.producerOf(producerId) === undefined && !this.hasRoom(timeMs)) throw full(producerId);
  }

  private hasRoom(timeMs: number): boolean {
    return this.size < MOST_PRODUCERS || [this.single, this.continuing].some((table) => {
      const oldest = table.values().next().value;
      return oldest !== undefined && isOldEnough(timeMs - lastOf(oldest).timeMs);
    });
  }

  /** Forgets from the oldest on while `mustGo` of its age holds. */
  private forget(
    table: Map<number, Producer>,
    mustGo: (ageMs: number) => boolean,
    timeMs: number,
  ): void {
    for (const [id, producer] of table) {
      if (!mustGo(timeMs - lastOf(producer).timeMs)) return;
      table.delete(id);
    }
  }
}

function lastOf({ batches }: Producer): RememberedBatch {
  return batches[batches.length - 1];
}

function isOldEnough(ageMs: number): boolean {
  return ageMs >= limits.producerLeastMemoryMs;
}

function full(producerId: number): TrilogError {
  return new TrilogError(
    "overloaded",
    `Cannot append batch of producer ${producerId}: the partition remembers ${MOST_PRODUCERS} ` +
      `producers that sent something within ${limits.producerLeastMemoryMs / 60_000} minutes`,
  );
}

export function outOfOrder(producerId: number, sequence: number, expected: number): TrilogError {
  return new TrilogError(
    "out_of_order_sequence",
    `Cannot append batch of producer ${producerId}: sequence ${sequence} instead of ${expected}`,
  );
}

interface StoredProducer extends Producer {
  readonly id: number;
}

const storedProducers: Codec<readonly StoredProducer[]> = list(record<StoredProducer>({
  id: whole,
  epoch: whole,
  batches: list(record<RememberedBatch>({
    baseSequence: whole,
    count: whole,
    baseOffset: whole,
    timeMs: whole,
  })),
}));
const storedTables = list(storedProducers);
