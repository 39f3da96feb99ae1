/**
 * Recognises the retries of producers. Each batch carries (producer id, epoch, base sequence); the
 * sequences of a producer's batches follow each other without gaps, modulo 2^31. The last few
 * batches of each producer are remembered: sent again, they get their first answer.
 *
 * A producer that is not remembered begins with sequence 0. The one that was silent for longest,
 * in log order, is forgotten when there are too many.
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
  epoch: number;
  /** Ascending by sequence (modulo 2^31), never empty, at most `limits.producerInflight`. */
  batches: RememberedBatch[];
}

const SEQUENCES = 2 ** 31;

export class ProducerTable {
  /** In the order of the last accepted batch; the first is forgotten first. */
  private producers = new Map<number, Producer>();

  get size(): number {
    return this.producers.size;
  }

  /**
   * Judges a batch that names a producer: null to accept it, or the batch remembered of which it
   * is a repeat. Throws `producer_fenced` or `out_of_order_sequence`. Changes nothing.
   */
  check(header: BatchHeader): RememberedBatch | null {
    const { producerId, producerEpoch, baseSequence, count } = header;
    const producer = this.producers.get(producerId);
    if (producer !== undefined && producerEpoch < producer.epoch) {
      throw new TrilogError(
        "producer_fenced",
        `Cannot append batch of producer ${producerId}: epoch ${producerEpoch} was followed by ` +
          `epoch ${producer.epoch}`,
      );
    }
    if (producer === undefined || producerEpoch > producer.epoch) {
      if (baseSequence !== 0) throw outOfOrder(producerId, baseSequence, 0);
      return null;
    }
    const last = producer.batches[producer.batches.length - 1];
    const expected = (last.baseSequence + last.count) % SEQUENCES;
    if (baseSequence === expected) return null;
    for (const batch of producer.batches) {
      if (batch.baseSequence === baseSequence && batch.count === count) return batch;
    }
    throw outOfOrder(producerId, baseSequence, expected);
  }

  /** Remembers a batch that `check` accepted. */
  accept(header: BatchHeader, baseOffset: number, timeMs: number): void {
    const { producerId, producerEpoch: epoch, baseSequence, count } = header;
    const batch: RememberedBatch = { baseSequence, count, baseOffset, timeMs };
    const producer = this.producers.get(producerId);
    if (producer === undefined || producer.epoch !== epoch) {
      this.producers.delete(producerId);
      this.producers.set(producerId, { epoch, batches: [batch] });
    } else {
      producer.batches.push(batch);
      if (producer.batches.length > limits.producerInflight) producer.batches.shift();
      this.producers.delete(producerId);
      this.producers.set(producerId, producer);
    }
    if (this.producers.size > limits.partitionProducers) {
      this.producers.delete(this.producers.keys().next().value as number);
    }
  }

  store(): Packable {
    return storedProducers.encode(
      [...this.producers].map(([id, { epoch, batches }]) => ({ id, epoch, batches })),
    );
  }

  /** The table that `store` described; throws `malformed`. */
  static restore(packed: Packable): ProducerTable {
    const table = new ProducerTable();
    for (const { id, epoch, batches } of storedProducers.decode(packed, "producers")) {
      table.producers.set(id, { epoch, batches: [...batches] });
    }
    return table;
  }
}

function outOfOrder(producerId: number, sequence: number, expected: number): TrilogError {
  return new TrilogError(
    "out_of_order_sequence",
    `Cannot append batch of producer ${producerId}: sequence ${sequence} instead of ${expected}`,
  );
}

interface StoredProducer {
  readonly id: number;
  readonly epoch: number;
  readonly batches: readonly RememberedBatch[];
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
