/** PURE. Methods of managers for clients: what there is, and changes of topics. */

import {
  type Codec,
  flag,
  label,
  list,
  name,
  nullable,
  record,
  text,
  token,
  whole,
  word,
} from "../base/codec.ts";
import { method } from "./protocol_method.ts";

/** `linearizable` sees every write answered before the read began; `stale` answers at once. */
export type Consistency = "linearizable" | "stale";
export const consistency: Codec<Consistency> = word("linearizable", "stale");

/** How much of each partition of a topic is kept; 0 means no limit. */
export interface TopicSettings {
  readonly retentionBytes: number;
  readonly retentionMs: number;
}
export const topicSettings: Codec<TopicSettings> = record<TopicSettings>({
  retentionBytes: whole,
  retentionMs: whole,
});

export interface PartitionMetadata {
  readonly partition: number;
  /** Raft group that is this partition; never reused. */
  readonly groupId: string;
  /** Rises when the group is recovered with loss; requests with another one are refused. */
  readonly epoch: number;
  /** Brokers that should hold a replica; the first is the preferred leader. */
  readonly replicas: readonly string[];
  /** Last known leader: a hint, null where none was ever reported. */
  readonly leader: string | null;
  readonly leaderTerm: number;
}
const partitionMetadata: Codec<PartitionMetadata> = record<PartitionMetadata>({
  partition: whole,
  groupId: token,
  epoch: whole,
  replicas: list(token),
  leader: nullable(token),
  leaderTerm: whole,
});

export interface TopicMetadata {
  readonly name: string;
  readonly settings: TopicSettings;
  /** Sorted by number, without gaps. */
  readonly partitions: readonly PartitionMetadata[];
}
const topicMetadata: Codec<TopicMetadata> = record<TopicMetadata>({
  name,
  settings: topicSettings,
  partitions: list(partitionMetadata),
});

export interface BrokerMetadata {
  readonly id: string;
  readonly replicaId: string;
  readonly address: string;
  /** Failure domain; empty where none was given. */
  readonly rack: string;
  /** False once the managers have declared it dead. */
  readonly alive: boolean;
}
const brokerMetadata: Codec<BrokerMetadata> = record<BrokerMetadata>({
  id: name,
  replicaId: token,
  address: token,
  rack: label,
  alive: flag,
});

export interface ManagerMetadata {
  readonly id: string;
  readonly replicaId: string;
  readonly address: string;
  /** Whether the answering manager takes this one for the leader. */
  readonly leader: boolean;
}
const managerMetadata: Codec<ManagerMetadata> = record<ManagerMetadata>({
  id: name,
  replicaId: token,
  address: token,
  leader: flag,
});

export interface MetadataRequest {
  /** Topics wanted; null for all. Those that do not exist are missing from the answer. */
  readonly topics: readonly string[] | null;
  readonly consistency: Consistency;
}

export interface ClusterMetadata {
  readonly clusterId: string;
  /** Rises with each change; a client never replaces its metadata by an older version. */
  readonly version: number;
  /** Sorted by name, as are brokers and managers. */
  readonly topics: readonly TopicMetadata[];
  readonly brokers: readonly BrokerMetadata[];
  readonly managers: readonly ManagerMetadata[];
}

const clusterMetadata: Codec<ClusterMetadata> = record<ClusterMetadata>({
  clusterId: token,
  version: whole,
  topics: list(topicMetadata),
  brokers: list(brokerMetadata),
  managers: list(managerMetadata),
});

export const metadataMethod = method<MetadataRequest, ClusterMetadata>(
  "manager.metadata",
  record<MetadataRequest>({ topics: nullable(list(name)), consistency }),
  clusterMetadata,
);

export interface MetadataUpdateRequest {
  /** Topics wanted; those that do not exist are missing from the answer. */
  readonly topics: readonly string[];
  readonly consistency: Consistency;
  /** Version of what the client has of these topics; 0: it has nothing. */
  readonly knownVersion: number;
}

export interface MetadataUpdate {
  /** Null where nothing is newer than the known version. */
  readonly metadata: ClusterMetadata | null;
}

/** The same for clients that go on asking: what has not changed is not sent again. */
export const metadataUpdateMethod = method<MetadataUpdateRequest, MetadataUpdate>(
  "manager.metadata_update",
  record<MetadataUpdateRequest>({ topics: list(name), consistency, knownVersion: whole }),
  record<MetadataUpdate>({ metadata: nullable(clusterMetadata) }),
);

/**
 * Every change carries a request id of the client's own making (random, 1 to 249 characters): the
 * same request sent again, to any manager, gets the first answer and changes nothing more.
 */
export interface CreateTopicRequest {
  readonly requestId: string;
  readonly name: string;
  /** From 1 to `limits.topicPartitions`. */
  readonly partitions: number;
  readonly settings: TopicSettings;
}

export interface AlterTopicRequest {
  readonly requestId: string;
  readonly name: string;
  /** New number of partitions, not below the present one; null leaves it. */
  readonly partitions: number | null;
  /** Null leaves the limit, 0 lifts it. */
  readonly retentionBytes: number | null;
  readonly retentionMs: number | null;
}

export interface DeleteTopicRequest {
  readonly requestId: string;
  readonly name: string;
}

/** The metadata version in which a change is visible. */
export interface Changed {
  readonly version: number;
}
export const changed = record<Changed>({ version: whole });

export const createTopicMethod = method<CreateTopicRequest, Changed>(
  "manager.create_topic",
  record<CreateTopicRequest>({
    requestId: token,
    name: text,
    partitions: whole,
    settings: topicSettings,
  }),
  changed,
);
export const alterTopicMethod = method<AlterTopicRequest, Changed>(
  "manager.alter_topic",
  record<AlterTopicRequest>({
    requestId: token,
    name: text,
    partitions: nullable(whole),
    retentionBytes: nullable(whole),
    retentionMs: nullable(whole),
  }),
  changed,
);
/** Puts a partition's replicas elsewhere; what has to happen then goes on by itself. */
export interface MovePartitionRequest {
  readonly requestId: string;
  readonly topic: string;
  readonly partition: number;
  /** Names of brokers, the preferred leader first. */
  readonly brokers: readonly string[];
}

export const movePartitionMethod = method<MovePartitionRequest, Changed>(
  "manager.move_partition",
  record<MovePartitionRequest>({
    requestId: token,
    topic: text,
    partition: whole,
    brokers: list(text),
  }),
  changed,
);

export const deleteTopicMethod = method<DeleteTopicRequest, Changed>(
  "manager.delete_topic",
  record<DeleteTopicRequest>({ requestId: token, name: text }),
  changed,
);
