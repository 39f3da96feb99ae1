/**
 * Walking the records of a segment: to survey what of the newest one is valid and known to be
 * synced, to take records into the index, and to collect those that must be written again.
 */

import { unpack } from "../base/msgpack.ts";
import type { HardState, SnapshotMeta } from "../raft/types.ts";
import { displayText } from "../base/bytes.ts";
import { corrupt, RecordKind, RecordReader, type StoredRecord } from "./record.ts";
import { type Segment, snapshotMeta } from "./segment.ts";
import { type LogIndex, membershipIn } from "./segment_index.ts";
import type { SyncMark } from "./sync_mark.ts";

const SCAN_WINDOW_BYTES = 1024 * 1024;

/** What of the newest segment is what it seems. */
export interface Survey {
  /** Bytes of the file. */
  readonly size: number;
  /** Where its unbroken row of valid records ends; from there on nothing was ever synced. */
  readonly end: number;
  /** Highest position that a record or the mark calls synced; at most `end`. */
  readonly synced: number;
  /** End of the last valid record that is no marker. */
  readonly significantEnd: number;
}

function readerOf(segment: Segment, path: string, limit: number): RecordReader {
  return new RecordReader(segment.file, path, segment.seed, limit, SCAN_WINDOW_BYTES);
}

/**
 * `mark`: what the group's directory says besides the records. Throws `corrupt` where bytes below
 * the highest synced position are not what was written.
 */
export function surveyNewest(segment: Segment, path: string, mark: SyncMark | null): Survey {
  const size = segment.file.size();
  const reader = readerOf(segment, path, size);
  let synced = syncedAtLeast(segment, mark);
  let end = segment.headerEnd;
  let significantEnd = end;
  for (let record = reader.at(end); record !== null; record = reader.at(end)) {
    synced = Math.max(synced, record.synced);
    end = record.end;
    if (record.kind !== RecordKind.marker) significantEnd = end;
  }
  if (end < size) synced = Math.max(synced, syncedBehind(reader, end + 1));
  if (synced > end) {
    const state = end < size ? "the bytes there fail their checksum" : "the file ends there";
    throw corrupt(path, end, `${state}, but it was synced up to ${synced}`);
  }
  return { size, end, synced, significantEnd };
}

/** What is known to be synced of a segment before its records are read. */
export function syncedAtLeast({ initialBytes, header }: Segment, mark: SyncMark | null): number {
  return mark?.segment === header.number ? Math.max(initialBytes, mark.bytes) : initialBytes;
}

/** Highest synced position in the valid records that lie behind bad bytes; 0 where none do. */
function syncedBehind(reader: RecordReader, from: number): number {
  let synced = 0;
  for (let record = reader.find(from); record !== null; record = reader.find(record.end)) {
    synced = Math.max(synced, record.synced);
  }
  return synced;
}

/**
 * Takes the records up to `limit`, all of which must be valid, into `index`. Of a closed segment
 * only the entries count: the header of a later one knows the rest.
 */
export function replayRecords(
  segment: Segment,
  path: string,
  limit: number,
  index: LogIndex,
  which: "closed" | "newest",
): { readonly records: number; readonly hardState: HardState | null } {
  const reader = readerOf(segment, path, limit);
  let hardState: HardState | null = null;
  let records = 1;
  for (let at = segment.headerEnd; at < limit; records += 1) {
    const record = reader.at(at);
    if (record === null) throw corrupt(path, at, "the bytes there fail their checksum");
    at = record.end;
    if (record.kind === RecordKind.entry) {
      const membership = membershipIn(record, path, record.position);
      index.addEntry(segment.header.number, record, membership, record.position, at, path);
    } else if (record.kind === RecordKind.hardState) hardState = hardStateIn(record);
    else if (record.kind === RecordKind.base && which === "newest") {
      index.setBase(baseIn(record, path));
    }
  }
  return { records, hardState };
}

/** Records of [from, limit) that are no markers. */
export function significantRecords(
  segment: Segment,
  path: string,
  from: number,
  limit: number,
): StoredRecord[] {
  const reader = readerOf(segment, path, limit);
  const records: StoredRecord[] = [];
  for (let at = from; at < limit;) {
    const record = reader.at(at);
    if (record === null) throw corrupt(path, at, "the bytes there fail their checksum");
    if (record.kind !== RecordKind.marker) records.push(record);
    at = record.end;
  }
  return records;
}

/** Term, vote and commit of a hard state's record. */
export function hardStateIn(record: StoredRecord): HardState {
  const vote = record.entryKind === 1 ? displayText(record.payload) : null;
  return { term: record.term, vote, commit: record.index };
}

/** The snapshot that a base record names. */
export function baseIn(record: StoredRecord, path: string): SnapshotMeta {
  return snapshotMeta.decode(unpack(record.payload), `${path} at ${record.position}`);
}
