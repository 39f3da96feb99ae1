import { assert, assertEquals, assertRejects } from "@std/assert";
import { displayText, utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import { GroupService } from "../../lib/replica/group_service.ts";
import { type Node, TestCluster, TIMING } from "./cluster.ts";

const LEASE = { leaseMs: 200, clockErrorRatio: 0.01 };
const NOTHING = new Uint8Array(0);

function leasedCluster(size = 3, seed = 1): TestCluster {
  return new TestCluster(size, ["g"], seed, { lease: LEASE });
}

/** The service of a node's process as it stands now. */
function serviceOf(cluster: TestCluster, node: Node): GroupService {
  return new GroupService({
    clock: node.clock,
    random: new Prng(7),
    caller: { call: () => Promise.reject(new TrilogError("unavailable", "Cannot call: alone")) },
    replica: () => cluster.replica(node),
    addressOf: (id) => `${id}:1`,
    reads: "lease",
  });
}

async function write(cluster: TestCluster, node: Node, text: string): Promise<void> {
  await cluster.settle(cluster.replica(node).propose(utf8(text)));
}

/** The registers' machines answer any question with their value. */
async function read(cluster: TestCluster, node: Node, deadlineMs = 4_000): Promise<string> {
  const answer = serviceOf(cluster, node).query(NOTHING, false, deadlineMs);
  return displayText(await cluster.settle(answer));
}

function cutOff(cluster: TestCluster, node: Node): void {
  for (const { id } of cluster.nodes) {
    if (id === node.id) continue;
    cluster.network.cut(node.id, id);
    cluster.network.cut(id, node.id);
  }
}

async function electedBut(cluster: TestCluster, old: Node): Promise<Node> {
  await cluster.until(
    "another leader may answer alone",
    () => cluster.nodes.some((node) => node !== old && cluster.replica(node).mayAnswerAlone),
  );
  return cluster.nodes.find((node) => node !== old && cluster.replica(node).mayAnswerAlone)!;
}

Deno.test("a read under a lease costs no message and no time", async () => {
  const cluster = leasedCluster();
  const leader = await cluster.elected();
  await write(cluster, leader, "blue");
  await cluster.run(20);
  const service = serviceOf(cluster, leader);
  const sent = () => cluster.nodes.reduce((sum, node) => sum + node.framesSent, 0);
  const before = { sent: sent(), nowMs: cluster.scheduler.nowMs };
  for (let at = 0; at < 1_000; at += 1) {
    assertEquals(displayText(await service.query(NOTHING)), "blue");
  }
  assertEquals({ sent: sent(), nowMs: cluster.scheduler.nowMs }, before);
  // Heartbeats go on as they would without a single read.
  await cluster.run(1_000);
  const idle = sent() - before.sent;
  for (let at = 0; at < 1_000; at += 1) {
    await cluster.run(1);
    await service.query(NOTHING);
  }
  assertEquals(sent() - before.sent - idle, idle);
});

Deno.test("who does not lead names the leader and answers nothing", async () => {
  const cluster = leasedCluster();
  const leader = await cluster.elected();
  await write(cluster, leader, "blue");
  await cluster.level();
  for (const node of cluster.nodes.filter((other) => other !== leader)) {
    const service = serviceOf(cluster, node);
    const error = await assertRejects(() => service.query(NOTHING), TrilogError);
    assertEquals([error.code, error.leader], ["not_leader", `${leader.id}:1`]);
    assertEquals(displayText(await service.query(NOTHING, true)), "blue", "stale is stale");
  }
});

Deno.test("a leader that is cut off answers until its lease is over, then says unavailable", async () => {
  const cluster = leasedCluster();
  const leader = await cluster.elected();
  await write(cluster, leader, "blue");
  await cluster.run(500);
  cutOff(cluster, leader);
  const cutMs = cluster.scheduler.nowMs;
  assertEquals(await read(cluster, leader), "blue");
  await cluster.until("the lease is over", () => !cluster.replica(leader).mayAnswerAlone);
  assert(cluster.scheduler.nowMs - cutMs <= LEASE.leaseMs, "the lease counts from the sending");
  const error = await assertRejects(() => read(cluster, leader, 100), TrilogError);
  assertEquals(error.code, "unavailable");
  await cluster.until("it steps down", () => !cluster.replica(leader).isLeader);
});

Deno.test("a leader paused for twice the timeout never answers with an old value", async () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    const cluster = leasedCluster(3, seed);
    const old = await cluster.elected();
    await write(cluster, old, "old");
    const service = serviceOf(cluster, old);
    await cluster.run(100);
    old.process.pause();
    const pausedMs = cluster.scheduler.nowMs;
    const next = await electedBut(cluster, old);
    await write(cluster, next, "new");
    await cluster.run(
      Math.max(0, 2 * TIMING.electionTimeoutMs + pausedMs - cluster.scheduler.nowMs),
    );
    assert(cluster.replica(old).isLeader, "it does not know better yet");
    old.process.resume();
    // The very first thing that it does after the pause is to answer this read.
    const answer = await cluster.settle(
      service.query(NOTHING).then(displayText, (error) => error.code),
    );
    assert(["new", "not_leader", "unavailable"].includes(answer), `seed ${seed}: ${answer}`);
  }
});

Deno.test("a jump of the wall clock neither lengthens nor shortens a lease", async () => {
  for (const jumpMs of [-3_600_000, 3_600_000]) {
    const cluster = leasedCluster();
    const leader = await cluster.elected();
    await write(cluster, leader, "old");
    await cluster.run(100);
    leader.clock.jumpWall(jumpMs);
    assertEquals(await read(cluster, leader), "old");
    cutOff(cluster, leader);
    const next = await electedBut(cluster, leader);
    assert(!cluster.replica(leader).mayAnswerAlone);
    await write(cluster, next, "new");
    const error = await assertRejects(() => read(cluster, leader, 100), TrilogError);
    assertEquals(error.code, "unavailable");
  }
});

Deno.test("nothing is committed anywhere while an old leader may still answer alone", async () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    const cluster = leasedCluster(5, seed);
    const old = await cluster.elected();
    await write(cluster, old, "old");
    await cluster.run(100);
    cutOff(cluster, old);
    // The others are told at once, so that their election comes before the lease is over.
    for (const node of cluster.nodes) {
      if (node === old) continue;
      cluster.replica(node).step({ kind: "peer_unreachable", peer: old.id });
    }
    const known = cluster.replica(old).raft.commitIndex;
    let waited = 0;
    await cluster.until("the others' leader answers", () => {
      const committed = cluster.nodes.map((node) => cluster.replica(node).raft.commitIndex);
      const leads = cluster.nodes.some((node) => node !== old && cluster.replica(node).isLeader);
      if (cluster.replica(old).mayAnswerAlone) {
        assertEquals(Math.max(...committed), known, `seed ${seed}`);
        if (leads) waited += 1;
      }
      return cluster.nodes.some((node) => node !== old && cluster.replica(node).mayAnswerAlone);
    });
    assert(waited > 0, `seed ${seed}: the new leader had to wait`);
  }
});

Deno.test("after a restart a node owes the longest lease that it may have forgotten", async () => {
  const cluster = leasedCluster();
  await cluster.elected();
  for (const node of cluster.nodes) cluster.kill(node);
  for (const node of cluster.nodes) cluster.restart(node);
  const startedMs = cluster.scheduler.nowMs;
  const leader = await cluster.elected();
  assert(cluster.replica(leader).isLeader);
  assert(cluster.scheduler.nowMs - startedMs >= LEASE.leaseMs);
});

Deno.test("a leader without a lease asks a quorum, and answers nothing where none hears it", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  await write(cluster, leader, "old");
  assertEquals(cluster.replica(leader).mayAnswerAlone, false);
  assertEquals(await read(cluster, leader), "old");
  cutOff(cluster, leader);
  const error = await assertRejects(() => read(cluster, leader, 100), TrilogError);
  assertEquals(error.code, "unavailable");
});

Deno.test("what is committed and not yet applied keeps the leader from answering", async () => {
  const cluster = leasedCluster();
  const leader = await cluster.elected();
  await write(cluster, leader, "old");
  const replica = cluster.replica(leader);
  const writing = replica.propose(utf8("new"));
  await cluster.until("it is committed", () => replica.raft.commitIndex > replica.appliedIndex);
  assertEquals(replica.mayAnswerAlone, false);
  assertEquals(await read(cluster, leader), "new");
  await cluster.settle(writing);
});
