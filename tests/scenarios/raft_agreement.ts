/** Scenarios of agreement: commands get committed, in order, at the price of few messages. */

import { assert, assertEquals } from "@std/assert";
import { T_MS } from "./fleet.ts";
import { RaftCluster } from "./raft_cluster.ts";
import type { Scenario, World } from "./world.ts";

async function basicAgreement(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 5);
  for (let index = 1; index <= 3; index += 1) {
    assertEquals(cluster.committed(index).count, 0, "something is applied that nobody started");
    assertEquals(await cluster.one(`${index * 100}`, 5), index);
  }
}

async function bytes(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3);
  await cluster.one("99", 3);
  const before = cluster.network.bytes;
  let sent = 0;
  for (let index = 2; index < 12; index += 1) {
    const command = `${world.random.nextUint32()}`.padEnd(5000, "x");
    assertEquals(await cluster.one(command, 3), index);
    sent += command.length;
  }
  const used = cluster.network.bytes - before;
  assert(used <= 3 * sent + 50_000, `${used} bytes on the wire for ${sent} bytes of commands`);
}

async function followerFailure(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3);
  await cluster.one("101", 3);
  const first = await cluster.checkOneLeader();
  cluster.disconnect((first + 1) % 3);
  await cluster.one("102", 2);
  await world.sleep(T_MS);
  await cluster.one("103", 2);
  const leader = await cluster.checkOneLeader();
  cluster.disconnect((leader + 1) % 3);
  cluster.disconnect((leader + 2) % 3);
  cluster.startAt(leader, "104", 4);
  await world.sleep(2 * T_MS);
  cluster.checkNotCommitted(4);
}

async function leaderFailure(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3);
  await cluster.one("101", 3);
  cluster.disconnect(await cluster.checkOneLeader());
  await cluster.one("102", 2);
  await world.sleep(T_MS);
  await cluster.one("103", 2);
  cluster.disconnect(await cluster.checkOneLeader());
  startEverywhere(cluster, "104");
  await world.sleep(2 * T_MS);
  cluster.checkNotCommitted(4);
}

function startEverywhere(cluster: RaftCluster, command: string): void {
  for (const id of cluster.ids) {
    if (cluster.raft(id).getState().isLeader) cluster.startAt(id, command);
  }
}

async function agreementAfterReconnect(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3);
  await cluster.one("101", 3);
  const leader = await cluster.checkOneLeader();
  cluster.disconnect((leader + 1) % 3);
  await cluster.one("102", 2);
  await cluster.one("103", 2);
  await world.sleep(T_MS);
  await cluster.one("104", 2);
  await cluster.one("105", 2);
  cluster.connect((leader + 1) % 3);
  await cluster.one("106", 3, true);
  await world.sleep(T_MS);
  await cluster.one("107", 3, true);
}

async function noAgreementWithoutMajority(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 5);
  await cluster.one("10", 5);
  const leader = await cluster.checkOneLeader();
  const off = [1, 2, 3].map((step) => (leader + step) % 5);
  for (const id of off) cluster.disconnect(id);
  cluster.startAt(leader, "20", 2);
  await world.sleep(2 * T_MS);
  cluster.checkNotCommitted(2);
  for (const id of off) cluster.connect(id);
  const next = await cluster.checkOneLeader();
  cluster.startAt(next, "30", 2, 3);
  await cluster.one("1000", 5, true);
}

/** Tries `attempt` again, up to five times, where the term ended in the middle of it. */
async function withinOneTerm(attempt: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 5; tries += 1) {
    if (await attempt()) return;
  }
  throw new Error("the term changes too often");
}

async function concurrentStarts(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3);
  await withinOneTerm(async () => {
    const leader = await cluster.checkOneLeader();
    const { term } = cluster.raft(leader).getState();
    const commands = Array.from({ length: 5 }, (_, number) => `${100 + number}`);
    const indexes = commands.map((command) => cluster.startAt(leader, command));
    const found = [];
    for (const index of indexes) {
      const command = await cluster.wait(index, 3, term);
      if (command === null) return false;
      found.push(command);
    }
    assertEquals(found, commands);
    return true;
  });
}

async function rejoin(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3);
  await cluster.one("101", 3, true);
  const first = await cluster.checkOneLeader();
  cluster.disconnect(first);
  for (const command of ["102", "103", "104"]) cluster.startAt(first, command);
  await cluster.one("103", 2, true);
  const second = await cluster.checkOneLeader();
  cluster.disconnect(second);
  cluster.connect(first);
  await cluster.one("104", 2, true);
  cluster.connect(second);
  await cluster.one("105", 3, true);
}

async function backsUpQuickly(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 5);
  const { random } = world;
  const startMany = (leader: number) => {
    for (let count = 0; count < 50; count += 1) cluster.startAt(leader, cluster.anyCommand());
  };
  const commitMany = async () => {
    for (let count = 0; count < 50; count += 1) await cluster.one(cluster.anyCommand(), 3, true);
  };
  const cut = (...positions: number[]) => positions.forEach((id) => cluster.disconnect(id));
  await cluster.one(cluster.anyCommand(), 5, true);
  // A leader with one follower collects what cannot be committed.
  const first = await cluster.checkOneLeader();
  const at = (steps: number) => (first + steps) % 5;
  cut(at(2), at(3), at(4));
  startMany(first);
  await world.sleep(T_MS / 2);
  cut(first, at(1));
  // The other three commit.
  for (const steps of [2, 3, 4]) cluster.connect(at(steps));
  await commitMany();
  // Their leader loses one, then collects what cannot be committed either.
  const second = await cluster.checkOneLeader();
  const others = [2, 3, 4].map(at).filter((id) => id !== second);
  const left = random.pick(others);
  cut(left);
  startMany(second);
  cut(...others.filter((id) => id !== left));
  await world.sleep(T_MS / 2);
  // The first pair comes back with the one that was lost, and commits.
  cluster.ids.forEach((id) => cluster.disconnect(id));
  for (const id of [first, at(1), left]) cluster.connect(id);
  await commitMany();
  cluster.ids.forEach((id) => cluster.connect(id));
  await cluster.one(cluster.anyCommand(), 5, true);
}

async function notTooManyCalls(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3);
  const { network } = cluster;
  const leader = await cluster.checkOneLeader();
  const { calls } = network;
  assert(calls >= 1 && calls <= 30, `${calls} calls to elect the first leader`);
  await withinOneTerm(async () => {
    const before = network.calls;
    const { term } = cluster.raft(leader).getState();
    const commands = Array.from({ length: 11 }, () => cluster.anyCommand());
    const indexes = commands.map((command) => cluster.startAt(leader, command));
    assertEquals(indexes, indexes.map((_, at) => indexes[0] + at));
    for (const [at, index] of indexes.entries()) {
      const found = await cluster.wait(index, 3, term);
      if (found === null) return false;
      assertEquals(found, commands[at]);
    }
    const used = network.calls - before;
    assert(used <= (10 + 1 + 3) * 3, `${used} calls for 10 entries`);
    return true;
  });
  const before = network.calls;
  await world.sleep(T_MS);
  const idle = network.calls - before;
  assert(idle <= 3 * 20, `${idle} calls in an idle second`);
}

async function unreliableAgreement(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 5, { reliable: false });
  const waiting: Promise<number>[] = [];
  for (let round = 1; round < 50; round += 1) {
    for (let client = 0; client < 4; client += 1) {
      waiting.push(cluster.one(`${100 * round + client}`, 1, true));
    }
    await cluster.one(`${round}`, 1, true);
  }
  cluster.network.reliable = true;
  await Promise.all(waiting);
  await cluster.one("100", 5, true);
}

export const raftAgreement: readonly Scenario[] = [
  { name: "basic agreement", run: basicAgreement },
  { name: "bytes", run: bytes },
  { name: "follower failure", run: followerFailure },
  { name: "leader failure", run: leaderFailure },
  { name: "agreement after reconnect", run: agreementAfterReconnect },
  { name: "no agreement without a majority", run: noAgreementWithoutMajority },
  { name: "concurrent starts", run: concurrentStarts },
  { name: "rejoin of a partitioned leader", run: rejoin },
  { name: "backs up quickly over wrong logs", run: backsUpQuickly },
  { name: "not too many RPCs", run: notTooManyCalls },
  { name: "unreliable agreement", run: unreliableAgreement },
];
