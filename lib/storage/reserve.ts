/**
 * A file that holds space for term and vote: on a full disk it is given up, so that elections go
 * on, and entries are refused until it stands again. It is filled with bytes that no file system
 * stores as a hole. Nothing depends on its content.
 */

import { type Disk, isDiskFull } from "./disk.ts";
import { joinPath, RESERVE_FILE } from "./layout.ts";

/** Some 300 hard states, or the header of a segment and a few. */
export const RESERVE_BYTES = 32 * 1024;

export class Reserve {
  private readonly path: string;
  private stands = false;

  constructor(private readonly disk: Disk, directory: string) {
    this.path = joinPath(directory, RESERVE_FILE);
  }

  /** Makes sure that the reserve stands; throws `disk_full` where there is no space for it. */
  restore(): void {
    if (this.stands) return;
    if (this.disk.exists(this.path)) {
      this.stands = this.size() === RESERVE_BYTES;
      if (this.stands) return;
      this.disk.remove(this.path);
    }
    const file = this.disk.open(this.path, "create");
    try {
      file.writeAt(0, new Uint8Array(RESERVE_BYTES).fill(0xa5));
      this.stands = true;
    } finally {
      file.close();
    }
  }

  /** The same, for whom it is no matter if the disk is full. */
  tryRestore(): void {
    try {
      this.restore();
    } catch (thrown) {
      if (!isDiskFull(thrown)) throw thrown;
    }
  }

  /** Runs a write that must not fail for want of space; gives up the reserve if it would. */
  use<T>(write: () => T): T {
    try {
      return write();
    } catch (thrown) {
      if (!isDiskFull(thrown) || !this.disk.exists(this.path)) throw thrown;
      this.disk.remove(this.path);
      this.stands = false;
      return write();
    }
  }

  private size(): number {
    const file = this.disk.open(this.path, "read");
    try {
      return file.size();
    } finally {
      file.close();
    }
  }
}
