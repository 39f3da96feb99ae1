/** The key-value rows: the faults that each puts the clients' workload through. */

import { assert, assertEquals } from "@std/assert";
import { T_MS } from "../fleet.ts";
import type { Scenario, World } from "../world.ts";
import { checkAppends, checkSizes, runWorkload, type Workload } from "./kv_clients.ts";
import { KvCluster } from "./kv_cluster.ts";

/** One operation may take so long. */
const OPERATION_MS = 33.3;
const SNAPSHOT_AT_BYTES = 1000;
const MAX_SNAPSHOT_BYTES = 500;

async function oneKey(world: World): Promise<void> {
  const cluster = new KvCluster(world, { size: 3, reliable: false });
  const appends = Array.from({ length: 5 }, async (_, number) => {
    const client = cluster.client();
    for (let count = 0; count < 10; count += 1) await client.append("k", `x ${number} ${count} y`);
  });
  await Promise.all(appends);
  const value = await cluster.client().get("k");
  for (let number = 0; number < 5; number += 1) checkAppends(value, number, 10);
  assertEquals(value.match(/x/g)?.length, 50);
}

async function onePartition(world: World): Promise<void> {
  const cluster = new KvCluster(world);
  const everybody = cluster.client();
  await everybody.put("1", "13");
  const leader = await cluster.checkOneLeader();
  const others = cluster.ids.filter((id) => id !== leader);
  const minority = [leader, others[0]];
  const majority = others.slice(1);
  cluster.partition(majority, minority);
  const client = cluster.client(majority);
  await client.put("1", "14");
  assertEquals(await client.get("1"), "14");

  let completed = 0;
  const [writer, reader] = [cluster.client(minority), cluster.client(minority)];
  const waiting = [
    writer.put("1", "15").then(() => completed += 1),
    reader.get("1").then(() => completed += 1),
  ];
  await world.sleep(T_MS);
  assertEquals(completed, 0, "a minority answers");
  assertEquals(await client.get("1"), "14");
  await client.put("1", "16");
  assertEquals(await client.get("1"), "16");

  cluster.connectAll();
  for (const one of [client, writer, reader]) one.reach(cluster.ids);
  const healedMs = world.nowMs;
  await Promise.all(waiting);
  const tookMs = world.nowMs - healedMs;
  assert(tookMs <= 3 * T_MS, `the minority's requests took ${tookMs} ms after the healing`);
  assertEquals(await client.get("1"), "15");
}

/** On the real clock the mean counts: a single operation may meet a pause of the process. */
async function speed(world: World): Promise<void> {
  const cluster = new KvCluster(world, { size: 3 });
  const client = cluster.client();
  await client.put("x", "");
  let longestMs = 0;
  const startMs = world.nowMs;
  for (let number = 0; number < 1000; number += 1) {
    const beganMs = world.nowMs;
    await client.append("x", `x 0 ${number} y`);
    longestMs = Math.max(longestMs, world.nowMs - beganMs);
  }
  const meanMs = (world.nowMs - startMs) / 1000;
  checkAppends(await client.get("x"), 0, 1000);
  assert(meanMs <= OPERATION_MS, `an operation took ${meanMs} ms`);
  if (world.isExact) assert(longestMs <= OPERATION_MS, `one operation took ${longestMs} ms`);
}

async function snapshotSizes(world: World): Promise<void> {
  const cluster = new KvCluster(world, { size: 3, snapshotAtBytes: SNAPSHOT_AT_BYTES });
  const client = cluster.client();
  for (let round = 0; round < 200; round += 1) {
    for (const value of ["0", "1"]) {
      await client.put("x", value);
      assertEquals(await client.get("x"), value);
    }
  }
  checkSizes(cluster, SNAPSHOT_AT_BYTES);
  const { snapshotBytes } = cluster;
  assert(snapshotBytes > 0, "no snapshot was taken");
  assert(snapshotBytes <= MAX_SNAPSHOT_BYTES, `the snapshot has ${snapshotBytes} bytes`);
}

async function snapshotForTheLate(world: World): Promise<void> {
  const cluster = new KvCluster(world, { size: 3, snapshotAtBytes: SNAPSHOT_AT_BYTES });
  const client = cluster.client();
  await client.put("a", "A");
  cluster.partition([0, 1], [2]);
  const first = cluster.client([0, 1]);
  for (let number = 0; number < 50; number += 1) await first.put(`${number}`, `${number}`);
  await world.sleep(T_MS);
  await first.put("b", "B");
  checkSizes(cluster, SNAPSHOT_AT_BYTES);
  // The one that was late needs the snapshot to be half of the majority.
  cluster.partition([0, 2], [1]);
  const second = cluster.client([0, 2]);
  await second.put("c", "C");
  await second.put("d", "D");
  for (const [key, value] of [["a", "A"], ["b", "B"], ["1", "1"], ["49", "49"]]) {
    assertEquals(await second.get(key), value);
  }
  cluster.connectAll();
  await client.put("e", "E");
  for (const [key, value] of [["c", "C"], ["e", "E"], ["1", "1"]]) {
    assertEquals(await client.get(key), value);
  }
}

const unreliable = { unreliable: true };
const partitions = { partitions: true };
const restarts = { restarts: true };
const snapshots = { snapshotAtBytes: SNAPSHOT_AT_BYTES };
const everything = { ...unreliable, ...partitions, ...restarts };

const workloads: Readonly<Record<string, Workload>> = {
  "basic": { clients: 1 },
  "5 clients": { clients: 5 },
  "5 unreliable": { clients: 5, ...unreliable },
  "many partitions, 1 client": { clients: 1, ...partitions },
  "many partitions, 5 clients": { clients: 5, ...partitions },
  "persist 1": { clients: 1, ...restarts },
  "persist 5": { clients: 5, ...restarts },
  "persist 5 unreliable": { clients: 5, ...restarts, ...unreliable },
  "persist 5 partition": { clients: 5, ...restarts, ...partitions },
  "persist 5 unreliable partition": { clients: 5, ...everything },
  "all of it": { clients: 15, servers: 7, randomKeys: true, ...everything },
  "snapshots: recover": { clients: 1, ...restarts, ...snapshots },
  "snapshots: 20 clients": { clients: 20, ...restarts, ...snapshots },
  "snapshots: unreliable": { clients: 5, ...unreliable, ...snapshots },
  "snapshots: recover, unreliable": { clients: 5, ...unreliable, ...restarts, ...snapshots },
  "snapshots: partitions": { clients: 5, ...everything, ...snapshots },
  "snapshots: linearizable": {
    clients: 15,
    servers: 7,
    randomKeys: true,
    ...everything,
    ...snapshots,
  },
};

export const kvScenarios: readonly Scenario[] = [
  ...Object.entries(workloads).map(([name, workload]) => ({
    name: `kv: ${name}`,
    run: (world: World) => runWorkload(world, workload),
  })),
  { name: "kv: one key", run: oneKey },
  { name: "kv: one partition", run: onePartition },
  { name: "kv: speed", run: speed },
  { name: "kv: snapshots: sizes", run: snapshotSizes },
  { name: "kv: snapshots: for who was late", run: snapshotForTheLate },
];
