/**
 * MACHINE. Moving partitions: a new list of wanted replicas. Everything else follows from it, here
 * as after any other change: the partition's leader changes the membership and reports it, and what
 * is not wanted any more is retired (`reports.ts`).
 */

import { list, record, text, token, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { isValidName, limits } from "../base/limits.ts";
import { type Changed, changedCodec, type Command } from "./command.ts";
import {
  type Broker,
  type MetadataState,
  type MetadataView,
  type Partition,
  type PlacedPartition,
  tombstoneKey,
} from "./state.ts";

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
    const placed = existingPartition(state, "move", fields);
    const before = placed.topic.partitions[placed.partition];
    const replicas = newPlaces(state, before, fields);
    state.pinned.add(before.groupId);
    if (before.replicas.join() === replicas.join()) return { version: state.version };
    state.touch(true);
    wantReplicas(state, placed, replicas);
    return { version: state.version };
  },
};

/** New places that the leader planned for the state as it knew it. */
export interface Rearrangement {
  readonly groupId: string;
  /** The placement that was rearranged; another one voids it. */
  readonly placedVersion: number;
  /** Replica ids, the preferred leader first. */
  readonly replicas: readonly string[];
}

export interface RearrangeFields {
  /** Term in which the leader planned; void in any other. */
  readonly term: number;
  readonly moves: readonly Rearrangement[];
}

/** Moves of the cluster's own upkeep (`upkeep.ts`). What does not fit the state is passed over. */
export const rearrange: Command<RearrangeFields, Changed> = {
  name: "partitions.rearrange",
  fields: record<RearrangeFields>({
    term: whole,
    moves: list(record<Rearrangement>({
      groupId: token,
      placedVersion: whole,
      replicas: list(token),
    })),
  }),
  answer: changedCodec,
  apply(state, fields, { term }) {
    const fitting = fields.moves.filter((move) => term === fields.term && fits(state, move));
    if (fitting.length > 0) state.touch(true);
    for (const { groupId, replicas } of fitting) {
      wantReplicas(state, state.partitionOf(groupId)!, replicas);
      state.pinned.delete(groupId);
    }
    return { version: state.version };
  },
};

function fits(state: MetadataState, { groupId, placedVersion, replicas }: Rearrangement): boolean {
  const placed = state.partitionOf(groupId);
  if (placed === undefined) return false;
  const distinct = new Set(replicas).size === limits.partitionReplicas &&
    replicas.length === limits.partitionReplicas;
  return placed.topic.partitions[placed.partition].placedVersion === placedVersion && distinct &&
    replicas.every((id) => mayHold(state, id, groupId));
}

/** Whether a broker may be given a replica: it is registered, and not deleting a former one. */
export function mayHold(state: MetadataView, replicaId: string, groupId: string): boolean {
  return state.brokerOf(replicaId) !== undefined &&
    !state.tombstones.has(tombstoneKey(replicaId, groupId));
}

/** Sets the wanted replicas of a partition, in a placement version that is new already. */
export function wantReplicas(
  state: MetadataState,
  at: PlacedPartition,
  replicas: readonly string[],
): void {
  const before = state.topics.get(at.topic.name)!.partitions[at.partition];
  state.setPartition(at, {
    ...before,
    replicas,
    placedVersion: state.placementVersion,
    placed: [...new Set([...before.placed, ...replicas])],
  });
}

/** The partition of that name; throws `no_such_topic` or `no_such_partition`. */
export function existingPartition(
  state: MetadataView,
  act: string,
  fields: { readonly topic: string; readonly partition: number },
): PlacedPartition {
  const topic = state.topics.get(fields.topic);
  if (topic === undefined) {
    const message = `Cannot ${act} partition: there is no topic of that name`;
    throw new TrilogError("no_such_topic", message);
  }
  if (fields.partition >= topic.partitions.length) {
    throw new TrilogError(
      "no_such_partition",
      `Cannot ${act} partition ${topic.name}/${fields.partition}: the topic has ` +
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
    if (!partition.replicas.includes(broker.replicaId)) refuseNewReplica(state, act, broker);
    if (state.tombstones.has(tombstoneKey(broker.replicaId, partition.groupId))) {
      throw new TrilogError(
        "unavailable",
        `Cannot ${act}: broker ${id} is still deleting its former replica`,
      );
    }
    return broker.replicaId;
  });
}

/** A broker that has no replica of the partition yet must be able to make one. */
function refuseNewReplica(state: MetadataView, act: string, { id, alive }: Broker): void {
  if (alive && !state.draining.has(id)) return;
  const why = alive ? "is being drained (cluster drain --cancel ends that)" : "is dead";
  throw new TrilogError("unavailable", `Cannot ${act}: broker ${id} ${why}`, { retryable: false });
}
