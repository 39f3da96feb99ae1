/**
 * The last resort for a node whose majority is gone for good: offline, its data directory becomes
 * that of a cluster of one member, with all that its log holds, committed or not.
 *
 * It can never mix with the old members again: it has a new replica id, listens to none of theirs,
 * and their messages name an identity that is nobody's any more. Where nothing else is bound to
 * the cluster's id (the bank, the key-value store), the cluster is a new one as well, so that not
 * even a handshake with an old member succeeds. The managers' cluster keeps its id, since the
 * brokers' data is bound to it.
 *
 * Crash windows: the identity is moved away first and the new one written last. In between the
 * directory has groups and no identity, with which no node starts; the same command again puts
 * everything back and begins anew.
 */

import { TrilogError } from "../base/errors.ts";
import type { LogId, Membership } from "../raft/types.ts";
import type { Disk } from "../storage/disk.ts";
import { listGroups } from "../storage/groups.ts";
import { DataDirectory, type Identity, readIdentity } from "../storage/identity.ts";
import { inspectDirectory, type LogInspection } from "../storage/inspect.ts";
import {
  groupDirectory,
  GROUPS_DIRECTORY,
  IDENTITY_FILE,
  joinPath,
  LOCK_FILE,
  makeDurableDirectory,
  nextSetAsideDirectory,
  TEMPORARY_SUFFIX,
} from "../storage/layout.ts";
import { copyLog } from "../storage/log_copy.ts";
import { openSegmentLog } from "../storage/segment_log.ts";
import type { GroupIdentity } from "../storage/store.ts";

/** A node as its directory shows it. */
export interface LoneNode {
  readonly identity: Identity;
  readonly group: GroupIdentity;
  readonly directory: string;
  readonly log: LogInspection;
}

export interface LoneRecoveryOptions {
  readonly newIdentity: () => string;
  readonly segmentBytes: number;
  /** Whether the group's cluster keeps its id. */
  readonly keepsCluster: (group: string) => boolean;
  /** Commands to append, of the group's own kind; `lastIndex`: the last entry before them. */
  readonly commands: (group: string, lastIndex: number) => readonly Uint8Array[];
}

/** What became of it. */
export interface LoneRecovery {
  readonly node: LoneNode;
  readonly cluster: string;
  readonly replicaId: string;
  /** Where the old files are. */
  readonly setAside: string;
}

/** Looks at a directory without changing it; throws where it is none that can be recovered. */
export function lookAtLone(disk: Disk): LoneNode {
  const { identity, groups, faults } = inspectDirectory(disk);
  const fault = [...faults, ...groups.flatMap((group) => group.faults)]
    .find(({ harmless }) => !harmless);
  if (fault !== undefined) throw refused("corrupt", `${fault.file}: ${fault.problem}`);
  if (identity === null || identity.cluster === null) {
    throw refused("invalid_argument", "it belongs to no cluster");
  }
  const [found] = groups;
  if (groups.some((group) => group.identity?.group.startsWith("p/"))) {
    throw refused(
      "invalid_argument",
      "it is a broker's, whose partitions are recovered one by one",
    );
  }
  if (groups.length !== 1 || found.identity === null || found.log === null) {
    throw refused("invalid_argument", "it does not hold the log of one node");
  }
  return { identity, group: found.identity, directory: found.directory, log: found.log };
}

/** Does it; throws what {@link lookAtLone} throws, or `data_directory_locked`. */
export async function recoverLone(disk: Disk, options: LoneRecoveryOptions): Promise<LoneRecovery> {
  const lock = disk.lock(LOCK_FILE);
  try {
    undoUnfinished(disk);
    const node = lookAtLone(disk);
    const { group } = node.group;
    const replicaId = options.newIdentity();
    const cluster = options.keepsCluster(group) ? node.group.cluster : options.newIdentity();
    const membership = aloneIn(node, replicaId);
    const target = { cluster, group, replica: replicaId };
    const number = Math.max(...listGroups(disk).map((found) => found.number)) + 1;
    const copy = await copyGroup(disk, node, number, target, membership, options);
    const setAside = exchange(disk, node, copy);
    const groups = [{ number, group }];
    const identity = { ...successor(node, replicaId, cluster, membership), groups };
    // Storing it is what this is for: from here on the directory is another node's.
    new DataDirectory(disk, lock, identity);
    return { node, cluster, replicaId, setAside };
  } finally {
    lock.release();
  }
}

function aloneIn({ identity, log }: LoneNode, replicaId: string): Membership {
  const known = log.membership.nodes[identity.replicaId];
  if (known === undefined) {
    throw refused("invalid_argument", "its log does not know it as a member");
  }
  const node = { name: identity.name, address: known.address };
  const nobody = { outgoing: [], learners: [], learnersNext: [] };
  return { voters: [replicaId], ...nobody, nodes: { [replicaId]: node } };
}

function successor(
  { identity, log }: LoneNode,
  replicaId: string,
  cluster: string,
  membership: Membership,
): Identity {
  const former = [...identity.superseded, identity.replicaId, ...Object.keys(log.membership.nodes)];
  return {
    ...identity,
    replicaId,
    cluster,
    startCounter: 0,
    founding: { cluster, membership },
    superseded: [...new Set(former)],
  };
}

/** Copies the log under a temporary name; returns that. */
async function copyGroup(
  disk: Disk,
  node: LoneNode,
  number: number,
  group: GroupIdentity,
  membership: Membership,
  { segmentBytes, commands }: LoneRecoveryOptions,
): Promise<string> {
  const copy = groupDirectory(number) + TEMPORARY_SUFFIX;
  disk.remove(copy);
  disk.makeDirectory(copy);
  const old = { identity: node.group, directory: node.directory };
  const from = openSegmentLog(disk, { ...old, bootstrap: null, segmentBytes });
  const next = { identity: group, directory: copy };
  const to = openSegmentLog(disk, { ...next, bootstrap: membership, segmentBytes });
  await copyLog(from, to, {
    membership,
    term: 0,
    commands: commands(group.group, from.lastIndex()),
    pause: () => Promise.resolve(),
  });
  to.close();
  from.close();
  disk.syncDirectory(GROUPS_DIRECTORY);
  return copy;
}

/** Puts the copy in the old log's place, and the old identity and log aside. */
function exchange(disk: Disk, { directory }: LoneNode, copy: string): string {
  const aside = nextSetAsideDirectory(disk);
  makeDurableDirectory(disk, joinPath(aside, GROUPS_DIRECTORY));
  const moves = [
    [IDENTITY_FILE, joinPath(aside, IDENTITY_FILE)],
    [directory, joinPath(aside, directory)],
    [copy, copy.slice(0, -TEMPORARY_SUFFIX.length)],
  ];
  for (const [from, to] of moves) {
    disk.rename(from, to);
    for (const changed of [aside, joinPath(aside, GROUPS_DIRECTORY), GROUPS_DIRECTORY, ""]) {
      disk.syncDirectory(changed);
    }
  }
  return aside;
}

/** An exchange that a crash interrupted: everything as it was before. */
function undoUnfinished(disk: Disk): void {
  if (disk.exists(IDENTITY_FILE)) return;
  const aside = disk.list("").filter((name) => name.startsWith("set-aside-")).at(-1);
  if (aside === undefined || !disk.exists(joinPath(aside, IDENTITY_FILE))) return;
  const groups = disk.list(joinPath(aside, GROUPS_DIRECTORY));
  for (const name of disk.list(GROUPS_DIRECTORY)) {
    const isCopy = groups.length > 0 || name.endsWith(TEMPORARY_SUFFIX);
    if (isCopy) disk.remove(joinPath(GROUPS_DIRECTORY, name));
  }
  for (const name of groups) {
    const place = joinPath(GROUPS_DIRECTORY, name);
    disk.rename(joinPath(aside, place), place);
  }
  disk.syncDirectory(GROUPS_DIRECTORY);
  disk.rename(joinPath(aside, IDENTITY_FILE), IDENTITY_FILE);
  disk.syncDirectory("");
  disk.remove(aside);
  readIdentity(disk);
}

/** The entries that the node has and does not know to be committed. */
export function uncertainEntries({ log: { last, hardState } }: LoneNode): number {
  const { index }: LogId = last;
  return Math.max(0, index - hardState.commit);
}

function refused(code: "corrupt" | "invalid_argument", state: string): TrilogError {
  return new TrilogError(code, `Cannot recover node: ${state}`);
}
