/**
 * The replicas on a broker's disk: found at the start and opened at once (their groups may need
 * their votes before any manager answers), made, fenced and removed. What is to be done is decided
 * elsewhere (`reconcile.ts`); here it is done so that a crash at any moment leaves nothing that
 * could do harm. `hosting_notes.ts` says how.
 */

import type { Clock } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { LogId, Membership } from "../raft/types.ts";
import type { Host } from "../replica/host.ts";
import { raftOptions } from "../replica/raft_options.ts";
import type { Disk } from "../storage/disk.ts";
import { type GroupDirectory, listGroups } from "../storage/groups.ts";
import {
  groupDirectory,
  GROUPS_DIRECTORY,
  joinPath,
  makeDurableDirectory,
  nextSetAsideDirectory,
  TEMPORARY_SUFFIX,
} from "../storage/layout.ts";
import { openSegmentLog } from "../storage/segment_log.ts";
import type { LogStore } from "../storage/store.ts";
import {
  type HostingNotes,
  type HostingState,
  notesOfLost,
  raftGroup,
  readNotes,
  writeNotes,
} from "./hosting_notes.ts";
import { PartitionMachine } from "./partition.ts";
import { dropTrimmed } from "./retention.ts";
import { type PartitionIdentity, ServedPartition } from "./served_partition.ts";

export interface HostingOptions {
  readonly disk: Disk;
  readonly host: Host;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Cluster that the data directory belongs to; null while it is blank. */
  readonly cluster: () => string | null;
  readonly segmentBytes: number;
  readonly heartbeatMs: number;
  readonly electionTimeoutMs: number;
}

/** A replica on the disk. */
export interface Hosted {
  readonly directory: string;
  notes: HostingNotes;
  /** Null unless the replica takes part in its group. */
  partition: ServedPartition | null;
}

/** How a replica begins. */
export interface Beginning extends PartitionIdentity {
  /** The group's first membership, or null for one that waits for its leader. */
  readonly bootstrap: Membership | null;
  readonly assignedVersion: number;
  readonly floor: LogId;
}

const NOBODY: Membership = { voters: [], outgoing: [], learners: [], learnersNext: [], nodes: {} };

export class Hosting {
  private readonly groups = new Map<string, Hosted>();
  /** Highest number of a group directory. */
  private lastNumber = 0;

  constructor(private readonly options: HostingOptions) {}

  /** What lies on the disk for a group; undefined where nothing does. */
  get(groupId: string): Hosted | undefined {
    return this.groups.get(groupId);
  }

  all(): IterableIterator<Hosted> {
    return this.groups.values();
  }

  *partitions(): Generator<ServedPartition, void, void> {
    for (const { partition } of this.groups.values()) if (partition !== null) yield partition;
  }

  /**
   * Finds what is on the disk, finishes what a crash interrupted, and opens all replicas. Throws
   * `corrupt` where not even the group of a directory can be told: made anew, that replica could
   * vote twice.
   */
  openAll(): void {
    this.removeUnfinished();
    for (const found of listGroups(this.options.disk)) {
      this.lastNumber = found.number;
      const notes = this.notesOf(found);
      if (notes === null || notes.state === "deleting") {
        this.remove(found.directory);
        continue;
      }
      this.found({ directory: found.directory, notes, partition: null });
    }
    for (const hosted of this.groups.values()) this.open(hosted);
  }

  /** Copies that were not finished: nobody counts on them yet. */
  private removeUnfinished(): void {
    const { disk } = this.options;
    for (const name of disk.list(GROUPS_DIRECTORY)) {
      if (name.endsWith(TEMPORARY_SUFFIX)) this.remove(joinPath(GROUPS_DIRECTORY, name));
    }
  }

  /** Of two replicas of one group the newer life counts; the older one is set aside. */
  private found(hosted: Hosted): void {
    const { groupId, epoch, state } = hosted.notes;
    const other = this.groups.get(groupId);
    if (other === undefined) {
      this.groups.set(groupId, hosted);
      return;
    }
    const later = epoch > other.notes.epoch ||
      (epoch === other.notes.epoch && state === "open" && other.notes.state === "fenced");
    const [kept, outlived] = later ? [hosted, other] : [other, hosted];
    this.groups.set(groupId, kept);
    this.setAside(outlived);
  }

  /**
   * The notes on a directory; null where nothing was promised yet. A replica whose notes or whose
   * whole log are lost is fenced, as long as its group is known.
   */
  private notesOf(found: GroupDirectory): HostingNotes | null {
    const empty = found.identity === null && found.fault === null;
    let readable = true;
    try {
      const notes = readNotes(this.options.disk, found.directory);
      if (notes?.state === "open" && empty) return { ...notes, state: "fenced" };
      if (notes !== null || empty) return notes;
    } catch (thrown) {
      if (toTrilogError(thrown).code !== "corrupt") throw thrown;
      readable = false;
    }
    if (found.identity === null) {
      throw new TrilogError(
        "corrupt",
        `Cannot tell which partition lies in ${found.directory}: neither notes nor log say it`,
      );
    }
    const notes = notesOfLost(found.identity.group);
    return readable && this.isUntouched(found.directory, notes) ? null : notes;
  }

  /** Whether a log was made and never used: its replica has neither voted nor stored anything. */
  private isUntouched(directory: string, notes: HostingNotes): boolean {
    try {
      const store = this.openStore({ directory, notes, partition: null }, null);
      const { hardState, last } = store.recovered;
      store.close();
      return hardState.term === 0 && last.index === 0;
    } catch (thrown) {
      if (toTrilogError(thrown).code !== "corrupt") throw thrown;
      return false;
    }
  }

  /** Makes a replica where there is none, durably, and opens it. Throws `disk_full`. */
  create(beginning: Beginning): void {
    const { disk } = this.options;
    const { bootstrap, groupId, topic, partition } = beginning;
    const hosted = this.newPlace(beginning);
    const { directory, notes } = hosted;
    let store: LogStore | null = null;
    try {
      disk.makeDirectory(directory);
      store = this.openStore(hosted, bootstrap ?? NOBODY);
      writeNotes(disk, directory, notes);
      disk.syncDirectory(GROUPS_DIRECTORY);
      if (this.groups.size === 0) disk.syncDirectory("");
    } catch (thrown) {
      store?.close();
      this.remove(directory);
      throw thrown;
    }
    this.groups.set(groupId, hosted);
    this.start(hosted, store);
    this.options.logger.info("hosting a new replica", {
      partition: `${topic}/${partition}`,
      group: raftGroup(beginning),
      founder: bootstrap !== null,
    });
  }

  private newPlace(beginning: Beginning): Hosted {
    const { groupId, epoch, topic, partition, assignedVersion, floor } = beginning;
    this.lastNumber += 1;
    const directory = groupDirectory(this.lastNumber);
    const notes = {
      groupId,
      epoch,
      topic,
      partition,
      state: "open",
      assignedVersion,
      floor,
    } as const;
    return { directory, notes, partition: null };
  }

  /**
   * The log of a replica goes on as that of another epoch: `copy` fills the new log from the old
   * one, and the old files are set aside. `succession.ts` says what a crash leaves.
   */
  async succeed(
    outlived: Hosted,
    beginning: Beginning,
    copy: (from: LogStore, to: LogStore) => Promise<void>,
  ): Promise<void> {
    const { disk } = this.options;
    this.close(outlived);
    const hosted = this.newPlace(beginning);
    const unfinished = hosted.directory + TEMPORARY_SUFFIX;
    const place = { ...hosted, directory: unfinished };
    const from = this.openStore(outlived, null);
    let to: LogStore | null = null;
    try {
      disk.makeDirectory(unfinished);
      to = this.openStore(place, beginning.bootstrap);
      await copy(from, to);
      to.close();
      to = null;
      writeNotes(disk, unfinished, hosted.notes);
      disk.rename(unfinished, hosted.directory);
      disk.syncDirectory(GROUPS_DIRECTORY);
    } catch (thrown) {
      to?.close();
      this.remove(unfinished);
      throw thrown;
    } finally {
      from.close();
    }
    this.groups.set(beginning.groupId, hosted);
    this.setAside(outlived);
    this.open(hosted);
  }

  /** A replica of an epoch that was given up: its files stay, for people to look at. */
  giveUp(outlived: Hosted): void {
    this.close(outlived);
    this.setAside(outlived);
    this.groups.delete(outlived.notes.groupId);
  }

  /** Opens a replica that lies on the disk; one whose log has rotted is fenced. */
  open(hosted: Hosted): void {
    if (hosted.partition !== null || hosted.notes.state !== "open") return;
    let store: LogStore | null = null;
    try {
      store = this.openStore(hosted, null);
      this.start(hosted, store);
    } catch (thrown) {
      store?.close();
      const error = toTrilogError(thrown);
      if (error.code !== "corrupt") throw thrown;
      this.fence(hosted, error);
    }
  }

  /** Ends a replica's part in its group for good; its files stay for people to look at. */
  fence(hosted: Hosted, reason: TrilogError): void {
    this.close(hosted);
    this.note(hosted, "fenced");
    this.options.logger.error("a replica has rotted and takes part no more", {
      partition: `${hosted.notes.topic}/${hosted.notes.partition}`,
      directory: hosted.directory,
      reason: reason.message,
    });
  }

  /** A fenced replica begins anew, blank; the old files are set aside when the new ones stand. */
  beginAgain(fenced: Hosted, beginning: Beginning): void {
    this.create(beginning);
    this.setAside(fenced);
  }

  /** Stops a replica; its files stay as they are. */
  close(hosted: Hosted): void {
    const { partition } = hosted;
    if (partition === null) return;
    hosted.partition = null;
    this.options.host.close(raftGroup(hosted.notes));
    partition.wakeAll();
  }

  /** Removes a replica: only a tombstone or the group itself allows it. */
  delete(hosted: Hosted): void {
    this.close(hosted);
    this.note(hosted, "deleting");
    this.remove(hosted.directory);
    this.groups.delete(hosted.notes.groupId);
    this.options.logger.info("removed a replica", {
      partition: `${hosted.notes.topic}/${hosted.notes.partition}`,
      group: raftGroup(hosted.notes),
    });
  }

  /** The replica of a Raft group, as the host calls it. */
  byRaftGroup(group: string): Hosted | undefined {
    const hosted = this.groups.get(group.slice(0, group.lastIndexOf("@")));
    return hosted !== undefined && raftGroup(hosted.notes) === group ? hosted : undefined;
  }

  private openStore(hosted: Hosted, bootstrap: Membership | null): LogStore {
    const { disk, logger, segmentBytes, cluster } = this.options;
    const group = raftGroup(hosted.notes);
    return openSegmentLog(disk, {
      identity: { cluster: cluster()!, group },
      directory: hosted.directory,
      bootstrap,
      segmentBytes,
      logger: logger.with({ group }),
    });
  }

  private start(hosted: Hosted, store: LogStore): void {
    const { host, clock } = this.options;
    const { notes } = hosted;
    const machine = new PartitionMachine();
    const replica = host.open({
      group: raftGroup(notes),
      machine,
      store,
      raft: raftOptions(this.options),
      compaction: "manual",
      floor: notes.floor.term === 0 ? undefined : notes.floor,
    });
    const partition = new ServedPartition(notes, machine, replica, clock);
    hosted.partition = partition;
    replica.onApplied(() => dropTrimmed(partition));
  }

  /** A full disk does not keep a replica from being fenced or removed: it is found so again. */
  private note(hosted: Hosted, state: HostingState): void {
    hosted.notes = { ...hosted.notes, state };
    try {
      writeNotes(this.options.disk, hosted.directory, hosted.notes);
    } catch (thrown) {
      if (toTrilogError(thrown).code !== "disk_full") throw thrown;
    }
  }

  private setAside({ directory, notes }: Hosted): void {
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

  private remove(directory: string): void {
    this.options.disk.remove(directory);
    this.options.disk.syncDirectory(GROUPS_DIRECTORY);
  }
}
