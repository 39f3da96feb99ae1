import { assert, assertEquals, assertThrows } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { type PlacementBroker, placePartitions } from "../../lib/manager/placement.ts";

function broker(replicaId: string, more: Partial<PlacementBroker> = {}): PlacementBroker {
  return { replicaId, rack: "", alive: true, draining: false, replicas: 0, leaders: 0, ...more };
}

function count(lists: readonly (readonly string[])[], id: string): number {
  return lists.filter((ids) => ids.includes(id)).length;
}

Deno.test("three brokers all hold each partition and lead in turn", () => {
  const placed = placePartitions([broker("a"), broker("b"), broker("c")], 3, 3);
  assertEquals(placed.map((ids) => [...ids].sort()), Array(3).fill(["a", "b", "c"]));
  assertEquals(placed.map((ids) => ids[0]), ["a", "b", "c"]);
});

Deno.test("each partition has a replica in every rack while there are as many racks", () => {
  const brokers = [
    broker("a1", { rack: "a" }),
    broker("a2", { rack: "a" }),
    broker("a3", { rack: "a" }),
    broker("b1", { rack: "b" }),
    broker("c1", { rack: "c" }),
  ];
  for (const ids of placePartitions(brokers, 20, 3)) {
    assertEquals(new Set(ids.map((id) => id[0])).size, 3);
  }
});

Deno.test("with two racks no rack holds all of a partition", () => {
  const brokers = ["a1", "a2", "b1", "b2"].map((id) => broker(id, { rack: id[0] }));
  for (const ids of placePartitions(brokers, 20, 3)) {
    assertEquals(new Set(ids.map((id) => id[0])).size, 2);
  }
});

Deno.test("dead brokers are used only where the living are too few, and never lead", () => {
  const dead = [broker("a", { alive: false }), broker("b"), broker("c")];
  for (const ids of placePartitions(dead, 4, 3)) assert(ids[0] !== "a" && ids.includes("a"));
  const spare = [...dead, broker("d")];
  assertEquals(count(placePartitions(spare, 10, 3), "a"), 0);
});

Deno.test("a broker that is being drained gets nothing, although it is alive and another one is dead", () => {
  const brokers = [
    broker("a", { draining: true }),
    broker("b", { alive: false }),
    broker("c"),
    broker("d"),
  ];
  for (const ids of placePartitions(brokers, 4, 3)) {
    assertEquals([...ids].sort(), ["b", "c", "d"]);
  }
});

Deno.test("a new broker takes what the others have more", () => {
  const brokers = [
    broker("a", { replicas: 10, leaders: 4 }),
    broker("b", { replicas: 10, leaders: 3 }),
    broker("c", { replicas: 10, leaders: 3 }),
    broker("d"),
  ];
  const placed = placePartitions(brokers, 3, 3);
  assertEquals(count(placed, "d"), 3);
  assertEquals(placed.map((ids) => ids[0]), ["d", "d", "d"]);
});

Deno.test("fewer brokers than replicas is a bug of the caller", () => {
  assertThrows(() => placePartitions([broker("a"), broker("b")], 1, 3));
});

Deno.test("any number of equal brokers ends with leaders and replicas spread evenly", () => {
  for (let seed = 0; seed < 150; seed += 1) {
    const random = new Prng(seed);
    const brokers = Array.from({ length: random.between(3, 12) }, (_, at) => broker(`b${at}`));
    const partitions = random.between(1, 60);
    const placed = placePartitions(random.shuffled(brokers), partitions, 3);
    assertEquals(placed, placePartitions(brokers, partitions, 3), "order of brokers is no matter");
    const leaders = brokers.map(({ replicaId }) =>
      placed.filter((ids) => ids[0] === replicaId).length
    );
    const replicas = brokers.map(({ replicaId }) => count(placed, replicaId));
    assert(Math.max(...leaders) - Math.min(...leaders) <= 1, `leaders ${leaders}`);
    assert(Math.max(...replicas) - Math.min(...replicas) <= 2, `replicas ${replicas}`);
    for (const ids of placed) assertEquals(new Set(ids).size, 3);
  }
});

Deno.test("placing partitions one by one or all at once gives the same places", () => {
  const brokers = ["a", "b", "c", "d", "e"].map((id) => broker(id));
  const together = placePartitions(brokers, 8, 3);
  let loads = brokers;
  const single: string[][] = [];
  for (let partition = 0; partition < 8; partition += 1) {
    const [ids] = placePartitions(loads, 1, 3);
    single.push(ids);
    loads = loads.map((load) => ({
      ...load,
      replicas: load.replicas + Number(ids.includes(load.replicaId)),
      leaders: load.leaders + Number(ids[0] === load.replicaId),
    }));
  }
  assertEquals(single, together);
});
