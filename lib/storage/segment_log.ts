/**
 * The log of one group in segment files: see DESIGN.md for the format and the crash windows, and
 * recovery.ts for the way back. One `append` is one write; a record says how far its segment was
 * known to be synced; a closed segment was synced before its successor got its name.
 *
 * A full disk: entries are refused while `reserve` cannot be kept. Term and vote, the base and a
 * new segment of an installed snapshot may use its space: the file is given up for them.
 *
 * Crash windows of `trimPrefix`: the base record is synced before the first file goes. Files go
 * oldest first; an opening ignores and removes whatever lies below a gap, once it has seen that
 * the entries above reach down to the base. Of `adoptSnapshot`: where the tail is kept, term and
 * base go out in one write, and either counts alone; else a new segment that is marked as a fresh
 * start counts from its rename on, and the older ones are no longer read.
 */

import { assert } from "../base/assert.ts";
import { TrilogError } from "../base/errors.ts";
import { type Logger, silentLogger } from "../base/logger.ts";
import type { Entry, HardState, Index, Membership, SnapshotMeta, Term } from "../raft/types.ts";
import { type Disk, isDiskFull } from "./disk.ts";
import { checkEntries, maySpendReserve } from "./entries.ts";
import { GroupCommit } from "./group_commit.ts";
import { indexName, joinPath, segmentName } from "./layout.ts";
import { RECORD_HEADER_BYTES, RecordKind, RecordWriter } from "./record.ts";
import { type RecoveredLog, recoveredState, recoverLog, type SegmentFile } from "./recovery.ts";
import { Reserve } from "./reserve.ts";
import { addBase, addHardState, createSegment, type Segment } from "./segment.ts";
import { encodeIndexFile, type LogIndex, membershipOf, writeIndexFile } from "./segment_index.ts";
import { SegmentRepair } from "./segment_repair.ts";
import { SegmentFiles } from "./segment_reader.ts";
import { SegmentSize } from "./segment_size.ts";
import { type SegmentStart, SegmentStarts } from "./segment_starts.ts";
import { SnapshotFiles } from "./snapshot_files.ts";
import { SyncMarkFile } from "./sync_mark.ts";
import type {
  Damage,
  GroupIdentity,
  LogStore,
  OpenOptions,
  RecoveredState,
  RecoveryReport,
  SnapshotReader,
  SnapshotWriter,
} from "./store.ts";

export interface SegmentLogOptions extends OpenOptions {
  readonly logger?: Logger;
}

/**
 * Opens the log in a directory, or makes a new one. Throws `corrupt` on rot, `unsupported_version`
 * on files of a newer trilog, `disk_full` or `disk_failed`.
 */
export function openSegmentLog(disk: Disk, options: SegmentLogOptions): LogStore {
  const snapshots = new SnapshotFiles(disk, options.directory, options.identity);
  const reserve = new Reserve(disk, options.directory);
  const recovered = reserve.use(() => recoverLog(disk, options, snapshots, options.logger));
  return new SegmentLog(disk, options, snapshots, reserve, recovered);
}

/** Shared by all logs of the process: a write begins and ends within one call. */
const writer = new RecordWriter();

/** The segment that is being written. */
interface Active {
  readonly segment: Segment;
  /** Entry of this segment in the list of all. */
  readonly listed: SegmentFile;
  /** Bytes of the file that are known to be synced. */
  synced: number;
  records: number;
  /** Stamp of its first entry; null where it has none. */
  firstStampMs: number | null | "unread";
}

class SegmentLog implements LogStore {
  readonly identity: GroupIdentity;
  readonly recovered: RecoveredState;
  readonly report: RecoveryReport;
  rollAfterMs = 0;
  readonly segmentSize: SegmentSize;
  private readonly logger: Logger;
  private readonly commit = new GroupCommit(() => this.flush());
  private readonly index: LogIndex;
  private readonly files: SegmentFiles;
  private readonly repair: SegmentRepair;
  private readonly syncMark: SyncMarkFile;
  private segments: SegmentFile[];
  private hardState: HardState;
  private active: Active;
  private readonly starts: SegmentStarts;

  constructor(
    private readonly disk: Disk,
    private readonly options: SegmentLogOptions,
    private readonly snapshotFiles: SnapshotFiles,
    private readonly reserve: Reserve,
    recovered: RecoveredLog,
  ) {
    this.identity = options.identity;
    this.logger = options.logger ?? silentLogger;
    this.index = recovered.index;
    this.starts = new SegmentStarts(this.index);
    this.segments = recovered.segments;
    this.hardState = recovered.hardState;
    this.report = recovered.report;
    const listed = this.segments[this.segments.length - 1];
    const { active: segment, records } = recovered;
    this.active = { segment, listed, synced: listed.bytes, records, firstStampMs: "unread" };
    this.segmentSize = new SegmentSize(disk, options.segmentBytes, this.bytes());
    this.syncMark = new SyncMarkFile(disk, options.directory, options.identity);
    this.files = new SegmentFiles(disk, options.directory, options.identity);
    this.repair = new SegmentRepair(disk, options.directory, options.identity);
    this.recovered = recoveredState(this.index, this.hardState);
    this.reserve.tryRestore();
    this.mark();
  }

  firstIndex(): Index {
    return this.index.firstIndex;
  }

  lastIndex(): Index {
    return this.index.lastIndex;
  }

  termAt(index: Index): Term | null {
    return this.index.termAt(index);
  }

  append(hardState: HardState | null, entries: readonly Entry[]): void {
    this.commit.check();
    checkEntries(entries, this.index.base?.last.index ?? 0, this.index.lastIndex);
    const memberships = entries.map(membershipOf);
    const isSmall = maySpendReserve(entries);
    let from = 0;
    do {
      if (!isSmall) {
        this.reserve.restore();
        this.rollIfFull();
        this.rollIfOld(entries[from].timeMs);
      }
      const to = this.endOfPart(entries, from);
      const part = [entries.slice(from, to), memberships.slice(from, to)] as const;
      this.appendPart(from === 0 ? hardState : null, ...part);
      from = to;
    } while (from < entries.length);
  }

  /** Appends what goes into one segment. */
  private appendPart(
    hardState: HardState | null,
    entries: readonly Entry[],
    memberships: readonly (Membership | null)[],
  ): void {
    const { segment, listed } = this.active;
    this.startWrite();
    if (hardState !== null) addHardState(writer, hardState);
    const entriesAt = writer.end;
    for (const entry of entries) {
      const { index, term, timeMs, kind, data } = entry;
      writer.add(RecordKind.entry, kind, index, term, timeMs, data);
    }
    const count = entries.length + (hardState === null ? 0 : 1);
    if (count === 0) return;
    this.write(maySpendReserve(entries), count);
    if (hardState !== null) this.hardState = hardState;
    if (entries.length > 0) this.active.firstStampMs ??= entries[0].timeMs;
    const { number } = segment.header;
    let position = entriesAt;
    for (let at = 0; at < entries.length; at += 1) {
      const end = position + RECORD_HEADER_BYTES + entries[at].data.length;
      this.index.addEntry(number, entries[at], memberships[at], position, end, segment.name);
      position = end;
    }
    assert(entries.length === 0 || position === listed.bytes, "positions add up");
  }

  private startWrite(): void {
    const { segment, listed, synced } = this.active;
    writer.start(segment.seed, listed.bytes, synced);
  }

  /** Writes what the writer holds at the end of the active segment. */
  private write(mayUseReserve: boolean, records: number): void {
    const { active } = this;
    const bytes = writer.finish();
    const write = () => active.segment.file.writeAt(active.listed.bytes, bytes);
    this.orPoison(() => mayUseReserve ? this.reserve.use(write) : write());
    active.listed.bytes += bytes.length;
    active.records += records;
    writer.release();
  }

  /** Runs a change of the disk; only a full disk leaves the log usable. */
  private orPoison<T>(change: () => T): T {
    try {
      return change();
    } catch (thrown) {
      if (isDiskFull(thrown)) throw thrown;
      throw this.commit.poison(thrown);
    }
  }

  private rollIfFull(): void {
    const { segment: { headerEnd }, listed: { bytes } } = this.active;
    if (bytes >= this.segmentSize.bytes && bytes > headerEnd) this.startSegment(null);
  }

  /** Ends the active segment when its first entry is too old to share it with one of `timeMs`. */
  private rollIfOld(timeMs: number): void {
    const firstMs = this.firstStampMs();
    if (firstMs === null || !this.isApart(firstMs, timeMs)) return;
    try {
      this.startSegment(null);
    } catch (thrown) {
      // Dropping by age is worth no refusal of entries.
      if (!isDiskFull(thrown)) throw thrown;
    }
  }

  /** Stamp of the active segment's first entry; null where it has none. */
  private firstStampMs(): number | null {
    if (this.rollAfterMs === 0) return null;
    const { active } = this;
    if (active.firstStampMs === "unread") {
      const newest = this.segmentStarts().at(-1);
      const holdsEntries = newest !== undefined && newest.number === active.listed.number;
      active.firstStampMs = holdsEntries ? this.read(newest.first, 0)[0].timeMs : null;
    }
    return active.firstStampMs;
  }

  private isApart(firstMs: number, timeMs: number): boolean {
    return this.rollAfterMs > 0 && timeMs - firstMs >= this.rollAfterMs;
  }

  /** End of the entries from `from` on that go into the active segment together. */
  private endOfPart(entries: readonly Entry[], from: number): number {
    if (this.rollAfterMs === 0 || entries.length === 0) return entries.length;
    const firstMs = this.firstStampMs() ?? entries[from].timeMs;
    for (let at = from + 1; at < entries.length; at += 1) {
      if (this.isApart(firstMs, entries[at].timeMs)) return at;
    }
    return entries.length;
  }

  /**
   * Syncs and closes the active segment and starts the next one: going on with the log, or afresh
   * on a snapshot with a hard state.
   */
  private startSegment(
    afresh: { readonly base: SnapshotMeta; readonly hardState: HardState } | null,
  ): void {
    const { segment, listed } = this.active;
    this.orPoison(() => segment.file.syncNow());
    this.active.synced = listed.bytes;
    const base = afresh?.base ?? this.index.base;
    const created = this.orPoison(() =>
      createSegment(this.disk, this.options.directory, {
        ...this.identity,
        number: listed.number + 1,
        first: afresh === null ? this.index.lastIndex + 1 : afresh.base.last.index + 1,
        previousBytes: listed.bytes,
        reset: afresh !== null,
        hardState: afresh?.hardState ?? this.hardState,
        base,
        baseMembership: base?.membership ?? this.index.baseMembership,
        membership: afresh?.base.membership ?? this.index.currentMembership(),
        lastTimeMs: afresh?.base.timeMs ?? this.index.lastTimeMs,
      })
    );
    if (afresh === null) this.closeActive();
    else segment.file.close();
    const { number, first } = created.header;
    const next: SegmentFile = { number, first, bytes: created.initialBytes };
    this.segments.push(next);
    this.segmentSize.measure(this.bytes());
    this.active = {
      segment: created,
      listed: next,
      synced: next.bytes,
      records: 1,
      firstStampMs: null,
    };
    this.mark();
  }

  /** Writes the index file of the segment that was active; a full disk only costs a later scan. */
  private closeActive(): void {
    const { segment, listed, records } = this.active;
    segment.file.close();
    const { number, bytes } = listed;
    const content = encodeIndexFile(this.identity, { number, bytes, records }, this.index);
    try {
      writeIndexFile(this.disk, this.options.directory, number, content);
    } catch (thrown) {
      this.logger.warn("no index file for a segment", { segment: number, error: String(thrown) });
    }
  }

  sync(): Promise<void> {
    return this.commit.sync();
  }

  private async flush(): Promise<void> {
    const { active } = this;
    const written = active.listed.bytes;
    if (written === active.synced) return;
    await active.segment.file.sync();
    active.synced = Math.max(active.synced, written);
    this.markIfFar();
  }

  syncNow(): void {
    this.commit.check();
    const { active } = this;
    if (active.listed.bytes === active.synced) return;
    this.orPoison(() => active.segment.file.syncNow());
    active.synced = active.listed.bytes;
    this.markIfFar();
  }

  syncInFlight(): boolean {
    return this.commit.inFlight();
  }

  read(from: Index, maxBytes: number): Entry[] {
    this.commit.check();
    return this.files.read(this.index, this.segments, from, maxBytes, this.active.segment);
  }

  findDamage(index: Index): Damage | null {
    this.commit.check();
    const run = this.index.runOf(index);
    if (run === null) return null;
    // What other records of the newest segment say is in the header of the next one.
    if (run.segment === this.active.listed.number) this.startSegment(null);
    return this.repair.find(this.closed(run.segment), this.index);
  }

  mend(damage: Damage, entries: readonly Entry[]): Damage | null {
    this.commit.check();
    const closed = this.closed(damage.segment);
    return this.orPoison(() => this.repair.mend(closed, damage, entries, this.index));
  }

  /** A closed segment that is about to be changed; null where it is gone. */
  private closed(number: number): SegmentFile | null {
    this.files.forget(number);
    return this.segments.find((segment) => segment.number === number) ?? null;
  }

  segmentStarts(): readonly SegmentStart[] {
    return this.starts.list(this.segments, this.active.listed);
  }

  bytes(): number {
    return this.segments.reduce((sum, segment) => sum + segment.bytes, 0);
  }

  trimPrefix(base: SnapshotMeta): void {
    if (!this.noteBase(base)) return;
    this.syncNow();
    while (this.dropSegment());
  }

  noteBase(base: SnapshotMeta): boolean {
    this.commit.check();
    assert(this.snapshotFiles.has(base.last), "a log is trimmed to a stored snapshot");
    assert(base.last.index <= this.index.lastIndex, "a log is trimmed to what it holds");
    if (base.last.index <= (this.index.base?.last.index ?? 0)) return false;
    this.writeBase(base, null);
    return true;
  }

  dropSegment(): boolean {
    this.commit.check();
    const [{ number, first }] = this.segments;
    const base = this.index.base?.last.index ?? 0;
    const needed = number === this.active.listed.number || this.index.holdsAbove(number, base);
    if (needed) {
      this.reserve.tryRestore();
      return false;
    }
    this.orPoison(() => this.removeSegment(number, first));
    this.segments = this.segments.slice(1);
    return true;
  }

  adoptSnapshot(meta: SnapshotMeta, hardState: HardState): void {
    this.commit.check();
    assert(this.snapshotFiles.has(meta.last), "a log adopts a stored snapshot");
    if (this.index.termAt(meta.last.index) === meta.last.term) {
      this.writeBase(meta, hardState);
      this.syncNow();
      while (this.dropSegment());
      return;
    }
    this.reserve.use(() => this.startSegment({ base: meta, hardState }));
    this.hardState = hardState;
    this.index.setBase(meta);
    this.index.reset(meta.last.index, meta.timeMs);
    while (this.dropSegment());
  }

  /** Writes a new base, and a hard state before it. */
  private writeBase(base: SnapshotMeta, hardState: HardState | null): void {
    this.startWrite();
    if (hardState !== null) addHardState(writer, hardState);
    addBase(writer, base);
    this.writeMakingRoom(base, hardState === null ? 1 : 2);
    if (hardState !== null) this.hardState = hardState;
    this.index.setBase(base);
  }

  /**
   * Writes a record that makes room. Where not even the reserve is left, the index files of the
   * segments that go have what it needs: a crash in between costs scans.
   */
  private writeMakingRoom(base: SnapshotMeta, records: number): void {
    try {
      this.write(true, records);
    } catch (thrown) {
      if (!isDiskFull(thrown)) throw thrown;
      this.orPoison(() => {
        for (const { number } of this.segments) {
          if (this.index.holdsAbove(number, base.last.index)) break;
          if (number === this.active.listed.number) break;
          this.disk.remove(joinPath(this.options.directory, indexName(number)));
        }
      });
      this.write(true, records);
    }
  }

  /** Not synced: a file that comes back lies below a gap or below the base, and goes again. */
  private removeSegment(number: number, first: Index): void {
    const { directory } = this.options;
    this.files.forget(number);
    this.disk.remove(joinPath(directory, segmentName(number, first)));
    this.disk.remove(joinPath(directory, indexName(number)));
    this.index.forgetSegment(number);
  }

  snapshots(): readonly SnapshotMeta[] {
    return this.snapshotFiles.list();
  }

  beginSnapshot(meta: SnapshotMeta): SnapshotWriter {
    this.commit.check();
    return this.snapshotFiles.begin(meta);
  }

  openSnapshot(index: Index): SnapshotReader | null {
    return this.snapshotFiles.open(index);
  }

  removeSnapshot(index: Index): void {
    assert(index !== this.index.base?.last.index, "the log stands on this snapshot");
    this.snapshotFiles.remove(index);
  }

  retireSnapshot(index: Index): () => boolean {
    assert(index !== this.index.base?.last.index, "the log stands on this snapshot");
    return this.snapshotFiles.retire(index);
  }

  mark(): void {
    this.commit.check();
    const { listed, synced } = this.active;
    this.orPoison(() => this.syncMark.write(listed.number, synced));
  }

  /** A log under load marks by itself every mebibyte; see `LogStore.mark` for all others. */
  private markIfFar(): void {
    const { listed, synced } = this.active;
    if (synced - this.syncMark.stated(listed.number) >= MARK_EVERY_BYTES) this.mark();
  }

  close(): void {
    try {
      this.syncNow();
      this.mark();
    } finally {
      this.files.close();
      this.active.segment.file.close();
      this.orPoison(() => this.syncMark.sync());
      this.commit.poison(new TrilogError("disk_failed", "Cannot use log: it is closed"));
    }
  }
}

const MARK_EVERY_BYTES = 1024 * 1024;
