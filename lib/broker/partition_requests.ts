/**
 * Recognises the repeats of requests with a single batch, such as those of the HTTP API: each has a
 * producer id of its own, made from its request id (`ONE_BATCH_PRODUCERS_FROM`). A repeat gets the
 * first request's answer.
 *
 * A request is forgotten after `limits.requestMemoryMs`, by the stamps of the log. Where there are
 * too many, those older than `limits.requestLeastMemoryMs` go earlier; where none is that old, a
 * new request is refused, because a repeat of a forgotten one would be stored twice.
 */

import { binary } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Packable } from "../base/msgpack.ts";
import { type BatchHeader, ONE_BATCH_PRODUCERS_FROM } from "../batch/batch_header.ts";
import { VarintReader, writeVarlong } from "../batch/varint.ts";
import { outOfOrder } from "./partition_producers.ts";

/** Where a request's batch went. */
export interface RememberedRequest {
  readonly baseOffset: number;
  readonly timeMs: number;
}

const { requestMemoryMs: memory, requestLeastMemoryMs: least } = limits;
/** What one request takes at most as it is stored: three varlongs. */
const REQUEST_BYTES = 30;
export const MOST_REQUESTS = Math.floor(limits.partitionRequestsBytes / REQUEST_BYTES);

export class RequestTable {
  /** By producer id without its base, in the order of the log. */
  private requests = new Map<number, RememberedRequest>();

  get size(): number {
    return this.requests.size;
  }

  /**
   * Judges a batch that is stamped `timeMs`: null to accept it, or the answer of the request that
   * it repeats. Throws `out_of_order_sequence` for one that is not its producer's first, and
   * `overloaded` where there is no room. Changes nothing.
   */
  check(header: BatchHeader, timeMs: number): RememberedRequest | null {
    const { producerId, producerEpoch, baseSequence } = header;
    if (producerEpoch !== 0 || baseSequence !== 0) throw outOfOrder(producerId, baseSequence, 0);
    const known = this.requests.get(producerId - ONE_BATCH_PRODUCERS_FROM);
    if (known !== undefined) return known;
    this.requireRoom(header, timeMs);
    return null;
  }

  /** Throws `overloaded` where the request is new and has no room. */
  requireRoom({ producerId }: BatchHeader, timeMs: number): void {
    if (this.requests.size < MOST_REQUESTS || this.oldestIsOlderThan(least, timeMs)) return;
    if (this.requests.has(producerId - ONE_BATCH_PRODUCERS_FROM)) return;
    throw new TrilogError(
      "overloaded",
      `Cannot append message: the partition took ${MOST_REQUESTS} requests within ` +
        `${least / 1_000} seconds and must remember them`,
    );
  }

  /** Remembers a batch that `check` accepted. */
  accept({ producerId }: BatchHeader, baseOffset: number, timeMs: number): void {
    this.requests.set(producerId - ONE_BATCH_PRODUCERS_FROM, { baseOffset, timeMs });
    while (this.oldestIsOlderThan(memory, timeMs)) this.forgetOldest();
    while (this.requests.size > MOST_REQUESTS && this.oldestIsOlderThan(least, timeMs)) {
      this.forgetOldest();
    }
  }

  /** Packed without objects: there may be hundreds of thousands. */
  store(): Packable {
    const bytes = new Uint8Array(this.requests.size * REQUEST_BYTES);
    let at = 0;
    let offset = 0;
    let stampMs = 0;
    for (const [id, { baseOffset, timeMs }] of this.requests) {
      at = writeVarlong(bytes, at, id);
      at = writeVarlong(bytes, at, baseOffset - offset);
      at = writeVarlong(bytes, at, timeMs - stampMs);
      offset = baseOffset;
      stampMs = timeMs;
    }
    return binary.encode(bytes.subarray(0, at));
  }

  /** The table that `store` described; throws `malformed`. */
  static restore(packed: Packable): RequestTable {
    const table = new RequestTable();
    const bytes = binary.decode(packed, "requests");
    const reader = new VarintReader(bytes, 0, bytes.length);
    let baseOffset = 0;
    let timeMs = 0;
    while (reader.at < bytes.length) {
      const id = reader.varlong();
      baseOffset += reader.varlong();
      timeMs += reader.varlong();
      table.requests.set(id, { baseOffset, timeMs });
    }
    return table;
  }

  private oldestIsOlderThan(ageMs: number, timeMs: number): boolean {
    const oldest = this.requests.values().next().value;
    return oldest !== undefined && timeMs - oldest.timeMs > ageMs;
  }

  private forgetOldest(): void {
    this.requests.delete(this.requests.keys().next().value!);
  }
}
