/**
 * A machine's disk as one process sees it. A process that is dead does nothing to it any more,
 * whatever of its code still unwinds; and a process may be made to die right after any of its disk
 * operations, before it learns that the operation was done.
 */

import { TrilogError } from "../base/errors.ts";
import type { Disk, DiskFile, DiskLock } from "../storage/disk.ts";
import type { SimProcess } from "./process.ts";

export const DISK_OPERATIONS = [
  "create",
  "make_directory",
  "remove",
  "rename",
  "sync",
  "sync_directory",
  "truncate",
  "write",
] as const;

/** What a process does to its disk. */
export type DiskOperation = typeof DISK_OPERATIONS[number];

/** Told after each operation that was carried out; it may end the process. */
export type OperationHook = (operation: DiskOperation, path: string) => void;

/** The code of a dead process still wanted something from the disk. */
export class DeadProcess extends TrilogError {
  constructor(path: string) {
    super("disk_failed", `Cannot use ${path}: the process is dead`);
  }
}

export class ProcessDisk implements Disk {
  constructor(
    private readonly disk: Disk,
    private readonly process: SimProcess,
    private readonly done: OperationHook,
  ) {}

  makeDirectory(path: string): void {
    this.run("make_directory", path, () => this.disk.makeDirectory(path));
  }

  list(path: string): string[] {
    this.check(path);
    return this.disk.list(path);
  }

  exists(path: string): boolean {
    this.check(path);
    return this.disk.exists(path);
  }

  remove(path: string): void {
    this.run("remove", path, () => this.disk.remove(path));
  }

  rename(from: string, to: string): void {
    this.run("rename", to, () => this.disk.rename(from, to));
  }

  syncDirectory(path: string): void {
    this.run("sync_directory", path, () => this.disk.syncDirectory(path));
  }

  open(path: string, mode: "read" | "write" | "create"): DiskFile {
    this.check(path);
    const file = new ProcessFile(this, path, this.disk.open(path, mode));
    if (mode === "create") this.finished("create", path);
    return file;
  }

  lock(path: string): DiskLock {
    this.check(path);
    return this.disk.lock(path);
  }

  freeBytes(): number | null {
    return this.disk.freeBytes();
  }

  /** @internal */
  run<T>(operation: DiskOperation, path: string, act: () => T): T {
    this.check(path);
    const result = act();
    this.finished(operation, path);
    return result;
  }

  /** @internal */
  finished(operation: DiskOperation, path: string): void {
    this.done(operation, path);
    this.check(path);
  }

  /** @internal */
  check(path: string): void {
    if (this.process.alive) return;
    throw new DeadProcess(path);
  }
}

class ProcessFile implements DiskFile {
  constructor(
    private readonly disk: ProcessDisk,
    private readonly path: string,
    private readonly file: DiskFile,
  ) {}

  size(): number {
    this.disk.check(this.path);
    return this.file.size();
  }

  readAt(position: number, into: Uint8Array): number {
    this.disk.check(this.path);
    return this.file.readAt(position, into);
  }

  writeAt(position: number, bytes: Uint8Array): void {
    this.disk.run("write", this.path, () => this.file.writeAt(position, bytes));
  }

  truncate(size: number): void {
    this.disk.run("truncate", this.path, () => this.file.truncate(size));
  }

  async sync(): Promise<void> {
    this.disk.check(this.path);
    await this.file.sync();
    this.disk.finished("sync", this.path);
  }

  syncNow(): void {
    this.disk.run("sync", this.path, () => this.file.syncNow());
  }

  close(): void {
    this.file.close();
  }
}
