/**
 * The last movements of one account, in a ring of fixed-size records. A bank keeps up to a million
 * of them: as objects they would fill the memory and stop the node for a second at each snapshot,
 * as bytes they are copied into it.
 *
 * A record is 37 bytes, numbers little-endian: index, time in milliseconds, cents and balance as
 * 64-bit floats (whole, below 2^53), the other account's number as 32 bits, the movement as 8.
 */

import { assert } from "../base/assert.ts";
import { EMPTY_BYTES, viewOf } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import type { Movement } from "./codec.ts";

/** A movement as the machine keeps it. */
export interface HistoryRecord {
  /** Index of the log entry that did it: the order over all accounts. */
  readonly index: number;
  /** The leader's stamp, milliseconds since 1970. */
  readonly timeMs: number;
  readonly movement: Movement;
  readonly cents: number;
  /** Balance of this account afterwards. */
  readonly balanceCents: number;
  /** Number of the other account of a transfer, from 1; else 0. */
  readonly other: number;
}

export const RECORD_BYTES = 37;
const FIRST_RECORDS = 8;

/** Stored by their place: never reorder. */
const MOVEMENTS: readonly Movement[] = ["deposit", "withdraw", "transfer_in", "transfer_out"];

export class HistoryRing {
  private bytes: Uint8Array = EMPTY_BYTES;
  private view = viewOf(EMPTY_BYTES);
  private count = 0;
  /** Place of the oldest record; other than 0 only in a ring of full size. */
  private first = 0;

  get length(): number {
    return this.count;
  }

  /** Whether the next record takes the oldest one's place. */
  get isFull(): boolean {
    return this.count === limits.historyEntries;
  }

  /** Adds a record; beyond `limits.historyEntries` the oldest one goes. */
  add(record: HistoryRecord): void {
    const full = this.isFull;
    if (!full && this.count * RECORD_BYTES === this.bytes.length) this.grow();
    const place = full ? this.first : this.count;
    if (full) this.first = (this.first + 1) % limits.historyEntries;
    else this.count += 1;
    const at = place * RECORD_BYTES;
    this.view.setFloat64(at, record.index, true);
    this.view.setFloat64(at + 8, record.timeMs, true);
    this.view.setFloat64(at + 16, record.cents, true);
    this.view.setFloat64(at + 24, record.balanceCents, true);
    this.view.setUint32(at + 32, record.other, true);
    this.view.setUint8(at + 36, MOVEMENTS.indexOf(record.movement));
  }

  /** All records, oldest first. */
  list(): HistoryRecord[] {
    return Array.from({ length: this.count }, (_, position) => {
      const at = ((this.first + position) % limits.historyEntries) * RECORD_BYTES;
      return {
        index: this.view.getFloat64(at, true),
        timeMs: this.view.getFloat64(at + 8, true),
        cents: this.view.getFloat64(at + 16, true),
        balanceCents: this.view.getFloat64(at + 24, true),
        other: this.view.getUint32(at + 32, true),
        movement: MOVEMENTS[this.view.getUint8(at + 36)],
      };
    });
  }

  /** Bytes that `copyInto` writes. */
  get packedBytes(): number {
    return this.count * RECORD_BYTES;
  }

  /** Writes the records' bytes, oldest first, at `offset`. */
  copyInto(target: Uint8Array, offset: number): void {
    const split = this.first * RECORD_BYTES;
    target.set(this.bytes.subarray(split, this.packedBytes), offset);
    target.set(this.bytes.subarray(0, split), offset + this.packedBytes - split);
  }

  /** The ring whose bytes are `packed`. */
  static unpack(packed: Uint8Array): HistoryRing {
    const count = packed.length / RECORD_BYTES;
    assert(
      Number.isInteger(count) && count <= limits.historyEntries,
      "a packed history is a whole number of records within the limit",
    );
    const ring = new HistoryRing();
    ring.bytes = packed.slice();
    ring.view = viewOf(ring.bytes);
    ring.count = count;
    return ring;
  }

  private grow(): void {
    const records = Math.min(Math.max(FIRST_RECORDS, this.count * 2), limits.historyEntries);
    const grown = new Uint8Array(records * RECORD_BYTES);
    grown.set(this.bytes);
    this.bytes = grown;
    this.view = viewOf(grown);
  }
}
