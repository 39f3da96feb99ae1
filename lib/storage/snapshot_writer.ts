/** Writes one snapshot file, by and by. */

import { assert } from "../base/assert.ts";
import { viewOf } from "../base/bytes.ts";
import type { SnapshotMeta } from "../raft/types.ts";
import type { Disk, DiskFile } from "./disk.ts";
import { corrupt } from "./record.ts";
import {
  BLOCK_BYTES,
  blockChecksum,
  encodeEnd,
  encodeStart,
  readSnapshotFile,
  STORED_BLOCK_BYTES,
} from "./snapshot_format.ts";
import type { SnapshotReader, SnapshotWriter } from "./store.ts";

/** What is read back in one step. */
const CHECK_BYTES = 4 * BLOCK_BYTES;

export class SnapshotFileWriter implements SnapshotWriter {
  private readonly file: DiskFile;
  private position: number;
  private readonly block = new Uint8Array(STORED_BLOCK_BYTES);
  private filled = 0;
  private blocks = 0;
  private written = 0;
  private state: "open" | "ended" | "checked" | "closed" = "open";
  private readBack: SnapshotReader | null = null;
  private checked = 0;

  constructor(
    private readonly disk: Disk,
    private readonly path: string,
    private readonly seed: number,
    readonly meta: SnapshotMeta,
    /** Gives the finished file its name. */
    private readonly name: () => void,
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
    assert(this.state === "open", "a snapshot is written before it is ended or aborted");
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

  end(): void {
    assert(this.state === "open", "a snapshot is ended once");
    this.guard(() => {
      if (this.filled > 0) this.flush();
      this.file.writeAt(this.position, encodeEnd(this.written, this.seed, this.blocks));
    });
    this.state = "ended";
  }

  sync(): Promise<void> {
    assert(this.state !== "closed", "a snapshot is synced before it is published or aborted");
    return this.file.sync();
  }

  check(): boolean {
    assert(this.state === "ended", "a snapshot is checked when it has ended");
    return this.guard(() => {
      this.readBack ??= readSnapshotFile(this.file, this.path, this.seed, this.meta.last);
      const { size } = this.readBack;
      if (size !== this.written) {
        throw corrupt(
          this.path,
          0,
          `it holds ${size} bytes of state, ${this.written} were written`,
        );
      }
      this.checked += this.readBack.read(this.checked, CHECK_BYTES).length;
      if (this.checked < this.written) return false;
      this.state = "checked";
      return true;
    });
  }

  publish(): void {
    assert(this.state === "checked", "a snapshot is published when it was checked");
    this.guard(() => this.name());
    this.state = "closed";
    this.file.close();
  }

  commit(): void {
    this.end();
    this.guard(() => this.file.syncNow());
    while (!this.check());
    this.publish();
  }

  abort(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.file.close();
    try {
      this.disk.remove(this.path);
    } catch {
      // The reason for the end is what counts. The name says that the file was never finished: the
      // next opening removes it.
    }
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
  private guard<T>(write: () => T): T {
    try {
      return write();
    } catch (thrown) {
      this.abort();
      throw thrown;
    }
  }
}
