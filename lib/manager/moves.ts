/**
 * MACHINE. Moving partitions: a new list of wanted replicas. Everything else follows from it, here
 * as after any other change: the partition's leader changes the membership and reports it, and what
 * is not wanted any more is retired (`reports.ts`).
 */

import { list, record, text, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { isValidName, limits } from "../base/limits.ts";
import { type Changed, changedCodec, type Command } from "./command.ts";
import { type MetadataState, type Partition, type PlacedPartition, tombstoneKey } from "./state.ts";

export interface PlaceFields {
  readonly topic: string;
  readonly partition: number;
  /** Names of brokers, the preferred leader first: whoever has them when this is applied. */
  readonly brokers: readonly string[];
}

export const place: Command<PlaceFields, Changed> = {
  name: "partitions.place",
  fields: record<PlaceFields>({ topic: text, partition: whole, brokers: list(text) }),
  answer: changedCodec,
  apply(state, fields) {
    const placed = existingPartition(state, fields);
    const before = placed.topic.partitions[placed.partition];
    const replicas = newPlaces(state, before, fields);
    if (before.replicas.join() === replicas.join()) return { version: state.version };
    state.touch(true);
    state.setPartition(placed, {
      ...before,
      replicas,
      placedVersion: state.placementVersion,
      placed: [...new Set([...before.placed, ...replicas])],
    });
    return { version: state.version };
  },
};

function existingPartition(state: MetadataState, fields: PlaceFields): PlacedPartition {
  const topic = state.topics.get(fields.topic);
  if (topic === undefined) {
    throw new TrilogError("no_such_topic", "Cannot move partition: there is no topic of that name");
  }
  if (fields.partition >= topic.partitions.length) {
    throw new TrilogError(
      "no_such_partition",
      `Cannot move partition ${topic.name}/${fields.partition}: the topic has ` +
        `${topic.partitions.length} partitions`,
    );
  }
  return { topic, partition: fields.partition };
}

/** Replica ids of the wanted brokers; throws where they cannot be. */
function newPlaces(state: MetadataState, partition: Partition, fields: PlaceFields): string[] {
  const act = `move partition ${fields.topic}/${fields.partition}`;
  const { brokers } = fields;
  if (brokers.length !== limits.partitionReplicas || new Set(brokers).size !== brokers.length) {
    throw new TrilogError(
      "invalid_argument",
      `Cannot ${act}: ${limits.partitionReplicas} different brokers are needed`,
    );
  }
  return brokers.map((id) => {
    const broker = state.brokers.get(id);
    if (broker === undefined) {
      const shown = isValidName(id) ? ` ${id}` : " of that name";
      throw new TrilogError("no_such_broker", `Cannot ${act}: there is no broker${shown}`);
    }
    if (state.tombstones.has(tombstoneKey(broker.replicaId, partition.groupId))) {
      throw new TrilogError(
        "unavailable",
        `Cannot ${act}: broker ${id} is still deleting its former replica`,
      );
    }
    return broker.replicaId;
  });
}
