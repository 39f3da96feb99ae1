/** MACHINE. Brokers that leave: first emptied, then forgotten. */

import { flag, record, text } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { isValidName, limits } from "../base/limits.ts";
import { type Changed, changedCodec, type Command } from "./command.ts";
import { wantReplicas } from "./moves.ts";
import { isUsable, least } from "./placement.ts";
import type { Broker, MetadataState, MetadataView } from "./state.ts";
import { placementBrokers } from "./topics.ts";

export interface DrainFields {
  /** Name of the broker. */
  readonly broker: string;
  /** False ends the draining; what has moved stays where it is. */
  readonly draining: boolean;
}

/**
 * Marks a broker as one to be emptied: it gets no new replicas, its leaderships go to other
 * replicas at once, and the leading manager moves its replicas away, a few at a time
 * (`upkeep.ts`).
 */
export const drain: Command<DrainFields, Changed> = {
  name: "brokers.drain",
  fields: record<DrainFields>({ broker: text, draining: flag }),
  answer: changedCodec,
  apply(state, fields) {
    const broker = existingBroker(state, "drain", fields.broker);
    if (state.draining.has(broker.id) === fields.draining) return { version: state.version };
    if (fields.draining) refuseTooFewOthers(state, broker);
    state.touch(true);
    if (fields.draining) {
      state.draining.add(broker.id);
      leadElsewhere(state, broker.replicaId);
    } else state.draining.delete(broker.id);
    return { version: state.version };
  },
};

export interface RemoveFields {
  readonly broker: string;
}

/**
 * Forgets a broker that holds nothing. Its identity is never admitted again: whatever lies on its
 * disk must not speak in groups that go on without it.
 */
export const removeBroker: Command<RemoveFields, Changed> = {
  name: "brokers.remove",
  fields: record<RemoveFields>({ broker: text }),
  answer: changedCodec,
  apply(state, fields) {
    const broker = existingBroker(state, "remove", fields.broker);
    refuseHolder(state, broker);
    state.touch(true);
    state.removeBroker(broker);
    for (const id of [...broker.superseded, broker.replicaId]) state.removed.add(id);
    for (const [key, { replicaId }] of [...state.tombstones]) {
      if (replicaId === broker.replicaId) state.tombstones.delete(key);
    }
    return { version: state.version };
  },
};

function existingBroker(state: MetadataView, act: string, id: string): Broker {
  const broker = state.brokers.get(id);
  if (broker !== undefined) return broker;
  const shown = isValidName(id) ? ` ${id}` : "";
  throw new TrilogError(
    "no_such_broker",
    `Cannot ${act} broker${shown}: there is none of that name`,
  );
}

/** Replicas that a broker is wanted for, votes with or may still have data of. */
export function held(state: MetadataView, replicaId: string): number {
  let count = 0;
  for (const { partitions } of state.topics.values()) {
    for (const { placed, voters } of partitions) {
      if (placed.includes(replicaId) || voters.includes(replicaId)) count += 1;
    }
  }
  return count;
}

/** Whatever the broker holds: without three others no partition could be placed any more. */
function refuseTooFewOthers(state: MetadataView, broker: Broker): void {
  const others =
    placementBrokers(state).filter((load) => isUsable(load) && load.replicaId !== broker.replicaId)
      .length;
  if (others >= limits.partitionReplicas) return;
  throw new TrilogError(
    "not_enough_brokers",
    `Cannot drain broker ${broker.id}: ${others} others are alive and stay, ` +
      `${limits.partitionReplicas} are needed for the replicas of a partition`,
  );
}

function leadElsewhere(state: MetadataState, replicaId: string): void {
  for (const topic of state.sortedTopics()) {
    topic.partitions.forEach(({ replicas }, partition) => {
      if (replicas[0] !== replicaId) return;
      const others = placementBrokers(state).filter((load) =>
        isUsable(load) && replicas.includes(load.replicaId)
      );
      if (others.length === 0) return;
      const first = least(others, ({ leaders, replicas }) => [leaders, replicas]).replicaId;
      const rest = replicas.filter((id) => id !== first && id !== replicaId);
      wantReplicas(state, { topic, partition }, [first, ...rest, replicaId]);
    });
  }
}

function refuseHolder(state: MetadataView, broker: Broker): void {
  const replicas = held(state, broker.replicaId);
  if (replicas > 0) {
    const advice = broker.alive ? "drain it first" : "they have to be replaced first";
    throw new TrilogError(
      "invalid_argument",
      `Cannot remove broker ${broker.id}: it holds ${replicas} replicas, ${advice}`,
    );
  }
  const deleting = [...state.tombstones.values()]
    .filter(({ replicaId }) => replicaId === broker.replicaId).length;
  if (deleting === 0 || !broker.alive) return;
  // The deletion ends within a few heartbeats; clients repeat the request until then.
  throw new TrilogError(
    "membership_change_in_progress",
    `Cannot remove broker ${broker.id}: it is still deleting ${deleting} former replicas`,
  );
}
