/**
 * Moving partitions: a new list of wanted replicas. Everything else follows from it, here as after
 * any other change: the partition's leader changes the membership and reports it, and what is not
 * wanted any more is retired (`reports.ts`).
 */

import { list, record, text, token, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type Changed, changedCodec, type Command } from "./command.ts";
import { type MetadataState, type PlacedPartition, tombstoneKey } from "./state.ts";

export interface PlaceFields {
  readonly topic: string;
  readonly partition: number;
  /** Replica ids of brokers, the preferred leader first. */
  readonly replicas: readonly string[];
}

export const place: Command<PlaceFields, Changed> = {
  name: "partitions.place",
  fields: record<PlaceFields>({ topic: text, partition: whole, replicas: list(token) }),
  answer: changedCodec,
  apply(state, fields) {
    const placed = existingPartition(state, fields);
    const before = placed.topic.partitions[placed.partition];
    refusePlaces(state, before.groupId, fields);
    if (before.replicas.join() === fields.replicas.join()) return { version: state.version };
    state.touch(true);
    state.setPartition(placed, {
      ...before,
      replicas: fields.replicas,
      placedVersion: state.placementVersion,
      placed: [...new Set([...before.placed, ...fields.replicas])],
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

function refusePlaces(state: MetadataState, groupId: string, fields: PlaceFields): void {
  const act = `move partition ${fields.topic}/${fields.partition}`;
  const { replicas } = fields;
  if (replicas.length !== limits.partitionReplicas || new Set(replicas).size !== replicas.length) {
    throw new TrilogError(
      "invalid_argument",
      `Cannot ${act}: ${limits.partitionReplicas} different brokers are needed`,
    );
  }
  for (const replicaId of replicas) {
    const broker = state.brokerOf(replicaId);
    if (broker === undefined) {
      throw new TrilogError("no_such_broker", `Cannot ${act}: there is no broker ${replicaId}`);
    }
    if (state.tombstones.has(tombstoneKey(replicaId, groupId))) {
      throw new TrilogError(
        "unavailable",
        `Cannot ${act}: broker ${broker.id} is still deleting its former replica`,
      );
    }
  }
}
