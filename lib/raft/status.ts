/** The core's state as others may see it. */

import type { Core } from "./core.ts";
import { leaderDeadlineMs } from "./leader.ts";
import { leaseUntilMs } from "./lease.ts";
import { isJoint } from "./membership.ts";
import type { RaftStatus } from "./types.ts";

export function statusOf(core: Core): RaftStatus {
  const { log, leadership, memberships } = core;
  return {
    id: core.id,
    role: core.role,
    term: core.term,
    vote: core.vote,
    leader: core.leader,
    commit: log.commit,
    applied: log.applied,
    last: { index: log.last.index, term: log.last.term },
    synced: core.durability.index,
    firstIndex: log.firstIndex,
    membership: memberships.current,
    membershipIndex: memberships.index,
    idle: isIdle(core),
    readReady: leadership !== null && log.commit >= leadership.noop,
    leaseUntilMs: leaseUntilMs(core),
    removed: core.removed,
    transferTo: leadership?.transfer?.to ?? null,
    progress: leadership === null
      ? []
      : [...leadership.progress.values()].map((progress) => progress.status()),
    nextDeadlineMs: nextDeadlineMs(core),
  };
}

function nextDeadlineMs(core: Core): number {
  if (!core.started) return 0;
  if (core.leadership !== null) return leaderDeadlineMs(core);
  let deadline = core.electionDeadlineMs;
  for (const batch of core.reads.asked) {
    deadline = Math.min(deadline, batch.deadlineMs, batch.repeatMs);
  }
  return deadline;
}

/** See `RaftStatus.idle`. */
export function isIdle(core: Core): boolean {
  const { log, leadership } = core;
  const { commit } = log;
  const quiet = core.started && commit === log.last.index && log.applied === commit &&
    core.durability.index === commit && !core.durability.waiting && core.reads.idle;
  if (!quiet) return false;
  if (leadership === null) return core.role === "follower" && core.leader !== null;
  // A lease must be renewed, so a leader with leases always has something to do.
  if (core.options.leaseMs > 0 || leadership.transfer !== null) return false;
  if (commit < leadership.noop || isJoint(core.membership)) return false;
  for (const progress of leadership.progress.values()) {
    if (progress.match !== commit || progress.commitKnown !== commit) return false;
  }
  return true;
}
