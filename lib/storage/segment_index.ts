/**
 * Where the entries are. A run is a stretch of consecutive indexes of one term that lies in one
 * segment without gaps in file order; the log is a list of runs, ascending. An entry at or below
 * the last index ends or drops the runs from there on: that is how a later record supersedes
 * what follows it, although nothing is cut.
 *
 * A run keeps the position of about one entry in 16 KiB; a read walks from there. When a segment
 * closes, its runs are written to an index file, so that opening a long log reads only its end.
 * The file is no authority: if it is missing or fails its checksum, the segment is scanned.
 */

import { binary, list, record as fields, text, whole } from "../base/codec.ts";
import { viewOf } from "../base/bytes.ts";
import { pack, unpack } from "../base/msgpack.ts";
import { decodeMembership, membershipFromWire, membershipToWire } from "../raft/membership.ts";
import {
  type Entry,
  EntryKind,
  type Index,
  type LogId,
  type Membership,
  type SnapshotMeta,
  type Term,
  type TermRun,
} from "../raft/types.ts";
import type { Disk } from "./disk.ts";
import { encodeChecked, Magic, readChecked } from "./file_format.ts";
import { indexName, joinPath } from "./layout.ts";
import { checksumSeed, corrupt, type RecordFields } from "./record.ts";
import type { GroupIdentity } from "./store.ts";

const POINT_SPACING_BYTES = 16 * 1024;

export interface IndexedMembership {
  readonly index: Index;
  readonly membership: Membership;
}

export class Run {
  last: Index;
  /** Position after the record of `last`, or after records that were superseded since. */
  end = 0;
  /** Ascending pairs of an index and the position of its record. */
  readonly pointIndexes: Index[] = [];
  readonly pointPositions: number[] = [];
  memberships: IndexedMembership[] = [];

  constructor(readonly segment: number, readonly term: Term, readonly first: Index) {
    this.last = first - 1;
  }

  add(index: Index, position: number, end: number): void {
    const newest = this.pointPositions.length - 1;
    if (newest < 0 || position - this.pointPositions[newest] >= POINT_SPACING_BYTES) {
      this.pointIndexes.push(index);
      this.pointPositions.push(position);
    }
    this.last = index;
    this.end = end;
  }

  /** The entry from whose position a walk meets the record of `index`. */
  indexBefore(index: Index): Index {
    return this.pointIndexes[lastAtMost(this.pointIndexes, index)];
  }

  /** The position of that entry. */
  positionBefore(index: Index): number {
    return this.pointPositions[lastAtMost(this.pointIndexes, index)];
  }

  /** The record of an entry was written again, before the next point. */
  moved(index: Index, position: number): void {
    const slot = lastAtMost(this.pointIndexes, index);
    if (this.pointIndexes[slot] === index) this.pointPositions[slot] = position;
  }

  endAt(last: Index): void {
    this.last = last;
    this.memberships = this.memberships.filter((item) => item.index <= last);
  }
}

/** Slot of the last value at or below `bound` in an ascending list; -1 where there is none. */
function lastAtMost(values: readonly number[], bound: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle] <= bound) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export class LogIndex {
  readonly runs: Run[] = [];
  /** Counts the changes of `runs`, for whoever keeps something that follows from them. */
  changes = 0;

  constructor(
    /** Index before the first entry, while there are no runs. */
    private floor: Index,
    public base: SnapshotMeta | null,
    public baseMembership: Membership,
    public lastTimeMs: number,
  ) {}

  get firstIndex(): Index {
    return this.runs.length === 0 ? this.floor + 1 : this.runs[0].first;
  }

  get lastIndex(): Index {
    return this.runs.length === 0 ? this.floor : this.runs[this.runs.length - 1].last;
  }

  /** The run that holds `index`, or null. */
  runOf(index: Index): Run | null {
    let low = 0;
    let high = this.runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.runs[middle].last < index) low = middle + 1;
      else high = middle;
    }
    const run = this.runs[low];
    return run !== undefined && run.first <= index ? run : null;
  }

  termAt(index: Index): Term | null {
    const run = this.runOf(index);
    if (run !== null) return run.term;
    return this.base !== null && this.base.last.index === index ? this.base.last.term : null;
  }

  lastId(): LogId {
    const index = this.lastIndex;
    return { index, term: this.termAt(index) ?? 0 };
  }

  /** Takes an entry's record into the index; `name` is its file, for the error. */
  addEntry(
    segment: number,
    entry: Pick<Entry, "index" | "term" | "timeMs">,
    membership: Membership | null,
    position: number,
    end: number,
    name: string,
  ): void {
    const { index, term } = entry;
    this.makeRoomAt(index, name, position);
    let run = this.runs[this.runs.length - 1];
    // Records of other kinds may lie between two entries of a run, superseded entries may not.
    const follows = run !== undefined && run.segment === segment && run.term === term &&
      run.last === index - 1 && !this.superseded;
    if (!follows) {
      run = new Run(segment, term, index);
      this.runs.push(run);
      this.changes += 1;
    }
    this.superseded = false;
    run.add(index, position, end);
    if (membership !== null) run.memberships.push({ index, membership });
    this.lastTimeMs = entry.timeMs;
  }
  private superseded = false;

  /** Takes a closed segment's run into the index. */
  addRun(run: Run, name: string): void {
    this.makeRoomAt(run.first, name, run.pointPositions[0]);
    this.superseded = false;
    this.runs.push(run);
    this.changes += 1;
  }

  private makeRoomAt(index: Index, name: string, position: number): void {
    const last = this.lastIndex;
    if (index === last + 1) return;
    if (index > last) throw corrupt(name, position, `entry ${index} does not follow ${last}`);
    while (this.runs.length > 0 && this.runs[this.runs.length - 1].first >= index) this.runs.pop();
    if (this.runs.length > 0) this.runs[this.runs.length - 1].endAt(index - 1);
    else this.floor = index - 1;
    this.superseded = true;
    this.changes += 1;
  }

  /** The log stands on a snapshot now. */
  setBase(base: SnapshotMeta): void {
    this.base = base;
    this.baseMembership = base.membership;
  }

  /** Forgets all entries: the log goes on after `index`. */
  reset(index: Index, timeMs: number): void {
    this.runs.length = 0;
    this.changes += 1;
    this.floor = index;
    this.lastTimeMs = timeMs;
  }

  /** Whether an entry above `index` lies in that segment. */
  holdsAbove(segment: number, index: Index): boolean {
    return this.runs.some((run) => run.segment === segment && run.last > index);
  }

  forgetSegment(segment: number): void {
    const last = this.lastIndex;
    const kept = this.runs.filter((run) => run.segment !== segment);
    this.runs.length = 0;
    for (const run of kept) this.runs.push(run);
    this.changes += 1;
    if (kept.length === 0) this.floor = last;
  }

  /** Memberships of the entries after the base, ascending. */
  memberships(): IndexedMembership[] {
    const floor = this.base?.last.index ?? 0;
    return this.runs.flatMap((run) => run.memberships).filter((item) => item.index > floor);
  }

  currentMembership(): Membership {
    return this.memberships().at(-1)?.membership ?? this.baseMembership;
  }

  /** Runs of the terms from the base's last entry on. */
  termRuns(): TermRun[] {
    const base = this.base?.last ?? null;
    const result: TermRun[] = base === null ? [] : [[base.term, base.index]];
    for (const run of this.runs) {
      if (base !== null && run.last <= base.index) continue;
      const known = result.at(-1);
      if (known !== undefined && known[0] === run.term) continue;
      result.push([run.term, Math.max(run.first, (base?.index ?? 0) + 1)]);
    }
    return result;
  }
}

/** The membership that an entry's record carries, or null; `name` and `position` for the error. */
export function membershipIn(
  entry: RecordFields,
  name: string,
  position: number,
): Membership | null {
  if (entry.entryKind !== EntryKind.membership) return null;
  try {
    return decodeMembership(entry.payload);
  } catch (thrown) {
    throw corrupt(name, position, `entry ${entry.index} is no membership`, thrown);
  }
}

/** The membership that an entry carries, or null; throws `malformed`. */
export function membershipOf(entry: Entry): Membership | null {
  return entry.kind === EntryKind.membership ? decodeMembership(entry.data) : null;
}

const runCodec = fields<{
  term: number;
  first: number;
  last: number;
  end: number;
  points: Uint8Array;
  memberships: readonly IndexedMembership[];
}>({
  term: whole,
  first: whole,
  last: whole,
  end: whole,
  points: binary,
  memberships: list(fields<IndexedMembership>({
    index: whole,
    membership: { encode: membershipToWire, decode: membershipFromWire },
  })),
});

/** Content of an index file: enough to know a closed segment without reading it. */
interface IndexFile {
  readonly cluster: string;
  readonly group: string;
  readonly number: number;
  readonly bytes: number;
  readonly records: number;
  readonly runs: readonly {
    readonly term: number;
    readonly first: number;
    readonly last: number;
    readonly end: number;
    readonly points: Uint8Array;
    readonly memberships: readonly IndexedMembership[];
  }[];
}

const indexFileCodec = fields<IndexFile>({
  cluster: text,
  group: text,
  number: whole,
  bytes: whole,
  records: whole,
  runs: list(runCodec),
});

function indexSeed(identity: GroupIdentity, number: number): number {
  return checksumSeed(identity, `index ${number}`);
}

/** The index file of a segment that closes now: `index` must not know any later one. */
export function encodeIndexFile(
  identity: GroupIdentity,
  segment: { readonly number: number; readonly bytes: number; readonly records: number },
  index: LogIndex,
): Uint8Array {
  const { cluster, group } = identity;
  const runs = index.runs.filter((run) => run.segment === segment.number).map((run) => ({
    term: run.term,
    first: run.first,
    last: run.last,
    end: run.end,
    points: packPoints(run),
    memberships: run.memberships,
  }));
  const payload = pack(indexFileCodec.encode({ cluster, group, ...segment, runs }));
  return encodeChecked(Magic.index, indexSeed(identity, segment.number), payload);
}

/**
 * Writes an index file. It is not synced: damage is found by its checksum and costs a scan.
 * Throws like any write; the caller may ignore a full disk.
 */
export function writeIndexFile(
  disk: Disk,
  directory: string,
  number: number,
  bytes: Uint8Array,
): void {
  const path = joinPath(directory, indexName(number));
  disk.remove(path);
  const file = disk.open(path, "create");
  try {
    file.writeAt(0, bytes);
  } finally {
    file.close();
  }
}

/** Runs of a closed segment from its index file; null where that is missing or wrong. */
export function readIndexFile(
  disk: Disk,
  directory: string,
  identity: GroupIdentity,
  number: number,
  bytes: number,
): { readonly runs: Run[]; readonly records: number } | null {
  const path = joinPath(directory, indexName(number));
  if (!disk.exists(path)) return null;
  try {
    const payload = readChecked(disk, path, Magic.index, indexSeed(identity, number));
    const content = indexFileCodec.decode(unpack(payload), path);
    if (content.number !== number || content.bytes !== bytes) return null;
    return { runs: content.runs.map((item) => unpackRun(number, item)), records: content.records };
  } catch {
    return null;
  }
}

function packPoints(run: Run): Uint8Array {
  const bytes = new Uint8Array(run.pointIndexes.length * 8);
  const view = viewOf(bytes);
  run.pointIndexes.forEach((index, slot) => {
    view.setUint32(slot * 8, index - run.first, true);
    view.setUint32(slot * 8 + 4, run.pointPositions[slot], true);
  });
  return bytes;
}

function unpackRun(segment: number, item: IndexFile["runs"][number]): Run {
  const run = new Run(segment, item.term, item.first);
  run.last = item.last;
  run.end = item.end;
  run.memberships = [...item.memberships];
  const view = viewOf(item.points);
  for (let at = 0; at + 8 <= item.points.length; at += 8) {
    run.pointIndexes.push(item.first + view.getUint32(at, true));
    run.pointPositions.push(view.getUint32(at + 4, true));
  }
  return run;
}
