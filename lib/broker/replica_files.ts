/** Files of the replicas on a broker's disk: opened, noted, set aside and removed. */

import { toTrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Membership } from "../raft/types.ts";
import type { Disk } from "../storage/disk.ts";
import type { DataDirectory } from "../storage/identity.ts";
import {
  GROUPS_DIRECTORY,
  joinPath,
  makeDurableDirectory,
  nextSetAsideDirectory,
} from "../storage/layout.ts";
import { openSegmentLog } from "../storage/segment_log.ts";
import type { LogStore } from "../storage/store.ts";
import { type HostingNotes, type HostingState, readNotes, writeNotes } from "./hosting_notes.ts";

export interface ReplicaFilesOptions {
  readonly disk: Disk;
  /** Names the hosted groups, and the replica that hosts them. */
  readonly identity: Pick<
    DataDirectory,
    "replicaId" | "cluster" | "stored" | "groups" | "setGroups"
  >;
  readonly segmentBytes: number;
  readonly logger: Logger;
}

/** A directory with the notes that are known of it. */
interface Place {
  readonly directory: string;
  notes: HostingNotes;
}

export class ReplicaFiles {
  constructor(private readonly options: ReplicaFilesOptions) {}

  openStore(directory: string, group: string, bootstrap: Membership | null): LogStore {
    const { disk, logger, segmentBytes, identity } = this.options;
    return openSegmentLog(disk, {
      identity: { cluster: identity.cluster!, group, replica: identity.replicaId },
      directory,
      bootstrap,
      segmentBytes,
      logger: logger.with({ group }),
    });
  }

  /** The notes on a directory; null where there are none that can be read. */
  tryReadNotes(directory: string): HostingNotes | null {
    try {
      return readNotes(this.options.disk, directory);
    } catch (thrown) {
      if (toTrilogError(thrown).code !== "corrupt") throw thrown;
      return null;
    }
  }

  /** Whether a log was made and never used: its replica has neither voted nor stored anything. */
  isUntouched(directory: string, group: string): boolean {
    try {
      const store = this.openStore(directory, group, null);
      const { hardState, last } = store.recovered;
      store.close();
      return hardState.term === 0 && last.index === 0;
    } catch (thrown) {
      if (toTrilogError(thrown).code !== "corrupt") throw thrown;
      return false;
    }
  }

  /** A full disk does not keep a replica from being fenced or removed: it is found so again. */
  note(hosted: Place, state: HostingState): void {
    hosted.notes = { ...hosted.notes, state };
    try {
      writeNotes(this.options.disk, hosted.directory, hosted.notes);
    } catch (thrown) {
      if (toTrilogError(thrown).code !== "disk_full") throw thrown;
    }
  }

  /** Keeps the files of a replica that takes part no more. */
  setAside({ directory, notes }: Place): void {
    const { disk, logger } = this.options;
    const aside = nextSetAsideDirectory(disk);
    makeDurableDirectory(disk, joinPath(aside, GROUPS_DIRECTORY));
    disk.rename(directory, joinPath(aside, directory));
    disk.syncDirectory(joinPath(aside, GROUPS_DIRECTORY));
    disk.syncDirectory(GROUPS_DIRECTORY);
    logger.warn("the files of an outlived replica were set aside", {
      partition: `${notes.topic}/${notes.partition}`,
      directory: aside,
    });
  }

  /** Removes a directory of a group, durably. */
  remove(directory: string): void {
    this.options.disk.remove(directory);
    this.options.disk.syncDirectory(GROUPS_DIRECTORY);
  }
}
