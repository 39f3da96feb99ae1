/**
 * MACHINE. The last resort for a partition whose majority is gone for good: one surviving replica's
 * log goes on in a new epoch, which is another Raft group, so that the old replicas can neither
 * vote nor be heard in it. They are set aside by their brokers when they return.
 */

import { record, text, token, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type Changed, changedCodec, type Command } from "./command.ts";
import { existingPartition, mayHold } from "./moves.ts";
import type { MetadataState, MetadataView, Partition } from "./state.ts";
import { isUsable } from "./placement.ts";
import { placementBrokers } from "./topics.ts";

export interface RecoverFields {
  readonly topic: string;
  readonly partition: number;
  /** The epoch that is given up: another one voids the wish. */
  readonly epoch: number;
  /** Replica id of the broker whose log goes on. */
  readonly survivor: string;
  /** Highest end of the partition that the survivors know of. */
  readonly endOffset: number;
}

export const recover: Command<RecoverFields, Changed> = {
  name: "partitions.recover",
  fields: record<RecoverFields>({
    topic: text,
    partition: whole,
    epoch: whole,
    survivor: token,
    endOffset: whole,
  }),
  answer: changedCodec,
  apply(state, fields) {
    const at = existingPartition(state, "recover", fields);
    const before = at.topic.partitions[at.partition];
    refuseNeedless(state, before, fields);
    const { groupId } = before;
    const endOffset = Math.max(fields.endOffset, before.endOffset);
    const epoch = before.epoch + 1;
    const replicas = newReplicas(state, before, fields.survivor);
    state.touch(true);
    state.setPartition(at, {
      ...before,
      epoch,
      endOffset,
      replicas,
      placedVersion: state.placementVersion,
      // Nobody founds the new epoch: an empty log must never stand in for the survivor's.
      founders: [],
      placed: [...new Set([...before.placed, ...replicas])],
      leader: null,
      membershipIndex: 0,
      voters: [],
      begun: [],
      quarantined: [],
    });
    state.recoveries.set(groupId, { groupId, epoch, survivor: fields.survivor, endOffset });
    return { version: state.version };
  },
};

function refuseNeedless(state: MetadataView, partition: Partition, fields: RecoverFields): void {
  const refuse = (reason: string) =>
    new TrilogError(
      "invalid_argument",
      `Cannot recover partition ${fields.topic}/${fields.partition}: ${reason}`,
    );
  if (fields.epoch !== partition.epoch) throw refuse(`it is in epoch ${partition.epoch} already`);
  if (!lostMajority(state, partition)) {
    throw refuse("a majority of its replicas is alive and sound");
  }
  const survivor = state.brokerOf(fields.survivor);
  const sound = !partition.quarantined.includes(fields.survivor);
  if (survivor?.alive !== true || !sound || !partition.placed.includes(fields.survivor)) {
    throw refuse("the survivor is not a living broker with a sound replica of it");
  }
}

/** Whether too few members of a partition are alive, and not quarantined, for it to go on. */
export function lostMajority(state: MetadataView, partition: Partition): boolean {
  const members = partition.voters.length > 0 ? partition.voters : partition.founders;
  const living = members.filter((id) =>
    state.brokerOf(id)?.alive === true && !partition.quarantined.includes(id)
  );
  return living.length * 2 <= members.length;
}

/** The survivor, then living brokers, those that had the partition first. */
function newReplicas(state: MetadataState, partition: Partition, survivor: string): string[] {
  const { groupId } = partition;
  const loads = placementBrokers(state).filter(({ replicaId }) =>
    replicaId !== survivor && mayHold(state, replicaId, groupId)
  );
  const cost = (load: typeof loads[number]) => [
    Number(!isUsable(load)),
    Number(!partition.replicas.includes(load.replicaId)),
    load.replicas,
  ];
  loads.sort((left, right) => {
    const [a, b] = [cost(left), cost(right)];
    const at = a.findIndex((value, index) => value !== b[index]);
    return at < 0 ? (left.replicaId < right.replicaId ? -1 : 1) : a[at] - b[at];
  });
  const others = loads.map(({ replicaId }) => replicaId).slice(0, limits.partitionReplicas - 1);
  return [survivor, ...others];
}
