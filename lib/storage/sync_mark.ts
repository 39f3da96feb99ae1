/**
 * The file `synced` of a group: the number of the newest segment, and how many of its bytes are
 * known to be synced. Records carry the same statement, but a record lies in the pages that it
 * vouches for: rot at the end of a quiet log takes both. This file lies elsewhere.
 *
 *   0  preamble, length and checksum as in every small file (file_format.ts)
 *  24  u64  number of the segment
 *  32  u64  bytes of it that are synced
 *
 * The 40 bytes are overwritten in place, within one sector, so that a full disk does not stop them
 * and nothing but the sector can be torn. They are written after the sync that they state, and are
 * themselves synced only when the log closes. A statement that a crash takes back, or that has
 * rotted, costs evidence and never makes a sound log look damaged.
 */

import { viewOf } from "../base/bytes.ts";
import { type Disk, type DiskFile, isDiskFull } from "./disk.ts";
import { encodeChecked, Magic, readChecked } from "./file_format.ts";
import { joinPath, SYNC_MARK_FILE } from "./layout.ts";
import { checksumSeed, getUint64, setUint64 } from "./record.ts";
import type { GroupIdentity } from "./store.ts";

const PAYLOAD_BYTES = 16;

export interface SyncMark {
  /** Number of the segment that is written to. */
  readonly segment: number;
  /** Bytes of it, from its start on, that are synced. */
  readonly bytes: number;
}

function seedOf(identity: GroupIdentity): number {
  return checksumSeed(identity, SYNC_MARK_FILE);
}

/**
 * The statement of a group's directory; null where none was ever written, which includes a file
 * that a power loss left without content. Throws `corrupt` or `unsupported_version`.
 */
export function readSyncMark(
  disk: Disk,
  directory: string,
  identity: GroupIdentity,
): SyncMark | null {
  const path = joinPath(directory, SYNC_MARK_FILE);
  if (!disk.exists(path) || isBlank(disk, path)) return null;
  const view = viewOf(readChecked(disk, path, Magic.syncMark, seedOf(identity)));
  return { segment: getUint64(view, 0), bytes: getUint64(view, 8) };
}

function isBlank(disk: Disk, path: string): boolean {
  const file = disk.open(path, "read");
  try {
    const start = new Uint8Array(PAYLOAD_BYTES);
    file.readAt(0, start);
    return start.every((byte) => byte === 0);
  } catch {
    return false;
  } finally {
    file.close();
  }
}

/** Writes the statements of one open log. The file is open for a write only: there are many logs. */
export class SyncMarkFile {
  private last: SyncMark = { segment: 0, bytes: 0 };
  private unsynced = false;

  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
    private readonly identity: GroupIdentity,
  ) {}

  /** Bytes of `segment` that the last statement calls synced. */
  stated(segment: number): number {
    return this.last.segment === segment ? this.last.bytes : 0;
  }

  /**
   * States that `bytes` of `segment` are synced, which must be true already. Where a full disk has
   * no room for a new file nothing is stated. Throws `disk_failed`.
   */
  write(segment: number, bytes: number): void {
    if (segment === this.last.segment && bytes === this.last.bytes) return;
    const payload = new Uint8Array(PAYLOAD_BYTES);
    setUint64(viewOf(payload), 0, segment);
    setUint64(viewOf(payload), 8, bytes);
    const content = encodeChecked(Magic.syncMark, seedOf(this.identity), payload);
    try {
      this.withFile((file) => file.writeAt(0, content));
    } catch (thrown) {
      if (!isDiskFull(thrown)) throw thrown;
      return;
    }
    this.last = { segment, bytes };
    this.unsynced = true;
  }

  /** Makes the last statement durable, unless no file can be opened for it. */
  sync(): void {
    if (!this.unsynced) return;
    try {
      this.withFile((file) => file.syncNow());
      this.unsynced = false;
    } catch (thrown) {
      if (!isDiskFull(thrown)) throw thrown;
    }
  }

  private withFile(use: (file: DiskFile) => void): void {
    const path = joinPath(this.directory, SYNC_MARK_FILE);
    const file = this.disk.open(path, this.disk.exists(path) ? "write" : "create");
    try {
      use(file);
    } finally {
      file.close();
    }
  }
}
