/**
 * What all our files share: the first 16 bytes (in every version for ever), and small files that
 * hold one checksummed payload and are replaced as a whole.
 *
 *   0  8 bytes  magic: `trilog` and two letters for the kind of file
 *   8  u32      format version
 *  12  u32      CRC-32 of bytes 0 to 11
 *
 * A small file goes on with
 *
 *  16  u32      payload length
 *  20  u32      CRC-32 of the payload, seeded
 *  24           payload, up to the end of the file
 */

import { crc32 } from "node:zlib";
import { textOf, utf8, viewOf } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import type { Disk } from "./disk.ts";
import { joinPath, TEMPORARY_SUFFIX } from "./layout.ts";
import { corrupt, readOrCorrupt } from "./record.ts";

/**
 * Version 2: segments, hosting notes and the identity name the replica and its groups. Files of
 * version 1 are read; what they do not say is taken as unknown.
 */
export const FORMAT_VERSION = 2;
const OLDEST_VERSION = 1;
export const PREAMBLE_BYTES = 16;

export const Magic = {
  segment: "trilogSG",
  index: "trilogIX",
  snapshot: "trilogSN",
  identity: "trilogID",
  hosting: "trilogHO",
  syncMark: "trilogSY",
  starts: "trilogST",
} as const;
export type Magic = typeof Magic[keyof typeof Magic];

const CHECKED_HEADER_BYTES = PREAMBLE_BYTES + 8;

export function preamble(magic: Magic, version: number = FORMAT_VERSION): Uint8Array {
  const bytes = new Uint8Array(PREAMBLE_BYTES);
  bytes.set(utf8(magic));
  const view = viewOf(bytes);
  view.setUint32(8, version, true);
  view.setUint32(12, crc32(bytes.subarray(0, 12)), true);
  return bytes;
}

/**
 * Throws `corrupt` unless `bytes` begin with a preamble of that kind, and `unsupported_version`
 * where a newer trilog wrote the file.
 */
export function checkPreamble(bytes: Uint8Array, magic: Magic, name: string): void {
  if (bytes.length < PREAMBLE_BYTES) throw corrupt(name, 0, "it is too short to be ours");
  const view = viewOf(bytes);
  if (view.getUint32(12, true) !== crc32(bytes.subarray(0, 12))) {
    throw corrupt(name, 0, "its first bytes fail their checksum");
  }
  if (textOf(bytes.subarray(0, 8)) !== magic) throw corrupt(name, 0, "it is another kind of file");
  const version = view.getUint32(8, true);
  if (version < OLDEST_VERSION || version > FORMAT_VERSION) {
    throw new TrilogError(
      "unsupported_version",
      `Cannot read ${name}: format version ${version}, this version of trilog reads ${FORMAT_VERSION}`,
    );
  }
}

/** The bytes of a small checksummed file. */
export function encodeChecked(magic: Magic, seed: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(CHECKED_HEADER_BYTES + payload.length);
  bytes.set(preamble(magic));
  bytes.set(payload, CHECKED_HEADER_BYTES);
  const view = viewOf(bytes);
  view.setUint32(PREAMBLE_BYTES, payload.length, true);
  view.setUint32(PREAMBLE_BYTES + 4, crc32(payload, seed), true);
  return bytes;
}

/** The payload of a small checksummed file; throws `corrupt` or `unsupported_version`. */
export function readChecked(disk: Disk, path: string, magic: Magic, seed: number): Uint8Array {
  const bytes = readWhole(disk, path);
  checkPreamble(bytes, magic, path);
  const whole = bytes.length >= CHECKED_HEADER_BYTES &&
    viewOf(bytes).getUint32(PREAMBLE_BYTES, true) === bytes.length - CHECKED_HEADER_BYTES;
  if (!whole) throw corrupt(path, PREAMBLE_BYTES, "its length is wrong");
  const payload = bytes.subarray(CHECKED_HEADER_BYTES);
  if (viewOf(bytes).getUint32(PREAMBLE_BYTES + 4, true) !== crc32(payload, seed)) {
    throw corrupt(path, CHECKED_HEADER_BYTES, "its content fails its checksum");
  }
  return payload;
}

/** Replaces a file durably: at every moment either the old content or the new one is there. */
export function replaceFile(disk: Disk, directory: string, name: string, bytes: Uint8Array): void {
  const path = joinPath(directory, name);
  const temporary = path + TEMPORARY_SUFFIX;
  disk.remove(temporary);
  const file = disk.open(temporary, "create");
  try {
    file.writeAt(0, bytes);
    file.syncNow();
  } catch (thrown) {
    disk.remove(temporary);
    throw thrown;
  } finally {
    file.close();
  }
  disk.rename(temporary, path);
  disk.syncDirectory(directory);
}

function readWhole(disk: Disk, path: string): Uint8Array {
  const file = disk.open(path, "read");
  try {
    const bytes = new Uint8Array(file.size());
    return bytes.subarray(0, readOrCorrupt(file, path, 0, bytes));
  } finally {
    file.close();
  }
}
