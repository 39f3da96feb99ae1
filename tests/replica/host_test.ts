import { assert, assertEquals, assertRejects } from "@std/assert";
import { textOf, utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { messageToWire } from "../../lib/raft/message.ts";
import { FrameKind, restCodec } from "../../lib/replica/frames.ts";
import { type Node, TestCluster } from "./cluster.ts";

async function put(cluster: TestCluster, node: Node, text: string, group = "g"): Promise<string> {
  const applied = await cluster.settle(cluster.replica(node, group).propose(utf8(text)));
  return textOf(applied.answer);
}

function follower(cluster: TestCluster, group = "g"): Node {
  return cluster.running.find((node) => !cluster.replica(node, group).isLeader)!;
}

Deno.test("a command proposed at the leader is applied on every replica, once", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  assertEquals(await put(cluster, leader, "a"), "1");
  assertEquals(await put(cluster, leader, "b"), "2");
  await cluster.level();
  for (const node of cluster.nodes) {
    assertEquals(textOf(cluster.machine(node).value), "b");
    assertEquals(cluster.machine(node).applied, 2);
  }
});

Deno.test("a follower refuses a command and names the leader's address", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  await cluster.level();
  const refused = cluster.replica(follower(cluster)).propose(utf8("x"));
  const error = await assertRejects(() => cluster.settle(refused), TrilogError);
  assertEquals(error.code, "not_leader");
  assertEquals(error.leader, `${leader.id}:1`);
});

Deno.test("a read barrier on any replica includes what was committed before it", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  for (let round = 0; round < 20; round += 1) {
    await put(cluster, leader, `v${round}`);
    for (const node of cluster.nodes) {
      await cluster.settle(cluster.replica(node).readBarrier());
      assertEquals(textOf(cluster.machine(node).query()), `v${round}`);
    }
  }
});

Deno.test("many commands of one turn share their syncs", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  const replica = cluster.replica(leader);
  const stepsBefore = cluster.scheduler.steps;
  const all = Array.from({ length: 500 }, (_, at) => replica.propose(utf8(`${at}`)));
  await cluster.settle(Promise.all(all));
  const steps = cluster.scheduler.steps - stepsBefore;
  assert(steps < 200, `500 commands took ${steps} events`);
});

Deno.test("after kill -9 of everything at once nothing acknowledged is missing", async () => {
  const cluster = new TestCluster(3);
  let leader = await cluster.elected();
  for (let round = 0; round < 5; round += 1) {
    for (let at = 0; at < 10; at += 1) await put(cluster, leader, `${round}.${at}`);
    for (const node of cluster.nodes) cluster.kill(node, "power");
    for (const node of cluster.nodes) cluster.restart(node);
    leader = await cluster.elected();
    await cluster.level();
    for (const node of cluster.nodes) {
      assertEquals(cluster.machine(node).applied, (round + 1) * 10);
      assertEquals(textOf(cluster.machine(node).value), `${round}.9`);
    }
  }
});

Deno.test("a leader cut off answers what it had accepted with an unknown outcome", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  for (const node of cluster.nodes) {
    if (node === leader) continue;
    cluster.network.cut(leader.id, node.id);
    cluster.network.cut(node.id, leader.id);
  }
  const doomed = cluster.replica(leader).propose(utf8("doomed"));
  const error = await assertRejects(() => cluster.settle(doomed), TrilogError);
  assertEquals(error.code, "outcome_unknown");
  const others = () => cluster.nodes.filter((node) => node !== leader);
  const next = () => others().find((node) => cluster.replica(node).isLeader);
  await cluster.until("another leads", () => next() !== undefined);
  assertEquals(await put(cluster, next()!, "kept"), "1");
  cluster.network.heal();
  await cluster.level();
  assertEquals(textOf(cluster.machine(leader).value), "kept");
});

Deno.test("a killed leader is replaced within a few heartbeats by the unreachable hint", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  await put(cluster, leader, "a");
  const diedAtMs = cluster.scheduler.nowMs;
  cluster.kill(leader);
  const next = await cluster.elected();
  assert(next !== leader);
  const tookMs = cluster.scheduler.nowMs - diedAtMs;
  assert(tookMs < 300, `failover took ${tookMs} ms`);
});

Deno.test("a follower that missed little catches up from the log", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  const late = follower(cluster);
  cluster.kill(late);
  for (let at = 0; at < 50; at += 1) await put(cluster, leader, `${at}`);
  cluster.restart(late);
  await cluster.level();
  assertEquals(cluster.machine(late).applied, 50);
  assertEquals(cluster.replica(late).store.recovered.snapshot, null);
});

Deno.test("a follower that missed more than the log holds is sent a snapshot", async () => {
  const cluster = new TestCluster(3);
  cluster.segmentBytes = 4_096;
  for (const node of cluster.nodes) {
    cluster.kill(node);
    cluster.restart(node);
  }
  const leader = await cluster.elected();
  const late = follower(cluster);
  cluster.kill(late);
  const big = "x".repeat(500);
  for (let at = 0; at < 100; at += 1) await put(cluster, leader, big + at);
  assert(cluster.replica(leader).store.firstIndex() > 50, "the log was trimmed");
  cluster.restart(late);
  await cluster.level();
  assertEquals(cluster.machine(late).applied, 100);
  assert(cluster.replica(late).store.firstIndex() > 1, "it started from the snapshot");
  cluster.kill(late, "power");
  cluster.restart(late);
  await cluster.level();
  assertEquals(cluster.machine(late).applied, 100);
});

Deno.test("a snapshot transfer survives loss and goes on where it stopped", async () => {
  const cluster = new TestCluster(3, ["g"], 3);
  cluster.segmentBytes = 64 * 1024;
  for (const node of cluster.nodes) {
    cluster.kill(node);
    cluster.restart(node);
  }
  const leader = await cluster.elected();
  const late = follower(cluster);
  cluster.kill(late);
  const big = "y".repeat(900_000);
  for (let at = 0; at < 4; at += 1) await put(cluster, leader, big + at);
  cluster.network.setOptions({
    loss: 0.3,
    replay: 0.1,
    replayDelayMs: 20,
    reorder: true,
    delayMs: [1, 5],
  });
  cluster.restart(late);
  await cluster.until("it is level", () => cluster.machine(late).applied === 4, 60_000);
  assertEquals(textOf(cluster.machine(late).value), big + "3");
});

Deno.test("a new node becomes a learner, catches up and votes after a joint change", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  await put(cluster, leader, "before");
  const fresh = cluster.add("n4");
  const nodes = { ...cluster.membership.nodes, n4: { name: "n4", address: "n4:1" } };
  const voters = cluster.membership.voters;
  const replica = cluster.replica(leader);
  await cluster.settle(replica.changeMembers({ voters, learners: ["n4"], nodes }));
  await cluster.until("the learner has all", () => cluster.machine(fresh).applied === 1);
  await cluster.settle(replica.changeMembers({ voters: [...voters, "n4"], learners: [], nodes }));
  await cluster.until(
    "it votes",
    () => cluster.replica(fresh).raft.membership.voters.includes("n4"),
  );
});

Deno.test("handing leadership over leaves no gap", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  await put(cluster, leader, "a");
  await cluster.level();
  leader.host.handOverLeaderships();
  const startMs = cluster.scheduler.nowMs;
  await cluster.until("another leads", () => {
    const now = cluster.leader();
    return now !== undefined && now !== leader;
  });
  assert(cluster.scheduler.nowMs - startMs < 100);
});

Deno.test("a full disk refuses commands, serves reads, and resumes by itself", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  await put(cluster, leader, "a");
  for (const node of cluster.nodes) node.disk.fill(1_000);
  const replica = cluster.replica(leader);
  const stuck = replica.propose(utf8("z".repeat(10_000)));
  await cluster.until("it is noticed", () => replica.diskFull);
  const error = await assertRejects(() => cluster.settle(replica.propose(utf8("b"))), TrilogError);
  assertEquals(error.code, "disk_full");
  for (const node of cluster.nodes) node.disk.setCapacity(null);
  await cluster.settle(stuck.catch(() => null));
  const next = await cluster.elected();
  await put(cluster, next, "after");
  await cluster.level();
  assertEquals(textOf(cluster.machine(follower(cluster)).value), "after");
});

Deno.test("a host whose disk has failed says so once, and then every group can be closed", async () => {
  const cluster = new TestCluster(1, ["g", "h"]);
  const [node] = cluster.nodes;
  await cluster.elected("g");
  await cluster.elected("h");
  await cluster.run(1_000);
  const replicas = [cluster.replica(node, "g"), cluster.replica(node, "h")];
  node.disk.failSyncs(1);
  const refused = replicas.map((replica) =>
    assertRejects(() => replica.propose(utf8("a")), TrilogError)
  );
  await assertRejects(
    () => cluster.until("the disk fails", () => node.fatal !== null),
    TrilogError,
    "Cannot sync g",
  );
  node.host.stop();
  await Promise.all(refused);
  assertEquals([...node.host.replicas()], []);
});

Deno.test("a frame for a group that is not here reaches no other group", async () => {
  const cluster = new TestCluster(1, ["g", "h"]);
  for (const group of cluster.groups) await cluster.elected(group);
  const [node] = cluster.nodes;
  const terms = () => cluster.groups.map((group) => cluster.replica(node, group).raft.term);
  const before = terms();
  const term = 99;
  const rest = { round: 1, leaseMs: 0, commit: 0, synced: 0 };
  const message = { kind: "heartbeat_request", from: "n2", to: node.id, term, ...rest } as const;
  node.host.frame("n2", "nowhere", [FrameKind.raft, messageToWire(message)]);
  await cluster.run(100);
  assertEquals([terms(), node.host.refused.unknownGroup], [before, 1]);
});

Deno.test("a request for rest of a group that is not here is answered: its replica is gone", async () => {
  const cluster = new TestCluster(2);
  await cluster.elected();
  const [node, other] = cluster.nodes;
  const gone: string[] = [];
  const frame = other.host.frame.bind(other.host);
  other.host.frame = (from, group, body) => {
    if ((body as [number, unknown])[0] === FrameKind.gone) gone.push(`${group} at ${from}`);
    frame(from, group, body);
  };
  const rest = restCodec.encode({ term: 1, lastIndex: 1 });
  node.host.frame(other.id, "nowhere", [FrameKind.rest, rest]);
  await cluster.run(100);
  assertEquals(gone, [`nowhere at ${node.id}`]);
});
