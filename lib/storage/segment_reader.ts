/** Reading entries of a log back from its segments, with a few files kept open. */

import type { Entry, EntryKind, Index } from "../raft/types.ts";
import type { Disk } from "./disk.ts";
import { joinPath } from "./layout.ts";
import { corrupt, CorruptFileError, RecordKind, RecordReader } from "./record.ts";
import type { SegmentFile } from "./recovery.ts";
import { openSegment, type Segment } from "./segment.ts";
import type { LogIndex, Run } from "./segment_index.ts";
import type { GroupIdentity } from "./store.ts";

const OPEN_FILES = 4;
const LEAST_WINDOW_BYTES = 16 * 1024;
const MOST_WINDOW_BYTES = 4 * 1024 * 1024;

/** What a read has gathered so far. */
interface Gathering {
  readonly entries: Entry[];
  bytes: number;
  readonly maxBytes: number;
}

export class SegmentFiles {
  /** Closed segments that are open for reading, least recently used first. */
  private readonly open = new Map<number, Segment>();

  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
    private readonly identity: GroupIdentity,
  ) {}

  /** See `LogStore.read`; `segments` are numbered without gaps, `active` is the last. */
  read(
    index: LogIndex,
    segments: readonly SegmentFile[],
    from: Index,
    maxBytes: number,
    active: Segment,
  ): Entry[] {
    const gathering: Gathering = { entries: [], bytes: 0, maxBytes };
    let run = index.runOf(from);
    let next = from;
    while (run !== null) {
      const { segment: number } = run;
      const segment = () =>
        number === active.header.number
          ? active
          : this.segment(segments[number - segments[0].number]);
      if (!this.readRunAsFarAsPossible(segment, run, next, gathering)) break;
      next = run.last + 1;
      run = index.runOf(next);
    }
    return gathering.entries;
  }

  /** What comes before damaged bytes is served; a read that begins at them throws. */
  private readRunAsFarAsPossible(
    segment: () => Segment,
    run: Run,
    from: Index,
    gathering: Gathering,
  ): boolean {
    try {
      return this.readRun(segment(), run, from, gathering);
    } catch (thrown) {
      if (!(thrown instanceof CorruptFileError) || gathering.entries.length === 0) throw thrown;
      return false;
    }
  }

  /** Gathers entries of one run; false when the read has enough. */
  private readRun(segment: Segment, run: Run, from: Index, gathering: Gathering): boolean {
    const path = joinPath(this.directory, segment.name);
    const windowBytes = gathering.maxBytes - gathering.bytes + LEAST_WINDOW_BYTES;
    const reader = new RecordReader(
      segment.file,
      path,
      segment.seed,
      run.end,
      Math.min(windowBytes, MOST_WINDOW_BYTES),
    );
    let expected = run.indexBefore(from);
    let position = run.positionBefore(from);
    while (expected <= run.last) {
      const record = reader.at(position);
      if (record === null) throw corrupt(path, position, "the bytes there fail their checksum");
      position = record.end;
      if (record.kind !== RecordKind.entry) continue;
      if (record.index !== expected || record.term !== run.term) {
        throw corrupt(path, record.position, `there is another entry than ${expected}`);
      }
      expected += 1;
      if (record.index < from) continue;
      const { entries, bytes, maxBytes } = gathering;
      if (entries.length > 0 && bytes + record.payload.length > maxBytes) return false;
      gathering.bytes += record.payload.length;
      entries.push({
        index: record.index,
        term: record.term,
        kind: record.entryKind as EntryKind,
        timeMs: record.timeMs,
        data: record.payload,
      });
    }
    return true;
  }

  private segment({ number, first }: SegmentFile): Segment {
    const known = this.open.get(number);
    if (known !== undefined) {
      this.open.delete(number);
      this.open.set(number, known);
      return known;
    }
    const { disk, directory, identity } = this;
    const segment = openSegment(disk, directory, { number, first }, identity, "read");
    this.open.set(number, segment);
    if (this.open.size > OPEN_FILES) this.forget(this.open.keys().next().value!);
    return segment;
  }

  /** Closes a segment that is no longer needed. */
  forget(number: number): void {
    this.open.get(number)?.file.close();
    this.open.delete(number);
  }

  close(): void {
    for (const number of [...this.open.keys()]) this.forget(number);
  }
}
