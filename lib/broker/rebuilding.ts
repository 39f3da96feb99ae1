/**
 * How a replica whose log has rotted gets a new life under its broker's identity.
 *
 * It may have forgotten its term, a vote, or entries that it acknowledged, so it must never go on
 * as what it was. A new identity for the broker would be safe, but would take all its other, sound
 * replicas out of their groups at once; with rot on a second broker some of them would lose their
 * majority. Only this one group has to forget the old life: the broker asks the group's leader,
 * which removes the replica from the membership. When that is committed, nobody needs the old life
 * any more, and the position of that entry is the floor (`lib/replica/floor.ts`) above which the
 * identity may take part again: blank, as a learner, until it has everything.
 *
 * Crash windows: the new directory is complete before the identity file names it instead of the old
 * one; a start sets aside or removes the one that is not named (DESIGN.md). An answer that got lost
 * is asked for again: removing is idempotent.
 */

import { record, token, whole } from "../base/codec.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { AssignedReplica } from "../client/protocol.ts";
import { method } from "../client/protocol_method.ts";
import type { Caller } from "../net/rpc_client.ts";
import type { LogId, RaftStatus, ReplicaId } from "../raft/types.ts";
import type { Hosted, Hosting } from "./hosting.ts";
import { settledOf } from "./leading.ts";
import type { ServedPartition } from "./served_partition.ts";

export interface ReleaseRequest {
  readonly groupId: string;
  readonly epoch: number;
}

/** A broker asks a partition's leader to remove the broker's own replica; answers the floor. */
export const releaseMethod = method<ReleaseRequest, LogId>(
  "broker.release",
  record<ReleaseRequest>({ groupId: token, epoch: whole }),
  record<LogId>({ index: whole, term: whole }),
);

/** Time for a membership change; the question is repeated anyway. */
const RELEASE_MS = 5_000;
const POLL_MS = 10;

/** The leader's side: removes `asker` from the group and says from where on it may come back. */
export async function release(
  partition: ServedPartition,
  asker: ReplicaId,
  clock: Clock,
): Promise<LogId> {
  partition.requireLeader("change the members of");
  const { replica } = partition;
  await replica.readBarrier();
  const endMs = clock.monotonicMs() + RELEASE_MS;
  if (partition.changingMembers) throw busy(partition);
  partition.changingMembers = true;
  try {
    let status = replica.status();
    if (!isSettled(status)) throw busy(partition);
    if (status.membership.nodes[asker] !== undefined) {
      await replica.changeMembers(without(partition, status, asker));
    }
    for (;;) {
      partition.requireLeader("change the members of");
      status = replica.status();
      if (isSettled(status) && status.membership.nodes[asker] === undefined) break;
      if (clock.monotonicMs() > endMs) throw busy(partition);
      await sleep(clock, POLL_MS);
    }
    return { index: settledOf(status)!.index, term: status.term };
  } finally {
    partition.changingMembers = false;
  }
}

function isSettled(status: RaftStatus): boolean {
  return status.readReady && settledOf(status) !== null;
}

function without(partition: ServedPartition, { membership }: RaftStatus, asker: ReplicaId) {
  const voters = membership.voters.filter((id) => id !== asker);
  const learners = membership.learners.filter((id) => id !== asker);
  if (voters.length === 0) {
    throw new TrilogError(
      "unavailable",
      `Cannot release a replica of ${partition.label}: it is the only one`,
    );
  }
  const { [asker]: _, ...nodes } = membership.nodes;
  return { voters, learners, nodes };
}

function busy({ label }: ServedPartition): TrilogError {
  return new TrilogError(
    "membership_change_in_progress",
    `Cannot release a replica of ${label} yet: its members are changing`,
  );
}

export interface RebuilderOptions {
  readonly self: ReplicaId;
  readonly hosting: Hosting;
  readonly caller: Caller;
  readonly logger: Logger;
  readonly addressOf: (id: ReplicaId) => string | undefined;
  /** Version of the assignments that want the replica. */
  readonly version: () => number;
}

/** The side of the broker whose replica is fenced. */
export class Rebuilder {
  private readonly asking = new Set<string>();

  constructor(private readonly options: RebuilderOptions) {}

  /** Asks the group, unless that is under way; call it until the replica is there again. */
  rebuild(hosted: Hosted, assigned: AssignedReplica): void {
    const { groupId } = assigned;
    if (this.asking.has(groupId)) return;
    this.asking.add(groupId);
    this.begin(hosted, assigned).catch((thrown) => {
      this.options.logger.debug("a rotted replica has to wait for its group", {
        group: groupId,
        reason: toTrilogError(thrown).message,
      });
    }).finally(() => this.asking.delete(groupId));
  }

  private async begin(hosted: Hosted, assigned: AssignedReplica): Promise<void> {
    const floor = await this.askLeader(assigned);
    const { hosting, version } = this.options;
    if (hosting.get(assigned.groupId) !== hosted) return;
    hosting.beginAgain(hosted, {
      groupId: assigned.groupId,
      epoch: assigned.epoch,
      topic: assigned.topic,
      partition: assigned.partition,
      bootstrap: null,
      assignedVersion: version(),
      floor,
    });
  }

  /** Asks one after the other, the one that was named as the leader next. */
  private async askLeader({ groupId, epoch, replicas }: AssignedReplica): Promise<LogId> {
    const { self, caller, addressOf } = this.options;
    const addresses = replicas.filter((id) => id !== self).map(addressOf)
      .filter((address) => address !== undefined);
    const params = releaseMethod.request.encode({ groupId, epoch });
    let refusal: TrilogError = new TrilogError(
      "unavailable",
      `Cannot rebuild a replica of ${groupId}: no other broker is known`,
    );
    for (let left = addresses.length + 1; left > 0 && addresses.length > 0; left -= 1) {
      const address = addresses.shift()!;
      try {
        const options = { deadlineMs: RELEASE_MS };
        const answer = await caller.call(address, releaseMethod.name, params, options);
        return releaseMethod.answer.decode(answer, releaseMethod.name);
      } catch (thrown) {
        refusal = toTrilogError(thrown);
        if (refusal.leader !== undefined) addresses.unshift(refusal.leader);
      }
    }
    throw refusal;
  }
}
