/**
 * The bytes of a snapshot file:
 *
 *   0  preamble (file_format.ts)
 *  16  u32  length of the meta, u32 its CRC-32, the meta as MessagePack
 *      blocks of 64 KiB of the state, each followed by its u32 CRC-32; the last may be shorter
 *      u64  bytes of the state, u32 CRC-32 of those eight bytes
 *
 * All checksums are seeded with cluster, group, last index and term, those of blocks and of the
 * end also with the number of the block.
 */

import { crc32 } from "node:zlib";
import { assert } from "../base/assert.ts";
import { EMPTY_BYTES, viewOf } from "../base/bytes.ts";
import { pack, unpack } from "../base/msgpack.ts";
import type { LogId, SnapshotMeta } from "../raft/types.ts";
import type { DiskFile } from "./disk.ts";
import { checkPreamble, Magic, preamble, PREAMBLE_BYTES } from "./file_format.ts";
import { checksumSeed, corrupt, readOrCorrupt } from "./record.ts";
import { snapshotMeta } from "./segment.ts";
import type { GroupIdentity, SnapshotReader } from "./store.ts";

export const BLOCK_BYTES = 64 * 1024;
export const STORED_BLOCK_BYTES = BLOCK_BYTES + 4;
const META_AT = PREAMBLE_BYTES + 8;
const END_BYTES = 12;

export function snapshotSeed(identity: GroupIdentity, last: LogId): number {
  return checksumSeed(identity, `snapshot ${last.index} ${last.term}`);
}

export function blockChecksum(block: Uint8Array, seed: number, number: number): number {
  return crc32(block, (seed ^ (number + 1)) >>> 0);
}

export function sameId(left: LogId, right: LogId): boolean {
  return left.index === right.index && left.term === right.term;
}

export function encodeStart(meta: SnapshotMeta, seed: number): Uint8Array {
  const payload = pack(snapshotMeta.encode(meta));
  const bytes = new Uint8Array(META_AT + payload.length);
  bytes.set(preamble(Magic.snapshot));
  bytes.set(payload, META_AT);
  viewOf(bytes).setUint32(PREAMBLE_BYTES, payload.length, true);
  viewOf(bytes).setUint32(PREAMBLE_BYTES + 4, crc32(payload, seed), true);
  return bytes;
}

export function encodeEnd(size: number, seed: number, blocks: number): Uint8Array {
  assert(Number.isSafeInteger(size) && size >= 0, "a state's size is a whole number");
  const bytes = new Uint8Array(END_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, size % 2 ** 32, true);
  view.setUint32(4, Math.floor(size / 2 ** 32), true);
  view.setUint32(8, blockChecksum(bytes.subarray(0, 8), seed, blocks), true);
  return bytes;
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

/**
 * Reads a snapshot from an open file, which it closes. Throws `corrupt` where its start or end is
 * not what was written.
 */
export function readSnapshotFile(
  file: DiskFile,
  path: string,
  seed: number,
  last: LogId,
): SnapshotReader {
  const { meta, blocksAt } = readStart(file, path, seed);
  if (!sameId(meta.last, last)) throw corrupt(path, META_AT, "it holds another snapshot");
  const size = readEnd(file, path, seed, blocksAt);
  return new SnapshotFileReader(file, path, seed, meta, size, blocksAt);
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
