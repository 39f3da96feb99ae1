/** MACHINE. Commands about topics. Placement is decided here, while the command is applied. */

import { type Codec, nullable, record, text, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { isValidName, limits } from "../base/limits.ts";
import { type Changed, changedCodec, type Command } from "./command.ts";
import { type PlacementBroker, placePartitions } from "./placement.ts";
import {
  type MetadataState,
  type MetadataView,
  type Partition,
  settingsCodec,
  type Topic,
  type TopicSettings,
} from "./state.ts";

/** Registered brokers, drained ones aside, that must be alive before partitions are placed: a majority of replicas. */
const LIVING_BROKERS = Math.floor(limits.partitionReplicas / 2) + 1;

export interface CreateTopicFields {
  readonly name: string;
  readonly partitions: number;
  readonly settings: TopicSettings;
}

export const createTopic: Command<CreateTopicFields, Changed> = {
  name: "topics.create",
  fields: record<CreateTopicFields>({ name: text, partitions: whole, settings: settingsCodec }),
  answer: changedCodec,
  apply(state, fields, { timeMs }) {
    const act = `create topic ${fields.name}`;
    if (!isValidName(fields.name)) {
      throw new TrilogError(
        "invalid_topic",
        "Cannot create topic: a name has 1 to 249 letters, digits, dots, dashes or underscores",
      );
    }
    if (state.topics.has(fields.name)) {
      throw new TrilogError("topic_exists", `Cannot ${act}: it exists`);
    }
    refusePartitionCount(act, fields.partitions);
    refuseTooFewBrokers(act, state);
    const number = state.nextNumber("topic");
    state.touch(true);
    state.setTopic({
      name: fields.name,
      number,
      createdAtMs: timeMs,
      settings: fields.settings,
      partitions: newPartitions(state, number, 0, fields.partitions),
    });
    return { version: state.version };
  },
};

export interface AlterTopicFields {
  readonly name: string;
  /** Null leaves what is. */
  readonly partitions: number | null;
  readonly retentionBytes: number | null;
  readonly retentionMs: number | null;
}
const alterTopicFields: Codec<AlterTopicFields> = record<AlterTopicFields>({
  name: text,
  partitions: nullable(whole),
  retentionBytes: nullable(whole),
  retentionMs: nullable(whole),
});

export const alterTopic: Command<AlterTopicFields, Changed> = {
  name: "topics.alter",
  fields: alterTopicFields,
  answer: changedCodec,
  apply(state, fields) {
    const topic = existingTopic(state, "alter", fields.name);
    const act = `alter topic ${topic.name}`;
    const present = topic.partitions.length;
    const wanted = fields.partitions ?? present;
    if (wanted < present) {
      throw new TrilogError(
        "invalid_argument",
        `Cannot ${act}: it has ${present} partitions, which cannot become fewer`,
      );
    }
    refusePartitionCount(act, wanted);
    if (wanted > present) refuseTooFewBrokers(act, state);
    const settings: TopicSettings = {
      retentionBytes: fields.retentionBytes ?? topic.settings.retentionBytes,
      retentionMs: fields.retentionMs ?? topic.settings.retentionMs,
    };
    state.touch(true);
    const added = newPartitions(state, topic.number, present, wanted - present);
    state.setTopic({ ...topic, settings, partitions: [...topic.partitions, ...added] });
    return { version: state.version };
  },
};

export interface DeleteTopicFields {
  readonly name: string;
}

/** Forgets a topic and tells every broker that may have data of it to delete that. */
export const deleteTopic: Command<DeleteTopicFields, Changed> = {
  name: "topics.delete",
  fields: record<DeleteTopicFields>({ name: text }),
  answer: changedCodec,
  apply(state, fields) {
    const topic = existingTopic(state, "delete", fields.name);
    state.touch(true);
    for (const { groupId, epoch, placed } of topic.partitions) {
      for (const replicaId of placed) {
        state.setTombstone({ groupId, epoch, replicaId, version: state.placementVersion });
      }
    }
    state.removeTopic(topic);
    return { version: state.version };
  },
};

/** Replicas and preferred leaders that each broker carries, as `placement.ts` wants it. */
export function placementBrokers(state: MetadataView): PlacementBroker[] {
  const replicas = new Map<string, number>();
  const leaders = new Map<string, number>();
  const count = (counts: Map<string, number>, id: string) =>
    counts.set(id, (counts.get(id) ?? 0) + 1);
  for (const topic of state.topics.values()) {
    for (const partition of topic.partitions) {
      partition.replicas.forEach((id) => count(replicas, id));
      count(leaders, partition.replicas[0]);
    }
  }
  return state.sortedBrokers().map(({ id, replicaId, rack, alive }) => ({
    replicaId,
    rack,
    alive,
    draining: state.draining.has(id),
    replicas: replicas.get(replicaId) ?? 0,
    leaders: leaders.get(replicaId) ?? 0,
  }));
}

function newPartitions(
  state: MetadataState,
  topicNumber: number,
  first: number,
  count: number,
): Partition[] {
  if (count === 0) return [];
  const placements = placePartitions(placementBrokers(state), count, limits.partitionReplicas);
  return placements.map((replicas, at) => ({
    groupId: `p/${topicNumber}/${first + at}`,
    epoch: 1,
    replicas,
    placedVersion: state.placementVersion,
    founders: replicas,
    placed: replicas,
    retired: [],
    leader: null,
    leaderTerm: 0,
    membershipIndex: 0,
    voters: [],
    startOffset: 0,
    endOffset: 0,
    begun: [],
    quarantined: [],
  }));
}

function existingTopic(state: MetadataState, act: string, topicName: string): Topic {
  const topic = state.topics.get(topicName);
  if (topic !== undefined) return topic;
  const shown = isValidName(topicName) ? ` ${topicName}` : "";
  throw new TrilogError("no_such_topic", `Cannot ${act} topic${shown}: there is none of that name`);
}

function refusePartitionCount(act: string, partitions: number): void {
  if (partitions >= 1 && partitions <= limits.topicPartitions) return;
  throw new TrilogError(
    "invalid_argument",
    `Cannot ${act}: ${partitions} partitions are not from 1 to ${limits.topicPartitions}`,
  );
}

function refuseTooFewBrokers(act: string, state: MetadataState): void {
  const staying = [...state.brokers.values()].filter(({ id }) => !state.draining.has(id));
  const living = staying.filter(({ alive }) => alive).length;
  if (staying.length >= limits.partitionReplicas && living >= LIVING_BROKERS) return;
  const drained = [...state.draining].sort().join(", ");
  throw new TrilogError(
    "not_enough_brokers",
    `Cannot ${act}: ${staying.length} brokers are registered and ${living} of them are alive, ` +
      `${limits.partitionReplicas} and ${LIVING_BROKERS} are needed` +
      (drained === "" ? "" : ` (not counted, since they are drained: ${drained})`),
  );
}
