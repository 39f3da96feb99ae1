/**
 * MACHINE. The parts of a metadata snapshot. Each is canonical: equal states give equal bytes,
 * whatever the order in which they came about.
 */

import {
  binary,
  type Codec,
  label,
  list,
  name,
  record,
  text,
  token,
  whole,
} from "../base/codec.ts";
import type { Packable } from "../base/msgpack.ts";
import { groupCodec, undatedGroupCodec } from "./group_records.ts";
import { silenceCodec } from "./silences.ts";
import {
  type AnsweredRequest,
  brokerCodec,
  type MetadataState,
  recoveryCodec,
  type Registration,
  registrationCodec,
  sortedValues,
  tombstoneCodec,
  topicCodec,
} from "./state.ts";

export interface Section {
  readonly name: string;
  /** Of the section's own format, from 1. */
  readonly version: number;
  /** The oldest version that can be read; `version` where it is left out. */
  readonly oldestVersion?: number;
  save(state: MetadataState): Packable;
  /** Adds what was saved to a state in which this section is still empty. */
  load(state: MetadataState, saved: Packable, version: number): void;
}

interface ClusterSection {
  readonly clusterId: string;
  readonly version: number;
  readonly placementVersion: number;
}
const clusterCodec = record<ClusterSection>({
  clusterId: label,
  version: whole,
  placementVersion: whole,
});

const cluster: Section = {
  name: "cluster",
  version: 1,
  save: (state) => clusterCodec.encode(state),
  load: (state, saved) => Object.assign(state, clusterCodec.decode(saved, "cluster section")),
};

interface Counter {
  readonly purpose: string;
  readonly next: number;
}
const countersCodec = list(record<Counter>({ purpose: name, next: whole }));

const counters: Section = {
  name: "counters",
  version: 1,
  save: (state) =>
    countersCodec.encode(
      [...state.counters.keys()].sort().map((purpose) => ({
        purpose,
        next: state.counters.get(purpose) ?? 1,
      })),
    ),
  load(state, saved) {
    for (const { purpose, next } of countersCodec.decode(saved, "counters section")) {
      state.counters.set(purpose, next);
    }
  },
};

const brokers = listSection(
  "brokers",
  brokerCodec,
  (state) => state.sortedBrokers(),
  (state, broker) => state.setBroker(broker),
);

/** Version 2: partitions say which replicas have begun, and which are quarantined. */
const topics: Section = {
  ...listSection(
    "topics",
    topicCodec,
    (state) => state.sortedTopics(),
    (state, topic) => state.setTopic(topic),
  ),
  version: 2,
  oldestVersion: 1,
};

const tombstones = listSection(
  "tombstones",
  tombstoneCodec,
  (state) => sortedValues(state.tombstones),
  (state, tombstone) => state.setTombstone(tombstone),
);

interface StoredRequest extends AnsweredRequest {
  readonly requestId: string;
}
const storedRequests = list(
  record<StoredRequest>({ requestId: text, command: token, answer: binary, timeMs: whole }),
);
/** As they were stored before they were forgotten by age. */
const undatedRequests = list(
  record<Omit<StoredRequest, "timeMs">>({ requestId: text, command: token, answer: binary }),
);

/** In log order, since the oldest is dropped first. */
const requests: Section = {
  name: "requests",
  version: 2,
  oldestVersion: 1,
  save: (state) =>
    storedRequests.encode(
      [...state.requests].map(([requestId, answered]) => ({ requestId, ...answered })),
    ),
  load(state, saved, version) {
    const loaded = version === 1
      ? undatedRequests.decode(saved, "requests section").map((one) => ({ ...one, timeMs: 0 }))
      : storedRequests.decode(saved, "requests section");
    for (const { requestId, answer, ...answered } of loaded) {
      // The decoded answer is a view into the whole snapshot, which must not be kept alive by it.
      state.requests.set(requestId, { ...answered, answer: answer.slice() });
    }
  },
};

const producers = listSection(
  "producers",
  registrationCodec,
  (state) => sortedById(state.producers),
  (state, producer) => state.producers.set(producer.id, producer),
);

const consumers = listSection(
  "consumers",
  registrationCodec,
  (state) => sortedById(state.consumers),
  (state, consumer) => state.consumers.set(consumer.id, consumer),
);

/** A record that was replaced may stand elsewhere in the map's order. */
function sortedById(map: ReadonlyMap<number, Registration>): Registration[] {
  return [...map.values()].sort((left, right) => left.id - right.id);
}

const groupList = list(groupCodec);
const undatedGroupList = list(undatedGroupCodec);

const groups: Section = {
  name: "groups",
  version: 2,
  oldestVersion: 1,
  save: (state) => groupList.encode(sortedValues(state.groups)),
  load(state, saved, version) {
    const loaded = version === 1
      ? undatedGroupList.decode(saved, "groups section").map((group) => ({ ...group, born: 0 }))
      : groupList.decode(saved, "groups section");
    for (const group of loaded) state.groups.set(group.name, group);
  },
};

const draining = setSection("draining", (state) => state.draining);
const removed = setSection("removed", (state) => state.removed);
const pinned = setSection("pinned", (state) => state.pinned);

const recoveries = listSection(
  "recoveries",
  recoveryCodec,
  (state) => sortedValues(state.recoveries),
  (state, recovery) => state.recoveries.set(recovery.groupId, recovery),
);

const silences = listSection(
  "silences",
  silenceCodec,
  (state) =>
    [...state.silences.keys()].sort().map((replicaId) => ({
      replicaId,
      silentMs: state.silences.get(replicaId)!,
    })),
  (state, { replicaId, silentMs }) => state.silences.set(replicaId, silentMs),
);

function setSection(
  sectionName: string,
  setOf: (state: MetadataState) => Set<string>,
): Section {
  return listSection(
    sectionName,
    token,
    (state) => [...setOf(state)].sort(),
    (state, item) => setOf(state).add(item),
  );
}

function listSection<T>(
  sectionName: string,
  codec: Codec<T>,
  all: (state: MetadataState) => readonly T[],
  add: (state: MetadataState, item: T) => void,
): Section {
  const items = list(codec);
  return {
    name: sectionName,
    version: 1,
    save: (state) => items.encode(all(state)),
    load(state, saved) {
      for (const item of items.decode(saved, `${sectionName} section`)) add(state, item);
    },
  };
}

/** All sections, in the order in which they are written. */
export const sections: readonly Section[] = [
  cluster,
  counters,
  brokers,
  topics,
  tombstones,
  requests,
  producers,
  consumers,
  groups,
  draining,
  removed,
  pinned,
  recoveries,
  silences,
];
