/** What the leading manager moves by itself, planned step by step until nothing is left. */

import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { drain } from "../../lib/manager/drains.ts";
import { place, rearrange } from "../../lib/manager/moves.ts";
import type { Partition } from "../../lib/manager/state.ts";
import { onTheirWay, planUpkeep, type UpkeepWish } from "../../lib/manager/upkeep.ts";
import { type Cluster, clusterOf } from "./fixture.ts";

const off: UpkeepWish = { givenUp: () => false, rebalancing: "off", atOnce: 4 };
const auto: UpkeepWish = { ...off, rebalancing: "auto" };
const all: UpkeepWish = { ...off, rebalancing: "all" };

function partitions(cluster: Cluster): Partition[] {
  return cluster.machine.state.sortedTopics().flatMap((topic) => topic.partitions);
}

/** Has every partition's leader make the wanted replicas its voters. */
function settle(cluster: Cluster): void {
  cluster.report({
    partitions: partitions(cluster).map((partition) => ({
      groupId: partition.groupId,
      epoch: partition.epoch,
      leader: partition.replicas[0],
      term: partition.leaderTerm + 1,
      membershipIndex: partition.membershipIndex + 1,
      voters: partition.replicas,
      startOffset: 0,
      endOffset: 0,
    })),
  });
}

/** A settled cluster of brokers b1 to bN with one topic. */
function settled(brokers: number, count: number): Cluster {
  const cluster = clusterOf(brokers);
  cluster.createTopic("t", count);
  settle(cluster);
  return cluster;
}

/** Plans and carries out until nothing is left; returns how many partitions each step moved. */
function carryOut(cluster: Cluster, wish: UpkeepWish): number[] {
  const steps: number[] = [];
  for (;;) {
    const moves = planUpkeep(cluster.machine.state, wish);
    if (moves.length === 0) return steps;
    assert(steps.length < 500, "the plan comes to an end");
    steps.push(moves.length);
    cluster.run(rearrange, { term: 1, moves });
    settle(cluster);
  }
}

/** Replicas and preferred leaders by broker name. */
function loads(cluster: Cluster): Record<string, [number, number]> {
  const { state } = cluster.machine;
  return Object.fromEntries(
    state.sortedBrokers().map(({ id, replicaId }) => [id, [
      partitions(cluster).filter(({ replicas }) => replicas.includes(replicaId)).length,
      partitions(cluster).filter(({ replicas }) => replicas[0] === replicaId).length,
    ]]),
  );
}

Deno.test("where all is even nothing is planned", () => {
  for (const wish of [off, auto, all]) {
    assertEquals(planUpkeep(settled(3, 6).machine.state, wish), []);
  }
});

Deno.test("brokers that joined get their share, a few partitions at a time", () => {
  const cluster = settled(3, 10);
  cluster.register("b4");
  cluster.register("b5");
  assertEquals(planUpkeep(cluster.machine.state, off), []);
  const steps = carryOut(cluster, auto);
  assertEquals(steps.slice(0, 3), [4, 4, 4]);
  assertEquals(Object.values(loads(cluster)), Array(5).fill([6, 2]));
});

Deno.test("what is on its way takes the place of further moves", () => {
  const cluster = settled(3, 10);
  cluster.register("b4");
  const moves = planUpkeep(cluster.machine.state, auto);
  assertEquals(moves.length, 4);
  cluster.run(rearrange, { term: 1, moves });
  assertEquals(onTheirWay(cluster.machine.state).length, 4);
  assertEquals(planUpkeep(cluster.machine.state, auto), []);
});

Deno.test("a drained broker is left by all its replicas, with nobody else overloaded", () => {
  const cluster = settled(4, 8);
  cluster.run(drain, { broker: "b1", draining: true });
  assertEquals(loads(cluster).b1[1], 0, "leaderships go at once");
  settle(cluster);
  carryOut(cluster, off);
  const { b1, ...others } = loads(cluster);
  assertEquals(b1, [0, 0]);
  assertEquals(Object.values(others).map(([replicas]) => replicas), [8, 8, 8]);
});

Deno.test("a dead broker is replaced only once it is given up, and keeps no leadership", () => {
  const cluster = settled(4, 8);
  cluster.declareDead("r-b2");
  assertEquals(planUpkeep(cluster.machine.state, auto), [], "it may come back");
  const before = loads(cluster).b2[0];
  assert(before > 0);
  carryOut(cluster, { ...auto, givenUp: (id) => id === "r-b2" });
  assertEquals(loads(cluster).b2, [0, 0]);
  for (const { replicas } of partitions(cluster)) assertEquals(new Set(replicas).size, 3);
});

Deno.test("without another broker, or without a majority, a dead one keeps its place", () => {
  const cluster = settled(3, 2);
  cluster.declareDead("r-b2");
  const wish = { ...auto, givenUp: () => true };
  assertEquals(planUpkeep(cluster.machine.state, wish), []);
  cluster.register("b4");
  cluster.register("b5");
  cluster.declareDead("r-b3");
  assertEquals(planUpkeep(cluster.machine.state, wish), [], "there is nobody to copy from");
});

Deno.test("a replica is put where its former broker has nothing left to delete", () => {
  const cluster = settled(4, 1);
  const [{ groupId, replicas, placedVersion }] = partitions(cluster);
  const free = ["r-b1", "r-b2", "r-b3", "r-b4"].find((id) => !replicas.includes(id))!;
  cluster.run(rearrange, {
    term: 1,
    moves: [{ groupId, placedVersion, replicas: [free, replicas[0], replicas[1]] }],
  });
  settle(cluster);
  const retirement = { epoch: 1, placedVersion: partitions(cluster)[0].placedVersion };
  cluster.report({ retired: [{ groupId, replicaId: replicas[2], ...retirement }] });
  assertEquals(cluster.tombstones(), [`${replicas[2]} ${groupId}`]);
  cluster.declareDead(free);
  const wish = { ...auto, givenUp: (id: string) => id === free };
  assertEquals(planUpkeep(cluster.machine.state, wish), []);
  cluster.report({
    buried: [{ groupId, replicaId: replicas[2], version: cluster.machine.state.placementVersion }],
  });
  assertEquals(planUpkeep(cluster.machine.state, wish).length, 1);
});

Deno.test("what a person placed is evened out only when a person wants it", () => {
  const cluster = settled(3, 3);
  cluster.register("b4");
  for (const partition of [0, 1, 2]) {
    cluster.run(place, { topic: "t", partition, brokers: ["b1", "b2", "b3"] });
  }
  settle(cluster);
  assertEquals(planUpkeep(cluster.machine.state, auto), []);
  carryOut(cluster, all);
  const counts = Object.values(loads(cluster)).map(([replicas]) => replicas);
  assertEquals(counts.toSorted(), [2, 2, 2, 3]);
});

Deno.test("evening out never puts more replicas of a partition into one rack", () => {
  const cluster = clusterOf(0);
  for (const [at, rack] of ["east", "east", "west", "west", "north"].entries()) {
    cluster.register(`b${at + 1}`, `r-b${at + 1}`, rack);
  }
  cluster.createTopic("t", 12);
  settle(cluster);
  cluster.register("b6", "r-b6", "north");
  carryOut(cluster, auto);
  const { state } = cluster.machine;
  for (const { replicas } of partitions(cluster)) {
    assertEquals(new Set(replicas.map((id) => state.brokerOf(id)!.rack)).size, 3);
  }
  const counts = Object.values(loads(cluster)).map(([replicas]) => replicas);
  assertEquals(counts, [6, 6, 6, 6, 6, 6]);
});

Deno.test("replicas that share a rack are spread again when a broker of another rack is free", () => {
  const cluster = clusterOf(0);
  for (const [at, rack] of ["east", "east", "west", "west", "north", "north"].entries()) {
    cluster.register(`b${at + 1}`, `r-b${at + 1}`, rack);
  }
  cluster.createTopic("t", 15);
  settle(cluster);
  const { state } = cluster.machine;
  const shared = () =>
    partitions(cluster).filter(({ replicas }) =>
      new Set(replicas.map((id) => state.brokerOf(id)!.rack)).size < 3
    ).length;
  assertEquals(shared(), 0);
  for (const broker of ["b5", "b6"]) cluster.run(drain, { broker, draining: true });
  carryOut(cluster, auto);
  assertEquals(shared(), 15, "two racks are left");
  for (const broker of ["b5", "b6"]) cluster.run(drain, { broker, draining: false });
  carryOut(cluster, auto);
  assertEquals(shared(), 0);
  const counts = Object.values(loads(cluster)).map(([replicas]) => replicas);
  assert(Math.max(...counts) - Math.min(...counts) <= 1, `${counts}`);
});

Deno.test("a plan of another term, or for another placement, changes nothing", () => {
  const cluster = settled(3, 10);
  cluster.register("b4");
  const moves = planUpkeep(cluster.machine.state, auto);
  const before = cluster.machine.snapshot();
  cluster.run(rearrange, { term: 2, moves });
  assertEquals(cluster.machine.snapshot(), before);
  cluster.run(rearrange, {
    term: 1,
    moves: moves.map((move) => ({ ...move, placedVersion: move.placedVersion + 1 })),
  });
  assertEquals(cluster.machine.snapshot(), before);
});

Deno.test("whatever happens to brokers, upkeep comes to an end with even loads and nothing lost", () => {
  for (let seed = 0; seed < 40; seed += 1) {
    const random = new Prng(seed);
    const racks = random.chance(0.5) ? ["", "", ""] : ["east", "west", "north"];
    const cluster = clusterOf(0);
    const rackOf = (number: number) => racks[number % racks.length];
    const brokers = random.between(4, 7);
    for (let number = 1; number <= brokers; number += 1) {
      cluster.register(`b${number}`, `r-b${number}`, rackOf(number));
    }
    cluster.createTopic("t", random.between(1, 12));
    settle(cluster);
    const { state } = cluster.machine;
    const drained = new Set<string>();
    for (let step = 0; step < 6; step += 1) {
      const number = random.between(1, 9);
      const id = `b${number}`;
      const staying = state.sortedBrokers().filter((broker) => !drained.has(broker.id));
      const mayDrain = staying.length > 3 && state.brokers.has(id);
      if (random.chance(0.5)) cluster.register(id, `r-${id}`, rackOf(number));
      else if (mayDrain) {
        cluster.run(drain, { broker: id, draining: true });
        drained.add(id);
      }
      settle(cluster);
      if (random.chance(0.5)) continue;
      carryOut(cluster, auto);
    }
    carryOut(cluster, auto);
    for (const { replicas } of partitions(cluster)) assertEquals(new Set(replicas).size, 3);
    const final = Object.entries(loads(cluster));
    for (const [id, load] of final) if (drained.has(id)) assertEquals(load, [0, 0]);
    const counts = final.filter(([id]) => !drained.has(id)).map(([, [replicas]]) => replicas);
    if (racks[0] === "") {
      assert(Math.max(...counts) - Math.min(...counts) <= 1, `seed ${seed}: ${counts}`);
    }
    const staying = state.sortedBrokers().filter(({ id }) => !drained.has(id));
    const free = new Set(staying.map(({ rack, id }) => rack || id)).size;
    for (const { replicas } of partitions(cluster)) {
      const used = replicas.map((id) => state.brokerOf(id)!);
      assertEquals(new Set(used.map(({ rack, id }) => rack || id)).size, Math.min(3, free));
    }
  }
});
