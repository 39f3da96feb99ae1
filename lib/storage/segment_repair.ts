/**
 * Repairing a closed segment in place. Every live entry that cannot be read is written again, with
 * bytes that another replica gave: by log matching, an entry of that index and term is the same
 * everywhere, so it has the length that it had and fits where it was. Other records between the
 * damaged bytes (hard states, bases, superseded entries) count no more once a segment is closed; a
 * marker takes their place.
 *
 * Crash windows: a record that is half written is damage as before, and is found and written again.
 * The index file is removed first, since entries may lie at other positions afterwards.
 */

import type { Entry, Index } from "../raft/types.ts";
import type { Disk } from "./disk.ts";
import { indexName, joinPath } from "./layout.ts";
import {
  corrupt,
  RECORD_HEADER_BYTES,
  RecordKind,
  RecordReader,
  RecordWriter,
  type StoredRecord,
} from "./record.ts";
import { openSegment, type Segment } from "./segment.ts";
import type { SegmentFile } from "./recovery.ts";
import type { Damage, GroupIdentity } from "./store.ts";
import type { LogIndex } from "./segment_index.ts";

const WINDOW_BYTES = 1024 * 1024;

/** Finds and repairs damage in the closed segments of one log. */
export class SegmentRepair {
  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
    private readonly identity: GroupIdentity,
  ) {}

  /** The first damage of a closed segment; null where there is none, or the segment is gone. */
  find(listed: SegmentFile | null, index: LogIndex): Damage | null {
    return this.open(listed, (segment, path) => findDamage(segment, path, listed!.bytes, index));
  }

  /** Writes entries from `damage.first` on again; what is damaged in the segment after that. */
  mend(
    listed: SegmentFile | null,
    damage: Damage,
    entries: readonly Entry[],
    index: LogIndex,
  ): Damage | null {
    return this.open(listed, (segment, path) => {
      // The log has changed meanwhile: other entries of the segment may count.
      if (damage.asOf !== index.changes) return findDamage(segment, path, listed!.bytes, index);
      const left = mendDamage(this.disk, this.directory, segment, damage, entries, index);
      return left ?? findDamage(segment, path, listed!.bytes, index);
    });
  }

  private open(
    listed: SegmentFile | null,
    act: (segment: Segment, path: string) => Damage | null,
  ): Damage | null {
    if (listed === null) return null;
    const { disk, directory, identity } = this;
    const segment = openSegment(disk, directory, listed, identity, "read");
    try {
      return act(segment, joinPath(directory, segment.name));
    } finally {
      segment.file.close();
    }
  }
}

/**
 * The first damage of a closed segment of `bytes` bytes, up to the next live entry that can be
 * read; null where all can. `path` names the file in errors.
 */
function findDamage(
  segment: Segment,
  path: string,
  bytes: number,
  index: LogIndex,
): Damage | null {
  const { number } = segment.header;
  const runs = index.runs.filter((run) => run.segment === number);
  const reader = new RecordReader(segment.file, path, segment.seed, bytes, WINDOW_BYTES);
  let first = runs[0]?.first ?? 1;
  let from: number | null = null;
  for (let at = segment.headerEnd; at < bytes;) {
    let record = reader.at(at);
    if (record === null) {
      from ??= at;
      record = reader.find(at + 1);
      if (record === null) break;
    }
    at = record.end;
    if (!isLive(record, number, index)) continue;
    if (from !== null) {
      const last = record.index - 1;
      return { segment: number, from, to: record.position, first, last, asOf: index.changes };
    }
    first = record.index + 1;
  }
  if (from === null) return null;
  const last = runs[runs.length - 1]?.last ?? 0;
  return { segment: number, from, to: bytes, first, last, asOf: index.changes };
}

/** Whether a record is the entry that the log has at its index. */
function isLive(record: StoredRecord, segment: number, index: LogIndex): boolean {
  if (record.kind !== RecordKind.entry) return false;
  const run = index.runOf(record.index);
  return run?.segment === segment && run.term === record.term &&
    record.position >= run.pointPositions[0];
}

/**
 * Writes entries from `damage.first` on in their places, durably. Returns what is left, or null
 * where all are there. Throws `corrupt` where they do not fit: then they are other entries.
 */
function mendDamage(
  disk: Disk,
  directory: string,
  segment: Segment,
  damage: Damage,
  entries: readonly Entry[],
  index: LogIndex,
): Damage | null {
  const path = joinPath(directory, segment.name);
  const writer = new RecordWriter().start(segment.seed, damage.from, 0);
  const moved: [Index, number][] = [];
  for (const entry of entries) {
    moved.push([entry.index, writer.end]);
    const { index: at, term, kind, timeMs, data } = entry;
    writer.add(RecordKind.entry, kind, at, term, timeMs, data);
  }
  const first = damage.first + entries.length;
  const left = damage.to - writer.end;
  const complete = first > damage.last;
  if (left < 0 || (complete && left > 0 && left < RECORD_HEADER_BYTES)) {
    throw corrupt(path, damage.from, "the entries of another replica do not fit there");
  }
  const rest = complete ? null : { ...damage, from: writer.end, first };
  if (complete && left > 0) {
    writer.add(RecordKind.marker, 0, 0, 0, 0, new Uint8Array(left - RECORD_HEADER_BYTES));
  }
  disk.remove(joinPath(directory, indexName(damage.segment)));
  disk.syncDirectory(directory);
  const file = disk.open(path, "write");
  try {
    file.writeAt(damage.from, writer.finish());
    file.syncNow();
  } finally {
    file.close();
  }
  for (const [at, position] of moved) index.runOf(at)?.moved(at, position);
  return rest;
}
