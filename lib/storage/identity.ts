/**
 * Who a data directory is (decision 2): a random replica id for as long as its content lives, the
 * cluster it belongs to, the groups that it hosts, and how often it was started. The counter rises durably with each start,
 * and peers remember the highest they saw: a directory that was put back to an older state shows
 * itself by a lower one. An identity that cannot be read is an error and never a new identity,
 * for a replica that forgets its votes under its old id breaks elections.
 *
 * All of it is one small checksummed file that is replaced as a whole (file_format.ts). A full disk
 * has no room for a second one; DESIGN.md says what is kept in memory then, and why that is safe.
 *
 * The list of groups is why a directory cannot forget one: a group is named here after its log is
 * durable and before its replica takes part. From then on a missing directory is damage, and is
 * never made anew under this identity (groups.ts compares the two).
 *
 * Crash windows of {@link setAside}: the identity moves first and durably, then the groups. A
 * directory with groups but without an identity is refused as `corrupt` until that is finished.
 */

import { assert } from "../base/assert.ts";
import { grown, list, name, nullable, record, text, token, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { pack, unpack } from "../base/msgpack.ts";
import type { Membership, ReplicaId } from "../raft/types.ts";
import { type Disk, type DiskLock, isDiskFull } from "./disk.ts";
import { encodeChecked, Magic, readChecked, replaceFile } from "./file_format.ts";
import {
  GROUPS_DIRECTORY,
  IDENTITY_FILE,
  joinPath,
  LOCK_FILE,
  makeDurableDirectory,
  nextSetAsideDirectory,
  STARTS_FILE,
} from "./layout.ts";
import { corrupt, CorruptFileError } from "./record.ts";
import { membership } from "./segment.ts";
import { readStartCount, reserveStartCount, writeStartCount } from "./start_count.ts";

/** The first membership of a cluster, stored by a node before anybody acts on it. */
export interface StoredFounding {
  readonly cluster: string;
  readonly membership: Membership;
}

/** A group that this directory hosts, and the number of its directory. */
export interface StoredGroup {
  readonly number: number;
  /** Group id as in {@link GroupIdentity}. */
  readonly group: string;
}

interface PeerStart {
  readonly peer: ReplicaId;
  readonly counter: number;
}

/** Content of the identity file. */
export interface Identity {
  readonly replicaId: ReplicaId;
  readonly name: string;
  /** Cluster that this replica is a member of; null: blank. */
  readonly cluster: string | null;
  /** Starts of this identity, the present one included. */
  readonly startCounter: number;
  readonly founding: StoredFounding | null;
  readonly peerStarts: readonly PeerStart[];
  /** Replica ids that were replaced by others and must never be spoken to again. */
  readonly superseded: readonly ReplicaId[];
  /** Groups whose replicas may have taken part; null: not known yet (format version 1). */
  readonly groups: readonly StoredGroup[] | null;
}

const fullIdentity = record<Identity>({
  replicaId: token,
  name,
  cluster: nullable(token),
  startCounter: whole,
  founding: nullable(record<StoredFounding>({ cluster: token, membership })),
  peerStarts: list(record<PeerStart>({ peer: token, counter: whole })),
  superseded: list(token),
  groups: nullable(list(record<StoredGroup>({ number: whole, group: text }))),
});
const identityCodec = grown(fullIdentity, { fields: 7, added: [null] });

export interface DataDirectoryOptions {
  /** Makes a random id; used only for a new directory. */
  readonly newReplicaId: () => string;
  /** Node name; the one stored wins over a different one, and that is refused. */
  readonly name: string;
}

/** The content of the identity file; null where there is none; throws `corrupt`. */
export function readIdentity(disk: Disk): Identity | null {
  if (!disk.exists(IDENTITY_FILE)) {
    if (disk.list(GROUPS_DIRECTORY).length === 0) return null;
    throw corrupt(IDENTITY_FILE, 0, "it is missing, but there are groups");
  }
  const payload = readChecked(disk, IDENTITY_FILE, Magic.identity, 0);
  return identityCodec.decode(unpack(payload), "identity");
}

/**
 * Locks the directory, reads or makes its identity and counts this start, durably. Throws
 * `data_directory_locked`, `corrupt`, `unsupported_version`, or `invalid_argument` where the
 * directory belongs to a node of another name.
 */
export function openDataDirectory(disk: Disk, options: DataDirectoryOptions): DataDirectory {
  const lock = disk.lock(LOCK_FILE);
  try {
    finishSetAside(disk);
    const found = readIdentity(disk);
    if (found !== null && found.name !== options.name) {
      throw new TrilogError(
        "invalid_argument",
        `Cannot start node ${options.name}: its data directory belongs to node ${found.name}`,
      );
    }
    const identity = found ?? newIdentity(options);
    return new DataDirectory(disk, lock, {
      ...identity,
      startCounter: lastStart(disk, identity) + 1,
    });
  } catch (thrown) {
    lock.release();
    throw thrown;
  }
}

/** In a directory `set-aside-<number>` while things are moved there. */
const UNFINISHED_FILE = "unfinished";

/**
 * Fences a directory after rot: moves all it holds into a directory `set-aside-<number>` inside
 * it, and opens it as that of a new, blank replica. The directory must not be open. What a crash
 * interrupts, the next {@link openDataDirectory} finishes.
 */
export function setAside(disk: Disk, options: DataDirectoryOptions): DataDirectory {
  const lock = disk.lock(LOCK_FILE);
  try {
    const aside = nextSetAsideDirectory(disk);
    makeDurableDirectory(disk, aside);
    disk.open(joinPath(aside, UNFINISHED_FILE), "create").close();
    disk.syncDirectory(aside);
    moveAside(disk, aside);
    return new DataDirectory(disk, lock, { ...newIdentity(options), startCounter: 1 });
  } catch (thrown) {
    lock.release();
    throw thrown;
  }
}

/** The identity goes first: without it no node starts on the groups. */
function moveAside(disk: Disk, aside: string): void {
  for (const item of [IDENTITY_FILE, GROUPS_DIRECTORY]) {
    if (disk.exists(item)) disk.rename(item, joinPath(aside, item));
    disk.syncDirectory(aside);
    disk.syncDirectory("");
  }
  disk.remove(joinPath(aside, UNFINISHED_FILE));
  disk.syncDirectory(aside);
}

/** Moves the groups after an identity that {@link setAside} has moved before a crash. */
function finishSetAside(disk: Disk): void {
  if (disk.exists(IDENTITY_FILE)) return;
  const aside = disk.list("").findLast((name) => name.startsWith("set-aside-"));
  if (aside !== undefined && disk.exists(joinPath(aside, UNFINISHED_FILE))) moveAside(disk, aside);
}

/** Number of the last start: a damaged `starts` counts for nothing, and the next start mends it. */
function lastStart(disk: Disk, { replicaId, startCounter }: Identity): number {
  try {
    return Math.max(startCounter, readStartCount(disk, replicaId));
  } catch (thrown) {
    if (!(thrown instanceof CorruptFileError)) throw thrown;
    disk.remove(STARTS_FILE);
    return startCounter;
  }
}

function newIdentity(options: DataDirectoryOptions): Identity {
  return {
    replicaId: options.newReplicaId(),
    name: options.name,
    cluster: null,
    startCounter: 0,
    founding: null,
    peerStarts: [],
    superseded: [],
    groups: [],
  };
}

/**
 * An open, locked data directory. A change is durable when its call returns, except for what is
 * remembered of peers, which on a full disk waits in memory ({@link hasUnstored}). Calls throw
 * `disk_full` (nothing has changed) or `disk_failed`, after which nothing more is stored: what a
 * failed sync has forgotten, the next would report as durable.
 */
export class DataDirectory {
  /** Told once that the disk has failed: whoever made the change may only refuse a connection. */
  onFailed: (error: TrilogError) => void = () => {};
  private failure: TrilogError | null = null;
  private unstored = false;

  /** Stores `identity`; use {@link openDataDirectory} or {@link setAside}. */
  constructor(
    private readonly disk: Disk,
    private readonly lock: DiskLock,
    private identity: Identity,
  ) {
    this.storeStart();
  }

  get replicaId(): ReplicaId {
    return this.identity.replicaId;
  }

  get name(): string {
    return this.identity.name;
  }

  get startCounter(): number {
    return this.identity.startCounter;
  }

  /** Cluster that this replica is a member of; null: blank. */
  get cluster(): string | null {
    return this.identity.cluster;
  }

  isMember(): boolean {
    return this.identity.cluster !== null;
  }

  /** What the identity file says, for a comparison with the disk. */
  get stored(): Identity {
    return this.identity;
  }

  /** Groups that are hosted here; null where the file does not say (format version 1). */
  get groups(): readonly StoredGroup[] | null {
    return this.identity.groups;
  }

  /** Stores which groups are hosted here: before any new one of them takes part. */
  setGroups(groups: readonly StoredGroup[]): void {
    this.store({ ...this.identity, groups });
  }

  /** The founding stored by `prepare`, or null. */
  founding(): StoredFounding | null {
    return this.identity.founding;
  }

  /** Stores a founding; replaces an older one that never became effective. */
  prepare(founding: StoredFounding): void {
    assert(!this.isMember(), "a member founds no cluster");
    this.store({ ...this.identity, founding });
  }

  /** Belongs to `cluster` from now on, for as long as this identity lives. */
  becomeMember(cluster: string): void {
    if (this.identity.cluster === cluster) return;
    assert(!this.isMember(), "a replica never changes its cluster");
    this.store({ ...this.identity, cluster });
  }

  /** What is remembered of a peer; its highest start counter is 0 before the first. */
  peerRecord(peer: ReplicaId): { superseded: boolean; highestStartCounter: number } {
    const seen = this.identity.peerStarts.find((item) => item.peer === peer);
    return {
      superseded: this.identity.superseded.includes(peer),
      highestStartCounter: seen?.counter ?? 0,
    };
  }

  /** Remembers a peer's start counter unless a higher one is known: refusing is the caller's. */
  rememberPeerStart(peer: ReplicaId, counter: number): void {
    if (counter <= this.peerRecord(peer).highestStartCounter) return;
    const others = this.identity.peerStarts.filter((item) => item.peer !== peer);
    this.storeInTime({ ...this.identity, peerStarts: [...others, { peer, counter }] });
  }

  /** Remembers that another identity took this one's place; its start counter is forgotten. */
  supersede(peer: ReplicaId): void {
    if (this.identity.superseded.includes(peer)) return;
    const peerStarts = this.identity.peerStarts.filter((item) => item.peer !== peer);
    const superseded = [...this.identity.superseded, peer];
    this.storeInTime({ ...this.identity, peerStarts, superseded });
  }

  /** Whether something waits in memory for room on the disk. */
  get hasUnstored(): boolean {
    return this.unstored;
  }

  /** Stores what waits for room, unless there still is none. Throws `disk_failed`. */
  storeWaiting(): void {
    if (this.unstored) this.storeInTime(this.identity);
  }

  /** Gives up the lock. */
  close(): void {
    this.lock.release();
  }

  /** This start must be counted durably; on a full disk in bytes that are there already. */
  private storeStart(): void {
    const { replicaId, startCounter } = this.identity;
    try {
      this.store(this.identity);
      reserveStartCount(this.disk, replicaId, startCounter);
    } catch (thrown) {
      if (!isDiskFull(thrown) || !this.disk.exists(STARTS_FILE)) throw thrown;
      writeStartCount(this.disk, replicaId, startCounter);
      this.unstored = true;
    }
  }

  /** Takes `identity` into force at once, and stores it as soon as the disk has room. */
  private storeInTime(identity: Identity): void {
    try {
      this.store(identity);
    } catch (thrown) {
      if (!isDiskFull(thrown)) throw thrown;
      this.identity = identity;
      this.unstored = true;
    }
  }

  private store(identity: Identity): void {
    if (this.failure !== null) throw this.failure;
    const payload = pack(identityCodec.encode(identity));
    try {
      replaceFile(this.disk, "", IDENTITY_FILE, encodeChecked(Magic.identity, 0, payload));
    } catch (thrown) {
      if (thrown instanceof TrilogError && thrown.code === "disk_failed") this.fail(thrown);
      throw thrown;
    }
    this.identity = identity;
    this.unstored = false;
  }

  private fail(error: TrilogError): void {
    this.failure = error;
    this.onFailed(error);
  }
}
