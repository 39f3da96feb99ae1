/** The receiving side of replication (paper 5.3, figure 2 and figure 13). */

import { assert } from "../base/assert.ts";
import type { Core } from "./core.ts";
import { oweLease } from "./lease.ts";
import { decodeMembership } from "./membership.ts";
import {
  type AppendRequest,
  type Entry,
  EntryKind,
  type HeartbeatRequest,
  type Index,
  type ReplicaId,
  type SnapshotInstalled,
} from "./types.ts";

/** A message from the leader of the present term: follows it, whatever this node was. */
function follow(core: Core, leader: ReplicaId): void {
  assert(core.role !== "leader", "there is one leader in a term");
  if (core.role === "follower" && core.leader === leader) {
    core.heardLeader();
    return;
  }
  assert(core.leader === null || core.leader === leader, "there is one leader in a term");
  core.becomeFollower(core.term, leader);
}

/** AppendEntries (paper figure 2). */
export function onAppendRequest(core: Core, request: AppendRequest): void {
  follow(core, request.from);
  oweLease(core, request.leaseMs);
  const { log } = core;
  const { prev, entries } = request;
  // What is committed here matches any leader's log (leader completeness), even where the
  // entry before is compacted and its term forgotten.
  if (prev.index > log.commit && !log.matches(prev)) {
    rejectAppend(core, request);
    return;
  }
  takeEntries(core, entries);
  // Only what is proved to match may be committed: what follows in this log may be another
  // leader's. What is committed already is proved.
  const matched = Math.max(prev.index + entries.length, log.commit);
  log.commitTo(Math.min(request.commit, matched));
  acceptAppend(core, request, matched);
}

/** Appends what is new; only an entry that conflicts removes anything (paper figure 2, step 3). */
function takeEntries(core: Core, entries: readonly Entry[]): void {
  const { log } = core;
  let at = 0;
  while (at < entries.length && isHeld(core, entries[at])) at += 1;
  if (at === entries.length) return;
  if (entries[at].index <= log.last.index) truncate(core, entries[at].index);
  for (; at < entries.length; at += 1) {
    const entry = entries[at];
    log.append(entry);
    if (entry.kind === EntryKind.membership) {
      core.memberships.append(entry.index, decodeMembership(entry.data));
    }
  }
}

function isHeld(core: Core, entry: Entry): boolean {
  return entry.index <= core.log.commit || core.log.matches(entry);
}

function truncate(core: Core, from: Index): void {
  core.log.truncate(from);
  core.durability.truncate(from - 1);
  core.memberships.truncate(from);
}

function acceptAppend(core: Core, request: AppendRequest, match: Index): void {
  core.sendAfterSync({
    kind: "append_response",
    from: core.id,
    to: request.from,
    term: core.term,
    round: request.round,
    prevIndex: request.prev.index,
    match,
    hint: null,
  });
}

/**
 * Says where the logs may still match. That is never below the commit index: from there on a
 * leader's terms are at least the term committed here.
 */
function rejectAppend(core: Core, { from, prev, round }: AppendRequest): void {
  const { index, term } = core.log.lastAtMost(prev.index, prev.term);
  core.send({
    kind: "append_response",
    from: core.id,
    to: from,
    term: core.term,
    round,
    prevIndex: prev.index,
    match: null,
    hint: { index, term },
  });
}

export function onHeartbeatRequest(core: Core, request: HeartbeatRequest): void {
  follow(core, request.from);
  oweLease(core, request.leaseMs);
  core.log.commitTo(request.commit);
  core.send({
    kind: "heartbeat_response",
    from: core.id,
    to: request.from,
    term: core.term,
    round: request.round,
    lastSynced: core.durability.index,
  });
}

/**
 * A whole snapshot has been received and stored (paper figure 13). It describes committed state,
 * so its content is right whoever sent it and however long ago: that is no sign of a leader, and
 * it answers no round.
 */
export function onSnapshotInstalled(core: Core, { from, term, meta }: SnapshotInstalled): void {
  // A leader's own log holds what is committed, and it only ever appends to it.
  if (core.role === "leader") return;
  if (meta.last.index > core.log.commit) adoptSnapshot(core, meta);
  if (term !== core.term) return;
  core.sendAfterSync({
    kind: "append_response",
    from: core.id,
    to: from,
    term,
    round: 0,
    prevIndex: meta.last.index,
    match: core.log.commit,
    hint: null,
  });
}

function adoptSnapshot(core: Core, meta: SnapshotInstalled["meta"]): void {
  // The votes under way were asked for with a log that may be cut now.
  if (core.role !== "follower") core.becomeFollower(core.term, null);
  const committedBefore = core.log.commit;
  const kept = core.log.restore(meta);
  if (kept) core.memberships.compact(meta.last.index, meta.membership);
  else {
    core.durability.truncate(committedBefore);
    core.memberships.compact(Infinity, meta.membership);
  }
  core.fetchedSelf = [];
  core.out.snapshot = meta;
}
