/**
 * What a replica asks of its storage: one ordered log of entries and hard states per group, and
 * its snapshots. `segment_log.ts` keeps them in files, `memory_log.ts` in memory; one conformance
 * suite runs on both.
 */

import type {
  Entry,
  HardState,
  Index,
  InitialState,
  Membership,
  SnapshotMeta,
  Term,
} from "../raft/types.ts";

/** Bytes of a segment that cannot be read, and the live entries that were there. */
export interface Damage {
  /** Number of the segment. */
  readonly segment: number;
  /** Bytes [from, to) of its file. */
  readonly from: number;
  readonly to: number;
  /** Entries to be written again; none where `last` is below `first`. */
  readonly first: Index;
  readonly last: Index;
  /** State of the log's index that this was found with. */
  readonly asOf: number;
}

/** Names a group for ever; stored in every file and seeded into every checksum. */
export interface GroupIdentity {
  /** 16 hexadecimal digits. */
  readonly cluster: string;
  /** Group id, such as `atm` or `p/42/0`: never reused, at most 249 bytes of UTF-8. */
  readonly group: string;
  /**
   * Replica whose directory this is: stored in the header of every segment, and a segment of
   * another replica is refused. Left out by tools that read any replica's files; segments of
   * format version 1 do not name theirs and are accepted.
   */
  readonly replica?: string | undefined;
}

/** What a log was opened with. `applied` is left to the replica, which knows its machine. */
export type RecoveredState = Omit<InitialState, "applied">;

/** What recovery found and did, for the node's log and for `trilog verify`. */
export interface RecoveryReport {
  readonly segments: number;
  readonly records: number;
  /** Bytes at the end that never became durable and were set aside. */
  readonly bytesSetAside: number;
  readonly notes: readonly string[];
}

/**
 * Rot: bytes that were durable are not what was written. The replica must neither vote nor count;
 * it is rebuilt from its peers under a new identity. Thrown by `open` as a `corrupt` error whose
 * message names file and offset.
 */
export interface LogStore {
  readonly identity: GroupIdentity;
  /** State as recovered by opening; all of it durable. */
  readonly recovered: RecoveredState;
  readonly report: RecoveryReport;
  /**
   * A segment ends also when the stamps of its entries would span this many milliseconds, so that
   * entries can be dropped by age. 0, as after opening: by size only. Takes effect with the next
   * `append`.
   */
  rollAfterMs: number;
  /**
   * `retainedBytes`: how much is kept of the log, 0 for all. Segments are at most an eighth of that,
   * but no smaller than a mebibyte for it, so that the log exceeds the limit by little.
   */
  readonly segmentSize: { retainedBytes: number };

  /** Lowest index that `read` can return; last index + 1 where the log is empty. */
  firstIndex(): Index;
  lastIndex(): Index;
  /** Term of the entry at `index`, or of the snapshot that ends there; null outside the log. */
  termAt(index: Index): Term | null;

  /**
   * Orders a hard state and then entries behind all earlier calls. Entries follow each other;
   * the first may lie at or below the last index and then replaces the log from there. The write
   * reaches the file before this returns, but is durable only after `sync`. May roll to a new
   * segment. Throws `disk_full` (nothing was appended; call again later) or `disk_failed`.
   */
  append(hardState: HardState | null, entries: readonly Entry[]): void;
  /**
   * Group commit: resolves when everything appended before this call is durable. One sync is in
   * flight per log; calls made meanwhile share the next. A rejection is final (`disk_failed`):
   * the process must exit (a later fsync would report success for lost pages).
   */
  sync(): Promise<void>;
  /** The same at once, for a caller with nothing else to do. Not while a `sync` is in flight. */
  syncNow(): void;
  syncInFlight(): boolean;

  /**
   * Entries from `from` on: at least one, then as many as fit in `maxBytes` of data. Empty when
   * `from` is outside the log. Ends before bytes that are not those written; throws `corrupt` when
   * not even the first entry can be read.
   */
  read(from: Index, maxBytes: number): Entry[];

  /**
   * What of the segment that holds `index` cannot be read, up to the next entry that can; null
   * where all can. Reads the whole segment, and closes it if it is the newest. Throws `corrupt`
   * where not even its header can be read, or `disk_full`.
   */
  findDamage(index: Index): Damage | null;
  /**
   * Writes entries from `damage.first` on again, as another replica gave them: their terms must be
   * {@link termAt} of their indexes. Returns what is still damaged in that segment, or null. Throws
   * `corrupt` where they do not fit, or `disk_failed`.
   */
  mend(damage: Damage, entries: readonly Entry[]): Damage | null;

  /** First index of every segment that holds entries, ascending; the last one is being written. */
  segmentStarts(): readonly { readonly first: Index; readonly bytes: number }[];
  /** Bytes of all segment files. */
  bytes(): number;
  /**
   * Drops whole segments below `base.last.index` + 1. `base` must be the meta of a stored
   * snapshot at or after every index that is dropped; it becomes `recovered.snapshot` at the
   * next opening and is what followers are sent.
   */
  trimPrefix(base: SnapshotMeta): void;
  /**
   * The same in steps. Notes the new base behind all earlier writes; false: it is no newer than the
   * present one. When a `sync` that was begun later has resolved, {@link dropSegment} drops what
   * lies before it, one segment a call, and returns false when there is none.
   */
  noteBase(base: SnapshotMeta): boolean;
  dropSegment(): boolean;
  /**
   * Replaces the whole log by an installed snapshot (paper figure 13, step 7) and the given hard
   * state, durably and atomically; entries that follow `meta.last` in this log are kept
   * when its term there matches (step 6). The snapshot must be stored already.
   */
  adoptSnapshot(meta: SnapshotMeta, hardState: HardState): void;

  /** Stored snapshots, ascending by index. */
  snapshots(): readonly SnapshotMeta[];
  /** Starts writing a snapshot; nothing is visible until `publish`. */
  beginSnapshot(meta: SnapshotMeta): SnapshotWriter;
  /** Opens a stored snapshot for reading by parts; null where there is none at that index. */
  openSnapshot(index: Index): SnapshotReader | null;
  /** Removes a stored snapshot; never the one that the log stands on. */
  removeSnapshot(index: Index): void;
  /**
   * The same in steps: the snapshot is not listed any more, and each call of the returned function
   * frees a part of its space, until it returns false.
   */
  retireSnapshot(index: Index): () => boolean;

  /**
   * Notes outside the log how far it is synced, so that rot at its end can be told from bytes that
   * were never synced. Cheap and without a sync: to be called when the log falls idle, and every
   * second while it does not.
   */
  mark(): void;
  /** Syncs, marks durably and closes. The store must not be used afterwards. */
  close(): void;
}

/**
 * Writes a snapshot by parts. `write`, then `end`, `sync`, `check` until it is done, `publish`: so a
 * large one never keeps the process for long. Every failure drops what was written. Throws
 * `disk_full` or `disk_failed`.
 */
export interface SnapshotWriter {
  readonly meta: SnapshotMeta;
  /** Bytes written so far: where an interrupted transfer resumes. */
  readonly size: number;
  /** Appends a part of the state; parts of a few hundred KiB at most. */
  write(part: Uint8Array): void;
  /** Writes the rest and the checksum of the whole. */
  end(): void;
  /** Resolves when everything written before the call is durable. */
  sync(): Promise<void>;
  /** Reads a part back and compares; true: all is as written. Throws `corrupt` when it is not. */
  check(): boolean;
  /** Gives the checked file its name and makes that durable; then it is stored. */
  publish(): void;
  /** From `end` to `publish` at once, for a caller with nothing else to do. */
  commit(): void;
  /** Drops what was written; nothing happens after `publish`. */
  abort(): void;
}

export interface SnapshotReader {
  readonly meta: SnapshotMeta;
  /** Bytes of the machine's state. */
  readonly size: number;
  /** The bytes at `offset`, at most `length`; throws `corrupt` when a part's checksum fails. */
  read(offset: number, length: number): Uint8Array;
  close(): void;
}

/** How a store is made for a new group or found again. */
export interface OpenOptions {
  readonly identity: GroupIdentity;
  /** Directory of the group, relative to the disk's root. */
  readonly directory: string;
  /** Membership of a new group; ignored where the directory already holds a log. */
  readonly bootstrap: Membership | null;
  /** A segment is closed when it has grown to this many bytes, at most `limits.segmentBytes`. */
  readonly segmentBytes: number;
}
