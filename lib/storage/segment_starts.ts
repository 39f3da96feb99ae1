/**
 * Where the segments of a log begin. A replica asks at every turn, and a long log has thousands of
 * segments: the list is kept while the log's runs stay as they are.
 */

import type { Index } from "../raft/types.ts";
import type { SegmentFile } from "./recovery.ts";
import type { LogIndex } from "./segment_index.ts";

export interface SegmentStart {
  readonly number: number;
  readonly first: Index;
  bytes: number;
}

export class SegmentStarts {
  private starts: SegmentStart[] = [];
  /** State of the index that `starts` was listed from. */
  private asOf = -1;

  constructor(private readonly index: LogIndex) {}

  /** `segments` are numbered without gaps; `active`, the last one, grows. */
  list(segments: readonly SegmentFile[], active: SegmentFile): readonly SegmentStart[] {
    if (this.asOf !== this.index.changes) this.listAnew(segments);
    const newest = this.starts[this.starts.length - 1];
    if (newest !== undefined && newest.number === active.number) newest.bytes = active.bytes;
    return this.starts;
  }

  private listAnew(segments: readonly SegmentFile[]): void {
    this.starts = [];
    this.asOf = this.index.changes;
    for (const { segment, first } of this.index.runs) {
      if (this.starts[this.starts.length - 1]?.number === segment) continue;
      const { bytes } = segments[segment - segments[0].number];
      this.starts.push({ number: segment, first, bytes });
    }
  }
}
