/**
 * Sparse points along a partition's batches, one for each mebibyte: enough to begin a search by
 * time near its goal, and to say how large the partition is.
 */

import { type Codec, list, record, whole } from "../base/codec.ts";
import type { Packable } from "../base/msgpack.ts";

/** Bytes of batches after which a new point is set. */
const POINT_BYTES = 1024 * 1024;

/** Describes the batches from one entry up to the next point's. */
interface TimePoint {
  /** Log index of the first batch. */
  readonly index: number;
  /** Bytes of the batches. */
  sizeBytes: number;
  /** Latest of the producers' timestamps in them, milliseconds since 1970; at least 0. */
  maxTimestampMs: number;
}

export class TimeIndex {
  private points: TimePoint[] = [];

  /** Bytes of all batches that are kept; after a trim it may be too large by one point's. */
  get sizeBytes(): number {
    return this.points.reduce((sum, point) => sum + point.sizeBytes, 0);
  }

  /** Notes the batch in entry `index`. */
  append(index: number, sizeBytes: number, maxTimestampMs: number): void {
    const last = this.points.at(-1);
    if (last === undefined || last.sizeBytes >= POINT_BYTES) {
      this.points.push({ index, sizeBytes, maxTimestampMs: Math.max(0, maxTimestampMs) });
      return;
    }
    last.sizeBytes += sizeBytes;
    last.maxTimestampMs = Math.max(last.maxTimestampMs, maxTimestampMs);
  }

  /** Forgets points whose batches all lie below entry `index`. */
  trim(index: number, isEmpty: boolean): void {
    const points = this.points;
    let first = 0;
    while (first + 1 < points.length && points[first + 1].index <= index) first += 1;
    this.points = isEmpty ? [] : points.slice(first);
  }

  /**
   * Log index from which to search, batch by batch, for the first message at or after
   * `timestampMs`: it lies within the mebibyte that follows. Null: no message is that late.
   */
  searchFrom(timestampMs: number): number | null {
    const point = this.points.find((one) => one.maxTimestampMs >= timestampMs);
    return point?.index ?? null;
  }

  store(): Packable {
    return storedPoints.encode(this.points);
  }

  /** The index that `store` described; throws `malformed`. */
  static restore(packed: Packable): TimeIndex {
    const index = new TimeIndex();
    index.points = storedPoints.decode(packed, "time index").map((point) => ({ ...point }));
    return index;
  }
}

const storedPoints: Codec<readonly TimePoint[]> = list(record<TimePoint>({
  index: whole,
  sizeBytes: whole,
  maxTimestampMs: whole,
}));
