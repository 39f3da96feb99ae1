/** Random commands against the machine, with a check of everything after each of them. */

import { assert, assertEquals } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import { declare, registerBroker } from "../../lib/manager/brokers.ts";
import { type AnyCommand, decodeAnswer, encodeCommand } from "../../lib/manager/command.ts";
import { MetadataMachine } from "../../lib/manager/metadata.ts";
import { drain, removeBroker } from "../../lib/manager/drains.ts";
import { place, rearrange } from "../../lib/manager/moves.ts";
import { lostMajority, recover } from "../../lib/manager/recoveries.ts";
import { forget, register, retireConsumer } from "../../lib/manager/registrations.ts";
import { report } from "../../lib/manager/reports.ts";
import type { MetadataView, Partition } from "../../lib/manager/state.ts";
import { alterTopic, createTopic, deleteTopic } from "../../lib/manager/topics.ts";
import { clusterOf, unlimited } from "./fixture.ts";

type Draw = (random: Prng, state: MetadataView) => [AnyCommand, unknown];

const brokerIds = ["b1", "b2", "b3", "b4", "b5"];
const topicNames = ["logs", "metrics", "..", "events"];

function replicaIds(random: Prng, state: MetadataView): string[] {
  return random.shuffled(state.sortedBrokers().map((broker) => broker.replicaId));
}

function somePartition(random: Prng, state: MetadataView): Partition | undefined {
  const all = state.sortedTopics().flatMap((topic) => topic.partitions);
  return all.length === 0 ? undefined : random.pick(all);
}

/** Mostly the number of a registration. */
function someId(random: Prng, registered: ReadonlyMap<number, unknown>): number {
  const known = [...registered.keys()];
  return known.length > 0 && random.chance(0.8) ? random.pick(known) : random.below(12);
}

const draws: readonly Draw[] = [
  (random) => {
    const id = random.pick(brokerIds);
    const replicaId = random.chance(0.7)
      ? `r-${id}`
      : `r-${random.pick(brokerIds)}-${random.below(4)}`;
    return [registerBroker, { id, replicaId, address: `${id}:${random.below(2)}`, rack: "" }];
  },
  (random, state) => {
    const some = replicaIds(random, state);
    const cut = random.below(some.length + 1);
    return [declare, {
      term: random.chance(0.9) ? 1 : 2,
      dead: some.slice(0, cut),
      alive: some.slice(cut, cut + 1),
    }];
  },
  (random) => [createTopic, {
    name: random.pick(topicNames),
    partitions: random.below(4),
    settings: unlimited,
  }],
  (random) => [alterTopic, {
    name: random.pick(topicNames),
    partitions: random.chance(0.5) ? random.below(6) : null,
    retentionBytes: random.chance(0.5) ? random.below(9) : null,
    retentionMs: null,
  }],
  (random) => [deleteTopic, { name: random.pick(topicNames) }],
  (random, state) => [place, {
    topic: random.pick(topicNames),
    partition: random.below(3),
    brokers: random.shuffled(state.sortedBrokers().map(({ id }) => id)).slice(0, 3),
  }],
  (random) => [register, {
    kind: random.pick(["producer", "consumer"]),
    topic: random.pick(topicNames),
    partition: random.chance(0.3) ? random.below(3) : null,
  }],
  (random, { consumers }) => [retireConsumer, { id: someId(random, consumers) }],
  (random, { consumers }) => [forget, { kind: "consumer", id: someId(random, consumers) }],
  (random, { producers }) => [forget, { kind: "producer", id: someId(random, producers) }],
  (random) => [drain, { broker: random.pick(brokerIds), draining: random.chance(0.6) }],
  (random) => [removeBroker, { broker: random.pick(brokerIds) }],
  (random, state) => {
    const partition = somePartition(random, state);
    const { groupId = "p/9/9", placedVersion = 0 } = partition ?? {};
    const replicas = replicaIds(random, state).slice(0, 3);
    return [rearrange, { term: 1, moves: [{ groupId, placedVersion, replicas }] }];
  },
  drawRecovery,
  drawReport,
];

/** Mostly of a partition that has lost its majority. */
function drawRecovery(random: Prng, state: MetadataView): [AnyCommand, unknown] {
  const everywhere = state.sortedTopics().flatMap(({ name, partitions }) =>
    partitions.map((found, partition) => ({ topic: name, partition, found }))
  );
  const lost = everywhere.filter(({ found }) => lostMajority(state, found));
  const pool = lost.length > 0 ? lost : everywhere;
  const endOffset = random.below(100);
  if (pool.length === 0) return [recover, { ...nowhere, endOffset }];
  const { topic, partition, found } = random.pick(pool);
  const living = found.placed.filter((id) => state.brokerOf(id)?.alive);
  const survivor = random.pick(living.length > 0 ? living : ["r-none"]);
  const epoch = found.epoch + Number(random.chance(0.1));
  return [recover, { topic, partition, epoch, survivor, endOffset }];
}
const nowhere = { topic: "logs", partition: 0, epoch: 1, survivor: "r-none" };

function drawReport(random: Prng, state: MetadataView): [AnyCommand, unknown] {
  const partition = somePartition(random, state);
  const groupId = partition?.groupId ?? "p/9/9";
  const some = replicaIds(random, state);
  const offset = random.below(100);
  const settled = random.chance(0.5) && partition !== undefined;
  return [report, {
    partitions: [{
      groupId,
      epoch: (partition?.epoch ?? 1) + Number(random.chance(0.1)),
      leader: some[0] ?? "r-none",
      term: random.below(20) + 1,
      membershipIndex: random.below(40),
      voters: settled ? partition.replicas : some.slice(0, 3),
      startOffset: random.below(offset + 1),
      endOffset: offset,
    }],
    retired: (partition?.placed ?? []).map((replicaId) => ({
      groupId,
      epoch: partition!.epoch,
      replicaId,
      placedVersion: partition!.placedVersion - Number(random.chance(0.2)),
    })),
    buried: [...state.tombstones.values()].filter(() => random.chance(0.4)),
    replicas: [...partition?.placed ?? [], ...some.slice(0, 1)].map((replicaId) => ({
      groupId,
      epoch: (partition?.epoch ?? 1) + Number(random.chance(0.1)),
      replicaId,
      quarantined: random.chance(0.2),
      placedVersion: (partition?.placedVersion ?? 1) - Number(random.chance(0.2)),
    })),
  }];
}

/** What holds in every state. */
function checkState(state: MetadataView): void {
  const current = new Set(state.sortedBrokers().map((broker) => broker.replicaId));
  const superseded = new Set(state.sortedBrokers().flatMap((broker) => broker.superseded));
  assertEquals(current.size, state.brokers.size, "identities are not shared");
  for (const id of superseded) assert(!current.has(id), "a superseded identity stays out");
  assert(state.placementVersion <= state.version);
  const groups = new Set<string>();
  for (const topic of state.topics.values()) {
    topic.partitions.forEach((partition, number) => {
      assertEquals(partition.groupId, `p/${topic.number}/${number}`);
      assert(!groups.has(partition.groupId), "a group is one partition");
      groups.add(partition.groupId);
      assertEquals(new Set(partition.replicas).size, 3);
      const { begun, quarantined, placed } = partition;
      assert(begun.every((id) => placed.includes(id)), "only a placed replica has begun");
      assert(quarantined.every((id) => begun.includes(id)), "only one that began is quarantined");
      for (const id of partition.replicas) {
        assert(current.has(id), "wanted replicas are on registered brokers");
        assert(partition.placed.includes(id), "what is wanted may have data");
        assert(!state.tombstones.has(`${id} ${partition.groupId}`), "the wanted is not deleted");
      }
      for (const id of partition.placed) assert(!superseded.has(id), "a lost disk has no data");
      assert(partition.startOffset <= partition.endOffset);
      assertEquals(state.partitionOf(partition.groupId), { topic, partition: number });
    });
  }
  for (
    const { topic, topicNumber } of [
      ...state.producers.values(),
      ...state.consumers.values(),
    ]
  ) {
    assertEquals(state.topics.get(topic)?.number, topicNumber, "registrations go with their topic");
  }
  for (const id of state.removed) assert(!current.has(id), "the removed stay out");
  for (const id of state.draining) assert(state.brokers.has(id), "only brokers are drained");
  for (const { groupId, epoch } of state.recoveries.values()) {
    const { topic, partition } = state.partitionOf(groupId)!;
    assertEquals(topic.partitions[partition].epoch, epoch, "the last recovery is remembered");
  }
  for (const tombstone of state.tombstones.values()) {
    assert(current.has(tombstone.replicaId), "a tombstone has somebody to obey it");
    assert(tombstone.version <= state.placementVersion);
  }
}

/** What holds between a state and the next. */
function checkStep(before: Snapshot, after: Snapshot, seen: Map<string, string>): void {
  assert(after.version >= before.version && after.placementVersion >= before.placementVersion);
  if (after.placed !== before.placed) assert(after.placementVersion > before.placementVersion);
  for (const [groupId, epoch] of before.epochs) {
    assert((after.epochs.get(groupId) ?? epoch) >= epoch, "epochs never go back");
  }
  for (const [groupId, topic] of after.groups) {
    const earlier = seen.get(groupId);
    assert(earlier === undefined || earlier === topic, `group ${groupId} is never reused`);
    seen.set(groupId, topic);
  }
}

interface Snapshot {
  readonly version: number;
  readonly placementVersion: number;
  /** All that brokers act on, as text. */
  readonly placed: string;
  readonly epochs: ReadonlyMap<string, number>;
  /** Topic by group, with the time that tells a topic from its namesake. */
  readonly groups: ReadonlyMap<string, string>;
}

function look(state: MetadataView): Snapshot {
  const topics = state.sortedTopics();
  const placed = topics.map(({ name, settings, partitions }) => [
    name,
    settings,
    partitions.map((
      { groupId, epoch, replicas, founders },
    ) => [groupId, epoch, replicas, founders]),
  ]);
  const brokers = state.sortedBrokers().map((
    { id, replicaId, address },
  ) => [id, replicaId, address]);
  return {
    version: state.version,
    placementVersion: state.placementVersion,
    placed: JSON.stringify([placed, brokers]),
    epochs: new Map(
      topics.flatMap(({ partitions }) => partitions.map(({ groupId, epoch }) => [groupId, epoch])),
    ),
    groups: new Map(
      topics.flatMap((topic) =>
        topic.partitions.map(({ groupId }) => [groupId, `${topic.name} ${topic.createdAtMs}`])
      ),
    ),
  };
}

Deno.test("random commands keep every invariant, and replicas restored at any point stay equal", () => {
  const done = new Map<string, number>();
  for (let seed = 0; seed < 90; seed += 1) {
    const random = new Prng(seed);
    const cluster = clusterOf(random.between(0, 4));
    let twin = new MetadataMachine();
    twin.restore(cluster.machine.snapshot());
    const seen = new Map<string, string>();
    let before = look(cluster.machine.state);
    for (let step = 0; step < 120; step += 1) {
      const [command, fields] = random.pick(draws)(random, cluster.machine.state);
      const requestId = random.chance(0.3) ? `q${random.below(20)}` : "";
      const bytes = encodeCommand(command, fields, requestId);
      const snapshot = cluster.machine.snapshot();
      const answer = cluster.apply(bytes);
      const context = { index: cluster.index, term: 1, timeMs: 1_700_000_000_000 + cluster.index };
      assertEquals(twin.apply(bytes, context), answer, `seed ${seed} step ${step}`);
      try {
        decodeAnswer(command, answer);
        done.set(command.name, (done.get(command.name) ?? 0) + 1);
      } catch (thrown) {
        assert(thrown instanceof TrilogError);
        assertEquals(cluster.machine.snapshot(), snapshot, "a refusal changes nothing");
      }
      checkState(cluster.machine.state);
      for (const { groupId } of cluster.machine.state.tombstones.values()) {
        const what = cluster.machine.state.partitionOf(groupId) ? "retired" : "deleted";
        done.set(what, (done.get(what) ?? 0) + 1);
      }
      const after = look(cluster.machine.state);
      checkStep(before, after, seen);
      before = after;
      assertEquals(twin.snapshot(), cluster.machine.snapshot(), `seed ${seed} step ${step}`);
      if (random.chance(0.1)) {
        twin = new MetadataMachine();
        twin.restore(cluster.machine.snapshot());
      }
    }
  }
  const topics = ["topics.create", "topics.delete", "topics.alter"];
  const leaving = ["brokers.drain", "brokers.remove", "partitions.rearrange", "partitions.recover"];
  for (const name of [...topics, ...leaving, "partitions.place", "retired", "deleted"]) {
    assert((done.get(name) ?? 0) > 20, `${name} happened ${done.get(name)} times`);
  }
  for (const word of ["register", "retire", "forget"]) {
    const times = done.get(`registrations.${word}`) ?? 0;
    assert(times > 5, `registrations.${word} happened ${times} times`);
  }
});
