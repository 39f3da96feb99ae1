import { assert, assertEquals } from "@std/assert";
import { textOf, utf8 } from "../../lib/base/bytes.ts";
import { perfectLink } from "../../lib/sim/network.ts";
import { type Node, TestCluster } from "./cluster.ts";

const GROUPS = Array.from({ length: 20 }, (_, at) => `g${at}`);

async function quietCluster(seed = 1): Promise<TestCluster> {
  const cluster = new TestCluster(3, GROUPS, seed);
  for (const group of GROUPS) {
    const leader = await cluster.elected(group);
    await cluster.settle(cluster.replica(leader, group).propose(utf8("first")));
  }
  await cluster.until("all groups rest", () => everyReplica(cluster, (replica) => replica.resting));
  return cluster;
}

type Replica = ReturnType<TestCluster["replica"]>;

function everyReplica(cluster: TestCluster, holds: (replica: Replica) => boolean): boolean {
  return cluster.running.every((node) =>
    GROUPS.every((group) => holds(cluster.replica(node, group)))
  );
}

Deno.test("groups at rest cost a beat per pair of processes and nothing per group", async () => {
  const cluster = await quietCluster();
  const stepsBefore = cluster.scheduler.steps;
  await cluster.run(10_000);
  assert(everyReplica(cluster, (replica) => replica.resting), "all still rest");
  const perSecond = (cluster.scheduler.steps - stepsBefore) / 10;
  // Three tickers of 100 a second, and at most six directions of 20 beats with replies.
  assert(perSecond < 700, `${perSecond} events a second`);
});

Deno.test("no term begins while groups rest", async () => {
  const cluster = await quietCluster();
  const terms = () =>
    cluster.nodes.map((node) => GROUPS.map((group) => cluster.replica(node, group).raft.term));
  const before = terms();
  await cluster.run(30_000);
  assertEquals(terms(), before);
});

Deno.test("a command wakes its group and no other", async () => {
  const cluster = await quietCluster();
  const leader = cluster.leader("g3")!;
  await cluster.settle(cluster.replica(leader, "g3").propose(utf8("second")));
  for (const group of GROUPS.filter((name) => name !== "g3")) {
    assert(cluster.nodes.every((node) => cluster.replica(node, group).resting), group);
  }
  await cluster.level("g3");
  assertEquals(cluster.machine(leader, "g3").applied, 2);
});

Deno.test("when a process dies the groups that rested under it elect new leaders", async () => {
  for (const silently of [false, true]) {
    const cluster = await quietCluster(silently ? 2 : 3);
    const victim = cluster.leader("g0")!;
    const led = GROUPS.filter((group) => cluster.leader(group) === victim);
    if (silently) victim.process.pause();
    else cluster.kill(victim);
    const others = cluster.nodes.filter((node) => node !== victim);
    const leads = (node: Node, group: string) => cluster.replica(node, group).isLeader;
    await cluster.until(
      "all groups are led by others",
      () => led.every((group) => others.some((node) => leads(node, group))),
      3_000,
    );
    assert(led.length > 0);
  }
});

Deno.test("a leader cut off while its groups rest steps down in all of them", async () => {
  const cluster = await quietCluster();
  const victim = cluster.leader("g0")!;
  for (const node of cluster.nodes.filter((other) => other !== victim)) {
    cluster.network.cut(victim.id, node.id);
    cluster.network.cut(node.id, victim.id);
  }
  await cluster.until(
    "it leads nothing",
    () => GROUPS.every((group) => !cluster.replica(victim, group).isLeader),
    3_000,
  );
});

Deno.test("a restarted follower of a resting group finds its leader again", async () => {
  const cluster = await quietCluster();
  const follower = cluster.nodes.find((node) => !cluster.replica(node, "g0").isLeader)!;
  cluster.kill(follower);
  await cluster.run(1_000);
  cluster.restart(follower);
  await cluster.until("all rest again", () => everyReplica(cluster, (replica) => replica.resting));
  assertEquals(textOf(cluster.machine(follower, "g0").value), "first");
});

Deno.test("with lost, repeated and reordered frames resting groups stay available", async () => {
  for (let seed = 1; seed <= 5; seed += 1) {
    const cluster = await quietCluster(seed);
    cluster.network.setOptions({
      ...perfectLink,
      loss: 0.2,
      replay: 0.1,
      replayDelayMs: 50,
      reorder: true,
      delayMs: [0.1, 20],
    });
    await cluster.run(5_000);
    cluster.network.setOptions(perfectLink);
    for (const group of GROUPS) {
      const leader = await cluster.elected(group);
      await cluster.settle(cluster.replica(leader, group).propose(utf8("second")));
    }
    await cluster.until("all rest", () => everyReplica(cluster, (replica) => replica.resting));
    assert(everyReplica(cluster, ({ machine }) => textOf(machine.query(utf8(""))) === "second"));
  }
});
