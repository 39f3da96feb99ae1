/**
 * A disk that keeps only so many files open at a time, whatever number its users hold: thousands of
 * partitions have a segment each and few descriptors between them. A file that was not used for
 * longest is closed behind the back of its user and opened again by its next call.
 *
 * Only a file whose writes are synced is closed, since a system may forget a failed write-back of a
 * file that nothing has open. Where all files have unsynced writes, the eldest is synced first. A
 * sync in the background takes a second descriptor while it lasts; a quarter of the number may be
 * used so, and further syncs wait for the disk. A file that was removed, or replaced under its name,
 * stays open: it could not be found again.
 */

import { type Disk, type DiskFile, type DiskLock, NoDescriptorError } from "./disk.ts";

export class PooledDisk implements Disk {
  /** Files that have a descriptor, least recently used first. */
  private readonly inUse = new Set<PooledFile>();
  /** Files that were opened and not closed by their users. */
  private readonly held = new Set<PooledFile>();
  private newest: PooledFile | null = null;

  /** `capacity`: files that are open at a time, at least 1. */
  constructor(private readonly disk: Disk, private readonly capacity: number) {}

  /** Syncs in the background. */
  private syncs = 0;

  /** Descriptors that are taken just now. */
  get descriptors(): number {
    return this.inUse.size + this.syncs;
  }

  makeDirectory(path: string): void {
    this.disk.makeDirectory(path);
  }

  list(path: string): string[] {
    return this.withDescriptor(() => this.disk.list(path));
  }

  exists(path: string): boolean {
    return this.disk.exists(path);
  }

  remove(path: string): void {
    this.keepOpen(path);
    this.withDescriptor(() => this.disk.remove(path));
  }

  rename(from: string, to: string): void {
    this.keepOpen(to);
    this.disk.rename(from, to);
    for (const file of this.held) file.renamed(from, to);
  }

  syncDirectory(path: string): void {
    this.withDescriptor(() => this.disk.syncDirectory(path));
  }

  open(path: string, mode: "read" | "write" | "create"): DiskFile {
    const file = new PooledFile(this, path, mode);
    this.held.add(file);
    try {
      file.ready();
    } catch (thrown) {
      this.held.delete(file);
      throw thrown;
    }
    return file;
  }

  lock(path: string): DiskLock {
    return this.withDescriptor(() => this.disk.lock(path));
  }

  freeBytes(): number | null {
    return this.disk.freeBytes();
  }

  /** @internal */
  openInner(path: string, mode: "read" | "write" | "create"): DiskFile {
    while (this.descriptors >= this.capacity && this.closeOne());
    return this.withDescriptor(() => this.disk.open(path, mode));
  }

  /** @internal Notes that `file` is used, now the last one to be closed. */
  used(file: PooledFile): void {
    if (this.newest === file) return;
    this.inUse.delete(file);
    this.inUse.add(file);
    this.newest = file;
  }

  /** @internal Syncs a file in the background, or at once where too many others are. */
  async sync(file: DiskFile): Promise<void> {
    if (this.syncs * 4 >= this.capacity) return file.syncNow();
    this.syncs += 1;
    try {
      while (this.descriptors > this.capacity && this.closeOne());
      await file.sync();
    } finally {
      this.syncs -= 1;
    }
  }

  /** @internal `held`: its user goes on with it. */
  closed(file: PooledFile, held: boolean): void {
    this.inUse.delete(file);
    if (!held) this.held.delete(file);
    if (this.newest === file) this.newest = null;
  }

  /** Makes room where the process has no descriptor left. */
  private withDescriptor<T>(act: () => T): T {
    for (;;) {
      try {
        return act();
      } catch (thrown) {
        if (!(thrown instanceof NoDescriptorError) || !this.closeOne()) throw thrown;
      }
    }
  }

  /** Closes the file that is missed least; false where none can be closed. */
  private closeOne(): boolean {
    let unsynced: PooledFile | null = null;
    for (const file of this.inUse) {
      if (file.isBusy) continue;
      if (!file.isUnsynced) {
        file.rest();
        return true;
      }
      unsynced ??= file;
    }
    unsynced?.rest();
    return unsynced !== null;
  }

  private keepOpen(path: string): void {
    for (const file of this.held) file.keepOpenUnder(path);
  }
}

class PooledFile implements DiskFile {
  private inner: DiskFile | null = null;
  private unsynced: boolean;
  private syncing = 0;
  /** Its name is not its own any more. */
  private nameless = false;
  private writes = 0;
  /** A sync failed while nobody waited for it: every later call says so. */
  private failure: unknown = null;
  private closed = false;

  constructor(
    private readonly pool: PooledDisk,
    private path: string,
    private mode: "read" | "write" | "create",
  ) {
    // Of an older file nobody knows what its last user has left unsynced.
    this.unsynced = mode !== "read";
  }

  get isBusy(): boolean {
    return this.syncing > 0 || this.nameless;
  }

  get isUnsynced(): boolean {
    return this.unsynced;
  }

  /** The open file. Throws what opening throws, or what a sync has failed with. */
  ready(): DiskFile {
    if (this.failure !== null) throw this.failure;
    if (this.inner === null) {
      this.inner = this.pool.openInner(this.path, this.mode);
      if (this.mode === "create") this.mode = "write";
    }
    this.pool.used(this);
    return this.inner;
  }

  /** Gives its descriptor up until it is used again. */
  rest(): void {
    const { inner } = this;
    this.inner = null;
    this.pool.closed(this, true);
    try {
      if (this.unsynced) inner?.syncNow();
      this.unsynced = false;
    } catch (thrown) {
      this.failure = thrown;
    } finally {
      inner?.close();
    }
  }

  renamed(from: string, to: string): void {
    if (this.nameless || !isUnder(this.path, from)) return;
    this.path = to + this.path.slice(from.length);
  }

  keepOpenUnder(path: string): void {
    if (this.nameless || !isUnder(this.path, path)) return;
    this.ready();
    this.nameless = true;
  }

  size(): number {
    return this.ready().size();
  }

  readAt(position: number, into: Uint8Array): number {
    return this.ready().readAt(position, into);
  }

  writeAt(position: number, bytes: Uint8Array): void {
    const inner = this.ready();
    this.noteWrite();
    inner.writeAt(position, bytes);
  }

  truncate(size: number): void {
    const inner = this.ready();
    this.noteWrite();
    inner.truncate(size);
  }

  private noteWrite(): void {
    this.unsynced = true;
    this.writes += 1;
  }

  async sync(): Promise<void> {
    if (this.failure === null && !this.unsynced) return;
    const inner = this.ready();
    const { writes } = this;
    this.syncing += 1;
    try {
      await this.pool.sync(inner);
      if (writes === this.writes) this.unsynced = false;
    } finally {
      this.syncing -= 1;
    }
  }

  syncNow(): void {
    if (this.failure === null && !this.unsynced) return;
    this.ready().syncNow();
    this.unsynced = false;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    const { inner } = this;
    this.inner = null;
    this.pool.closed(this, false);
    inner?.close();
  }
}

function isUnder(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}
