/** Options, memberships and disks for cores under test. */

import { utf8 } from "../../lib/base/bytes.ts";
import { decodeMembership } from "../../lib/raft/membership.ts";
import {
  type Entry,
  EntryKind,
  type HardState,
  type Index,
  type InitialState,
  type LogId,
  type Membership,
  type MembershipTarget,
  type RaftOptions,
  type Ready,
  type ReplicaId,
  type SnapshotMeta,
  type TermRun,
} from "../../lib/raft/types.ts";

export const ELECTION_MS = 100;
export const HEARTBEAT_MS = 20;

export function optionsOf(id: ReplicaId, changes: Partial<RaftOptions> = {}): RaftOptions {
  return {
    id,
    electionTimeoutMs: ELECTION_MS,
    heartbeatMs: HEARTBEAT_MS,
    leaseMs: 0,
    clockErrorRatio: 0.01,
    maxAppendBytes: 1024 * 1024,
    maxInflightMessages: 64,
    maxInflightBytes: 8 * 1024 * 1024,
    maxUncommittedBytes: 32 * 1024 * 1024,
    entryCacheBytes: 1024 * 1024,
    diskStallMs: 1_000_000,
    ...changes,
  };
}

export function targetOf(
  voters: readonly ReplicaId[],
  learners: readonly ReplicaId[] = [],
): MembershipTarget {
  const nodes = Object.fromEntries(
    [...voters, ...learners].map((id) => [id, { name: `n${id}`, address: `host:${id}` }]),
  );
  return { voters, learners, nodes };
}

export function membershipOf(
  voters: readonly ReplicaId[],
  learners: readonly ReplicaId[] = [],
): Membership {
  const { nodes } = targetOf(voters, learners);
  return { voters, outgoing: [], learners, learnersNext: [], nodes };
}

/** What a node's disk holds: a crash leaves this and nothing else. */
export interface Durable {
  hardState: HardState;
  snapshot: SnapshotMeta | null;
  /** Entries after the snapshot. */
  entries: Entry[];
  baseMembership: Membership;
}

export function blankDisk(membership: Membership): Durable {
  return {
    hardState: { term: 0, vote: null, commit: 0 },
    snapshot: null,
    entries: [],
    baseMembership: membership,
  };
}

/** A disk whose log has these terms, from index 1 on; the term of the hard state is the last one. */
export function diskOf(
  terms: readonly number[],
  changes: Partial<HardState> = {},
  voters: readonly ReplicaId[] = ["1", "2", "3"],
): Durable {
  const entries = terms.map((term, at) => commandAt(at + 1, term));
  const hardState = { term: terms[terms.length - 1] ?? 0, vote: null, commit: 0, ...changes };
  return { ...blankDisk(membershipOf(voters)), hardState, entries };
}

export function commandAt(index: Index, term: number): Entry {
  const data = utf8(`c${index}/${term}`);
  return { index, term, kind: EntryKind.command, timeMs: index, data };
}

export function baseOf(disk: Durable): LogId {
  return disk.snapshot?.last ?? { index: 0, term: 0 };
}

export function lastOf(disk: Durable): LogId {
  const entry = disk.entries[disk.entries.length - 1];
  return entry === undefined ? baseOf(disk) : { index: entry.index, term: entry.term };
}

/** What storage would recover from a disk. */
export function initialOf(disk: Durable, applied = baseOf(disk).index): InitialState {
  const { hardState, snapshot, entries, baseMembership } = disk;
  const base = baseOf(disk);
  const termRuns: TermRun[] = base.index > 0 ? [[base.term, base.index]] : [];
  for (const { term, index } of entries) {
    if (termRuns.length === 0 || termRuns[termRuns.length - 1][0] !== term) {
      termRuns.push([term, index]);
    }
  }
  return {
    hardState,
    snapshot,
    applied,
    last: lastOf(disk),
    termRuns,
    lastTimeMs: entries[entries.length - 1]?.timeMs ?? snapshot?.timeMs ?? 0,
    memberships: entries.filter((entry) => entry.kind === EntryKind.membership)
      .map(({ index, data }) => ({ index, membership: decodeMembership(data) })),
    baseMembership: snapshot?.membership ?? baseMembership,
  };
}

/** Writes a Ready's content over what the disk holds. */
export function persist(disk: Durable, ready: Ready): void {
  if (ready.hardState !== null) disk.hardState = ready.hardState;
  if (ready.snapshot !== null) {
    const { last } = ready.snapshot;
    const held = disk.entries.find((entry) => entry.index === last.index);
    disk.entries = held?.term === last.term
      ? disk.entries.filter((entry) => entry.index > last.index)
      : [];
    disk.snapshot = ready.snapshot;
  }
  if (ready.entries.length > 0) {
    disk.entries.length = ready.entries[0].index - baseOf(disk).index - 1;
    disk.entries.push(...ready.entries);
  }
}
