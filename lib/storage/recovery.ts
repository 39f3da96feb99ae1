/**
 * Finding a log again, and telling what was never synced from what has rotted.
 *
 * Every record says how many bytes of its segment were known to be synced when it was written,
 * and a segment exists under its name only after the one before was synced to its end. So in a
 * closed segment every bad byte is rot. In the newest one, the highest synced position that the
 * group's mark (sync_mark.ts) or any valid record states (also one behind bad bytes: pages may land
 * in any order) draws the line:
 *
 *   bad bytes below it        rot: `corrupt` with file and offset; nothing is changed
 *   bad bytes at or after it  never became durable: copied into `set-aside`, then cut
 *   valid records after it    perhaps not durable, perhaps acknowledged: kept, but written anew
 *                             into a new segment, because after a failed fsync the page cache
 *                             shows bytes that the disk does not have and never will
 *
 * A name that the system shows may be in its cache only: a process that was killed between the
 * renaming of a segment and the sync of its directory leaves one. So every opening syncs the
 * directory before anything is written behind such a name.
 *
 * Crash windows: the new segment counts from its rename on; before it the old tail is still
 * there, after it the new header says how many bytes of the old segment belong to the log, and
 * whatever lies beyond is cut by this opening or the next.
 */

import { type Logger, silentLogger } from "../base/logger.ts";
import type { HardState, Index, Membership } from "../raft/types.ts";
import type { Disk } from "./disk.ts";
import {
  joinPath,
  makeDurableDirectory,
  parseIndexName,
  parseSnapshotName,
  segmentName,
  SET_ASIDE_DIRECTORY,
  snapshotName,
  SYNC_MARK_FILE,
  TEMPORARY_SUFFIX,
} from "./layout.ts";
import { corrupt, CorruptFileError, readOrCorrupt } from "./record.ts";
import { createSegment, openSegment, type Segment } from "./segment.ts";
import { encodeIndexFile, LogIndex, readIndexFile, writeIndexFile } from "./segment_index.ts";
import { type Chain, checkNewest, findChain } from "./segment_chain.ts";
import { replayRecords, significantRecords, type Survey, surveyNewest } from "./segment_scan.ts";
import type { SnapshotFiles } from "./snapshot_files.ts";
import type { OpenOptions, RecoveredState, RecoveryReport } from "./store.ts";
import { readSyncMark, type SyncMark } from "./sync_mark.ts";

const NO_MEMBERS: Membership = {
  voters: [],
  outgoing: [],
  learners: [],
  learnersNext: [],
  nodes: {},
};

/** A segment file that belongs to the log. */
export interface SegmentFile {
  readonly number: number;
  readonly first: Index;
  /** Bytes that belong to the log; the newest segment's grow. */
  bytes: number;
}

export interface RecoveredLog {
  readonly active: Segment;
  /** Records of the active segment, its header included. */
  readonly records: number;
  /** All segments, ascending; the last one is `active`. */
  readonly segments: SegmentFile[];
  readonly index: LogIndex;
  readonly hardState: HardState;
  readonly report: RecoveryReport;
}

/** What a log is opened with. */
export function recoveredState(index: LogIndex, hardState: HardState): RecoveredState {
  return {
    hardState,
    snapshot: index.base,
    last: index.lastId(),
    termRuns: index.termRuns(),
    lastTimeMs: index.lastTimeMs,
    memberships: index.memberships(),
    baseMembership: index.baseMembership,
  };
}

/** Opens the log in `options.directory`, or makes a new one where there is none. */
export function recoverLog(
  disk: Disk,
  options: OpenOptions,
  snapshots: SnapshotFiles,
  logger: Logger = silentLogger,
): RecoveredLog {
  return new Recovery(disk, options, snapshots, logger).run();
}

class Recovery {
  private readonly notes: string[] = [];
  private bytesSetAside = 0;
  private records = 0;
  /** Changes that wait until the log is known to be sound. */
  private repairs: (() => void)[] = [];

  constructor(
    private readonly disk: Disk,
    private readonly options: OpenOptions,
    private readonly snapshots: SnapshotFiles,
    private readonly logger: Logger,
  ) {}

  run(): RecoveredLog {
    const { disk, options } = this;
    this.repairs = [];
    this.records = 0;
    const names = disk.list(options.directory);
    const mark = this.readMark();
    const found = findChain(disk, options.directory, options.identity, "write");
    if (found === null) return this.createLog(names, mark);
    let recovered: RecoveredLog | null = null;
    try {
      checkNewest(disk, options.directory, found.newest.header.number, mark);
      recovered = this.recover(found, names, mark);
    } finally {
      if (recovered === null) found.newest.file.close();
    }
    // The tail went into a new segment: what is on the disk now is opened as it would be later.
    return recovered ?? this.run();
  }

  private note(text: string): void {
    this.notes.push(text);
    this.logger.warn("log recovery", { group: this.options.identity.group, note: text });
  }

  private path(name: string): string {
    return joinPath(this.options.directory, name);
  }

  /** A mark that cannot be read costs its evidence: the records must do without. */
  private readMark(): SyncMark | null {
    const { disk, options: { directory, identity } } = this;
    try {
      return readSyncMark(disk, directory, identity);
    } catch (thrown) {
      if (!(thrown instanceof CorruptFileError)) throw thrown;
      this.note(`the mark of the synced position is not used: ${thrown.message}`);
      return null;
    }
  }

  private createLog(names: readonly string[], mark: SyncMark | null): RecoveredLog {
    const { disk, options } = this;
    const remains = names.find((name) =>
      parseSnapshotName(name) !== null || parseIndexName(name) !== null ||
      (name === SYNC_MARK_FILE && mark !== null)
    );
    if (remains !== undefined) {
      throw corrupt(this.path(remains), 0, "its log, with term and vote, is missing");
    }
    makeDurableDirectory(disk, options.directory);
    const membership = options.bootstrap ?? NO_MEMBERS;
    const hardState = { term: 0, vote: null, commit: 0 };
    const active = createSegment(disk, options.directory, {
      ...options.identity,
      number: 1,
      first: 1,
      previousBytes: 0,
      reset: true,
      hardState,
      base: null,
      baseMembership: membership,
      membership,
      lastTimeMs: 0,
    });
    const index = new LogIndex(0, null, membership, 0);
    return this.result(active, [], index, hardState, 1);
  }

  private recover(
    found: Chain,
    names: readonly string[],
    mark: SyncMark | null,
  ): RecoveredLog | null {
    const { newest } = found;
    const { header } = newest;
    const path = this.path(newest.name);
    const survey = surveyNewest(newest, path, mark);
    const hasTail = survey.significantEnd > survey.synced;
    const start = found.places[0].first - 1;
    const index = new LogIndex(start, header.base, header.baseMembership, header.lastTimeMs);
    const segments = this.readClosed(found, index);
    index.lastTimeMs = header.lastTimeMs;
    checkFollows(path, header.first, index);
    const known = hasTail ? survey.synced : survey.end;
    const replayed = replayRecords(newest, path, known, index, "newest");
    const hardState = replayed.hardState ?? header.hardState;
    if (!hasTail) this.checkComplete(found, index);
    // Up to here nothing on the disk was changed: rot is shown to people as it was found.
    if (survey.end < survey.size) this.setAside(newest, survey);
    if (hasTail) {
      this.moveTail(newest, survey, index, hardState);
      return null;
    }
    this.records += replayed.records;
    this.settle(newest, survey);
    this.disk.syncDirectory(this.options.directory);
    for (const repair of this.repairs) repair();
    this.removeUnneeded(found, names);
    segments.push({ number: header.number, first: header.first, bytes: survey.end });
    const commit = Math.min(hardState.commit, index.lastIndex);
    return this.result(newest, segments, index, { ...hardState, commit }, replayed.records);
  }

  /** Takes the closed segments into `index`, oldest first. */
  private readClosed(found: Chain, index: LogIndex): SegmentFile[] {
    const { disk, options } = this;
    const segments: SegmentFile[] = [];
    for (let at = 0; at + 1 < found.places.length; at += 1) {
      const place = found.places[at];
      const bytes = found.places[at + 1].previousBytes;
      const path = this.path(segmentName(place.number, place.first));
      checkFollows(path, place.first, index);
      this.checkLength(path, bytes);
      segments.push({ number: place.number, first: place.first, bytes });
      const { directory, identity } = options;
      const known = readIndexFile(disk, directory, identity, place.number, bytes);
      if (known !== null) {
        for (const run of known.runs) index.addRun(run, path);
        this.records += known.records;
        continue;
      }
      const segment = openSegment(disk, directory, place, identity, "read");
      const { records } = replayRecords(segment, path, bytes, index, "closed");
      segment.file.close();
      this.records += records;
      const content = encodeIndexFile(identity, { number: place.number, bytes, records }, index);
      this.repairs.push(() => this.tryWriteIndex(place.number, content));
    }
    return segments;
  }

  /** A closed segment must have all its bytes; what lies behind them never counted. */
  private checkLength(path: string, bytes: number): void {
    const file = this.disk.open(path, "read");
    const size = file.size();
    file.close();
    if (size < bytes) throw corrupt(path, size, `${bytes - size} bytes are missing at its end`);
    if (size > bytes) this.repairs.push(() => this.cut(path, bytes));
  }

  private cut(path: string, bytes: number): void {
    const file = this.disk.open(path, "write");
    try {
      file.truncate(bytes);
    } finally {
      file.close();
    }
  }

  private tryWriteIndex(number: number, content: Uint8Array): void {
    try {
      writeIndexFile(this.disk, this.options.directory, number, content);
    } catch (thrown) {
      this.note(`no index file for segment ${number}: ${String(thrown)}`);
    }
  }

  /** The entries must reach down to the base, and the base's snapshot must be there. */
  private checkComplete(found: Chain, index: LogIndex): void {
    const base = index.base?.last ?? { index: 0, term: 0 };
    const oldest = found.places[0];
    if (index.firstIndex > base.index + 1) {
      const name = segmentName(oldest.number, oldest.first);
      const missing = `entries ${base.index + 1} to ${index.firstIndex - 1} before it are missing`;
      throw corrupt(this.path(name), 0, missing);
    }
    const faults = this.snapshots.load();
    if (base.index > 0 && !this.snapshots.has(base)) {
      const fault = faults.find((item) => item.last.index === base.index);
      if (fault !== undefined) throw fault.fault;
      throw corrupt(this.path(snapshotName(base)), 0, "the snapshot under the log is missing");
    }
    for (const { fault } of faults) this.note(`a snapshot is left alone: ${String(fault)}`);
  }

  /** Removes unfinished files, and segments and index files that no longer count. */
  private removeUnneeded(found: Chain, names: readonly string[]): void {
    const { places, leftovers } = found;
    const old = new Set(leftovers.map((place) => segmentName(place.number, place.first)));
    for (const name of names) {
      const index = parseIndexName(name);
      const outdated = index !== null && index < places[0].number;
      if (name.endsWith(TEMPORARY_SUFFIX) || old.has(name) || outdated) {
        this.disk.remove(this.path(name));
      }
    }
    if (leftovers.length > 0) this.note(`${leftovers.length} superseded segments are removed`);
  }

  /** Keeps a copy of the bytes that never became durable, for people to look at. */
  private setAside(newest: Segment, scan: Survey): void {
    const bytes = new Uint8Array(scan.size - scan.end);
    readOrCorrupt(newest.file, this.path(newest.name), scan.end, bytes);
    this.makeSetAside();
    const copy = this.path(`${SET_ASIDE_DIRECTORY}/${newest.name}.${scan.end}`);
    try {
      this.disk.remove(copy);
      const file = this.disk.open(copy, "create");
      file.writeAt(0, bytes);
      file.close();
    } catch (thrown) {
      this.note(`no copy of the bytes set aside: ${String(thrown)}`);
    }
    this.bytesSetAside += bytes.length;
    this.note(`${bytes.length} bytes of ${newest.name} from ${scan.end} on were never synced`);
  }

  private makeSetAside(): void {
    this.disk.makeDirectory(this.path(SET_ASIDE_DIRECTORY));
  }

  /**
   * Makes the end of the newest segment durable where it holds only markers: they are written
   * again in place, since losing them would only forget what they say.
   */
  private settle(newest: Segment, survey: Survey): void {
    const { file } = newest;
    if (survey.size > survey.end) file.truncate(survey.end);
    const markers = new Uint8Array(survey.end - survey.synced);
    if (markers.length > 0) {
      readOrCorrupt(file, this.path(newest.name), survey.synced, markers);
      file.writeAt(survey.synced, markers);
    }
    if (markers.length > 0 || survey.size > survey.end) file.syncNow();
  }

  /**
   * Writes the valid records behind the synced position anew, as the start of a new segment.
   * `index` and `hardState` are those of the synced position.
   */
  private moveTail(
    newest: Segment,
    survey: Survey,
    index: LogIndex,
    hardState: HardState,
  ): void {
    const { disk, options } = this;
    const tail = significantRecords(newest, this.path(newest.name), survey.synced, survey.end);
    createSegment(disk, options.directory, {
      ...options.identity,
      number: newest.header.number + 1,
      first: index.lastIndex + 1,
      previousBytes: survey.synced,
      reset: false,
      hardState,
      base: index.base,
      baseMembership: index.baseMembership,
      membership: index.currentMembership(),
      lastTimeMs: index.lastTimeMs,
    }, tail).file.close();
    this.note(`${tail.length} records that may not have been synced are written again`);
  }

  private result(
    active: Segment,
    segments: SegmentFile[],
    index: LogIndex,
    hardState: HardState,
    activeRecords: number,
  ): RecoveredLog {
    const { number, first } = active.header;
    if (segments.length === 0) segments.push({ number, first, bytes: active.initialBytes });
    const { bytesSetAside, notes, records } = this;
    const report = { segments: segments.length, records, bytesSetAside, notes };
    return { active, records: activeRecords, segments, index, hardState, report };
  }
}

function checkFollows(path: string, first: Index, index: LogIndex): void {
  if (first === index.lastIndex + 1) return;
  throw corrupt(path, 0, `it begins at entry ${first}, the log before ends at ${index.lastIndex}`);
}
