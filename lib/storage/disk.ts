/**
 * The disk as trilog needs it. `deno_disk.ts` is the real one, `lib/sim/disk.ts` loses, tears and
 * rots on purpose. Calls are synchronous where the machine is faster that way (a 4 KiB write takes
 * 14 us, an asynchronous one 96 us); only `sync` may be waited for.
 *
 * Paths are relative to the disk's root, `/` between parts. Every failure is a `TrilogError`:
 * `disk_full` (nothing of that call is kept), of which {@link NoDescriptorError} is one, or
 * `disk_failed` for anything else that cannot be carried on from.
 */

import { TrilogError } from "../base/errors.ts";

export interface Disk {
  /** Creates a directory and its parents; no error where it exists. Syncs nothing. */
  makeDirectory(path: string): void;
  /** Names in a directory, sorted; an empty list where there is none. */
  list(path: string): string[];
  exists(path: string): boolean;
  /** Removes one file, or a directory with all it holds; no error where there is none. */
  remove(path: string): void;
  /** Replaces `to` atomically. Durable after `syncDirectory` of both directories. */
  rename(from: string, to: string): void;
  /** Makes creations, renames and removals in a directory durable. */
  syncDirectory(path: string): void;
  /** Opens for reading and writing. `create`: make it, and fail where it exists. */
  open(path: string, mode: "read" | "write" | "create"): DiskFile;
  /** Takes the exclusive lock file `path`, or throws `data_directory_locked`. */
  lock(path: string): DiskLock;
  /** Bytes free for writing, or null where that cannot be told. */
  freeBytes(): number | null;
}

export interface DiskFile {
  size(): number;
  /** Fills `into` from `position`; returns the bytes read, fewer only at the end of the file. */
  readAt(position: number, into: Uint8Array): number;
  /**
   * Writes all of `bytes` at `position`, looping over short writes. On `disk_full` the file is
   * cut back to the length it had, so that no partial record stays.
   */
  writeAt(position: number, bytes: Uint8Array): void;
  truncate(size: number): void;
  /** Resolves when all writes made before the call are durable. A failure is `disk_failed`. */
  sync(): Promise<void>;
  /** The same while the caller waits: quicker when nothing else is to be done. */
  syncNow(): void;
  close(): void;
}

export interface DiskLock {
  release(): void;
}

export function isDiskFull(thrown: unknown): boolean {
  return thrown instanceof TrilogError && thrown.code === "disk_full";
}

/**
 * The process may open no more files. It passes as a full disk does: nothing of the call is kept,
 * and the same call may succeed later.
 */
export class NoDescriptorError extends TrilogError {
  constructor(act: string, path: string, cause: unknown) {
    const state = "the process has no file descriptor left (see ulimit -n)";
    super("disk_full", `Cannot ${act} ${path}: ${state}`, { cause });
  }
}
