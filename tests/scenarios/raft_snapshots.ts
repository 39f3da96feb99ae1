/** Scenarios in which the servers drop their logs after every tenth command. */

import { assert, assertEquals } from "@std/assert";
import { RaftCluster, SNAPSHOT_INTERVAL } from "./raft_cluster.ts";
import type { Scenario, World } from "./world.ts";

/** Persistent Raft state that a server may never reach. */
const MAX_STATE_BYTES = 2000;

interface Faults {
  readonly reliable: boolean;
  /** What happens to the victim of each round. */
  readonly victim: "nothing" | "disconnect" | "crash";
}

async function snapshots(world: World, { reliable, victim }: Faults): Promise<void> {
  const cluster = new RaftCluster(world, 3, { snapshots: true, reliable });
  await cluster.one(cluster.anyCommand(), 3, true);
  let leader = await cluster.checkOneLeader();
  for (let round = 0; round < 30; round += 1) {
    // Two rounds of three hit a follower, the third the leader.
    const hit = round % 3 === 1 ? leader : (leader + 1) % 3;
    let present = 3;
    if (victim !== "nothing") {
      if (victim === "crash") cluster.crash(hit);
      else cluster.disconnect(hit);
      present = 2;
      await cluster.one(cluster.anyCommand(), present, true);
      leader = await cluster.checkOneLeader();
    }
    const count = world.random.between(SNAPSHOT_INTERVAL / 2, 3 * SNAPSHOT_INTERVAL / 2 - 1);
    for (let number = 0; number < count; number += 1) {
      const { isLeader } = cluster.raft(leader).getState();
      if (isLeader) cluster.startAt(leader, cluster.anyCommand());
    }
    await cluster.one(cluster.anyCommand(), present, true);
    checkState(cluster);
    if (victim === "nothing") continue;
    if (victim === "crash") cluster.start(hit);
    cluster.connect(hit);
    await cluster.one(cluster.anyCommand(), 3, true);
    leader = await cluster.checkOneLeader();
  }
  if (victim !== "nothing") assert(cluster.installed >= 10, "victims catch up by snapshots");
}

function checkState(cluster: RaftCluster): void {
  const { stateBytes } = cluster;
  assert(stateBytes < MAX_STATE_BYTES, `the persistent state has ${stateBytes} bytes`);
}

function restartAll(cluster: RaftCluster): void {
  for (const id of cluster.ids) cluster.crash(id);
  for (const id of cluster.ids) {
    cluster.start(id);
    cluster.connect(id);
  }
}

async function allCrash(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3, { snapshots: true });
  await cluster.one(cluster.anyCommand(), 3, true);
  for (let round = 0; round < 5; round += 1) {
    const count = world.random.between(SNAPSHOT_INTERVAL / 2, 3 * SNAPSHOT_INTERVAL / 2 - 1);
    for (let number = 0; number < count; number += 1) {
      await cluster.one(cluster.anyCommand(), 3, true);
    }
    const before = await cluster.one(cluster.anyCommand(), 3, true);
    restartAll(cluster);
    const after = await cluster.one(cluster.anyCommand(), 3, true);
    assert(after > before, `index ${after} follows ${before}`);
    checkState(cluster);
  }
}

async function restartAfterSnapshot(world: World): Promise<void> {
  const cluster = new RaftCluster(world, 3, { snapshots: true });
  for (let number = 0; number < SNAPSHOT_INTERVAL + 2; number += 1) {
    await cluster.one(cluster.anyCommand(), 3, true);
  }
  const before = cluster.members.map(({ applied }) => [...applied]);
  for (const round of [1, 2]) {
    restartAll(cluster);
    const command = cluster.anyCommand();
    const index = await cluster.one(command, 3, true);
    assertEquals(index, before[0].length + 1, `restart ${round}`);
    before.forEach((applied) => applied.push(command));
    assertEquals(cluster.members.map(({ applied }) => applied), before, `restart ${round}`);
  }
}

const faults: Readonly<Record<string, Faults>> = {
  basic: { reliable: true, victim: "nothing" },
  disconnect: { reliable: true, victim: "disconnect" },
  unreliable: { reliable: false, victim: "disconnect" },
  crash: { reliable: true, victim: "crash" },
  both: { reliable: false, victim: "crash" },
};

export const raftSnapshots: readonly Scenario[] = [
  ...Object.entries(faults).map(([name, fault]) => ({
    name: `snapshots: ${name}`,
    run: (world: World) => snapshots(world, fault),
  })),
  { name: "all crash", run: allCrash },
  { name: "restart after snapshot", run: restartAfterSnapshot },
];
