/**
 * MACHINE. Commands about brokers: who belongs to the cluster, under which identity, and who is
 * dead.
 */

import { type Codec, label, list, name, record, token, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { type Changed, changedCodec, type Command } from "./command.ts";
import type { Broker, MetadataState, Partition } from "./state.ts";

export interface InitialiseFields {
  readonly clusterId: string;
}

/** Proposed by the first leader: fixes the id that brokers adopt. The first one stays. */
export const initialise: Command<InitialiseFields, Changed> = {
  name: "cluster.initialise",
  fields: record<InitialiseFields>({ clusterId: token }),
  answer: changedCodec,
  apply(state, { clusterId }) {
    if (state.clusterId !== "" && state.clusterId !== clusterId) {
      throw new TrilogError(
        "wrong_cluster",
        `Cannot initialise cluster ${clusterId}: it is cluster ${state.clusterId} already`,
      );
    }
    if (state.clusterId === "") {
      state.clusterId = clusterId;
      state.touch(true);
    }
    return { version: state.version };
  },
};

export interface RegisterFields {
  readonly id: string;
  readonly replicaId: string;
  readonly address: string;
  readonly rack: string;
}
const registerFields: Codec<RegisterFields> = record<RegisterFields>({
  id: name,
  replicaId: token,
  address: token,
  rack: label,
});

/**
 * A broker starts: new, restarted, moved to another address, or under a new identity since its
 * disk was lost. In the last case the new identity takes the old one's place in every placement,
 * and the old one is never admitted again.
 */
export const registerBroker: Command<RegisterFields, Changed> = {
  name: "brokers.register",
  fields: registerFields,
  answer: changedCodec,
  apply(state, fields, { timeMs }) {
    refuseForeignIdentity(state, fields);
    const known = state.brokers.get(fields.id);
    const replaced = known !== undefined && known.replicaId !== fields.replicaId;
    const moved = known?.address !== fields.address || known.rack !== fields.rack;
    if (known?.alive === true && !replaced && !moved) return { version: state.version };
    state.touch(replaced || moved);
    state.setBroker({
      ...fields,
      registeredAtMs: known?.registeredAtMs ?? timeMs,
      alive: true,
      aliveSinceMs: known?.alive === true ? known.aliveSinceMs : timeMs,
      superseded: replaced ? [...known.superseded, known.replicaId] : known?.superseded ?? [],
    });
    if (replaced) replaceIdentity(state, known, fields.replicaId);
    return { version: state.version };
  },
};

function refuseForeignIdentity(state: MetadataState, fields: RegisterFields): void {
  if (state.removed.has(fields.replicaId)) {
    throw new TrilogError(
      "superseded",
      `Cannot register broker ${fields.id}: identity ${fields.replicaId} was removed from the ` +
        "cluster",
    );
  }
  for (const broker of state.sortedBrokers()) {
    if (broker.superseded.includes(fields.replicaId)) {
      throw new TrilogError(
        "superseded",
        `Cannot register broker ${fields.id}: identity ${fields.replicaId} was replaced by ` +
          broker.replicaId,
      );
    }
    if (broker.replicaId === fields.replicaId && broker.id !== fields.id) {
      throw new TrilogError(
        "invalid_argument",
        `Cannot register broker ${fields.id}: its data directory belongs to broker ${broker.id}`,
      );
    }
  }
}

function replaceIdentity(state: MetadataState, old: Broker, successor: string): void {
  const replace = (id: string) => id === old.replicaId ? successor : id;
  for (const topic of state.sortedTopics()) {
    topic.partitions.forEach((partition, number) => {
      if (!partition.placed.includes(old.replicaId)) return;
      const wanted = partition.replicas.includes(old.replicaId);
      const placed = partition.placed.filter((id) => id !== old.replicaId);
      const changed: Partition = {
        ...partition,
        replicas: partition.replicas.map(replace),
        placedVersion: wanted ? state.placementVersion : partition.placedVersion,
        placed: wanted ? [...placed, successor] : placed,
        begun: partition.begun.filter((id) => id !== old.replicaId),
        quarantined: partition.quarantined.filter((id) => id !== old.replicaId),
        leader: partition.leader === old.replicaId ? null : partition.leader,
      };
      state.setPartition({ topic, partition: number }, changed);
    });
  }
  for (const [key, tombstone] of [...state.tombstones]) {
    if (tombstone.replicaId === old.replicaId) state.tombstones.delete(key);
  }
}

export interface DeclareFields {
  /**
   * Term in which the leader judged. Where the entry got into the log in another term, somebody
   * else leads by now and the judgement is old news.
   */
  readonly term: number;
  /** Replica ids; those of unknown brokers are passed over. */
  readonly dead: readonly string[];
  readonly alive: readonly string[];
}

/** The leader's judgement on who can be reached. */
export const declare: Command<DeclareFields, Changed> = {
  name: "brokers.declare",
  fields: record<DeclareFields>({ term: whole, dead: list(token), alive: list(token) }),
  answer: changedCodec,
  apply(state, fields, { term, timeMs }) {
    const before = state.version;
    if (fields.term !== term) return { version: before };
    const set = (replicaIds: readonly string[], alive: boolean) => {
      for (const replicaId of replicaIds) {
        const broker = state.brokerOf(replicaId);
        if (broker === undefined || broker.alive === alive) continue;
        if (state.version === before) state.touch(false);
        state.setBroker({ ...broker, alive, aliveSinceMs: timeMs });
      }
    };
    set(fields.dead, false);
    set(fields.alive, true);
    return { version: state.version };
  },
};
