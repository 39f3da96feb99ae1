/**
 * Looking at a data directory without changing it and without its lock: for `trilog inspect` and
 * `trilog verify`. A directory in use changes while it is read: a record may be half written when
 * it is met, a file may be removed between its listing and its opening. A tail that is just being
 * written counts as bytes not synced, and anything else as a fault only if later looks at the same
 * group find it again.
 */

import { TrilogError } from "../base/errors.ts";
import type { HardState, Index, LogId, Membership, SnapshotMeta } from "../raft/types.ts";
import type { Disk } from "./disk.ts";
import { type GroupDirectory, listGroups, type LostGroup, takeCensus } from "./groups.ts";
import { type Identity, readIdentity } from "./identity.ts";
import {
  IDENTITY_FILE,
  indexName,
  joinPath,
  parseSnapshotName,
  snapshotName,
  STARTS_FILE,
} from "./layout.ts";
import {
  corrupt,
  CorruptFileError,
  RecordKind,
  RecordReader,
  type StoredRecord,
} from "./record.ts";
import { openSegment, type Segment } from "./segment.ts";
import {
  type Chain,
  checkNewest,
  findChain,
  listSegments,
  type SegmentPlace,
} from "./segment_chain.ts";
import { LogIndex, readIndexFile } from "./segment_index.ts";
import { replayRecords, surveyNewest, syncedAtLeast } from "./segment_scan.ts";
import { openSnapshotFile } from "./snapshot_files.ts";
import { sameId } from "./snapshot_format.ts";
import { readStartCount } from "./start_count.ts";
import type { GroupIdentity } from "./store.ts";
import { readSyncMark, type SyncMark } from "./sync_mark.ts";

const WINDOW_BYTES = 1024 * 1024;

const NOWHERE = { index: 0, term: 0 };

/** Something that is not what was written. */
export interface Fault {
  /** Path relative to the data directory. */
  readonly file: string;
  /** Byte where it begins; null where the fault has no place inside the file. */
  readonly offset: number | null;
  readonly problem: string;
  /** Nothing that counts is lost: the next start makes the file anew. */
  readonly harmless: boolean;
}

/**
 * Checks files of a group that the storage layer does not know, or facts beyond its own. Throws
 * `corrupt` for a fault.
 */
export type GroupCheck = (disk: Disk, group: GroupDirectory) => void;

export interface SegmentInspection {
  /** Path relative to the data directory. */
  readonly file: string;
  readonly number: number;
  readonly first: Index;
  readonly sizeBytes: number;
  readonly entries: number;
  readonly hardStates: number;
  readonly markers: number;
  /** Highest position that a record calls synced. */
  readonly syncedBytes: number;
  /** Closed segments: whether the index file can be used. Null for the newest. */
  readonly indexed: boolean | null;
}

export interface SnapshotInspection {
  readonly file: string;
  readonly meta: SnapshotMeta;
  /** Bytes of the machine's state. */
  readonly stateBytes: number;
}

export interface GroupInspection {
  readonly directory: string;
  readonly identity: GroupIdentity | null;
  readonly segments: readonly SegmentInspection[];
  readonly snapshots: readonly SnapshotInspection[];
  /** What the log holds; null where faults hide it. */
  readonly log: LogInspection | null;
  /** Bytes at the end of the newest segment that never became durable. */
  readonly unsyncedBytes: number;
  readonly faults: readonly Fault[];
}

export interface LogInspection {
  readonly hardState: HardState;
  readonly base: SnapshotMeta | null;
  readonly firstIndex: Index;
  readonly last: LogId;
  readonly membership: Membership;
}

export interface DirectoryInspection {
  readonly identity: Identity | null;
  readonly groups: readonly GroupInspection[];
  readonly faults: readonly Fault[];
}

/** Everything about a data directory; every record's checksum is verified on the way. */
export function inspectDirectory(
  disk: Disk,
  checks: readonly GroupCheck[] = [],
): DirectoryInspection {
  const root = inspectRoot(disk);
  return { ...root, groups: inspectGroups(disk, { thorough: false, checks }) };
}

/** Every fault of a data directory: all checksums, snapshots included, and the log's order. */
export function verifyDirectory(disk: Disk, checks: readonly GroupCheck[] = []): Fault[] {
  const faults = [...inspectRoot(disk).faults];
  for (const group of inspectGroups(disk, { thorough: true, checks })) faults.push(...group.faults);
  return faults;
}

function inspectRoot(disk: Disk): Pick<DirectoryInspection, "identity" | "faults"> {
  const faults: Fault[] = [];
  const identity = noting(faults, IDENTITY_FILE, () => readIdentity(disk));
  if (identity !== null) faults.push(...censusFaults(disk, identity));
  const helpers: Fault[] = [];
  noting(helpers, STARTS_FILE, () => readStartCount(disk, identity?.replicaId ?? ""));
  faults.push(...helpers.map((fault) => ({ ...fault, harmless: true })));
  return { identity, faults };
}

interface Thoroughness {
  /** Reads the snapshots' whole content as well. */
  readonly thorough: boolean;
  readonly checks: readonly GroupCheck[];
}

function inspectGroups(disk: Disk, how: Thoroughness): GroupInspection[] {
  return listGroups(disk).map((group) => inspectGroup(disk, group, how));
}

/** Most looks at a group that is written to meanwhile. */
const MOST_LOOKS = 5;

/** Looks again while there are faults; those count that every look has found. */
function inspectGroup(disk: Disk, group: GroupDirectory, how: Thoroughness): GroupInspection {
  let found = new GroupInspector(disk, group, how).run();
  for (let look = 1; look < MOST_LOOKS && found.faults.length > 0; look += 1) {
    const present = listGroups(disk).find(({ number }) => number === group.number);
    if (present === undefined) return { ...found, faults: [] };
    const again = new GroupInspector(disk, present, how).run();
    const faults = again.faults.filter((fault) => found.faults.some((one) => isSame(one, fault)));
    if (faults.length === found.faults.length) return found;
    found = { ...again, faults };
  }
  return found;
}

function isSame(left: Fault, right: Fault): boolean {
  return left.file === right.file && left.offset === right.offset &&
    left.problem === right.problem;
}

/**
 * Groups that the identity file names and that are not there, and directories of other replicas. A
 * directory that is not named and not foreign may be a creation under way.
 */
function censusFaults(disk: Disk, identity: Identity): Fault[] {
  const { lost, unnamed } = takeCensus(disk, identity);
  const absent = lost.filter(({ unreadable }) => !unreadable);
  // Damage inside a directory is named with its file by the inspection of the group.
  const faults = absent.length === 0 ? [] : stillLost(disk, absent);
  for (const { directory, identity: owner } of unnamed) {
    if (owner?.replica === undefined || owner.replica === identity.replicaId) continue;
    const problem = `${directory} belongs to replica ${owner.replica}, not to this one`;
    faults.push({ file: directory, offset: null, problem, harmless: false });
  }
  return faults;
}

/** A process that uses the directory may have removed a group since the identity was read. */
function stillLost(disk: Disk, absent: readonly LostGroup[]): Fault[] {
  const named = new Set(readIdentity(disk)?.groups?.map(({ number }) => number));
  return absent.filter(({ number }) => named.has(number))
    .map(({ directory, fault }) => ({
      file: directory,
      offset: null,
      problem: fault.message,
      harmless: false,
    }));
}

/** The valid records of one segment in file order, for people to read. */
export function* recordsOf(
  disk: Disk,
  directory: string,
  place: SegmentPlace,
): Generator<StoredRecord> {
  const segment = openSegment(disk, directory, place, null, "read");
  try {
    yield* walk(segment, joinPath(directory, segment.name), () => {});
  } finally {
    segment.file.close();
  }
}

/** Valid records in file order; `bad` is told where others lie between or behind them. */
function* walk(
  segment: Segment,
  path: string,
  bad: (offset: number) => void,
): Generator<StoredRecord> {
  const size = segment.file.size();
  const reader = new RecordReader(segment.file, path, segment.seed, size, WINDOW_BYTES);
  for (let at = segment.headerEnd; at < size;) {
    let record = reader.at(at);
    if (record === null) {
      bad(at);
      record = reader.find(at + 1);
      if (record === null) return;
    }
    yield record;
    at = record.end;
  }
}

/** Runs `look`; an error of a file becomes a fault and null. */
function noting<T>(faults: Fault[], file: string, look: () => T): T | null {
  try {
    return look();
  } catch (thrown) {
    faults.push(faultOf(thrown, file));
    return null;
  }
}

function faultOf(thrown: unknown, file: string): Fault {
  if (thrown instanceof CorruptFileError) {
    return { file: thrown.file, offset: thrown.offset, problem: thrown.message, harmless: false };
  }
  if (!(thrown instanceof TrilogError)) throw thrown;
  return { file, offset: null, problem: thrown.message, harmless: false };
}

class GroupInspector {
  private readonly faults: Fault[] = [];
  private readonly segments: SegmentInspection[] = [];
  private readonly snapshots: SnapshotInspection[] = [];
  private unsyncedBytes = 0;

  private mark: SyncMark | null = null;

  constructor(
    private readonly disk: Disk,
    private readonly group: GroupDirectory,
    private readonly how: Thoroughness,
  ) {}

  run(): GroupInspection {
    const { directory, identity, fault } = this.group;
    if (fault !== null) this.faults.push(faultOf(fault, directory));
    for (const check of this.how.checks) this.note(directory, () => check(this.disk, this.group));
    const log = identity === null ? null : this.inspectLog(identity);
    const { segments, snapshots, unsyncedBytes, faults } = this;
    return { directory, identity, segments, snapshots, log, unsyncedBytes, faults };
  }

  private inspectLog(identity: GroupIdentity): LogInspection | null {
    const { disk, group: { directory } } = this;
    this.mark = this.noteHarmless(() => readSyncMark(disk, directory, identity));
    const chain = this.note(directory, () => findChain(disk, directory, identity, "read"));
    let log: LogInspection | null = null;
    if (chain !== null) {
      const newest = chain.newest.header.number;
      this.note(directory, () => checkNewest(disk, directory, newest, this.mark));
      this.inspectSegments(chain);
      const sound = this.faults.every(({ harmless }) => harmless);
      if (sound) log = this.note(directory, () => this.replay(chain));
      chain.newest.file.close();
    } else this.inspectEachSegment();
    this.inspectSnapshots(identity, log);
    if (log !== null) this.checkBase(log);
    return log;
  }

  /** Files that only help: damage in them is named, and the next start makes them anew. */
  private noteHarmless<T>(look: () => T): T | null {
    const known = this.faults.length;
    const result = this.note(this.group.directory, look);
    for (const fault of this.faults.splice(known)) this.faults.push({ ...fault, harmless: true });
    return result;
  }

  private note<T>(file: string, look: () => T): T | null {
    return noting(this.faults, file, look);
  }

  private inspectSegments(chain: Chain): void {
    const { places } = chain;
    places.forEach((place, at) => {
      const closedBytes = at + 1 < places.length ? places[at + 1].previousBytes : null;
      this.note(this.group.directory, () => this.inspectSegment(place, closedBytes));
    });
  }

  /** Without a chain each header is judged by itself, so that every bad one is named. */
  private inspectEachSegment(): void {
    const { disk, group } = this;
    for (const place of listSegments(disk, group.directory)) {
      const known = this.faults.length;
      this.note(group.directory, () => this.inspectSegment(place, null));
      const repeated = this.faults.slice(0, known).some((fault) =>
        fault.file === this.faults.at(-1)?.file && fault.offset === this.faults.at(-1)?.offset
      );
      if (this.faults.length > known && repeated) this.faults.pop();
    }
  }

  private inspectSegment(place: SegmentPlace, closedBytes: number | null): void {
    const { disk, group } = this;
    const { directory, identity } = group;
    const segment = openSegment(disk, directory, place, identity, "read");
    try {
      const counted = this.countRecords(segment, closedBytes);
      const { number, first } = place;
      const indexed = closedBytes === null || identity === null
        ? null
        : this.isIndexed(identity, number, closedBytes);
      this.segments.push({ ...counted, number, first, indexed });
    } finally {
      segment.file.close();
    }
  }

  private isIndexed(identity: GroupIdentity, number: number, closedBytes: number): boolean {
    const { disk, group: { directory } } = this;
    if (readIndexFile(disk, directory, identity, number, closedBytes) !== null) return true;
    const file = joinPath(directory, indexName(number));
    if (disk.exists(file)) {
      this.noteHarmless(() => {
        throw corrupt(file, 0, "the index does not fit its segment, which is scanned instead");
      });
    }
    return false;
  }

  /** Walks a segment; notes as faults the bad bytes that were durable. */
  private countRecords(segment: Segment, closedBytes: number | null) {
    const file = joinPath(this.group.directory, segment.name);
    const badOffsets: number[] = [];
    const counts = { entries: 0, hardStates: 0, markers: 0 };
    let syncedBytes = syncedAtLeast(segment, this.mark);
    for (const record of walk(segment, file, (offset) => badOffsets.push(offset))) {
      if (record.kind === RecordKind.entry) counts.entries += 1;
      if (record.kind === RecordKind.hardState) counts.hardStates += 1;
      if (record.kind === RecordKind.marker) counts.markers += 1;
      syncedBytes = Math.max(syncedBytes, record.synced);
    }
    const sizeBytes = segment.file.size();
    const line = closedBytes ?? syncedBytes;
    for (const offset of badOffsets) {
      if (offset < line) this.addFault(file, offset, `it was synced up to ${line}`);
      else this.unsyncedBytes = Math.max(this.unsyncedBytes, sizeBytes - offset);
    }
    if (sizeBytes < line) this.addFault(file, sizeBytes, `${line - sizeBytes} bytes are missing`);
    return { file, sizeBytes, syncedBytes, ...counts };
  }

  private addFault(file: string, offset: number, problem: string): void {
    this.faults.push(faultOf(corrupt(file, offset, problem), file));
  }

  /** The log's state, from the records alone; throws where their order is wrong. */
  private replay(chain: Chain): LogInspection {
    const { newest, places } = chain;
    const { header } = newest;
    const { directory } = this.group;
    const start = places[0].first - 1;
    const index = new LogIndex(start, header.base, header.baseMembership, header.lastTimeMs);
    for (let at = 0; at + 1 < places.length; at += 1) {
      const segment = openSegment(this.disk, directory, places[at], this.group.identity, "read");
      const path = joinPath(directory, segment.name);
      try {
        replayRecords(segment, path, places[at + 1].previousBytes, index, "closed");
      } finally {
        segment.file.close();
      }
    }
    const path = joinPath(directory, newest.name);
    const { end } = surveyNewest(newest, path, this.mark);
    const { hardState } = replayRecords(newest, path, end, index, "newest");
    return {
      hardState: hardState ?? header.hardState,
      base: index.base,
      firstIndex: index.firstIndex,
      last: index.lastId(),
      membership: index.currentMembership(),
    };
  }

  /** Only the snapshot under the log is needed; without another one more of the log is applied. */
  private inspectSnapshots(identity: GroupIdentity, log: LogInspection | null): void {
    const { disk, group, how: { thorough } } = this;
    for (const name of disk.list(group.directory)) {
      const last = parseSnapshotName(name);
      if (last === null) continue;
      const file = joinPath(group.directory, name);
      const helps = log !== null && !sameId(last, log.base?.last ?? NOWHERE);
      const look = () => {
        const reader = openSnapshotFile(disk, group.directory, identity, last);
        try {
          for (let at = 0; thorough && at < reader.size; at += WINDOW_BYTES) {
            reader.read(at, WINDOW_BYTES);
          }
          this.snapshots.push({ file, meta: reader.meta, stateBytes: reader.size });
        } finally {
          reader.close();
        }
      };
      if (helps) this.noteHarmless(look);
      else this.note(file, look);
    }
  }

  private checkBase(log: LogInspection): void {
    const base = log.base?.last ?? NOWHERE;
    const oldest = this.segments[0];
    if (log.firstIndex > base.index + 1) {
      const missing = `entries ${base.index + 1} to ${log.firstIndex - 1} before it are missing`;
      this.addFault(oldest.file, 0, missing);
    }
    const file = joinPath(this.group.directory, snapshotName(base));
    const stored = this.snapshots.some((snapshot) => snapshot.file === file);
    const told = this.faults.some((fault) => fault.file === file);
    if (base.index > 0 && !stored && !told) {
      this.addFault(file, 0, "the snapshot under the log is missing");
    }
  }
}
