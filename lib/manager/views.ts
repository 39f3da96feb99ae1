/** What managers answer, made from the metadata. Pure. */

import type {
  Assignments,
  BrokerMetadata,
  BrokerStatus,
  PartitionStatus,
  TopicMetadata,
} from "../client/protocol.ts";
import { held } from "./drains.ts";
import type { LedPartition } from "./heartbeats.ts";
import type { Broker, MetadataView, Topic } from "./state.ts";

/** Topics for clients: all, or those of the given names that exist; sorted by name. */
export function topicsView(state: MetadataView, names: readonly string[] | null): TopicMetadata[] {
  const wanted = names === null ? null : new Set(names);
  return state.sortedTopics().filter(({ name }) => wanted === null || wanted.has(name))
    .map(topicView);
}

function topicView({ name, settings, partitions }: Topic): TopicMetadata {
  return {
    name,
    settings,
    partitions: partitions.map(({ groupId, epoch, replicas, leader, leaderTerm }, partition) => ({
      partition,
      groupId,
      epoch,
      replicas,
      leader,
      leaderTerm,
    })),
  };
}

export function brokersView(state: MetadataView): BrokerMetadata[] {
  return state.sortedBrokers().map(brokerView);
}

function brokerView({ id, replicaId, address, rack, alive }: Broker): BrokerMetadata {
  return { id, replicaId, address, rack, alive };
}

/** All that one broker needs to know to make what it hosts as it is wanted. */
export function assignmentsView(state: MetadataView, replicaId: string): Assignments {
  const brokers = state.sortedBrokers();
  return {
    version: state.placementVersion,
    replicas: state.sortedTopics().flatMap((topic) => assignedOf(state, topic, replicaId))
      .sort((left, right) => left.groupId < right.groupId ? -1 : 1),
    tombstones: [...state.tombstones.values()]
      .filter((tombstone) => tombstone.replicaId === replicaId)
      .map(({ groupId, epoch }) => ({ groupId, epoch }))
      .sort((left, right) => left.groupId < right.groupId ? -1 : 1),
    peers: brokers.flatMap((broker) =>
      [...broker.superseded, broker.replicaId].map((identity) => ({
        replicaId: identity,
        id: broker.id,
        address: broker.address,
      }))
    ),
    superseded: [...brokers.flatMap((broker) => broker.superseded), ...state.removed],
  };
}

function assignedOf(
  { recoveries }: MetadataView,
  topic: Topic,
  replicaId: string,
): Assignments["replicas"][number][] {
  return topic.partitions.flatMap((partition, number) => {
    if (!partition.placed.includes(replicaId)) return [];
    const { groupId, epoch, replicas, founders, retired } = partition;
    const begun = partition.begun.includes(replicaId);
    const recovery = recoveries.get(groupId);
    const survives = recovery?.epoch === epoch && recovery.survivor === replicaId;
    return [{
      groupId,
      epoch,
      topic: topic.name,
      partition: number,
      replicas,
      founders,
      // Once told to delete its replica, a broker must not begin again with the first membership:
      // it would forget the votes it gave and the entries it acknowledged as a founder.
      // The same holds once it has founded: what is missing then was lost.
      bootstrap: founders.includes(replicaId) && !retired.includes(replicaId) && !begun,
      begun,
      leaderTerm: partition.leaderTerm,
      membershipIndex: partition.membershipIndex,
      settings: topic.settings,
      recovery: survives ? { endOffset: recovery.endOffset } : null,
    }];
  });
}

/** What only the leading manager knows of brokers and partitions; unknown values elsewhere. */
export interface LeaderMemory {
  /** Milliseconds since a broker's last heartbeat, or null. */
  silentMs(replicaId: string): number | null;
  /** How long commits take at a broker, in milliseconds, or null. */
  commitMs(replicaId: string): number | null;
  /** By group: replica ids of brokers that repair their replica of it. */
  repairing(): ReadonlyMap<string, readonly string[]>;
  /** What the leader of a partition last said of it. */
  led(groupId: string): LedPartition | undefined;
}

export function brokerStatuses(state: MetadataView, memory: LeaderMemory): BrokerStatus[] {
  const partitions = state.sortedTopics().flatMap((topic) => topic.partitions);
  return state.sortedBrokers().map((broker) => ({
    ...brokerView(broker),
    lastHeartbeatMs: memory.silentMs(broker.replicaId),
    led: partitions.filter(({ leader }) => leader === broker.replicaId).length,
    hosted: partitions.filter(({ replicas }) => replicas.includes(broker.replicaId)).length,
    held: held(state, broker.replicaId),
    draining: state.draining.has(broker.id),
    commitMs: memory.commitMs(broker.replicaId),
  }));
}

export function partitionStatuses(state: MetadataView, memory: LeaderMemory): PartitionStatus[] {
  const repairing = memory.repairing();
  return state.sortedTopics().flatMap((topic) =>
    topic.partitions.map((partition, number) => {
      const led = memory.led(partition.groupId);
      return {
        topic: topic.name,
        partition: number,
        groupId: partition.groupId,
        epoch: partition.epoch,
        leader: partition.leader,
        leaderTerm: partition.leaderTerm,
        replicas: partition.replicas,
        voters: partition.voters,
        quarantined: partition.quarantined,
        repairing: repairing.get(partition.groupId) ?? [],
        startOffset: Math.max(partition.startOffset, led?.startOffset ?? 0),
        endOffset: Math.max(partition.endOffset, led?.endOffset ?? 0),
        sizeBytes: led?.sizeBytes ?? 0,
      };
    })
  );
}
