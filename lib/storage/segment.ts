/**
 * One segment file: the preamble (file_format.ts), a header record, then records in the order in
 * which they were appended. A segment is made under a temporary name, synced, renamed, and its
 * directory synced, so under its final name its header is always complete.
 */

import { assert } from "../base/assert.ts";
import { type Codec, flag, grown, nullable, record, text, whole } from "../base/codec.ts";
import { utf8 } from "../base/bytes.ts";
import { pack, unpack } from "../base/msgpack.ts";
import { membershipFromWire, membershipToWire } from "../raft/membership.ts";
import type { HardState, Index, LogId, Membership, SnapshotMeta } from "../raft/types.ts";
import type { Disk, DiskFile } from "./disk.ts";
import { checkPreamble, Magic, preamble, PREAMBLE_BYTES } from "./file_format.ts";
import { joinPath, segmentName, TEMPORARY_SUFFIX } from "./layout.ts";
import {
  checksumSeed,
  corrupt,
  readOrCorrupt,
  RECORD_HEADER_BYTES,
  type RecordFields,
  RecordKind,
  RecordReader,
  RecordWriter,
  type StoredRecord,
} from "./record.ts";
import type { GroupIdentity } from "./store.ts";

const time: Codec<number> = {
  encode: (value) => value,
  decode(packed, thing) {
    if (typeof packed === "number") return packed;
    return whole.decode(packed, thing);
  },
};
const logId: Codec<LogId> = record({ index: whole, term: whole });
export const membership: Codec<Membership> = {
  encode: membershipToWire,
  decode: membershipFromWire,
};
const hardState: Codec<HardState> = record({ term: whole, vote: nullable(text), commit: whole });
export const snapshotMeta: Codec<SnapshotMeta> = record({ last: logId, timeMs: time, membership });

/** What a segment says about itself and about the log before it. */
export interface SegmentHeader {
  readonly cluster: string;
  readonly group: string;
  /** Running number, from 1; a number is used again only after its file was set aside empty. */
  readonly number: number;
  /** Index that follows the log before this segment. */
  readonly first: Index;
  /** Bytes of the previous segment that belong to the log; 0 for the first segment. */
  readonly previousBytes: number;
  /** The log starts afresh here, on `base`: no earlier segment counts. */
  readonly reset: boolean;
  readonly hardState: HardState;
  /** Snapshot that the log stands on, if any. */
  readonly base: SnapshotMeta | null;
  /** Membership before all entries of the log: that of `base`, or the bootstrap's. */
  readonly baseMembership: Membership;
  /** Membership in force where this segment begins. */
  readonly membership: Membership;
  /** `timeMs` of the last entry before this segment. */
  readonly lastTimeMs: number;
  /** Replica that wrote it; null in format version 1, and where the writer has no identity. */
  readonly replica: string | null;
}

/** The header of a segment that is made; a replica that is left out is stored as unknown. */
export type NewSegment = Omit<SegmentHeader, "replica"> & Pick<GroupIdentity, "replica">;

const fullHeader: Codec<SegmentHeader> = record({
  cluster: text,
  group: text,
  number: whole,
  first: whole,
  previousBytes: whole,
  reset: flag,
  hardState,
  base: nullable(snapshotMeta),
  baseMembership: membership,
  membership,
  lastTimeMs: time,
  replica: nullable(text),
});
const headerCodec = grown(fullHeader, { fields: 11, added: [null] });

export function addHardState(writer: RecordWriter, state: HardState): void {
  const vote = state.vote === null ? NO_VOTE : utf8(state.vote);
  const voted = state.vote === null ? 0 : 1;
  writer.add(RecordKind.hardState, voted, state.commit, state.term, 0, vote);
}
const NO_VOTE = new Uint8Array(0);

export function addBase(writer: RecordWriter, base: SnapshotMeta): void {
  const { last, timeMs } = base;
  writer.add(RecordKind.base, 0, last.index, last.term, timeMs, pack(snapshotMeta.encode(base)));
}

/** An open segment and how to read it. */
export interface Segment {
  readonly name: string;
  readonly file: DiskFile;
  readonly seed: number;
  readonly header: SegmentHeader;
  /** Where the header record ends. */
  readonly headerEnd: number;
  /** Bytes that were synced before the file got its name. */
  readonly initialBytes: number;
}

/**
 * Makes a segment that begins with `tail`, durable with its name. Throws `disk_full` (nothing is
 * left behind) or `disk_failed`.
 */
export function createSegment(
  disk: Disk,
  directory: string,
  fields: NewSegment,
  tail: readonly RecordFields[] = [],
): Segment {
  const header: SegmentHeader = { ...fields, replica: fields.replica ?? null };
  const name = segmentName(header.number, header.first);
  const path = joinPath(directory, name);
  const payload = pack(headerCodec.encode(header));
  const headerEnd = PREAMBLE_BYTES + RECORD_HEADER_BYTES + payload.length;
  let initialBytes = headerEnd;
  for (const item of tail) initialBytes += RECORD_HEADER_BYTES + item.payload.length;
  const seed = checksumSeed(header, header.number);
  const writer = new RecordWriter().start(seed, PREAMBLE_BYTES, initialBytes);
  writer.add(RecordKind.header, 0, header.first, header.hardState.term, 0, payload);
  for (const item of tail) {
    writer.add(item.kind, item.entryKind, item.index, item.term, item.timeMs, item.payload);
  }
  assert(writer.end === initialBytes, "a new segment is as long as it says");
  const file = writeNew(disk, path, writer.finish());
  disk.syncDirectory(directory);
  return { name, file, seed, header, headerEnd, initialBytes };
}

function writeNew(disk: Disk, path: string, records: Uint8Array): DiskFile {
  const temporary = path + TEMPORARY_SUFFIX;
  disk.remove(temporary);
  const file = disk.open(temporary, "create");
  try {
    file.writeAt(0, preamble(Magic.segment));
    file.writeAt(PREAMBLE_BYTES, records);
    file.syncNow();
    disk.rename(temporary, path);
    return file;
  } catch (thrown) {
    file.close();
    disk.remove(temporary);
    throw thrown;
  }
}

/**
 * Opens a segment and reads its header. `expected` is who it must belong to; null: whoever it
 * says (for inspection). Throws `corrupt` or `unsupported_version`.
 */
export function openSegment(
  disk: Disk,
  directory: string,
  place: { readonly number: number; readonly first: Index },
  expected: GroupIdentity | null,
  mode: "read" | "write",
): Segment {
  const name = joinPath(directory, segmentName(place.number, place.first));
  const file = disk.open(name, mode);
  try {
    const start = new Uint8Array(PREAMBLE_BYTES);
    const count = readOrCorrupt(file, name, 0, start);
    checkPreamble(start.subarray(0, count), Magic.segment, name);
    const identity = expected ?? claimedIdentity(file, name);
    const seed = checksumSeed(identity, place.number);
    const stored = new RecordReader(file, name, seed, file.size(), 4096).at(PREAMBLE_BYTES);
    if (stored === null) throw wrongHeader(file, name, identity, place.number);
    const header = readHeader(stored, name, identity, place);
    return {
      name: segmentName(place.number, place.first),
      file,
      seed,
      header,
      headerEnd: stored.end,
      initialBytes: stored.synced,
    };
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}

function readHeader(
  stored: StoredRecord,
  name: string,
  identity: GroupIdentity,
  place: { readonly number: number; readonly first: Index },
): SegmentHeader {
  if (stored.kind !== RecordKind.header) {
    throw corrupt(name, PREAMBLE_BYTES, "its first record is no header");
  }
  const header = headerCodec.decode(unpack(stored.payload), `header of ${name}`);
  const fits = header.cluster === identity.cluster && header.group === identity.group &&
    header.number === place.number && header.first === place.first;
  if (!fits) throw corrupt(name, PREAMBLE_BYTES, "its header names another place");
  const { replica } = identity;
  if (replica !== undefined && header.replica !== null && header.replica !== replica) {
    const state = `it belongs to replica ${header.replica}, not to ${replica}`;
    throw corrupt(name, PREAMBLE_BYTES, state);
  }
  return header;
}

/** The error for a header that fails its checksum: another group's file, or damage? */
function wrongHeader(file: DiskFile, name: string, expected: GroupIdentity, number: number) {
  let claimed: GroupIdentity;
  try {
    claimed = claimedIdentity(file, name);
  } catch {
    return corrupt(name, PREAMBLE_BYTES, "its header fails its checksum");
  }
  const same = claimed.cluster === expected.cluster && claimed.group === expected.group;
  const state = same
    ? `its header fails its checksum as segment ${number}`
    : `it belongs to group ${claimed.group} of cluster ${claimed.cluster}, ` +
      `not to ${expected.group} of ${expected.cluster}`;
  return corrupt(name, PREAMBLE_BYTES, state);
}

/** Who a header says it belongs to, before that could be verified. */
function claimedIdentity(file: DiskFile, name: string): GroupIdentity {
  const size = file.size() - PREAMBLE_BYTES - RECORD_HEADER_BYTES;
  const length = new Uint8Array(4);
  if (size >= 0) readOrCorrupt(file, name, PREAMBLE_BYTES + 4, length);
  const claimed = new DataView(length.buffer).getUint32(0, true);
  if (size < 0 || claimed > size) throw corrupt(name, PREAMBLE_BYTES, "its header is cut off");
  const payload = new Uint8Array(claimed);
  readOrCorrupt(file, name, PREAMBLE_BYTES + RECORD_HEADER_BYTES, payload);
  try {
    const header = headerCodec.decode(unpack(payload), `header of ${name}`);
    const { cluster, group, replica } = header;
    return { cluster, group, replica: replica ?? undefined };
  } catch (thrown) {
    throw corrupt(name, PREAMBLE_BYTES, "its header cannot be read", thrown);
  }
}
