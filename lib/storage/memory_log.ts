/** A log in memory, for tests and for Raft as a module without a disk. */

import { assert } from "../base/assert.ts";
import { concatBytes } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import type {
  Entry,
  HardState,
  Index,
  LogId,
  Membership,
  SnapshotMeta,
  Term,
} from "../raft/types.ts";
import { checkEntries } from "./entries.ts";
import { GroupCommit } from "./group_commit.ts";
import { LogIndex, membershipOf } from "./segment_index.ts";
import type {
  GroupIdentity,
  LogStore,
  RecoveredState,
  RecoveryReport,
  SnapshotReader,
  SnapshotWriter,
} from "./store.ts";

export interface MemoryLogOptions {
  readonly identity: GroupIdentity;
  readonly bootstrap: Membership;
  /** Takes the place of the disk's sync: resolves when what was appended before is "durable". */
  readonly sync?: () => Promise<void>;
}

interface StoredSnapshot {
  readonly meta: SnapshotMeta;
  readonly state: Uint8Array;
}

/** All that a log in memory holds: what a disk would. */
interface Content {
  hardState: HardState;
  base: SnapshotMeta | null;
  /** Index before the first of `entries`. */
  floor: Index;
  entries: Entry[];
  snapshots: StoredSnapshot[];
}

export class MemoryLog implements LogStore {
  readonly identity: GroupIdentity;
  readonly recovered: RecoveredState;
  /** Has no effect: a log in memory is one segment. */
  rollAfterMs = 0;
  readonly segmentSize = { retainedBytes: 0 };
  readonly report: RecoveryReport = { segments: 0, records: 0, bytesSetAside: 0, notes: [] };
  private readonly commit: GroupCommit;
  private readonly content: Content;

  /** `before`: a log that was closed and whose content this one takes over, as if reopened. */
  constructor(private readonly options: MemoryLogOptions, before?: MemoryLog) {
    this.identity = options.identity;
    this.commit = new GroupCommit(options.sync ?? (() => Promise.resolve()));
    this.content = before?.content ?? {
      hardState: { term: 0, vote: null, commit: 0 },
      base: null,
      floor: 0,
      entries: [],
      snapshots: [],
    };
    this.recovered = this.recoveredState();
  }

  private recoveredState(): RecoveredState {
    const { base, entries, floor, hardState } = this.content;
    const index = new LogIndex(floor, base, base?.membership ?? this.options.bootstrap, 0);
    for (const entry of entries) index.addEntry(1, entry, membershipOf(entry), 0, 0, "memory");
    return {
      hardState,
      snapshot: base,
      last: index.lastId(),
      termRuns: index.termRuns(),
      lastTimeMs: entries.at(-1)?.timeMs ?? base?.timeMs ?? 0,
      memberships: index.memberships(),
      baseMembership: index.baseMembership,
    };
  }

  firstIndex(): Index {
    return this.content.floor + 1;
  }

  lastIndex(): Index {
    return this.content.floor + this.content.entries.length;
  }

  termAt(index: Index): Term | null {
    const { base, entries, floor } = this.content;
    if (base?.last.index === index) return base.last.term;
    return entries[index - floor - 1]?.term ?? null;
  }

  append(hardState: HardState | null, entries: readonly Entry[]): void {
    this.commit.check();
    const { content } = this;
    if (entries.length > 0) {
      checkEntries(entries, content.base?.last.index ?? 0, this.lastIndex());
      entries.forEach(membershipOf);
      content.entries.length = entries[0].index - content.floor - 1;
      for (const entry of entries) content.entries.push(entry);
    }
    if (hardState !== null) content.hardState = hardState;
  }

  sync(): Promise<void> {
    return this.commit.sync();
  }

  /** Memory is as durable as it will ever be: the hook is not asked. */
  syncNow(): void {
    this.commit.check();
  }

  syncInFlight(): boolean {
    return this.commit.inFlight();
  }

  read(from: Index, maxBytes: number): Entry[] {
    this.commit.check();
    const { entries, floor } = this.content;
    const result: Entry[] = [];
    if (from <= floor) return result;
    let bytes = 0;
    for (let at = from - floor - 1; at < entries.length; at += 1) {
      bytes += entries[at].data.length;
      if (result.length > 0 && bytes > maxBytes) break;
      result.push(entries[at]);
    }
    return result;
  }

  findDamage(): null {
    return null;
  }

  mend(): null {
    return null;
  }

  segmentStarts(): readonly { readonly first: Index; readonly bytes: number }[] {
    if (this.content.entries.length === 0) return [];
    return [{ first: this.firstIndex(), bytes: this.bytes() }];
  }

  bytes(): number {
    return this.content.entries.reduce((sum, entry) => sum + entry.data.length, 0);
  }

  trimPrefix(base: SnapshotMeta): void {
    this.noteBase(base);
  }

  noteBase(base: SnapshotMeta): boolean {
    this.commit.check();
    assert(this.hasSnapshot(base.last), "a log is trimmed to a stored snapshot");
    assert(base.last.index <= this.lastIndex(), "a log is trimmed to what it holds");
    if (base.last.index <= (this.content.base?.last.index ?? 0)) return false;
    this.standOn(base);
    return true;
  }

  dropSegment(): boolean {
    return false;
  }

  adoptSnapshot(meta: SnapshotMeta, hardState: HardState): void {
    this.commit.check();
    assert(this.hasSnapshot(meta.last), "a log adopts a stored snapshot");
    this.content.hardState = hardState;
    if (this.termAt(meta.last.index) !== meta.last.term) {
      this.content.entries = [];
      this.content.floor = meta.last.index;
    }
    this.standOn(meta);
  }

  private standOn(base: SnapshotMeta): void {
    const { content } = this;
    content.entries = content.entries.slice(Math.max(0, base.last.index - content.floor));
    content.floor = base.last.index;
    content.base = base;
  }

  private hasSnapshot(last: LogId): boolean {
    return this.content.snapshots.some(({ meta }) =>
      meta.last.index === last.index && meta.last.term === last.term
    );
  }

  snapshots(): readonly SnapshotMeta[] {
    return this.content.snapshots.map(({ meta }) => meta);
  }

  beginSnapshot(meta: SnapshotMeta): SnapshotWriter {
    this.commit.check();
    const parts: Uint8Array[] = [];
    let open = true;
    const publish = () => {
      assert(open, "a snapshot is published once");
      open = false;
      this.store({ meta, state: concatBytes(parts) });
    };
    return {
      meta,
      get size() {
        return parts.reduce((sum, part) => sum + part.length, 0);
      },
      write(part) {
        assert(open, "a snapshot is written before it is committed or aborted");
        parts.push(part.slice());
      },
      end: () => {},
      sync: () => Promise.resolve(),
      check: () => true,
      publish,
      commit: publish,
      abort: () => {
        open = false;
      },
    };
  }

  private store(snapshot: StoredSnapshot): void {
    const { index } = snapshot.meta.last;
    this.drop(index);
    this.content.snapshots.push(snapshot);
    this.content.snapshots.sort((left, right) => left.meta.last.index - right.meta.last.index);
  }

  openSnapshot(index: Index): SnapshotReader | null {
    const found = this.content.snapshots.find(({ meta }) => meta.last.index === index);
    if (found === undefined) return null;
    const { meta, state } = found;
    return {
      meta,
      size: state.length,
      read: (offset, length) => state.slice(offset, offset + length),
      close: () => {},
    };
  }

  removeSnapshot(index: Index): void {
    assert(index !== this.content.base?.last.index, "the log stands on this snapshot");
    this.drop(index);
  }

  retireSnapshot(index: Index): () => boolean {
    this.removeSnapshot(index);
    return () => false;
  }

  private drop(index: Index): void {
    const { content } = this;
    content.snapshots = content.snapshots.filter(({ meta }) => meta.last.index !== index);
  }

  /** Nothing rots here. */
  mark(): void {
    this.commit.check();
  }

  close(): void {
    this.commit.poison(new TrilogError("disk_failed", "Cannot use log: it is closed"));
  }
}
