/** What the leader of a partition knows of its group: for the managers, and for its own next step. */

import type { LedPartition } from "../client/protocol.ts";
import type { RaftStatus, ReplicaId } from "../raft/types.ts";
import type { Leading } from "./reconcile.ts";
import type { ServedPartition } from "./served_partition.ts";

/** Entries that a member may lack and still count as caught up: a moment's worth under load. */
const NEARLY_ALL_ENTRIES = 500;
/** A member that has not answered for this many election timeouts does not count as answering. */
const ANSWERING_TIMEOUTS = 3;

/** The newest committed membership that is not joint, as last seen. */
export interface SettledMembership {
  readonly index: number;
  readonly voters: readonly ReplicaId[];
}

/** Null unless this replica leads and knows what is committed. */
export function leadingOf(
  partition: ServedPartition,
  nowMs: number,
  electionTimeoutMs: number,
): { readonly leading: Leading; readonly status: RaftStatus } | null {
  const { replica } = partition;
  if (!replica.isLeader) return null;
  const status = replica.status();
  if (!status.readReady) return null;
  const { membership, membershipIndex, commit } = status;
  const answering = (heardMs: number | null) =>
    replica.resting ||
    (heardMs !== null && nowMs - heardMs < electionTimeoutMs * ANSWERING_TIMEOUTS);
  const caughtUp = status.progress.filter(({ id, match, state, lastHeardMs }) =>
    id !== status.id && state === "replicate" && answering(lastHeardMs) &&
    match + NEARLY_ALL_ENTRIES >= status.last.index
  ).map(({ id }) => id);
  const leading: Leading = {
    voters: membership.voters,
    outgoing: membership.outgoing,
    learners: [...membership.learners, ...membership.learnersNext],
    committed: membershipIndex <= commit,
    caughtUp,
  };
  return { leading, status };
}

/**
 * The settled membership that a leader's status shows, or null in the middle of a change. One that
 * stands in no entry of the log (the group's first, or a snapshot's) was in force where the log
 * begins; entry 1 is always the first leader's no-op.
 */
export function settledOf(status: RaftStatus): SettledMembership | null {
  const { membership, membershipIndex, commit, firstIndex } = status;
  if (membershipIndex > commit || membership.outgoing.length > 0) return null;
  return { index: membershipIndex || Math.max(1, firstIndex - 1), voters: membership.voters };
}

/** The report of a partition that is led here. */
export function ledReport(
  partition: ServedPartition,
  term: number,
  settled: SettledMembership | null,
): LedPartition {
  const { groupId, epoch, machine, replica } = partition;
  return {
    groupId,
    epoch,
    term,
    membershipIndex: settled?.index ?? 0,
    voters: settled?.voters ?? [],
    startOffset: machine.startOffset,
    endOffset: machine.endOffset,
    sizeBytes: replica.store.bytes(),
  };
}
