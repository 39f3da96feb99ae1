/**
 * How a removed replica learns of its removal. The leader sends it nothing after the final
 * configuration, so it may never receive that entry; it then campaigns without an end, and leader
 * stickiness refuses it each time (thesis 4.2.3). Any replica that it asks for a vote answers with
 * the position of the committed membership that leaves it out. The notice stops campaigns only: it
 * changes no term, vote or log entry, and a message of a leader cancels it.
 */

import type { Core } from "./core.ts";
import type { LogId, RemovalNotice, ReplicaId } from "./types.ts";

/** Answers a replica that campaigns although the membership committed here leaves it out. */
export function notifyIfRemoved(core: Core, candidate: ReplicaId): void {
  const { log, memberships } = core;
  const { index, membership } = memberships.committedAt(log.commit);
  if (membership.voters.length === 0 || membership.nodes[candidate] !== undefined) return;
  core.send({
    kind: "removal_notice",
    from: core.id,
    to: candidate,
    term: core.term,
    membership: idAt(core, index),
  });
}

/**
 * A committed membership leaves this replica out. Ignored where this log holds a later membership:
 * the sender lags, and may not know yet that this replica was added again.
 */
export function onRemovalNotice(core: Core, notice: RemovalNotice): void {
  if (core.role === "leader" || core.leader !== null) return;
  if (isLater(idAt(core, core.memberships.index), notice.membership)) return;
  core.removed = true;
  core.becomeFollower(core.term, null);
}

/** Position of a membership: its entry, or the end of the snapshot that holds it. */
function idAt(core: Core, index: number): LogId {
  const { log } = core;
  if (index <= log.base.index) return { index: log.base.index, term: log.base.term };
  return { index, term: log.termAt(index)! };
}

function isLater(left: LogId, right: LogId): boolean {
  return left.term > right.term || (left.term === right.term && left.index > right.index);
}
