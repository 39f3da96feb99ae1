/**
 * The snapshot files of one group: `<last index>-<last term>.snapshot`. A snapshot is written under
 * a temporary name, synced, read back, renamed, and its directory synced: at every crash point the
 * older ones are untouched and the new one is either complete or a temporary file, which the next
 * opening removes.
 */

import type { Index, LogId, SnapshotMeta } from "../raft/types.ts";
import type { Disk } from "./disk.ts";
import { joinPath, parseSnapshotName, snapshotName, TEMPORARY_SUFFIX } from "./layout.ts";
import { readSnapshotFile, sameId, snapshotSeed } from "./snapshot_format.ts";
import { SnapshotFileWriter } from "./snapshot_writer.ts";
import type { GroupIdentity, SnapshotReader, SnapshotWriter } from "./store.ts";

/** To free this much takes some milliseconds. */
const CUT_BYTES = 16 * 1024 * 1024;

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
    const free = this.retire(index);
    while (free());
  }

  /**
   * Takes a snapshot from the list and its name from the file; each call of the result cuts a part
   * of the file, until it is gone. Nothing is synced: what comes back after a crash goes again.
   */
  retire(index: Index): () => boolean {
    const gone = this.metas.filter((meta) => meta.last.index === index);
    this.metas = this.metas.filter((meta) => meta.last.index !== index);
    const paths = gone.map(({ last }) => {
      const path = joinPath(this.directory, snapshotName(last));
      const retired = path + TEMPORARY_SUFFIX;
      this.disk.rename(path, retired);
      return retired;
    });
    return () => {
      const [path] = paths;
      if (path === undefined) return false;
      if (!this.cut(path)) paths.shift();
      return paths.length > 0;
    };
  }

  /** Frees the last part of a file; false: that was all of it, and the file is gone. */
  private cut(path: string): boolean {
    const file = this.disk.open(path, "write");
    try {
      const left = file.size() - CUT_BYTES;
      if (left > 0) {
        file.truncate(left);
        return true;
      }
    } finally {
      file.close();
    }
    this.disk.remove(path);
    return false;
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

/** Opens a stored snapshot; throws `corrupt` where its start or end is not what was written. */
export function openSnapshotFile(
  disk: Disk,
  directory: string,
  identity: GroupIdentity,
  last: LogId,
): SnapshotReader {
  const path = joinPath(directory, snapshotName(last));
  const file = disk.open(path, "read");
  try {
    return readSnapshotFile(file, path, snapshotSeed(identity, last), last);
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}
