/**
 * A disk in memory that keeps a journal of all changes, so that a test can ask what the medium
 * might hold after a crash at any of them, and that fails when told to.
 */

import { TrilogError } from "../../lib/base/errors.ts";
import type { Prng } from "../../lib/base/prng.ts";
import type { Disk, DiskFile, DiskLock } from "../../lib/storage/disk.ts";

/** Content of a disk by path. */
export type Image = ReadonlyMap<string, Uint8Array>;

interface FileNode {
  bytes: Uint8Array;
}

type Change =
  /** `directory`: whose sync makes it durable. */
  | { kind: "name"; directory: string; path: string; node: FileNode | null }
  | { kind: "write"; node: FileNode; position: number; bytes: Uint8Array }
  | { kind: "truncate"; node: FileNode; size: number }
  | { kind: "sync"; node: FileNode }
  | { kind: "sync_directory"; path: string };

/** What becomes of changes that were not synced. */
export type Fate =
  /** All of them survive: the process died, the system did not. */
  | { readonly kind: "kept" }
  | { readonly kind: "lost" }
  /** The last write is cut after some bytes, everything else survives. */
  | { readonly kind: "torn"; readonly bytes: number }
  /** Sectors of 64 bytes of each write, and names, survive or not at random. */
  | { readonly kind: "shuffled"; readonly random: Prng };

const SECTOR_BYTES = 64;

export class JournalDisk implements Disk {
  private readonly initial: { readonly path: string; readonly node: FileNode; bytes: Uint8Array }[];
  private readonly changes: Change[] = [];
  private readonly names = new Map<string, FileNode>();
  private readonly locks = new Set<string>();
  /** Bytes that all files may take together. */
  capacityBytes = Infinity;
  /** Syncs fail while this is set. */
  failSyncs = false;
  /** Reads fail while this is set. */
  failReads = false;
  /** Bytes that were read since the disk was made. */
  bytesRead = 0;

  constructor(image: Image = new Map()) {
    this.initial = [...image].map(([path, bytes]) => {
      const node = { bytes: bytes.slice() };
      this.names.set(path, node);
      return { path, node, bytes };
    });
  }

  /** Changes made so far. */
  get count(): number {
    return this.changes.length;
  }

  /** Bytes of the change made as number `count`; 0 if it was no write. */
  bytesOfWrite(count: number): number {
    const change = this.changes[count - 1];
    return change?.kind === "write" ? change.bytes.length : 0;
  }

  /** Current content. */
  image(): Image {
    return new Map([...this.names].map(([path, node]) => [path, node.bytes.slice()]));
  }

  /** What the medium may hold when the power fails after `count` changes. */
  imageAfter(count: number, fate: Fate): Image {
    const journal = this.changes.slice(0, count);
    const content = new Map<FileNode, Uint8Array>();
    const names = new Map<string, FileNode>();
    for (const { path, node, bytes } of this.initial) {
      names.set(path, node);
      content.set(node, bytes);
    }
    const durabilityOf = durabilities(journal);
    journal.forEach((change, at) => {
      const durable = durabilityOf[at];
      if (change.kind === "name") {
        if (!durable && !survives(fate)) return;
        if (change.node === null) names.delete(change.path);
        else names.set(change.path, change.node);
      } else if (change.kind === "write" || change.kind === "truncate") {
        const before = content.get(change.node) ?? new Uint8Array(0);
        const last = at === journal.length - 1;
        content.set(
          change.node,
          durable ? applied(before, change) : damaged(before, change, fate, last),
        );
      }
    });
    return new Map(
      [...names].map(([path, node]) => [path, content.get(node) ?? new Uint8Array(0)]),
    );
  }

  /** @internal */
  change(change: Change): void {
    this.changes.push(change);
    if (change.kind === "name") {
      if (change.node === null) this.names.delete(change.path);
      else this.names.set(change.path, change.node);
    } else if (change.kind === "write" || change.kind === "truncate") {
      change.node.bytes = applied(change.node.bytes, change);
    }
  }

  /** Directories are there as soon as a file is. */
  makeDirectory(_path: string): void {}

  list(path: string): string[] {
    const prefix = path === "" ? "" : `${path}/`;
    const names = [...this.names.keys()].filter((name) => name.startsWith(prefix));
    return [...new Set(names.map((name) => name.slice(prefix.length).split("/")[0]))].sort();
  }

  exists(path: string): boolean {
    return this.under(path).length > 0;
  }

  private under(path: string): string[] {
    return [...this.names.keys()].filter((name) => name === path || name.startsWith(`${path}/`));
  }

  remove(path: string): void {
    const directory = directoryOf(path);
    for (const name of this.under(path)) {
      this.change({ kind: "name", directory, path: name, node: null });
    }
  }

  rename(from: string, to: string): void {
    for (const name of this.under(from)) {
      const node = this.names.get(name)!;
      // A crash never shows the file under neither name.
      const path = to + name.slice(from.length);
      this.change({ kind: "name", directory: directoryOf(to), path, node });
      this.change({ kind: "name", directory: directoryOf(from), path: name, node: null });
    }
  }

  syncDirectory(path: string): void {
    this.failIf(this.failSyncs, "sync", path);
    this.change({ kind: "sync_directory", path });
  }

  open(path: string, mode: "read" | "write" | "create"): DiskFile {
    let node = this.names.get(path);
    if (mode === "create") {
      this.failIf(node !== undefined, "create", path);
      node = { bytes: new Uint8Array(0) };
      this.change({ kind: "name", directory: directoryOf(path), path, node });
    }
    if (node === undefined) throw failure("open", path);
    return new JournalFile(this, path, node);
  }

  lock(path: string): DiskLock {
    if (this.locks.has(path)) {
      throw new TrilogError("data_directory_locked", `Cannot lock ${path}: it is locked`);
    }
    this.locks.add(path);
    return { release: () => this.locks.delete(path) };
  }

  freeBytes(): number {
    let used = 0;
    for (const node of this.names.values()) used += node.bytes.length;
    return this.capacityBytes - used;
  }

  /** @internal */
  failIf(condition: boolean, act: string, path: string): void {
    if (condition) throw failure(act, path);
  }
}

class JournalFile implements DiskFile {
  constructor(
    private readonly disk: JournalDisk,
    private readonly path: string,
    private readonly node: FileNode,
  ) {}

  size(): number {
    return this.node.bytes.length;
  }

  readAt(position: number, into: Uint8Array): number {
    this.disk.failIf(this.disk.failReads, "read", this.path);
    const part = this.node.bytes.subarray(position, position + into.length);
    into.set(part);
    this.disk.bytesRead += part.length;
    return part.length;
  }

  writeAt(position: number, bytes: Uint8Array): void {
    const grows = Math.max(0, position + bytes.length - this.node.bytes.length);
    if (grows > Math.max(0, this.disk.freeBytes())) {
      throw new TrilogError("disk_full", `Cannot write ${this.path}: no space left`);
    }
    this.disk.change({ kind: "write", node: this.node, position, bytes: bytes.slice() });
  }

  truncate(size: number): void {
    this.disk.change({ kind: "truncate", node: this.node, size });
  }

  sync(): Promise<void> {
    return Promise.resolve().then(() => this.syncNow());
  }

  syncNow(): void {
    this.disk.failIf(this.disk.failSyncs, "sync", this.path);
    this.disk.change({ kind: "sync", node: this.node });
  }

  close(): void {}
}

function failure(act: string, path: string): TrilogError {
  return new TrilogError("disk_failed", `Cannot ${act} ${path}: it fails on purpose`);
}

/** For each change whether it was synced within the journal. */
function durabilities(journal: readonly Change[]): boolean[] {
  const synced = new Set<FileNode | string>();
  const result: boolean[] = new Array(journal.length);
  for (let at = journal.length - 1; at >= 0; at -= 1) {
    const change = journal[at];
    if (change.kind === "sync") synced.add(change.node);
    else if (change.kind === "sync_directory") synced.add(change.path);
    else if (change.kind === "name") result[at] = synced.has(change.directory);
    else result[at] = synced.has(change.node);
  }
  return result;
}

function directoryOf(path: string): string {
  return path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
}

function applied(before: Uint8Array, change: Change): Uint8Array {
  if (change.kind === "truncate") {
    const cut = new Uint8Array(change.size);
    cut.set(before.subarray(0, change.size));
    return cut;
  }
  if (change.kind !== "write") return before;
  const { position, bytes } = change;
  const after = new Uint8Array(Math.max(before.length, position + bytes.length));
  after.set(before);
  after.set(bytes, position);
  return after;
}

function survives(fate: Fate): boolean {
  return fate.kind === "shuffled" ? fate.random.chance(0.5) : fate.kind !== "lost";
}

/** What an unsynced change leaves behind. */
function damaged(before: Uint8Array, change: Change, fate: Fate, last: boolean): Uint8Array {
  if (fate.kind === "lost") return before;
  if (change.kind !== "write" || fate.kind === "kept") {
    return survives(fate) ? applied(before, change) : before;
  }
  const { node, position, bytes } = change;
  if (fate.kind === "torn") {
    const part = last ? bytes.subarray(0, fate.bytes) : bytes;
    return applied(before, { kind: "write", node, position, bytes: part });
  }
  let after = before;
  for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
    if (!fate.random.chance(0.6)) continue;
    const sector = bytes.subarray(at, at + SECTOR_BYTES);
    after = applied(after, { kind: "write", node, position: position + at, bytes: sector });
  }
  return after;
}
