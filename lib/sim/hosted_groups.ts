/**
 * The groups on a simulated node's disk, kept as production keeps them: numbered directories that
 * the identity file names. A broker loses one group at a time, and its group lets it begin anew; a
 * node of a bank or a store with damage is rebuilt as a whole.
 */

import { TrilogError } from "../base/errors.ts";
import type { LogId, Membership, ReplicaId } from "../raft/types.ts";
import { takeCensus } from "../storage/groups.ts";
import { type DataDirectory, openDataDirectory } from "../storage/identity.ts";
import { groupDirectory, groupNumbers } from "../storage/layout.ts";
import { PooledDisk } from "../storage/pooled_disk.ts";
import { openSegmentLog } from "../storage/segment_log.ts";
import type { LogStore } from "../storage/store.ts";
import type { SimDisk } from "./disk.ts";

/** Cluster id of every simulation. */
const CLUSTER = "00000000000051b0";
/** Fewer than a process with several groups has segments, so that files are closed and opened. */
const OPEN_FILES = 3;
const NOBODY: Membership = { voters: [], outgoing: [], learners: [], learnersNext: [], nodes: {} };

export interface HostedGroupsOptions {
  readonly disk: SimDisk;
  readonly name: string;
  readonly id: () => ReplicaId;
  readonly segmentBytes: number;
}

export class HostedGroups {
  /** Groups whose replica takes no part until its group has let it go: what notes would say. */
  readonly quarantined = new Set<string>();
  /** Where a replica that began anew may take part from. */
  readonly floors = new Map<string, LogId>();
  private directory: DataDirectory | null = null;
  /** The disk as the running process uses it. */
  private files: PooledDisk | null = null;

  constructor(private readonly options: HostedGroupsOptions) {}

  /** A new process: opens the data directory. Throws what that throws. */
  start(): void {
    const { disk, name, id } = this.options;
    this.files = new PooledDisk(disk, OPEN_FILES);
    this.directory = openDataDirectory(disk, { name, newReplicaId: id });
    this.directory.becomeMember(CLUSTER);
  }

  /** The disk is another one. */
  forget(): void {
    this.quarantined.clear();
    this.floors.clear();
  }

  /** Groups that the identity file names and that are not there, with what is wrong. */
  lost(): Map<string, TrilogError> {
    const { lost } = takeCensus(this.options.disk, this.directory!.stored);
    return new Map(lost.map(({ group, fault }) => [group, fault]));
  }

  /** Opens the log of a group, or makes it where it never was. */
  open(group: string, bootstrap: Membership | null): LogStore {
    const number = this.numberOf(group);
    if (number !== null) return this.openAt(number, group, null);
    const made = this.nextNumber();
    const store = this.openAt(made, group, bootstrap);
    this.name(group, made);
    return store;
  }

  /** Makes a blank log in place of a quarantined one. */
  beginAgain(group: string, floor: LogId): LogStore {
    const made = this.nextNumber();
    const store = this.openAt(made, group, null);
    const former = this.numberOf(group);
    this.name(group, made);
    if (former !== null) this.options.disk.remove(groupDirectory(former));
    this.quarantined.delete(group);
    this.floors.set(group, floor);
    return store;
  }

  /** The directory of a group; null where it has none. */
  directoryOf(group: string): string | null {
    const number = this.numberOf(group);
    return number === null ? null : groupDirectory(number);
  }

  private numberOf(group: string): number | null {
    return this.directory?.groups?.find((named) => named.group === group)?.number ?? null;
  }

  private nextNumber(): number {
    const named = this.directory!.groups!.map(({ number }) => number);
    return Math.max(0, ...named, ...groupNumbers(this.options.disk)) + 1;
  }

  private name(group: string, number: number): void {
    const others = this.directory!.groups!.filter((named) => named.group !== group);
    this.directory!.setGroups([...others, { number, group }]);
  }

  private openAt(number: number, group: string, bootstrap: Membership | null): LogStore {
    const { id, segmentBytes } = this.options;
    return openSegmentLog(this.files!, {
      identity: { cluster: CLUSTER, group, replica: id() },
      directory: groupDirectory(number),
      bootstrap: bootstrap ?? NOBODY,
      segmentBytes,
    });
  }
}
