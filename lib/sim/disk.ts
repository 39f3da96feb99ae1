/**
 * A disk whose power may fail, whose bytes rot and whose calls fail when told to. It outlives the
 * processes of its machine: `crash` ends the one that uses it, `attach` hands it to the next.
 */

import { TrilogError } from "../base/errors.ts";
import type { Prng } from "../base/prng.ts";
import type { Disk, DiskFile, DiskLock } from "../storage/disk.ts";
import { FileContent, type Misdirection } from "./disk_file.ts";
import { copyDurable, Directory, Names, partsOf } from "./disk_names.ts";
import type { SimProcess } from "./process.ts";

export interface SimDiskOptions {
  /** Shortest and longest time a sync takes. */
  readonly syncMs: readonly [number, number];
  /** Bytes of file content that fit, or null for no limit. */
  readonly capacityBytes: number | null;
}

export const quickDisk: SimDiskOptions = { syncMs: [0.2, 0.8], capacityBytes: null };

/** Faults that fired, by name, for a run that must prove it tested something. */
export type FaultCounts = Map<string, number>;

/** A medium's content at some moment; see {@link SimDisk.snapshotState}. */
export interface DiskState {
  readonly root: Directory;
}

/**
 * How a process ends. `kill`: the system goes on and holds what was not synced. `power`: of what
 * was not synced the medium has any part. `lost`: it has nothing of that.
 */
export type CrashKind = "kill" | "power" | "lost";

export class SimDisk implements Disk {
  readonly faultsFired: FaultCounts = new Map();
  /** Called when a file got a new name, before that is durable. */
  onRename: ((to: string) => void) | null = null;
  private process: SimProcess;
  private readonly random: Prng;
  private readonly syncMs: readonly [number, number];
  private capacityBytes: number | null;
  private names = new Names();
  private usedBytes = 0;
  private locks = new Set<string>();
  /** Number of the process that uses the disk; handles of earlier ones are dead. */
  private generation = 0;
  /** Number of power losses; syncs under way at one never finish. */
  private powerLosses = 0;
  private failingSyncs = 0;
  private failingReads = 0;
  private slowMs = 0;
  private misdirectNext: "lost" | "elsewhere" | null = null;

  constructor(process: SimProcess, random: Prng, options: SimDiskOptions = quickDisk) {
    this.process = process;
    this.random = random;
    this.syncMs = options.syncMs;
    this.capacityBytes = options.capacityBytes;
  }

  // What a process sees.

  makeDirectory(path: string): void {
    let parent = this.names.root;
    for (const name of partsOf(path)) {
      const there = parent.seen.get(name);
      if (there instanceof FileContent) throw failed("make directory", path, "a file is there");
      const directory = there ?? new Directory();
      if (there === undefined) {
        this.names.change([{ directory: parent, name, node: directory }]);
      }
      parent = directory;
    }
  }

  list(path: string): string[] {
    const node = this.names.find(path);
    return node instanceof Directory ? [...node.seen.keys()].sort() : [];
  }

  exists(path: string): boolean {
    return this.names.find(path) !== null;
  }

  remove(path: string): void {
    const place = this.names.place(path);
    if (place === null || !place.directory.seen.has(place.name)) return;
    this.names.change([{ ...place, node: null }]);
    this.countUsed();
  }

  rename(from: string, to: string): void {
    const source = this.names.place(from);
    const target = this.names.place(to);
    const node = source?.directory.seen.get(source.name);
    if (source === null || target === null || node === undefined) {
      throw failed("rename", from, "there is no such file or no such target directory");
    }
    this.names.change([{ ...source, node: null }, { ...target, node }]);
    this.countUsed();
    this.onRename?.(to);
  }

  syncDirectory(path: string): void {
    const directory = this.names.find(path);
    if (!(directory instanceof Directory)) throw failed("sync", path, "no such directory");
    this.process.block(this.syncTimeMs());
    this.takeSyncFault(path);
    this.names.settle(directory);
  }

  open(path: string, mode: "read" | "write" | "create"): DiskFile {
    const there = this.names.find(path);
    if (mode !== "create") {
      if (!(there instanceof FileContent)) throw failed("open", path, "no such file");
      return new SimFile(this, this.generation, path, there, mode === "write");
    }
    const place = this.names.place(path);
    if (place === null) throw failed("create", path, "no such directory");
    if (there !== null) throw failed("create", path, "it exists");
    const file = new FileContent();
    this.names.change([{ ...place, node: file }]);
    return new SimFile(this, this.generation, path, file, true);
  }

  lock(path: string): DiskLock {
    if (this.locks.has(path)) {
      throw new TrilogError("data_directory_locked", `Cannot lock ${path}: it is locked already`);
    }
    if (!this.exists(path)) this.open(path, "create").close();
    this.locks.add(path);
    const locks = this.locks;
    return { release: () => locks.delete(path) };
  }

  freeBytes(): number | null {
    return this.capacityBytes === null ? null : Math.max(0, this.capacityBytes - this.usedBytes);
  }

  // What happens to it.

  /** Its process is gone; what was not synced fares as `kind` says. */
  crash(kind: CrashKind): void {
    this.generation += 1;
    this.locks = new Set();
    if (kind === "kill") return;
    this.powerLosses += 1;
    this.names.losePower(kind === "lost" ? null : this.random);
    this.countUsed();
  }

  /** Hands the disk to the next process of its machine. */
  attach(process: SimProcess): void {
    this.process = process;
  }

  setCapacity(capacityBytes: number | null): void {
    this.capacityBytes = capacityBytes;
  }

  /** Leaves only `freeBytes` for writing. */
  fill(freeBytes: number): void {
    this.capacityBytes = this.usedBytes + freeBytes;
  }

  /** Adds to the time each sync takes; 0 makes it quick again. */
  setSlow(extraMs: number): void {
    this.slowMs = extraMs;
  }

  /** The next `count` syncs fail (EIO); what they should have made durable never will be. */
  failSyncs(count: number): void {
    this.failingSyncs = count;
  }

  /** The next `count` reads fail (EIO). */
  failReads(count: number): void {
    this.failingReads = count;
  }

  /** The next write lands at another place of its file, or nowhere; its caller sees no error. */
  misdirectWrite(how: "lost" | "elsewhere"): void {
    this.misdirectNext = how;
  }

  /** One byte of a file's durable content changes. */
  rot(path: string, position: number, mask: number): void {
    const node = this.names.find(path);
    if (!(node instanceof FileContent) || position >= node.durableBytes().length) return;
    node.rot(position, mask);
    this.fired("rot");
  }

  /** All files with the size of their durable content: places for rot. */
  durableFiles(): { path: string; sizeBytes: number }[] {
    return this.names.files().map(({ path, file }) => ({
      path,
      sizeBytes: file.durableBytes().length,
    }));
  }

  /** The system writes everything to the medium that it held back. */
  flush(): void {
    this.names.settleAll();
  }

  /** What the medium holds now, for `restoreState`. */
  snapshotState(): DiskState {
    return { root: copyDurable(this.names.root) };
  }

  /** The medium is what it was at an earlier moment (a restored backup). Between processes only. */
  restoreState(state: DiskState): void {
    this.names = new Names();
    this.names.root = copyDurable(state.root);
    this.countUsed();
    this.fired("rollback");
  }

  /** A directory is gone with all that it held, durably. Between processes only. */
  lose(path: string): void {
    const place = this.names.place(path);
    if (place === null) return;
    this.names.change([{ ...place, node: null }]);
    this.names.settle(place.directory);
    this.countUsed();
    this.fired("lost_group");
  }

  /** The disk is replaced by an empty one. Between processes only. */
  wipe(): void {
    this.names = new Names();
    this.usedBytes = 0;
    this.failingSyncs = this.failingReads = 0;
    this.misdirectNext = null;
    this.fired("wipe");
  }

  // What its files need.

  /** @internal */
  takeReadFault(path: string): void {
    if (this.failingReads === 0) return;
    this.failingReads -= 1;
    this.fired("read_error");
    throw failed("read", path, "input/output error");
  }

  /** @internal Makes room for a file to grow, or throws `disk_full`. */
  grow(path: string, byBytes: number): void {
    const free = this.freeBytes();
    if (free !== null && byBytes > free) {
      this.fired("disk_full");
      throw new TrilogError("disk_full", `Cannot write ${path}: no space is left on the disk`);
    }
    this.usedBytes += byBytes;
  }

  /** @internal */
  isCurrent(generation: number): boolean {
    return generation === this.generation;
  }

  /** @internal Where the write at hand ends up instead; undefined: where it belongs. */
  takeMisdirection(file: FileContent): Misdirection | undefined {
    const how = this.misdirectNext;
    if (how === null) return undefined;
    this.misdirectNext = null;
    this.fired("misdirected_write");
    const durable = file.durableBytes().length;
    if (how === "lost" || durable === 0) return null;
    return { file, position: this.random.below(durable) };
  }

  /** @internal */
  traceWrite(position: number, bytes: number): void {
    const trace = this.process.scheduler.trace;
    trace.number(position);
    trace.number(bytes);
  }

  /** @internal */
  syncFile(path: string, file: FileContent): Promise<void> {
    const mark = file.mark();
    const { process, powerLosses } = this;
    const delayMs = process.nowMs - process.scheduler.nowMs + this.syncTimeMs();
    return new Promise((resolve, reject) => {
      process.scheduler.after(delayMs, `disk ${process.name}`, () => {
        if (powerLosses !== this.powerLosses) return;
        try {
          this.settle(path, file, mark);
          process.deliver("synced", resolve);
        } catch (thrown) {
          process.deliver("sync failed", () => reject(thrown));
        }
      });
    });
  }

  /** @internal */
  syncFileNow(path: string, file: FileContent): void {
    this.process.block(this.syncTimeMs());
    this.settle(path, file, file.mark());
  }

  private settle(path: string, file: FileContent, mark: number): void {
    try {
      this.takeSyncFault(path);
    } catch (thrown) {
      file.forget(mark);
      throw thrown;
    }
    file.settle(mark);
  }

  private syncTimeMs(): number {
    const [low, high] = this.syncMs;
    if (this.slowMs > 0) this.fired("slow_disk");
    return low + this.random.next() * (high - low) + this.slowMs;
  }

  private takeSyncFault(path: string): void {
    if (this.failingSyncs === 0) return;
    this.failingSyncs -= 1;
    this.fired("sync_error");
    throw failed("sync", path, "input/output error");
  }

  private countUsed(): void {
    this.usedBytes = this.names.files().reduce((sum, { file }) => sum + file.size, 0);
  }

  private fired(fault: string): void {
    this.faultsFired.set(fault, (this.faultsFired.get(fault) ?? 0) + 1);
  }
}

class SimFile implements DiskFile {
  private open = true;

  constructor(
    private readonly disk: SimDisk,
    private readonly generation: number,
    private readonly path: string,
    private readonly content: FileContent,
    private readonly writable: boolean,
  ) {}

  size(): number {
    this.check("measure");
    return this.content.size;
  }

  readAt(position: number, into: Uint8Array): number {
    this.check("read");
    this.disk.takeReadFault(this.path);
    const part = this.content.bytes().subarray(position, position + into.length);
    into.set(part);
    return part.length;
  }

  writeAt(position: number, bytes: Uint8Array): void {
    this.checkWritable();
    this.disk.grow(this.path, Math.max(0, position + bytes.length - this.content.size));
    this.disk.traceWrite(position, bytes.length);
    this.content.write(position, bytes, this.disk.takeMisdirection(this.content));
  }

  truncate(size: number): void {
    this.checkWritable();
    this.disk.grow(this.path, size - this.content.size);
    this.content.truncate(size);
  }

  sync(): Promise<void> {
    this.check("sync");
    return this.disk.syncFile(this.path, this.content);
  }

  syncNow(): void {
    this.check("sync");
    this.disk.syncFileNow(this.path, this.content);
  }

  close(): void {
    this.open = false;
  }

  private checkWritable(): void {
    this.check("write");
    if (!this.writable) throw failed("write", this.path, "it was opened for reading");
  }

  private check(act: string): void {
    if (!this.open) throw failed(act, this.path, "the file is closed");
    if (!this.disk.isCurrent(this.generation)) {
      throw failed(act, this.path, "the process that opened it is dead");
    }
  }
}

function failed(act: string, path: string, state: string): TrilogError {
  return new TrilogError("disk_failed", `Cannot ${act} ${path}: ${state}`);
}
