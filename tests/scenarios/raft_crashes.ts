/** Scenarios in which servers crash and come back with what they persisted. */

import { assert } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { T_MS } from "./fleet.ts";
import { RaftCluster } from "./raft_cluster.ts";
import type { Scenario, World } from "./world.ts";

function restart(cluster: RaftCluster, id: number): void {
  cluster.start(id);
  cluster.connect(id);
}

async function persistence1(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3);
  await cluster.one("11", 3, true);
  for (const id of cluster.ids) cluster.start(id);
  for (const id of cluster.ids) {
    cluster.disconnect(id);
    cluster.connect(id);
  }
  await cluster.one("12", 3, true);
  const first = await cluster.checkOneLeader();
  cluster.disconnect(first);
  restart(cluster, first);
  await cluster.one("13", 3, true);
  const second = await cluster.checkOneLeader();
  cluster.disconnect(second);
  await cluster.one("14", 2, true);
  restart(cluster, second);
  await cluster.wait(4, 3);
  const follower = ((await cluster.checkOneLeader()) + 1) % 3;
  cluster.disconnect(follower);
  await cluster.one("15", 2, true);
  restart(cluster, follower);
  await cluster.one("16", 3, true);
}

async function persistence2(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 5);
  let next = 1;
  const agree = async (servers: number) => {
    const index = await cluster.one(`${10 + next}`, servers, true);
    assert(index === next, `the command got index ${index} instead of ${next}`);
    next += 1;
  };
  for (let round = 0; round < 5; round += 1) {
    await agree(5);
    const leader = await cluster.checkOneLeader();
    const at = (steps: number) => (leader + steps) % 5;
    cluster.disconnect(at(1));
    cluster.disconnect(at(2));
    await agree(3);
    for (const steps of [0, 3, 4]) cluster.disconnect(at(steps));
    restart(cluster, at(1));
    restart(cluster, at(2));
    await world.sleep(T_MS);
    restart(cluster, at(3));
    await agree(3);
    cluster.connect(at(4));
    cluster.connect(at(0));
  }
  await cluster.one("1000", 5, true);
}

async function persistence3(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3);
  await cluster.one("101", 3, true);
  const leader = await cluster.checkOneLeader();
  cluster.disconnect((leader + 2) % 3);
  await cluster.one("102", 2, true);
  cluster.crash(leader);
  cluster.crash((leader + 1) % 3);
  cluster.connect((leader + 2) % 3);
  restart(cluster, leader);
  await cluster.one("103", 2, true);
  restart(cluster, (leader + 1) % 3);
  await cluster.one("104", 3, true);
}

/** Starts a command on all that live; the last of them that takes it. */
function startOnAll(cluster: RaftCluster, suits: (id: number) => boolean): number | null {
  let leader: number | null = null;
  for (const id of cluster.ids) {
    if (!cluster.isUp(id)) continue;
    const { isLeader } = cluster.raft(id).start(utf8(cluster.anyCommand()));
    if (isLeader && suits(id)) leader = id;
  }
  return leader;
}

/** One round in ten is long enough for an agreement, the others for a part of one. */
async function pause(world: World): Promise<void> {
  const { random } = world;
  await world.sleep(random.chance(0.1) ? random.below(T_MS / 2) : random.below(13));
}

async function figure8(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 5);
  await cluster.one(cluster.anyCommand(), 1, true);
  for (let round = 0; round < 1000; round += 1) {
    const leader = startOnAll(cluster, () => true);
    await pause(world);
    if (leader !== null) cluster.crash(leader);
    if (cluster.ids.filter((id) => cluster.isUp(id)).length < 3) {
      const id = world.random.below(5);
      if (!cluster.isUp(id)) restart(cluster, id);
    }
  }
  for (const id of cluster.ids) if (!cluster.isUp(id)) restart(cluster, id);
  await cluster.one(cluster.anyCommand(), 5, true);
}

async function figure8Unreliable(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 5, { reliable: false });
  await cluster.one(cluster.anyCommand(), 1, true);
  for (let round = 0; round < 1000; round += 1) {
    if (round === 200) cluster.network.longReordering = true;
    const leader = startOnAll(cluster, (id) => cluster.isConnected(id));
    await pause(world);
    if (leader !== null && world.random.chance(0.5)) cluster.disconnect(leader);
    if (cluster.ids.filter((id) => cluster.isConnected(id)).length < 3) {
      const id = world.random.below(5);
      if (!cluster.isConnected(id)) cluster.connect(id);
    }
  }
  for (const id of cluster.ids) cluster.connect(id);
  await cluster.one(cluster.anyCommand(), 5, true);
}

/** Submits commands until `stopped`, and returns those that it saw committed. */
async function submit(
  cluster: RaftCluster,
  client: number,
  stopped: () => boolean,
): Promise<string[]> {
  const { world } = cluster;
  const seen: string[] = [];
  while (!stopped()) {
    const command = cluster.anyCommand();
    let index = 0;
    for (const id of cluster.ids) {
      if (!cluster.isUp(id)) continue;
      const result = cluster.raft(id).start(utf8(command));
      if (result.isLeader) index = result.index;
    }
    if (index === 0) await world.sleep(79 + client * 17);
    else if (await sawCommitted(cluster, index, command)) seen.push(command);
  }
  return seen;
}

/** A client does not wait for ever: its leader may be cut off. */
async function sawCommitted(
  cluster: RaftCluster,
  index: number,
  command: string,
): Promise<boolean> {
  for (const delayMs of [10, 20, 50, 100, 200]) {
    const { count, command: found } = cluster.committed(index);
    if (count > 0) return found === command;
    await cluster.world.sleep(delayMs);
  }
  return false;
}

async function churn(world: World, reliable: boolean): Promise<void> {
  const { random } = world;
  const cluster = new RaftCluster(world, 5, { reliable });
  let stopped = false;
  const clients = [0, 1, 2].map((client) => submit(cluster, client, () => stopped));
  for (let round = 0; round < 20; round += 1) {
    if (random.chance(0.2)) cluster.disconnect(random.below(5));
    if (random.chance(0.5)) {
      const id = random.below(5);
      if (!cluster.isUp(id)) cluster.start(id);
      cluster.connect(id);
    }
    if (random.chance(0.2)) cluster.crash(random.below(5));
    await world.sleep(700);
  }
  await world.sleep(T_MS);
  cluster.network.reliable = true;
  for (const id of cluster.ids) {
    if (!cluster.isUp(id)) cluster.start(id);
    cluster.connect(id);
  }
  stopped = true;
  const seen = (await Promise.all(clients)).flat();
  await world.sleep(T_MS);
  const last = await cluster.one(cluster.anyCommand(), 5, true);
  const log = new Set<string | null>();
  for (let index = 1; index <= last; index += 1) log.add(await cluster.wait(index, 5));
  assert(seen.length > 0, "no client saw anything committed");
  for (const command of seen) assert(log.has(command), `${command} was committed and is lost`);
}

export const raftCrashes: readonly Scenario[] = [
  { name: "persistence 1", run: persistence1 },
  { name: "persistence 2", run: persistence2 },
  { name: "persistence 3", run: persistence3 },
  { name: "figure 8", run: figure8 },
  { name: "figure 8 unreliable", run: figure8Unreliable },
  { name: "churn, reliable", run: (world) => churn(world, true) },
  { name: "churn, unreliable", run: (world) => churn(world, false) },
];
