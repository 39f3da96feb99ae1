/**
 * When a segment is full. Whole segments are dropped, so a log must consist of several before
 * anything of it can go: of a limit of its size, and of the disk that it shares.
 */

import { limits } from "../base/limits.ts";
import type { Disk } from "./disk.ts";

/** Segments that a log's limit, or the room that a disk has for it, is divided into at least. */
const SEGMENTS = 8;
/** A small disk or limit makes no segments smaller than this. */
const LEAST_BYTES = 1024 * 1024;

export class SegmentSize {
  /** See `LogStore.segmentSize`. */
  retainedBytes = 0;
  private roomBytes = Infinity;

  /** `logBytes`: what the log has of the disk now. */
  constructor(
    private readonly disk: Disk,
    private readonly configuredBytes: number,
    logBytes: number,
  ) {
    this.measure(logBytes);
  }

  /** Takes a look at the disk, of which the log has `logBytes` by now; for each roll. */
  measure(logBytes: number): void {
    const freeBytes = this.disk.freeBytes();
    this.roomBytes = freeBytes === null ? Infinity : freeBytes + logBytes;
  }

  /** Bytes from which on a segment is full. */
  get bytes(): number {
    const retained = this.retainedBytes === 0 ? Infinity : this.retainedBytes;
    const part = Math.floor(Math.min(retained, this.roomBytes) / SEGMENTS);
    return Math.min(this.configuredBytes, limits.segmentBytes, Math.max(part, LEAST_BYTES));
  }
}
