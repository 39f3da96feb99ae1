/**
 * MACHINE. What brokers report of their partitions, as far as it is agreed on: leaders,
 * memberships, offsets, and the end of replicas that nobody wants any more. The leader collects
 * heartbeats in memory (`heartbeats.ts`) and proposes one `report` for all that is new.
 */

import { type Codec, flag, grown, list, record, token, whole } from "../base/codec.ts";
import { type Changed, changedCodec, type Command } from "./command.ts";
import { type MetadataState, type Partition, tombstoneKey } from "./state.ts";

/** What the leader of a partition said in a heartbeat. */
export interface PartitionReport {
  readonly groupId: string;
  readonly epoch: number;
  /** Replica id of the broker that reports itself as the leader in `term`. */
  readonly leader: string;
  readonly term: number;
  /**
   * The committed membership that is in force now; index 0: a change of members is under way, and
   * `voters` mean nothing.
   */
  readonly membershipIndex: number;
  readonly voters: readonly string[];
  readonly startOffset: number;
  readonly endOffset: number;
}
export const partitionReportCodec: Codec<PartitionReport> = record<PartitionReport>({
  groupId: token,
  epoch: whole,
  leader: token,
  term: whole,
  membershipIndex: whole,
  voters: list(token),
  startOffset: whole,
  endOffset: whole,
});

/**
 * A replica to delete, since its group committed a membership without it. `placedVersion` says for
 * which placement that was found out: by then every broker that may lead the group knew this
 * placement, so none of them will ask the replica back. Another placement voids it.
 */
export interface Retirement {
  readonly groupId: string;
  readonly epoch: number;
  readonly replicaId: string;
  readonly placedVersion: number;
}
const retirementCodec: Codec<Retirement> = record<Retirement>({
  groupId: token,
  epoch: whole,
  replicaId: token,
  placedVersion: whole,
});

/**
 * A replica whose files are durable at its broker, or that is quarantined there. `placedVersion`
 * says which placement the broker knew: another one voids the report.
 */
export interface ReplicaReport {
  readonly groupId: string;
  readonly epoch: number;
  readonly replicaId: string;
  readonly quarantined: boolean;
  readonly placedVersion: number;
}
const replicaReportCodec: Codec<ReplicaReport> = record<ReplicaReport>({
  groupId: token,
  epoch: whole,
  replicaId: token,
  quarantined: flag,
  placedVersion: whole,
});

/** A tombstone that did its work; `version` is the tombstone's own. */
export interface Buried {
  readonly groupId: string;
  readonly replicaId: string;
  readonly version: number;
}
const buriedCodec: Codec<Buried> = record<Buried>({
  groupId: token,
  replicaId: token,
  version: whole,
});

export interface ReportFields {
  readonly partitions: readonly PartitionReport[];
  readonly retired: readonly Retirement[];
  readonly buried: readonly Buried[];
  readonly replicas: readonly ReplicaReport[];
}
const reportFields = record<ReportFields>({
  partitions: list(partitionReportCodec),
  retired: list(retirementCodec),
  buried: list(buriedCodec),
  replicas: list(replicaReportCodec),
});

export const report: Command<ReportFields, Changed> = {
  name: "partitions.report",
  fields: grown(reportFields, { fields: 3, added: [[]] }),
  answer: changedCodec,
  apply(state, fields) {
    for (const said of fields.partitions) applyReport(state, said);
    for (const said of fields.replicas) applyReplicaReport(state, said);
    const due = fields.retired.filter((retirement) => isDue(state, retirement));
    if (due.length > 0) state.touch(true);
    for (const retirement of due) retire(state, retirement);
    for (const { groupId, replicaId, version } of fields.buried) {
      const key = tombstoneKey(replicaId, groupId);
      if (state.tombstones.get(key)?.version === version) state.tombstones.delete(key);
    }
    return { version: state.version };
  },
};

/** The partition as it is once `said` is taken in; the same object where it says nothing new. */
export function reported(partition: Partition, said: PartitionReport): Partition {
  if (said.epoch !== partition.epoch) return partition;
  const newLeader = said.term > partition.leaderTerm;
  const newMembers = said.membershipIndex > partition.membershipIndex;
  const later = said.endOffset > partition.endOffset || said.startOffset > partition.startOffset;
  if (!newLeader && !newMembers && !later) return partition;
  return {
    ...partition,
    leader: newLeader ? said.leader : partition.leader,
    leaderTerm: newLeader ? said.term : partition.leaderTerm,
    membershipIndex: newMembers ? said.membershipIndex : partition.membershipIndex,
    voters: newMembers ? said.voters : partition.voters,
    startOffset: Math.max(partition.startOffset, said.startOffset),
    endOffset: Math.max(partition.endOffset, said.endOffset),
  };
}

function applyReport(state: MetadataState, said: PartitionReport): void {
  const placed = state.partitionOf(said.groupId);
  if (placed === undefined || state.brokerOf(said.leader) === undefined) return;
  const before = placed.topic.partitions[placed.partition];
  const after = reported(before, said);
  if (after === before) return;
  if (after.leaderTerm !== before.leaderTerm || after.voters !== before.voters) state.touch(false);
  state.setPartition(placed, after);
}

/** The partition as it is once `said` is taken in; the same object where it says nothing new. */
export function withReplica(partition: Partition, said: ReplicaReport): Partition {
  const { epoch, replicaId, quarantined, placedVersion } = said;
  const begun = partition.begun.includes(replicaId);
  const fits = epoch === partition.epoch && placedVersion === partition.placedVersion &&
    partition.placed.includes(replicaId);
  if (!fits) return partition;
  if (begun && quarantined === partition.quarantined.includes(replicaId)) return partition;
  const others = partition.quarantined.filter((id) => id !== replicaId);
  return {
    ...partition,
    begun: begun ? partition.begun : [...partition.begun, replicaId],
    quarantined: quarantined ? [...others, replicaId] : others,
  };
}

function applyReplicaReport(state: MetadataState, said: ReplicaReport): void {
  const placed = state.partitionOf(said.groupId);
  if (placed === undefined) return;
  const before = placed.topic.partitions[placed.partition];
  const after = withReplica(before, said);
  if (after !== before) state.setPartition(placed, after);
}

function isDue(state: MetadataState, retirement: Retirement): boolean {
  const placed = state.partitionOf(retirement.groupId);
  if (placed === undefined) return false;
  const partition = placed.topic.partitions[placed.partition];
  return partition.epoch === retirement.epoch &&
    partition.placedVersion === retirement.placedVersion &&
    isUnwanted(partition, retirement.replicaId);
}

/** Whether a replica that may have data is neither wanted nor a voter any more. */
export function isUnwanted(partition: Partition, replicaId: string): boolean {
  return partition.membershipIndex > 0 && partition.placed.includes(replicaId) &&
    !partition.replicas.includes(replicaId) && !partition.voters.includes(replicaId);
}

function retire(state: MetadataState, { groupId, epoch, replicaId }: Retirement): void {
  const placed = state.partitionOf(groupId);
  if (placed === undefined) return;
  const partition = placed.topic.partitions[placed.partition];
  state.setTombstone({ groupId, epoch, replicaId, version: state.placementVersion });
  state.setPartition(placed, {
    ...partition,
    placed: partition.placed.filter((id) => id !== replicaId),
    begun: partition.begun.filter((id) => id !== replicaId),
    quarantined: partition.quarantined.filter((id) => id !== replicaId),
    retired: partition.retired.includes(replicaId)
      ? partition.retired
      : [...partition.retired, replicaId],
  });
}
