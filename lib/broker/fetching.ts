/**
 * Hands out committed batches as they lie in the log, with offset and epoch patched into copies.
 * A fetch that finds too little waits for more without costing anything until it arrives.
 */

import type { Clock } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { patchBaseOffset, readBatchHeader } from "../batch/batch_header.ts";
import type { FetchAnswer, FetchRequest } from "../client/protocol.ts";
import type { Entry } from "../raft/types.ts";
import type { ServedPartition } from "./served_partition.ts";

/** Fetches that wait at the same time in one broker; more are refused. */
const MOST_WAITING = 16_384;
/** Longest wait; who wants more asks again. */
const LONGEST_WAIT_MS = 60_000;
/** Most bytes of batches in one answer: with one more batch it still fits a frame. */
const MOST_BYTES = limits.peerFrameBytes / 2;

export class Fetching {
  /** Fetches that wait for messages. */
  waiting = 0;

  constructor(private readonly clock: Clock) {}

  /** `signal` is asked for only if the fetch has to wait; it ends the wait. */
  async fetch(
    partition: ServedPartition,
    request: FetchRequest,
    signal: () => AbortSignal,
  ): Promise<FetchAnswer> {
    const { replica, machine } = partition;
    partition.requireLeader("fetch from");
    // A leader that was just elected may not know yet how far its predecessor had committed.
    if (request.isolation === "linearizable" || request.offset > machine.endOffset) {
      await replica.readBarrier();
    }
    requireInRange(partition, request.offset);
    const gathering = new Gathering(partition, request.offset, request.maxBytes);
    gathering.readOn();
    if (gathering.bytes < request.minBytes && request.maxWaitMs > 0) {
      await this.waitForMore(partition, request, gathering, signal());
    }
    const { startOffset } = partition;
    const { endOffset } = machine;
    return { batches: gathering.batches, startOffset, endOffset };
  }

  private async waitForMore(
    partition: ServedPartition,
    request: FetchRequest,
    gathering: Gathering,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.waiting >= MOST_WAITING) {
      const state = "too many others wait for messages";
      throw new TrilogError("overloaded", `Cannot fetch from ${partition.label}: ${state}`);
    }
    this.waiting += 1;
    try {
      const endMs = this.clock.monotonicMs() + Math.min(request.maxWaitMs, LONGEST_WAIT_MS);
      while (gathering.bytes < Math.min(request.minBytes, gathering.maxBytes)) {
        const leftMs = endMs - this.clock.monotonicMs();
        if (leftMs <= 0 || signal.aborted) return;
        await partition.waitBeyond(gathering.nextOffset, leftMs, signal);
        partition.requireLeader("fetch from");
        gathering.readOn();
      }
    } finally {
      this.waiting -= 1;
    }
  }
}

/** Batches from an offset on. */
export class Gathering {
  readonly batches: Uint8Array[] = [];
  bytes = 0;
  readonly maxBytes: number;

  constructor(
    private readonly partition: ServedPartition,
    /** Where reading goes on. */
    public nextOffset: number,
    maxBytes: number,
  ) {
    this.maxBytes = Math.min(maxBytes, MOST_BYTES);
  }

  /**
   * Takes in what there is, at least one batch, however large, then up to `maxBytes`. Entries that
   * were committed by others while this disk had no room for them are not there to be read yet.
   */
  readOn(): void {
    const { machine, replica } = this.partition;
    while (this.bytes < this.maxBytes || this.batches.length === 0) {
      const place = machine.locate(this.nextOffset);
      if (place === null) return;
      const room = Math.max(0, this.maxBytes - this.bytes);
      const entries = replica.readCommitted(place.index, room);
      if (entries.length === 0 || !this.take(entries)) return;
    }
  }

  /** False when there is no room for more. */
  private take(entries: readonly Entry[]): boolean {
    for (const entry of entries) {
      const baseOffset = this.partition.machine.baseOffsetOf(entry.index);
      if (baseOffset === null) continue;
      const full = this.batches.length > 0 && this.bytes + entry.data.length > this.maxBytes;
      if (full) return false;
      this.batches.push(stored(entry, baseOffset));
      this.bytes += entry.data.length;
      this.nextOffset = baseOffset + readBatchHeader(entry.data).count;
    }
    return true;
  }
}

/** A batch as consumers see it: the log's own bytes are shared with replication and stay. */
export function stored(entry: Entry, baseOffset: number): Uint8Array {
  const batch = entry.data.slice();
  patchBaseOffset(batch, baseOffset, entry.term);
  return batch;
}

function requireInRange(partition: ServedPartition, offset: number): void {
  const { startOffset, machine: { endOffset } } = partition;
  if (offset >= startOffset && offset <= endOffset) return;
  throw new TrilogError(
    "offset_out_of_range",
    `Cannot fetch from ${partition.label} at offset ${offset}: it goes from ${startOffset} to ` +
      `${endOffset}`,
  );
}
