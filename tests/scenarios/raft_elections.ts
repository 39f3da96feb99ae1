/** Scenarios of elections. */

import { assert, assertEquals } from "@std/assert";
import { T_MS } from "./fleet.ts";
import { RaftCluster } from "./raft_cluster.ts";
import type { Scenario, World } from "./world.ts";

async function initialElection(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3);
  await cluster.checkOneLeader();
  await world.sleep(50);
  const term = cluster.checkTerms();
  assert(term >= 1, "the first leader's term is at least 1");
  await world.sleep(2 * T_MS);
  assertEquals(cluster.checkTerms(), term, "an election happened although nothing failed");
  await cluster.checkOneLeader();
}

async function reElection(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3);
  const first = await cluster.checkOneLeader();
  cluster.disconnect(first);
  const second = await cluster.checkOneLeader();
  assert(second !== first, "the others elect one of their own");
  cluster.connect(first);
  const still = await cluster.checkOneLeader();
  const other = (still + 1) % 3;
  cluster.disconnect(still);
  cluster.disconnect(other);
  await world.sleep(2 * T_MS);
  cluster.checkNoLeader();
  cluster.connect(other);
  await cluster.checkOneLeader();
  cluster.connect(still);
  await cluster.checkOneLeader();
}

async function electMany(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 7);
  await cluster.checkOneLeader();
  for (let round = 1; round < 10; round += 1) {
    const off = world.random.shuffled(cluster.ids).slice(0, 3);
    for (const id of off) cluster.disconnect(id);
    await cluster.checkOneLeader();
    for (const id of off) cluster.connect(id);
  }
  await cluster.checkOneLeader();
}

export const manyElections: Scenario = { name: "many elections", run: electMany };

export const raftElections: readonly Scenario[] = [
  { name: "initial election", run: initialElection },
  { name: "re-election", run: reElection },
  manyElections,
];
