/**
 * The replicas on a broker's disk: found at the start and opened at once (their groups may need
 * their votes before any manager answers), made, fenced and removed. What is to be done is decided
 * elsewhere (`reconcile.ts`); here it is done so that a crash at any moment leaves nothing that
 * could do harm. DESIGN.md has the table of a replica's states and of every crash window.
 *
 * The identity file names every group whose replica may have taken part. A replica is named after
 * its files are durable and before it starts; it is no longer named before its files go. So a
 * directory that is named and missing is damage, and one that is not named never took part, or does
 * so no more.
 */

import type { Clock } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { LogId, Membership } from "../raft/types.ts";
import type { Host } from "../replica/host.ts";
import { raftOptions } from "../replica/raft_options.ts";
import { isDiskFull } from "../storage/disk.ts";
import { type GroupDirectory, type LostGroup, takeCensus } from "../storage/groups.ts";
import {
  groupDirectory,
  groupNumbers,
  GROUPS_DIRECTORY,
  joinPath,
  makeDurableDirectory,
  syncNames,
  TEMPORARY_SUFFIX,
} from "../storage/layout.ts";
import type { LogStore } from "../storage/store.ts";
import {
  type HostingNotes,
  notesOfLost,
  raftGroup,
  readNotes,
  writeNotes,
} from "./hosting_notes.ts";
import { ReplicaFiles, type ReplicaFilesOptions } from "./replica_files.ts";
import { PartitionMachine } from "./partition.ts";
import { dropTrimmed } from "./retention.ts";
import { type PartitionIdentity, ServedPartition } from "./served_partition.ts";

export interface HostingOptions extends ReplicaFilesOptions {
  readonly host: Host;
  readonly clock: Clock;
  readonly heartbeatMs: number;
  readonly electionTimeoutMs: number;
}

/** A replica on the disk. */
export interface Hosted {
  /** Number and path of its directory. */
  readonly number: number;
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

/** A replica whose files are durable and which does not take part yet. */
interface Made {
  readonly hosted: Hosted;
  readonly store: LogStore;
  /** The replica whose place it takes. */
  readonly outlived: Hosted | null;
}

const NOBODY: Membership = { voters: [], outgoing: [], learners: [], learnersNext: [], nodes: {} };

export class Hosting {
  private readonly groups = new Map<string, Hosted>();
  /** Made and not yet admitted. */
  private made: Made[] = [];
  /** Highest number of a group directory. */
  private lastNumber = 0;

  private readonly files: ReplicaFiles;

  constructor(private readonly options: HostingOptions) {
    this.files = new ReplicaFiles(options);
  }

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
    const { disk, identity } = this.options;
    this.removeUnfinished();
    // Names that a killed process left may be in the system's cache only; from here on they count.
    // The directory of each log is synced when the log is opened.
    if (groupNumbers(disk).length > 0) syncNames(disk, GROUPS_DIRECTORY);
    const census = takeCensus(disk, identity.stored);
    const numbers = [...groupNumbers(disk), ...census.lost.map(({ number }) => number)];
    this.lastNumber = Math.max(0, ...numbers);
    for (const found of census.unnamed) this.clearUnnamed(found);
    for (const lost of census.lost) this.foundLost(lost);
    for (const found of census.sound) {
      const { number, directory } = found;
      const notes = this.notesOf(found);
      if (notes === null || notes.state === "deleting") {
        this.files.remove(directory);
        continue;
      }
      const hosted: Hosted = { number, directory, notes, partition: null };
      const fenced = notes.state === "fenced";
      if (fenced) disk.syncDirectory(directory);
      // What is found damaged stays fenced, whatever the next start finds.
      if (fenced && this.files.tryReadNotes(directory)?.state !== "fenced") {
        this.files.note(hosted, "fenced");
      }
      this.found(hosted);
    }
    this.tryNameHosted();
    for (const hosted of this.groups.values()) this.tryOpen(hosted);
  }

  /** Copies that were not finished: nobody counts on them yet. */
  private removeUnfinished(): void {
    const { disk } = this.options;
    for (const name of disk.list(GROUPS_DIRECTORY)) {
      if (name.endsWith(TEMPORARY_SUFFIX)) this.files.remove(joinPath(GROUPS_DIRECTORY, name));
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
    this.files.setAside(outlived);
  }

  /**
   * A directory that the identity file does not name: a creation or a removal that a crash cut
   * short, or files that were put there by hand. It never takes part.
   */
  private clearUnnamed(found: GroupDirectory): void {
    const { directory, identity } = found;
    const notes = this.files.tryReadNotes(directory);
    const group = identity?.group ?? (notes === null ? directory : raftGroup(notes));
    const standing = notes ?? notesOfLost(group, this.options.identity.replicaId);
    const own = identity?.replica === undefined ||
      identity.replica === this.options.identity.replicaId;
    const empty = identity === null && found.fault === null;
    const removable = notes?.state === "deleting" || empty ||
      (own && identity !== null && this.files.isUntouched(directory, identity.group));
    if (removable) this.files.remove(directory);
    else this.files.setAside({ directory, notes: standing });
  }

  /** A group that the identity file names and whose directory is not what it was: it is fenced. */
  private foundLost({ number, directory, group, foreign, fault }: LostGroup): void {
    const { disk, identity } = this.options;
    const known = foreign ? null : this.files.tryReadNotes(directory);
    if (known?.state === "deleting") {
      this.files.remove(directory);
      return;
    }
    const own = known !== null && this.belong(known, group);
    const notes = own ? known : notesOfLost(group, identity.replicaId);
    const hosted: Hosted = { number, directory, notes, partition: null };
    if (foreign) this.files.setAside(hosted);
    if (!disk.exists(directory)) makeDurableDirectory(disk, directory);
    if (known?.state !== "fenced") this.fence(hosted, fault);
    this.found(hosted);
  }

  /**
   * The notes on a directory. A replica whose notes or whose whole log are lost is fenced. Null
   * where nothing was promised yet, which only a directory of format version 1 leaves open.
   */
  private notesOf(found: GroupDirectory): HostingNotes | null {
    const { identity } = this.options;
    const empty = found.identity === null && found.fault === null;
    let readable = true;
    try {
      const notes = readNotes(this.options.disk, found.directory);
      if (notes?.state === "open" && empty) return { ...notes, state: "fenced" };
      const own = notes === null || empty || this.belong(notes, found.identity?.group ?? null);
      if (own && (notes !== null || empty)) return notes;
      readable = notes === null;
    } catch (thrown) {
      if (toTrilogError(thrown).code !== "corrupt") throw thrown;
      readable = false;
    }
    if (found.identity === null) {
      throw new TrilogError(
        "corrupt",
        `Cannot identify the partition in ${found.directory}: neither notes nor log name it`,
      );
    }
    const { group } = found.identity;
    const unsure = identity.groups === null && readable;
    return unsure && this.files.isUntouched(found.directory, group)
      ? null
      : notesOfLost(group, identity.replicaId);
  }

  /** Whether notes are this replica's own; `group`: the one that the directory holds, if known. */
  private belong(notes: HostingNotes, group: string | null): boolean {
    const { replicaId } = this.options.identity;
    return (notes.replica ?? replicaId) === replicaId &&
      (group ?? raftGroup(notes)) === raftGroup(notes);
  }

  /** Names the hosted groups in the identity file, where that says something else. */
  private nameHosted(): void {
    const { identity } = this.options;
    const hosted = [...this.groups.values(), ...this.made.map((made) => made.hosted)];
    const groups = hosted.map(({ number, notes }) => ({ number, group: raftGroup(notes) }))
      .sort((left, right) => left.number - right.number);
    const known = identity.groups;
    const same = known?.length === groups.length &&
      groups.every(({ number, group }, at) =>
        known[at].number === number && known[at].group === group
      );
    if (!same) identity.setGroups(groups);
  }

  /**
   * Makes the files of a replica, durably. It takes part after the next {@link admit}, which is one
   * write for all that were made before it. Throws `disk_full`.
   */
  make(beginning: Beginning, outlived: Hosted | null = null): void {
    const { disk } = this.options;
    const hosted = this.newPlace(beginning);
    const { directory, notes } = hosted;
    let store: LogStore | null = null;
    try {
      disk.makeDirectory(directory);
      store = this.files.openStore(directory, raftGroup(notes), beginning.bootstrap ?? NOBODY);
      writeNotes(disk, directory, notes);
      this.made.push({ hosted, store, outlived });
    } catch (thrown) {
      store?.close();
      this.files.remove(directory);
      throw thrown;
    }
  }

  /** Names the replicas that were made in the identity file, and starts them. Throws `disk_full`. */
  admit(): void {
    if (this.made.length === 0) return;
    const { disk } = this.options;
    try {
      disk.syncDirectory(GROUPS_DIRECTORY);
      if (this.groups.size === 0) disk.syncDirectory("");
      // A replica whose place is taken is not named any more, in the same write.
      for (const { outlived } of this.made) {
        if (outlived !== null) this.groups.delete(outlived.notes.groupId);
      }
      this.nameHosted();
    } catch (thrown) {
      this.dropMade();
      throw thrown;
    }
    const admitted = this.made;
    this.made = [];
    for (const { hosted } of admitted) this.groups.set(hosted.notes.groupId, hosted);
    for (const { hosted, store, outlived } of admitted) {
      this.start(hosted, store);
      if (outlived !== null) this.files.setAside(outlived);
      this.options.logger.info("hosting a new replica", {
        partition: `${hosted.notes.topic}/${hosted.notes.partition}`,
        group: raftGroup(hosted.notes),
      });
    }
  }

  /** Removes what was made and could not be named; what it should replace stays. */
  private dropMade(): void {
    const dropped = this.made;
    this.made = [];
    for (const { hosted, store, outlived } of dropped) {
      if (outlived !== null) this.groups.set(outlived.notes.groupId, outlived);
      store.close();
      this.files.remove(hosted.directory);
    }
  }

  /**
   * A replica that this identity once had, as the managers have recorded, and of which nothing is
   * left here. It is held as fenced, so that its group lets it begin anew (`rebuilding.ts`).
   */
  recordLost(lost: PartitionIdentity): void {
    const { disk, identity } = this.options;
    this.lastNumber += 1;
    const directory = groupDirectory(this.lastNumber);
    const { topic, partition } = lost;
    const notes = { ...notesOfLost(raftGroup(lost), identity.replicaId), topic, partition };
    const hosted: Hosted = { number: this.lastNumber, directory, notes, partition: null };
    makeDurableDirectory(disk, directory);
    writeNotes(disk, directory, notes);
    this.groups.set(lost.groupId, hosted);
    this.nameHosted();
    this.options.logger.error("a replica that was hosted here is gone: it has to be rebuilt", {
      partition: `${topic}/${partition}`,
      group: raftGroup(lost),
    });
  }

  private newPlace(beginning: Beginning): Hosted {
    const { groupId, epoch, topic, partition, assignedVersion, floor } = beginning;
    this.lastNumber += 1;
    const directory = groupDirectory(this.lastNumber);
    const replica = this.options.identity.replicaId;
    const notes: HostingNotes = {
      groupId,
      epoch,
      topic,
      partition,
      state: "open",
      assignedVersion,
      floor,
      replica,
    };
    return { number: this.lastNumber, directory, notes, partition: null };
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
    this.close(outlived, true);
    const hosted = this.newPlace(beginning);
    const unfinished = hosted.directory + TEMPORARY_SUFFIX;
    const from = this.files.openStore(outlived.directory, raftGroup(outlived.notes), null);
    let to: LogStore | null = null;
    try {
      disk.makeDirectory(unfinished);
      to = this.files.openStore(unfinished, raftGroup(hosted.notes), beginning.bootstrap);
      await copy(from, to);
      to.close();
      to = null;
      writeNotes(disk, unfinished, hosted.notes);
      disk.rename(unfinished, hosted.directory);
      disk.syncDirectory(GROUPS_DIRECTORY);
    } catch (thrown) {
      to?.close();
      this.files.remove(unfinished);
      throw thrown;
    } finally {
      from.close();
    }
    this.groups.set(beginning.groupId, hosted);
    this.nameHosted();
    this.files.setAside(outlived);
    this.open(hosted);
  }

  /** A replica of an epoch that was given up: its files stay, for people to look at. */
  giveUp(outlived: Hosted): void {
    this.close(outlived, true);
    this.groups.delete(outlived.notes.groupId);
    this.nameHosted();
    this.files.setAside(outlived);
  }

  /** Opens a replica that lies on the disk; one whose log has rotted is fenced. */
  open(hosted: Hosted): void {
    if (hosted.partition !== null || hosted.notes.state !== "open") return;
    let store: LogStore | null = null;
    try {
      store = this.files.openStore(hosted.directory, raftGroup(hosted.notes), null);
      this.start(hosted, store);
    } catch (thrown) {
      store?.close();
      const error = toTrilogError(thrown);
      if (error.code !== "corrupt") throw thrown;
      this.fence(hosted, error);
    }
  }

  /** One replica that needs room to open keeps no other from serving; it is opened again later. */
  private tryOpen(hosted: Hosted): void {
    try {
      this.open(hosted);
    } catch (thrown) {
      if (!isDiskFull(thrown)) throw thrown;
      const { topic, partition } = hosted.notes;
      this.options.logger.warn("the disk is full: a replica waits to be opened", {
        partition: `${topic}/${partition}`,
        directory: hosted.directory,
      });
    }
  }

  /** Ends a replica's part in its group for good; its files stay for people to look at. */
  fence(hosted: Hosted, reason: TrilogError): void {
    this.close(hosted);
    this.files.note(hosted, "fenced");
    this.options.logger.error("a replica is quarantined until its group lets it begin anew", {
      partition: `${hosted.notes.topic}/${hosted.notes.partition}`,
      directory: hosted.directory,
      reason: reason.message,
    });
  }

  /** A fenced replica begins anew, blank; the old files are set aside when the new ones count. */
  beginAgain(fenced: Hosted, beginning: Beginning): void {
    this.make(beginning, fenced);
    this.admit();
  }

  /** Stops a replica; its files stay as they are. `groupEnds`: see `Host.close`. */
  close(hosted: Hosted, groupEnds: boolean = false): void {
    const { partition } = hosted;
    if (partition === null) return;
    hosted.partition = null;
    this.options.host.close(raftGroup(hosted.notes), groupEnds);
    partition.wakeAll();
  }

  /** Removes a replica: only a tombstone or the group itself allows it. */
  delete(hosted: Hosted): void {
    this.close(hosted, true);
    this.files.note(hosted, "deleting");
    this.groups.delete(hosted.notes.groupId);
    this.tryNameHosted();
    this.files.remove(hosted.directory);
    // The removal has made room. A group that is still named would be taken for one that was lost.
    this.tryNameHosted();
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

  /** Where nothing new takes part a full disk is no hindrance: the next change names the rest. */
  private tryNameHosted(): void {
    try {
      this.nameHosted();
    } catch (thrown) {
      if (toTrilogError(thrown).code !== "disk_full") throw thrown;
    }
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
}
