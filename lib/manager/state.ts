/**
 * MACHINE. What the managers agree on. Records are never changed in place: a change replaces a
 * record, so a reader may keep what it was given. Only the command files of this folder change the
 * state, and only while a committed command is applied.
 */

import { assert } from "../base/assert.ts";
import {
  type Codec,
  flag,
  grown,
  label,
  list,
  name,
  nullable,
  record,
  token,
  whole,
} from "../base/codec.ts";
import type { ConsumerGroup } from "./group_records.ts";

export interface Broker {
  /** Name that its operator gave it; kept when its identity changes. */
  readonly id: string;
  readonly replicaId: string;
  readonly address: string;
  /** Failure domain; empty where none was given. */
  readonly rack: string;
  readonly registeredAtMs: number;
  /** False once the leader has declared it dead. */
  readonly alive: boolean;
  /** Leader's stamp of the entry that last changed `alive`. */
  readonly aliveSinceMs: number;
  /** Identities of the same name that lost their disk, oldest first: never admitted again. */
  readonly superseded: readonly string[];
}
export const brokerCodec: Codec<Broker> = record<Broker>({
  id: name,
  replicaId: token,
  address: token,
  rack: label,
  registeredAtMs: whole,
  alive: flag,
  aliveSinceMs: whole,
  superseded: list(token),
});

/** Limits of each partition of a topic; 0 means none. */
export interface TopicSettings {
  readonly retentionBytes: number;
  readonly retentionMs: number;
}
export const settingsCodec: Codec<TopicSettings> = record<TopicSettings>({
  retentionBytes: whole,
  retentionMs: whole,
});

export interface Partition {
  /** Raft group, `p/<topic number>/<partition>`; topic numbers are never reused. */
  readonly groupId: string;
  /** From 1; rises when the group is recovered with loss. */
  readonly epoch: number;
  /** Replica ids of the brokers that should be voters; the first is the preferred leader. */
  readonly replicas: readonly string[];
  /** Placement version (see {@link MetadataState}) in which `replicas` last changed. */
  readonly placedVersion: number;
  /** Voters of the group's first membership. */
  readonly founders: readonly string[];
  /** Every replica id that may still have data of this group: ever wanted, not yet retired. */
  readonly placed: readonly string[];
  /** Replica ids told to delete their replica; wanted again, they join blank. */
  readonly retired: readonly string[];
  /** Last reported leader and its term; null and 0 before the first report. */
  readonly leader: string | null;
  readonly leaderTerm: number;
  /** Newest committed membership that was reported; 0 and empty before the first report. */
  readonly membershipIndex: number;
  readonly voters: readonly string[];
  /** Highest reported offsets: lower bounds of the truth, kept for recovery and for people. */
  readonly startOffset: number;
  readonly endOffset: number;
  /**
   * Replica ids that reported their replica's files as durable, in this epoch. For these the
   * `founders` mark is void: a founding happens once in a replica's life.
   */
  readonly begun: readonly string[];
  /** Replica ids whose replica has rotted or is gone, and takes no part until it is rebuilt. */
  readonly quarantined: readonly string[];
}
const fullPartition: Codec<Partition> = record<Partition>({
  groupId: token,
  epoch: whole,
  replicas: list(token),
  placedVersion: whole,
  founders: list(token),
  placed: list(token),
  retired: list(token),
  leader: nullable(token),
  leaderTerm: whole,
  membershipIndex: whole,
  voters: list(token),
  startOffset: whole,
  endOffset: whole,
  begun: list(token),
  quarantined: list(token),
});
/** Until these are reported nothing is known of `begun` and `quarantined`, as in older snapshots. */
export const partitionCodec = grown(fullPartition, { fields: 13, added: [[], []] });

export interface Topic {
  readonly name: string;
  /** Never reused, unlike the name. */
  readonly number: number;
  readonly createdAtMs: number;
  readonly settings: TopicSettings;
  /** By partition number. */
  readonly partitions: readonly Partition[];
}
export const topicCodec: Codec<Topic> = record<Topic>({
  name,
  number: whole,
  createdAtMs: whole,
  settings: settingsCodec,
  partitions: list(partitionCodec),
});

/** Leave for one broker to delete its replica of one group, until it reports that it is gone. */
export interface Tombstone {
  readonly groupId: string;
  readonly epoch: number;
  readonly replicaId: string;
  /** Placement version that brought it. */
  readonly version: number;
}
export const tombstoneCodec: Codec<Tombstone> = record<Tombstone>({
  groupId: token,
  epoch: whole,
  replicaId: token,
  version: whole,
});

/** A partition that was recovered with loss; see `recoveries.ts`. */
export interface Recovery {
  readonly groupId: string;
  /** The epoch that the recovery began. */
  readonly epoch: number;
  /** The only replica whose log goes on in that epoch. */
  readonly survivor: string;
  /** Offsets go on here at the lowest: the highest that anybody knew of. */
  readonly endOffset: number;
}
export const recoveryCodec: Codec<Recovery> = record<Recovery>({
  groupId: token,
  epoch: whole,
  survivor: token,
  endOffset: whole,
});

/** A producer or consumer of the HTTP API; see `registrations.ts`. */
export interface Registration {
  /** Never given to another of its kind. */
  readonly id: number;
  readonly topic: string;
  /** Tells the topic from a later one of the same name. */
  readonly topicNumber: number;
  /** The only partition that a consumer reads; null for all, and for producers. */
  readonly partition: number | null;
  /** Partitions that the topic had when this was made. */
  readonly partitions: number;
  /** A consumer that is being deleted. */
  readonly retired: boolean;
}
export const registrationCodec: Codec<Registration> = record<Registration>({
  id: whole,
  topic: name,
  topicNumber: whole,
  partition: nullable(whole),
  partitions: whole,
  retired: flag,
});

/** The answer to a request that its sender may repeat; see `requests.ts`. */
export interface AnsweredRequest {
  /** Stamp of its entry, milliseconds since 1970; 0 where an earlier version stored it. */
  readonly timeMs: number;
  readonly command: string;
  readonly answer: Uint8Array;
}

/** A partition with the topic it belongs to. */
export interface PlacedPartition {
  readonly topic: Topic;
  readonly partition: number;
}

/** The state as everybody but the command files sees it. */
export interface MetadataView {
  /** Empty before the cluster is initialised. */
  readonly clusterId: string;
  /** Rises with each change that clients can see. */
  readonly version: number;
  /** The version of the last change that brokers must act on. */
  readonly placementVersion: number;
  /** Next numbers to hand out, by purpose; never go back. */
  readonly counters: ReadonlyMap<string, number>;
  readonly brokers: ReadonlyMap<string, Broker>;
  readonly topics: ReadonlyMap<string, Topic>;
  readonly tombstones: ReadonlyMap<string, Tombstone>;
  readonly requests: ReadonlyMap<string, AnsweredRequest>;
  /** By id, which is the order in which they were made. */
  readonly producers: ReadonlyMap<number, Registration>;
  readonly consumers: ReadonlyMap<number, Registration>;
  readonly groups: ReadonlyMap<string, ConsumerGroup>;
  /** Names of brokers that are being emptied. */
  readonly draining: ReadonlySet<string>;
  /** Identities of brokers that were removed from the cluster: never admitted again. */
  readonly removed: ReadonlySet<string>;
  /** Groups that a person placed: they are not moved just to even out the load. */
  readonly pinned: ReadonlySet<string>;
  /** The last recovery of each group that had one. */
  readonly recoveries: ReadonlyMap<string, Recovery>;
  /** Milliseconds of silence that leaders have counted, of living brokers, by replica id. */
  readonly silences: ReadonlyMap<string, number>;
  /** Brokers sorted by id. */
  sortedBrokers(): Broker[];
  /** Topics sorted by name. */
  sortedTopics(): Topic[];
  brokerOf(replicaId: string): Broker | undefined;
  partitionOf(groupId: string): PlacedPartition | undefined;
}

export class MetadataState implements MetadataView {
  clusterId = "";
  version = 0;
  placementVersion = 0;
  readonly counters = new Map<string, number>();
  readonly brokers = new Map<string, Broker>();
  readonly topics = new Map<string, Topic>();
  readonly tombstones = new Map<string, Tombstone>();
  readonly requests = new Map<string, AnsweredRequest>();
  readonly producers = new Map<number, Registration>();
  readonly consumers = new Map<number, Registration>();
  readonly groups = new Map<string, ConsumerGroup>();
  readonly draining = new Set<string>();
  readonly removed = new Set<string>();
  readonly pinned = new Set<string>();
  readonly recoveries = new Map<string, Recovery>();
  readonly silences = new Map<string, number>();
  /** Names of topics by number, and of brokers by replica id: derived, never stored. */
  private readonly topicNames = new Map<number, string>();
  private readonly brokerIds = new Map<string, string>();

  /** The next number of a counter, from 1. */
  nextNumber(purpose: string): number {
    const number = this.counters.get(purpose) ?? 1;
    this.counters.set(purpose, number + 1);
    return number;
  }

  /** A change that clients can see, and with `placement` one that brokers act on. */
  touch(placement: boolean): void {
    this.version += 1;
    if (placement) this.placementVersion = this.version;
  }

  setBroker(broker: Broker): void {
    const before = this.brokers.get(broker.id);
    if (before !== undefined) this.brokerIds.delete(before.replicaId);
    if (before !== undefined && before.replicaId !== broker.replicaId) {
      this.silences.delete(before.replicaId);
    }
    if (!broker.alive) this.silences.delete(broker.replicaId);
    this.brokers.set(broker.id, broker);
    this.brokerIds.set(broker.replicaId, broker.id);
  }

  removeBroker({ id, replicaId }: Broker): void {
    this.brokers.delete(id);
    this.brokerIds.delete(replicaId);
    this.silences.delete(replicaId);
    this.draining.delete(id);
  }

  setTopic(topic: Topic): void {
    this.topics.set(topic.name, topic);
    this.topicNames.set(topic.number, topic.name);
  }

  removeTopic(topic: Topic): void {
    this.topics.delete(topic.name);
    this.topicNames.delete(topic.number);
    for (const { groupId } of topic.partitions) {
      this.pinned.delete(groupId);
      this.recoveries.delete(groupId);
    }
    for (const registered of [this.producers, this.consumers]) {
      for (const { id, topicNumber } of registered.values()) {
        if (topicNumber === topic.number) registered.delete(id);
      }
    }
  }

  setPartition(placed: PlacedPartition, partition: Partition): void {
    const current = this.topics.get(placed.topic.name);
    assert(current?.number === placed.topic.number, "a changed partition's topic exists");
    const partitions = current.partitions.with(placed.partition, partition);
    this.setTopic({ ...current, partitions });
  }

  setTombstone(tombstone: Tombstone): void {
    this.tombstones.set(tombstoneKey(tombstone.replicaId, tombstone.groupId), tombstone);
  }

  sortedBrokers(): Broker[] {
    return sortedValues(this.brokers);
  }

  sortedTopics(): Topic[] {
    return sortedValues(this.topics);
  }

  brokerOf(replicaId: string): Broker | undefined {
    const id = this.brokerIds.get(replicaId);
    return id === undefined ? undefined : this.brokers.get(id);
  }

  partitionOf(groupId: string): PlacedPartition | undefined {
    const match = /^p\/(\d+)\/(\d+)$/.exec(groupId);
    if (match === null) return undefined;
    const topic = this.topics.get(this.topicNames.get(Number(match[1])) ?? "");
    const partition = Number(match[2]);
    if (topic?.partitions[partition]?.groupId !== groupId) return undefined;
    return { topic, partition };
  }
}

/** Sorts tombstones by broker, then by group. */
export function tombstoneKey(replicaId: string, groupId: string): string {
  return `${replicaId} ${groupId}`;
}

/** Values in the order of their keys, by code unit: the same on every machine. */
export function sortedValues<T>(map: ReadonlyMap<string, T>): T[] {
  return [...map.keys()].sort().map((key) => map.get(key) as T);
}
