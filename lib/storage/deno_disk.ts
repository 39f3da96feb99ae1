/**
 * The real disk: the only file of the library that does file I/O. Every error of the operating
 * system becomes `disk_full` (ENOSPC, EDQUOT, and EMFILE, ENFILE where a file was to be opened:
 * nothing of the call is kept) or `disk_failed`.
 */

import { statfsSync } from "node:fs";
import { dirname, join } from "@std/path";
import { TrilogError } from "../base/errors.ts";
import { type Disk, type DiskFile, type DiskLock, NoDescriptorError } from "./disk.ts";

/** A disk whose paths are relative to the directory `root`, which is made if it is missing. */
export class DenoDisk implements Disk {
  constructor(readonly root: string) {
    attempt("create", root, () => Deno.mkdirSync(root, { recursive: true }));
  }

  private at(path: string): string {
    return join(this.root, path);
  }

  makeDirectory(path: string): void {
    attempt("create", path, () => Deno.mkdirSync(this.at(path), { recursive: true }));
  }

  list(path: string): string[] {
    return attempt("list", path, () => {
      try {
        return [...Deno.readDirSync(this.at(path))].map((item) => item.name).sort();
      } catch (thrown) {
        if (thrown instanceof Deno.errors.NotFound) return [];
        throw thrown;
      }
    });
  }

  exists(path: string): boolean {
    return attempt("look up", path, () => {
      try {
        Deno.lstatSync(this.at(path));
        return true;
      } catch (thrown) {
        if (thrown instanceof Deno.errors.NotFound) return false;
        throw thrown;
      }
    });
  }

  remove(path: string): void {
    attempt("remove", path, () => {
      try {
        Deno.removeSync(this.at(path), { recursive: true });
      } catch (thrown) {
        if (!(thrown instanceof Deno.errors.NotFound)) throw thrown;
      }
    });
  }

  rename(from: string, to: string): void {
    attempt("rename", from, () => Deno.renameSync(this.at(from), this.at(to)));
  }

  syncDirectory(path: string): void {
    attempt("sync directory", path, () => {
      const directory = Deno.openSync(this.at(path));
      try {
        directory.syncSync();
      } finally {
        directory.close();
      }
    }, "sync");
  }

  open(path: string, mode: "read" | "write" | "create"): DiskFile {
    return attempt("open", path, () => {
      const file = Deno.openSync(this.at(path), {
        read: true,
        write: mode !== "read",
        createNew: mode === "create",
      });
      return new DenoDiskFile(file, path, mode === "create");
    });
  }

  /**
   * An advisory lock of the kernel on an open file: two processes never hold it at once, and it
   * is gone with the process, however that ends.
   */
  lock(path: string): DiskLock {
    return attempt("lock", path, () => {
      Deno.mkdirSync(dirname(this.at(path)), { recursive: true });
      const file = Deno.openSync(this.at(path), { read: true, write: true, create: true });
      if (!file.tryLockSync(true)) {
        file.close();
        throw new TrilogError(
          "data_directory_locked",
          `Cannot use data directory ${this.root}: another process has locked it`,
        );
      }
      // Closing releases the lock. The file stays: removing it would let a third process lock a
      // new file of the same name while a second one still waits on the old.
      return { release: () => file.close() };
    });
  }

  freeBytes(): number | null {
    try {
      const stats = statfsSync(this.root);
      return stats.bavail * stats.bsize;
    } catch {
      return null;
    }
  }
}

class DenoDiskFile implements DiskFile {
  /** Where the operating system's file position stands: saves a seek before each append. */
  private cursor = 0;
  private length: number;

  constructor(
    private readonly file: Deno.FsFile,
    private readonly path: string,
    /** A new file needs its metadata synced once; later `fdatasync` covers data and length. */
    private isNew: boolean,
  ) {
    this.length = isNew ? 0 : file.statSync().size;
  }

  size(): number {
    return attempt("measure", this.path, () => this.file.statSync().size);
  }

  readAt(position: number, into: Uint8Array): number {
    return attempt("read", this.path, () => {
      this.seek(position);
      let filled = 0;
      while (filled < into.length) {
        const count = this.file.readSync(into.subarray(filled));
        if (count === null || count === 0) break;
        filled += count;
        this.cursor += count;
      }
      return filled;
    });
  }

  writeAt(position: number, bytes: Uint8Array): void {
    attempt("write", this.path, () => {
      try {
        this.seek(position);
        writeFully((part) => this.file.writeSync(part), bytes);
        this.cursor = position + bytes.length;
        this.length = Math.max(this.length, this.cursor);
      } catch (thrown) {
        this.cursor = -1;
        if (isDiskFull(thrown)) this.cutBack();
        throw thrown;
      }
    });
  }

  private cutBack(): void {
    try {
      this.file.truncateSync(this.length);
    } catch (thrown) {
      throw new TrilogError(
        "disk_failed",
        `Cannot cut back ${this.path}: ${messageOf(thrown)} after the disk was full`,
        { cause: thrown },
      );
    }
  }

  truncate(size: number): void {
    attempt("truncate", this.path, () => this.file.truncateSync(size));
    this.length = size;
  }

  async sync(): Promise<void> {
    try {
      if (this.isNew) await this.file.sync();
      else await this.file.syncData();
      this.isNew = false;
    } catch (thrown) {
      throw failed("sync", this.path, thrown);
    }
  }

  syncNow(): void {
    attempt("sync", this.path, () => {
      if (this.isNew) this.file.syncSync();
      else this.file.syncDataSync();
      this.isNew = false;
    }, "sync");
  }

  close(): void {
    attempt("close", this.path, () => this.file.close());
  }

  private seek(position: number): void {
    if (this.cursor === position) return;
    this.file.seekSync(position, Deno.SeekMode.Start);
    this.cursor = position;
  }
}

/** Calls `write`, which may take only a part, until all of `bytes` is out. */
export function writeFully(write: (part: Uint8Array) => number, bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) {
    const count = write(written === 0 ? bytes : bytes.subarray(written));
    if (count <= 0) throw new Error("the operating system took no bytes");
    written += count;
  }
}

/**
 * Runs `operate` and translates what it throws. A failed sync is never `disk_full`, even where
 * the system says so: pages that it could not place are already lost.
 */
function attempt<T>(act: string, path: string, operate: () => T, kind?: "sync"): T {
  try {
    return operate();
  } catch (thrown) {
    if (thrown instanceof TrilogError) throw thrown;
    if (isOutOfDescriptors(thrown)) throw new NoDescriptorError(act, path, thrown);
    if (kind !== "sync" && isDiskFull(thrown)) {
      throw new TrilogError("disk_full", `Cannot ${act} ${path}: no space left`, { cause: thrown });
    }
    throw failed(act, path, thrown);
  }
}

function failed(act: string, path: string, thrown: unknown): TrilogError {
  return new TrilogError("disk_failed", `Cannot ${act} ${path}: ${messageOf(thrown)}`, {
    cause: thrown,
  });
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/**
 * A file is busy where a sync in the background holds it: Deno gives the sync a descriptor of its
 * own as long as there are any.
 */
function isOutOfDescriptors(thrown: unknown): boolean {
  const code = (thrown as { code?: unknown } | null)?.code;
  return code === "EMFILE" || code === "ENFILE" || thrown instanceof Deno.errors.Busy;
}

function isDiskFull(thrown: unknown): boolean {
  const code = (thrown as { code?: unknown } | null)?.code;
  return code === "ENOSPC" || code === "EDQUOT";
}
