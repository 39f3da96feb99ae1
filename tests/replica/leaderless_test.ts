import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { FrameKind, restCodec } from "../../lib/replica/frames.ts";
import { type Node, TestCluster } from "./cluster.ts";

const GROUPS = ["g0", "g1", "g2"];

/** Three quiescent groups; the node at position `at` leads group `g<at>` and no other. */
async function oneGroupEach(seed = 1): Promise<TestCluster> {
  const cluster = new TestCluster(3, GROUPS, seed);
  for (const [at, group] of GROUPS.entries()) {
    const wanted = cluster.nodes[at];
    const leader = await cluster.elected(group);
    await cluster.settle(cluster.replica(leader, group).propose(utf8("first")));
    if (leader !== wanted) cluster.replica(leader, group).transferLeadership(wanted.id);
    await cluster.until(`${wanted.id} leads ${group}`, () => leads(cluster, wanted, group));
  }
  await allRest(cluster);
  return cluster;
}

async function allRest(cluster: TestCluster): Promise<void> {
  await cluster.until(
    "all groups rest",
    () =>
      cluster.running.every((node) =>
        GROUPS.every((group) => cluster.replica(node, group)?.resting !== false)
      ),
  );
}

function leads(cluster: TestCluster, node: Node, group: string): boolean {
  return cluster.replica(node, group)?.isLeader === true;
}

/** Closes a replica at a moment at which no frame leaves its process. */
async function closeInSilence(cluster: TestCluster, node: Node, group: string): Promise<void> {
  const others = cluster.nodes.filter((other) => other !== node);
  for (const { id } of others) cluster.network.cut(node.id, id);
  node.host.close(group);
  await cluster.run(1);
  cluster.network.heal();
}

async function electsAnother(cluster: TestCluster, former: Node, group = "g0"): Promise<void> {
  const others = cluster.running.filter((node) => node !== former);
  await cluster.until(
    `${group} has another leader`,
    () => others.some((node) => leads(cluster, node, group)),
    3_000,
  );
  const leader = others.find((node) => leads(cluster, node, group))!;
  await cluster.settle(cluster.replica(leader, group).propose(utf8("second")));
}

function othersKeptTheirLeaders(cluster: TestCluster): void {
  for (const at of [1, 2]) assert(leads(cluster, cluster.nodes[at], GROUPS[at]), GROUPS[at]);
}

Deno.test("followers of a quiescent group hear at once that their leader's replica is closed", async () => {
  const cluster = await oneGroupEach();
  const [former] = cluster.nodes;
  const terms = cluster.nodes.map((node) => cluster.replica(node, "g1").raft.term);
  const closedAtMs = cluster.scheduler.nowMs;
  former.host.close("g0");
  await electsAnother(cluster, former);
  assert(cluster.scheduler.nowMs - closedAtMs < 150, "no election timeout is waited for");
  othersKeptTheirLeaders(cluster);
  assertEquals(cluster.nodes.map((node) => cluster.replica(node, "g1").raft.term), terms);
});

Deno.test("a group that ends on one node after the other elects no leader meanwhile", async () => {
  const cluster = await oneGroupEach();
  const [former, ...others] = cluster.nodes;
  former.host.close("g0", true);
  await cluster.run(200);
  for (const node of others) {
    assert(cluster.replica(node, "g0").resting);
    node.host.close("g0", true);
  }
  await cluster.run(1_000);
  othersKeptTheirLeaders(cluster);
});

Deno.test("followers notice missing beats while other frames of the process arrive", async () => {
  for (let seed = 1; seed <= 5; seed += 1) {
    const cluster = await oneGroupEach(seed);
    const [former] = cluster.nodes;
    await closeInSilence(cluster, former, "g0");
    await electsAnother(cluster, former);
    othersKeptTheirLeaders(cluster);
  }
});

Deno.test("followers notice that a beat no longer names one of several groups", async () => {
  const cluster = await oneGroupEach();
  const [former, second] = cluster.nodes;
  cluster.replica(second, "g1").transferLeadership(former.id);
  await cluster.until("one node leads two groups", () => leads(cluster, former, "g1"));
  await allRest(cluster);
  await closeInSilence(cluster, former, "g0");
  await electsAnother(cluster, former);
  assert(leads(cluster, former, "g1"), "the other group keeps its leader");
});

Deno.test("a leader's replica that is closed just after it woke leaves no follower asleep", async () => {
  const cluster = await oneGroupEach();
  const [former] = cluster.nodes;
  cluster.replica(former, "g0").readBarrier().catch(() => {});
  await closeInSilence(cluster, former, "g0");
  await electsAnother(cluster, former);
});

Deno.test("a group does not rest on a follower whose replica is gone, and wakes no others", async () => {
  for (const silently of [false, true]) {
    const cluster = await oneGroupEach();
    const [leader, follower] = cluster.nodes;
    if (silently) await closeInSilence(cluster, follower, "g0");
    else follower.host.close("g0");
    await cluster.until("its leader wakes", () => !cluster.replica(leader, "g0").resting, 1_000);
    await cluster.run(1_000);
    const wakes = countWakes(cluster, "g1");
    await cluster.run(5_000);
    assert(!cluster.replica(leader, "g0").resting, "it stays awake");
    assert(leads(cluster, leader, "g0"), "a majority is left");
    assertEquals(wakes(), 0);
    await cluster.settle(cluster.replica(leader, "g0").propose(utf8("second")));
  }
});

/** How often replicas of a group were seen to wake since the call, looked at every tick. */
function countWakes(cluster: TestCluster, group: string): () => number {
  const since = cluster.scheduler.nowMs;
  return () =>
    cluster.running.filter((node) => cluster.replica(node, group).awakeSinceMs > since).length;
}

Deno.test("a process without the group answers a request for rest", async () => {
  const cluster = await oneGroupEach();
  const [leader, follower] = cluster.nodes;
  await cluster.settle(cluster.replica(leader, "g0").propose(utf8("second")));
  await cluster.level("g0");
  await closeInSilence(cluster, follower, "g0");
  await cluster.run(3_000);
  assert(!cluster.replica(leader, "g0").resting, "the leader stays awake");
  assert(
    GROUPS.slice(1).every((group) =>
      cluster.nodes.every((node) => cluster.replica(node, group).resting)
    ),
    "the other groups rest",
  );
});

Deno.test("members rest again under a new leader after a quiescent leader was removed", async () => {
  const cluster = await oneGroupEach();
  const [former, ...others] = cluster.nodes;
  const { nodes } = cluster.membership;
  const voters = others.map(({ id }) => id);
  await cluster.settle(
    cluster.replica(former, "g0").changeMembers({ voters, learners: [], nodes }),
  );
  await electsAnother(cluster, former);
  await cluster.until(
    "those that stayed rest",
    () => others.every((node) => cluster.replica(node, "g0").resting),
  );
});

Deno.test("a request for rest that one follower misses leaves the group with a leader", async () => {
  for (let seed = 1; seed <= 5; seed += 1) {
    const cluster = await oneGroupEach(seed);
    const [leader, follower] = cluster.nodes;
    await cluster.settle(cluster.replica(leader, "g0").propose(utf8("second")));
    const restsSoonMs = cluster.restAfterMs - 30;
    await cluster.run(restsSoonMs);
    cluster.network.cut(leader.id, follower.id);
    await cluster.run(60);
    cluster.network.heal();
    await allRest(cluster);
    assert(leads(cluster, leader, "g0"), "the leader stays");
    await cluster.settle(cluster.replica(leader, "g0").propose(utf8("third")));
  }
});

Deno.test("a leader that asks a process without the replica to rest is told that it is gone", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  await cluster.level();
  const follower = cluster.nodes.find((node) => node !== leader)!;
  const stateOf = () =>
    cluster.replica(leader).status().progress.find(({ id }) => id === follower.id)!.state;
  assertEquals(stateOf(), "replicate");
  // As with a lost announcement.
  follower.host.close("g", true);
  const { term, last } = cluster.replica(leader).status();
  const rest = restCodec.encode({ term, lastIndex: last.index });
  follower.host.frame(leader.id, "g", [FrameKind.rest, rest]);
  await cluster.run(5);
  assertEquals(stateOf(), "probe");
});
