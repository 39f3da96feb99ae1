/**
 * The file `starts` in the root of a data directory: the start counter of the identity once more,
 * in bytes that are there already. Replacing the identity file needs room for a second one; on a
 * disk without room the counter is overwritten here, in place and durably, so that a server starts.
 *
 *   0  preamble, length and checksum as in every small file (file_format.ts)
 *  24  u64  start counter
 *  32  u64  CRC-32 of the replica id that it belongs to
 *
 * The greater of the two counters counts. The 40 bytes lie within one sector: a crash leaves the
 * old counter or the new one, and the new one is used only after the sync. A file that is missing,
 * damaged or another replica's counts as 0.
 */

import { crc32 } from "node:zlib";
import { utf8, viewOf } from "../base/bytes.ts";
import { type Disk, isDiskFull } from "./disk.ts";
import { encodeChecked, Magic, readChecked } from "./file_format.ts";
import { STARTS_FILE } from "./layout.ts";
import { getUint64, setUint64 } from "./record.ts";

/** The counter in the file; 0 where there is none for this replica. Throws `corrupt`. */
export function readStartCount(disk: Disk, replicaId: string): number {
  if (!disk.exists(STARTS_FILE)) return 0;
  const view = viewOf(readChecked(disk, STARTS_FILE, Magic.starts, 0));
  return getUint64(view, 8) === crc32(utf8(replicaId)) ? getUint64(view, 0) : 0;
}

/** Makes the file if it is missing and there is room for it. */
export function reserveStartCount(disk: Disk, replicaId: string, counter: number): void {
  if (disk.exists(STARTS_FILE)) return;
  try {
    write(disk, replicaId, counter, "create");
    disk.syncDirectory("");
  } catch (thrown) {
    if (!isDiskFull(thrown)) throw thrown;
    disk.remove(STARTS_FILE);
  }
}

/** Stores the counter durably in the file, which must be there: needs no room. */
export function writeStartCount(disk: Disk, replicaId: string, counter: number): void {
  write(disk, replicaId, counter, "write");
}

function write(disk: Disk, replicaId: string, counter: number, mode: "create" | "write"): void {
  const payload = new Uint8Array(16);
  setUint64(viewOf(payload), 0, counter);
  setUint64(viewOf(payload), 8, crc32(utf8(replicaId)));
  const file = disk.open(STARTS_FILE, mode);
  try {
    file.writeAt(0, encodeChecked(Magic.starts, 0, payload));
    file.syncNow();
  } finally {
    file.close();
  }
}
