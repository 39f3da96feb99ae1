/**
 * The log of one replica goes on in the next epoch of its group, after the majority was lost for
 * good and somebody accepted the loss. The new epoch is another Raft group with this broker as its
 * only voter; the others join it blank. What the old replicas hold stays, set aside.
 *
 * Crash windows: the copy is made under a temporary name, gets its own when it is whole, and counts
 * from the moment when the identity file names it instead of the old one. Until then the start after
 * a crash finds the old epoch's replica, and it is done again; after it, the old one is set aside.
 */

import { type Clock, sleep } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { AssignedReplica, SurveyAnswer } from "../client/protocol.ts";
import { EntryKind, type Membership, type NodeInfo, type ReplicaId } from "../raft/types.ts";
import { copyLog } from "../storage/log_copy.ts";
import type { Hosted, Hosting } from "./hosting.ts";
import { PartitionMachine } from "./partition.ts";
import { encodeCommand } from "./partition_commands.ts";
import type { ServedPartition } from "./served_partition.ts";

export interface SuccessorsOptions {
  readonly self: ReplicaId;
  readonly hosting: Hosting;
  readonly clock: Clock;
  readonly logger: Logger;
  /** This broker as a member. */
  readonly node: () => NodeInfo;
  /** Version of the assignments that want it. */
  readonly version: () => number;
}

export class Successors {
  private readonly underWay = new Set<string>();

  constructor(private readonly options: SuccessorsOptions) {}

  /** Makes the replica of the wanted epoch from an older one, unless that is under way. */
  succeed(hosted: Hosted, assigned: AssignedReplica): void {
    const { groupId } = assigned;
    if (this.underWay.has(groupId)) return;
    this.underWay.add(groupId);
    this.run(hosted, assigned).catch((thrown) => {
      this.options.logger.warn("a replica cannot go on in the next epoch yet", {
        group: groupId,
        reason: toTrilogError(thrown).message,
      });
    }).finally(() => this.underWay.delete(groupId));
  }

  private async run(hosted: Hosted, assigned: AssignedReplica): Promise<void> {
    const { self, hosting, clock, node, version } = this.options;
    const { groupId, epoch, topic, partition, leaderTerm } = assigned;
    const membership: Membership = {
      voters: [self],
      outgoing: [],
      learners: [],
      learnersNext: [],
      nodes: { [self]: node() },
    };
    const offset = assigned.recovery?.endOffset ?? 0;
    const beginning = {
      groupId,
      epoch,
      topic,
      partition,
      bootstrap: membership,
      assignedVersion: version(),
      floor: { index: 0, term: 0 },
    };
    await hosting.succeed(hosted, beginning, (from, to) =>
      copyLog(from, to, {
        membership,
        term: leaderTerm,
        // Before anybody can write: what was acknowledged and is lost keeps its offsets for itself.
        commands: [encodeCommand({ kind: "advance", offset })],
        pause: () => sleep(clock, 0),
      }));
  }
}

const PART_BYTES = 1024 * 1024;

function beingRepaired(group: string): TrilogError {
  const state = "entries that have rotted are being repaired from another replica";
  return new TrilogError("unavailable", `Cannot survey ${group} yet: ${state}`);
}

/** What a replica has, known to be committed or not, whether or not its group has a leader. */
export function survey({ machine, replica }: ServedPartition): SurveyAnswer {
  const { last } = replica.status();
  const everything = new PartitionMachine();
  everything.restore(machine.snapshot());
  for (let next = replica.appliedIndex + 1; next <= replica.store.lastIndex();) {
    const entries = replica.repair.read(next, PART_BYTES);
    if (entries === null) throw beingRepaired(replica.group);
    for (const { index, term, timeMs, kind, data } of entries) {
      if (kind === EntryKind.command) everything.apply(data, { index, term, timeMs });
    }
    next += entries.length;
  }
  return {
    lastTerm: last.term,
    lastIndex: last.index,
    committedOffset: machine.endOffset,
    endOffset: everything.endOffset,
  };
}
