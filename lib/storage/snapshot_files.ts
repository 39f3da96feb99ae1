/**
 * Snapshot files of one group: `<last index>-<last term>.snapshot`.
 *
 *   0  preamble (file_format.ts)
 *  16  u32  length of the meta, u32 its CRC-32, the meta as MessagePack
 *      blocks of 64 KiB of the state, each followed by its u32 CRC-32; the last may be shorter
 *      u64  bytes of the state, u32 CRC-32 of those eight bytes
 *
 * All checksums are seeded with cluster, group, last index and term, those of blocks and of the
 * end also with the number of the block. A snapshot is written under a temporary name, synced,
 * renamed, and its directory synced: at every crash point the older ones are untouched and the
 * new one is either complete or a temporary file, which the next opening removes.
 */

import { crc32 } from "node:zlib";
import { assert } from "../base/assert.ts";
import { EMPTY_BYTES, viewOf } from "../base/bytes.ts";
import { pack, unpack } from "../base/msgpack.ts";
import type { Index, LogId, SnapshotMeta } from "../raft/types.ts";
import type { Disk, DiskFile } from "./disk.ts";
import { checkPreamble, Magic, preamble, PREAMBLE_BYTES } from "./file_format.ts";
import { joinPath, parseSnapshotName, snapshotName, TEMPORARY_SUFFIX } from "./layout.ts";
import { checksumSeed, corrupt, readOrCorrupt } from "./record.ts";
import { snapshotMeta } from "./segment.ts";
import type { GroupIdentity, SnapshotReader, SnapshotWriter } from "./store.ts";

const BLOCK_BYTES = 64 * 1024;
const STORED_BLOCK_BYTES = BLOCK_BYTES + 4;
const META_AT = PREAMBLE_BYTES + 8;
const END_BYTES = 12;

function snapshotSeed(identity: GroupIdentity, last: LogId): number {
  return checksumSeed(identity, `snapshot ${last.index} ${last.term}`);
}

function blockChecksum(block: Uint8Array, seed: number, number: number): number {
  return crc32(block, (seed ^ (number + 1)) >>> 0);
}

export class SnapshotFiles {
  private metas: SnapshotMeta[] = [];
  private writers = 0;

  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
    private readonly identity: GroupIdentity,
  ) {}

  /**
   * Reads the metas of all stored snapshots. Returns what is wrong with those that cannot be
   * used; they are not listed and not removed.
   */
  load(): { readonly last: LogId; readonly fault: unknown }[] {
    const faults: { last: LogId; fault: unknown }[] = [];
    this.metas = [];
    for (const name of this.disk.list(this.directory)) {
      const last = parseSnapshotName(name);
      if (last === null) continue;
      try {
        const reader = openSnapshotFile(this.disk, this.directory, this.identity, last);
        this.metas.push(reader.meta);
        reader.close();
      } catch (fault) {
        faults.push({ last, fault });
      }
    }
    return faults;
  }

  list(): readonly SnapshotMeta[] {
    return this.metas;
  }

  has(last: LogId): boolean {
    return this.metas.some((meta) => sameId(meta.last, last));
  }

  open(index: Index): SnapshotReader | null {
    const meta = this.metas.find((item) => item.last.index === index);
    if (meta === undefined) return null;
    return openSnapshotFile(this.disk, this.directory, this.identity, meta.last);
  }

  remove(index: Index): void {
    const gone = this.metas.filter((meta) => meta.last.index === index);
    if (gone.length === 0) return;
    this.metas = this.metas.filter((meta) => meta.last.index !== index);
    for (const meta of gone) {
      this.disk.remove(joinPath(this.directory, snapshotName(meta.last)));
    }
    this.disk.syncDirectory(this.directory);
  }

  begin(meta: SnapshotMeta): SnapshotWriter {
    this.writers += 1;
    const temporary = joinPath(
      this.directory,
      `${snapshotName(meta.last)}.${this.writers}${TEMPORARY_SUFFIX}`,
    );
    const seed = snapshotSeed(this.identity, meta.last);
    return new SnapshotFileWriter(this.disk, temporary, seed, meta, () => {
      this.disk.rename(temporary, joinPath(this.directory, snapshotName(meta.last)));
      this.disk.syncDirectory(this.directory);
      this.metas = [...this.metas.filter((item) => !sameId(item.last, meta.last)), meta]
        .sort((left, right) => left.last.index - right.last.index);
    });
  }
}

function sameId(left: LogId, right: LogId): boolean {
  return left.index === right.index && left.term === right.term;
}

class SnapshotFileWriter implements SnapshotWriter {
  private readonly file: DiskFile;
  private position: number;
  private readonly block = new Uint8Array(STORED_BLOCK_BYTES);
  private filled = 0;
  private blocks = 0;
  private written = 0;
  private open = true;

  constructor(
    private readonly disk: Disk,
    private readonly path: string,
    private readonly seed: number,
    readonly meta: SnapshotMeta,
    /** Gives the finished file its name. */
    private readonly publish: () => void,
  ) {
    disk.remove(path);
    this.file = disk.open(path, "create");
    const start = encodeStart(meta, seed);
    this.position = start.length;
    this.guard(() => this.file.writeAt(0, start));
  }

  get size(): number {
    return this.written;
  }

  write(part: Uint8Array): void {
    assert(this.open, "a snapshot is written before it is committed or aborted");
    let taken = 0;
    while (taken < part.length) {
      const count = Math.min(part.length - taken, BLOCK_BYTES - this.filled);
      this.block.set(part.subarray(taken, taken + count), this.filled);
      this.filled += count;
      taken += count;
      if (this.filled === BLOCK_BYTES) this.guard(() => this.flush());
    }
    this.written += part.length;
  }

  commit(): void {
    assert(this.open, "a snapshot is committed once");
    this.guard(() => {
      if (this.filled > 0) this.flush();
      this.file.writeAt(this.position, encodeEnd(this.written, this.seed, this.blocks));
      this.file.syncNow();
    });
    this.open = false;
    this.file.close();
    this.publish();
  }

  abort(): void {
    if (!this.open) return;
    this.open = false;
    this.file.close();
    this.disk.remove(this.path);
  }

  private flush(): void {
    const checksum = blockChecksum(
      this.block.subarray(0, this.filled),
      this.seed,
      this.blocks,
    );
    viewOf(this.block).setUint32(this.filled, checksum, true);
    this.file.writeAt(this.position, this.block.subarray(0, this.filled + 4));
    this.position += this.filled + 4;
    this.blocks += 1;
    this.filled = 0;
  }

  /** A snapshot that could not be written is dropped: on a full disk its space is needed. */
  private guard(write: () => void): void {
    try {
      write();
    } catch (thrown) {
      this.abort();
      throw thrown;
    }
  }
}

function encodeStart(meta: SnapshotMeta, seed: number): Uint8Array {
  const payload = pack(snapshotMeta.encode(meta));
  const bytes = new Uint8Array(META_AT + payload.length);
  bytes.set(preamble(Magic.snapshot));
  bytes.set(payload, META_AT);
  viewOf(bytes).setUint32(PREAMBLE_BYTES, payload.length, true);
  viewOf(bytes).setUint32(PREAMBLE_BYTES + 4, crc32(payload, seed), true);
  return bytes;
}

function encodeEnd(size: number, seed: number, blocks: number): Uint8Array {
  const bytes = new Uint8Array(END_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, size % 2 ** 32, true);
  view.setUint32(4, Math.floor(size / 2 ** 32), true);
  view.setUint32(8, blockChecksum(bytes.subarray(0, 8), seed, blocks), true);
  return bytes;
}

/** Opens a stored snapshot; throws `corrupt` where its start or end is not what was written. */
export function openSnapshotFile(
  disk: Disk,
  directory: string,
  identity: GroupIdentity,
  last: LogId,
): SnapshotReader {
  const path = joinPath(directory, snapshotName(last));
  const seed = snapshotSeed(identity, last);
  const file = disk.open(path, "read");
  try {
    const { meta, blocksAt } = readStart(file, path, seed);
    if (!sameId(meta.last, last)) throw corrupt(path, META_AT, "it holds another snapshot");
    const size = readEnd(file, path, seed, blocksAt);
    return new SnapshotFileReader(file, path, seed, meta, size, blocksAt);
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}

function readExactly(file: DiskFile, path: string, position: number, length: number): Uint8Array {
  if (position < 0 || position + length > file.size()) {
    throw corrupt(path, position, "it is cut off");
  }
  const bytes = new Uint8Array(length);
  const count = readOrCorrupt(file, path, position, bytes);
  if (count < length) throw corrupt(path, position + count, "it is cut off");
  return bytes;
}

function readStart(file: DiskFile, path: string, seed: number) {
  const start = readExactly(file, path, 0, META_AT);
  checkPreamble(start, Magic.snapshot, path);
  const length = viewOf(start).getUint32(PREAMBLE_BYTES, true);
  const payload = readExactly(file, path, META_AT, length);
  if (viewOf(start).getUint32(PREAMBLE_BYTES + 4, true) !== crc32(payload, seed)) {
    throw corrupt(path, META_AT, "its meta fails its checksum");
  }
  const meta = snapshotMeta.decode(unpack(payload), `meta of ${path}`);
  return { meta, blocksAt: META_AT + length };
}

function readEnd(file: DiskFile, path: string, seed: number, blocksAt: number): number {
  const endAt = file.size() - END_BYTES;
  const bytes = readExactly(file, path, endAt, END_BYTES);
  const view = viewOf(bytes);
  const size = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  const blocks = Math.ceil(size / BLOCK_BYTES);
  const checksum = blockChecksum(bytes.subarray(0, 8), seed, blocks);
  if (view.getUint32(8, true) !== checksum) {
    throw corrupt(path, endAt, "its end fails its checksum");
  }
  if (blocksAt + size + blocks * 4 !== endAt) throw corrupt(path, endAt, "its length is wrong");
  return size;
}

class SnapshotFileReader implements SnapshotReader {
  constructor(
    private readonly file: DiskFile,
    private readonly path: string,
    private readonly seed: number,
    readonly meta: SnapshotMeta,
    readonly size: number,
    private readonly blocksAt: number,
  ) {}

  read(offset: number, length: number): Uint8Array {
    const end = Math.min(offset + length, this.size);
    if (offset >= end) return EMPTY_BYTES;
    const result = new Uint8Array(end - offset);
    for (let at = offset; at < end;) {
      const number = Math.floor(at / BLOCK_BYTES);
      const block = this.block(number);
      const within = at - number * BLOCK_BYTES;
      const part = block.subarray(within, Math.min(block.length, within + end - at));
      result.set(part, at - offset);
      at += part.length;
    }
    return result;
  }

  close(): void {
    this.file.close();
  }

  private block(number: number): Uint8Array {
    const length = Math.min(BLOCK_BYTES, this.size - number * BLOCK_BYTES);
    const position = this.blocksAt + number * STORED_BLOCK_BYTES;
    const stored = readExactly(this.file, this.path, position, length + 4);
    const block = stored.subarray(0, length);
    if (viewOf(stored).getUint32(length, true) !== blockChecksum(block, this.seed, number)) {
      throw corrupt(this.path, position, `block ${number} fails its checksum`);
    }
    return block;
  }
}
