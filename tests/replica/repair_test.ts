/** A replica whose log has rotted in places goes on, and repairs them from the other replicas. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { type Node, TestCluster } from "./cluster.ts";

const VALUE = new Uint8Array(300).fill(7);

async function put(cluster: TestCluster, count: number): Promise<void> {
  const leader = await cluster.elected();
  for (let at = 0; at < count; at += 10) {
    const replica = cluster.replica(leader);
    await cluster.settle(
      Promise.all(Array.from({ length: 10 }, () => replica.propose(VALUE))),
    );
  }
}

/** Damages `bytes` bytes in the middle of the oldest segment of a node. */
function rot(node: Node, bytes: number): void {
  const [segment] = node.disk.durableFiles().filter(({ path }) => path.endsWith(".segment"));
  const from = Math.floor(segment.sizeBytes / 2);
  for (let at = 0; at < bytes; at += 1) node.disk.rot(segment.path, from + at, 0xff);
}

/** A cluster with several segments whose third node lacks most of them; caches are empty. */
async function lagging(): Promise<{ cluster: TestCluster; third: Node; leader: Node }> {
  const cluster = new TestCluster(3);
  cluster.segmentBytes = 8 * 1024;
  cluster.compaction = "manual";
  const first = await cluster.elected();
  const third = cluster.nodes.find((node) => node !== first)!;
  cluster.kill(third);
  await put(cluster, 200);
  await cluster.level();
  for (const node of cluster.running) {
    cluster.kill(node);
    cluster.restart(node);
  }
  return { cluster, third, leader: await cluster.elected() };
}

function other(cluster: TestCluster, ...known: Node[]): Node {
  return cluster.nodes.find((node) => !known.includes(node))!;
}

/** Whether every entry of a node's log can be read. */
function isWhole(cluster: TestCluster, node: Node): boolean {
  const { store } = cluster.replica(node);
  try {
    for (let from = store.firstIndex(); from <= store.lastIndex(); from += 1) store.read(from, 1);
    return true;
  } catch (thrown) {
    assert(thrown instanceof TrilogError && thrown.code === "corrupt");
    return false;
  }
}

Deno.test("a leader that meets rot while another catches up repairs it and goes on leading", async () => {
  for (const bytes of [1, 100, 3_000]) {
    const { cluster, third, leader } = await lagging();
    rot(leader, bytes);
    assertEquals(isWhole(cluster, leader), false);
    const { term } = cluster.replica(leader).status();
    cluster.restart(third);
    await put(cluster, 10);
    await cluster.level();
    assertEquals(cluster.leader(), leader);
    assertEquals(cluster.replica(leader).status().term, term);
    assertEquals(cluster.machine(third).applied, 210);
    assertEquals([cluster.replica(leader).repair.underWay, isWhole(cluster, leader)], [
      false,
      true,
    ]);
    // The next start scans the segment, whose index file is gone, and finds it sound.
    cluster.kill(leader, "power");
    cluster.restart(leader);
    await cluster.level();
    assertEquals(isWhole(cluster, leader), true);
  }
});

Deno.test("a follower repairs what it cannot read for a client, from its leader", async () => {
  const { cluster, third, leader } = await lagging();
  const follower = other(cluster, third, leader);
  rot(follower, 500);
  const replica = cluster.replica(follower);
  const all = () => {
    for (let from = 1; from <= replica.appliedIndex; from += 1) replica.readCommitted(from, 1);
  };
  const refused = assertThrows(all, TrilogError, "are being repaired");
  assertEquals(refused.code, "unavailable");
  await cluster.until("it is repaired", () => !replica.repair.underWay);
  all();
});

Deno.test("rot that only a silent member could mend waits for it, and serves what is whole", async () => {
  const { cluster, third, leader } = await lagging();
  const second = other(cluster, third, leader);
  cluster.restart(third);
  rot(leader, 100);
  cluster.network.cut(second.id, leader.id);
  cluster.network.cut(leader.id, second.id);
  await cluster.until("the repair begins", () => cluster.replica(leader).repair.underWay);
  const { firstIndex } = cluster.replica(leader).status();
  assertEquals(cluster.replica(leader).readCommitted(firstIndex, 100).length > 0, true);
  await cluster.run(200);
  assertEquals(cluster.replica(leader).repair.underWay, true);
  cluster.network.heal();
  await cluster.level();
});

Deno.test("rot of which no member has a copy ends the replica", async () => {
  const cluster = new TestCluster(3);
  cluster.segmentBytes = 8 * 1024;
  cluster.compaction = "manual";
  await put(cluster, 200);
  await cluster.level();
  const nodes = cluster.running;
  for (const node of nodes) rot(node, 100);
  const [node] = nodes;
  const replica = cluster.replica(node);
  for (let from = replica.status().firstIndex; from < 100; from += 1) {
    try {
      replica.readCommitted(from, 1);
    } catch (thrown) {
      assertEquals((thrown as TrilogError).code, "unavailable");
      break;
    }
  }
  const ended = () => nodes.some(({ fatal }) => fatal !== null);
  assert(await cluster.scheduler.runUntil(cluster.scheduler.nowMs + 10_000, ended));
  for (const { fatal } of nodes) {
    if (fatal !== null) assertEquals((fatal as TrilogError).code, "corrupt");
  }
});

Deno.test("rot in a closed segment that nothing asks for is found and repaired in the background", async () => {
  const cluster = new TestCluster(3);
  cluster.segmentBytes = 8 * 1024;
  cluster.compaction = "manual";
  await put(cluster, 200);
  await cluster.level();
  // The pass after the start may be over: each node's next one begins with its next start.
  for (const node of cluster.running) {
    cluster.kill(node);
    rot(node, node === cluster.nodes[1] ? 700 : 0);
    cluster.restart(node);
  }
  const [, damaged] = cluster.nodes;
  assertEquals(isWhole(cluster, damaged), false);
  await cluster.until("it is whole", () => isWhole(cluster, damaged));
});

Deno.test("a lone replica reports rot in its closed segments and goes on", async () => {
  const cluster = new TestCluster(1);
  cluster.segmentBytes = 8 * 1024;
  cluster.compaction = "manual";
  await put(cluster, 200);
  const [node] = cluster.nodes;
  cluster.kill(node);
  rot(node, 100);
  cluster.restart(node);
  await cluster.elected();
  await cluster.run(2_000);
  assertEquals(isWhole(cluster, node), false);
  await put(cluster, 10);
});

Deno.test("entries of another term mend nothing", async () => {
  const { cluster, third, leader } = await lagging();
  const follower = other(cluster, third, leader);
  rot(follower, 500);
  for (const node of [third, leader]) {
    cluster.network.cut(follower.id, node.id);
    cluster.network.cut(node.id, follower.id);
  }
  const { repair, appliedIndex, store } = cluster.replica(follower);
  for (let from = 1; from <= appliedIndex && !repair.underWay; from += 1) repair.read(from, 1);
  await cluster.until("the damage is located", () => repair["damage"] !== null);
  const { first, last } = repair["damage"]!;
  const entries = cluster.replica(leader).store.read(first, 100_000)
    .filter(({ index }) => index <= last);
  repair.take(leader.id, first, entries.map((entry) => ({ ...entry, term: entry.term + 1 })));
  assertThrows(() => store.read(first, 1), TrilogError);
  repair.take(leader.id, first, entries);
  assertEquals(store.read(first, 100_000).slice(0, entries.length), entries);
});

Deno.test("a repair that has no room to close the newest segment waits for it", async () => {
  const cluster = new TestCluster(3);
  await put(cluster, 30);
  await cluster.level();
  const leader = await cluster.elected();
  const follower = other(cluster, leader);
  rot(follower, 100);
  const replica = cluster.replica(follower);
  follower.disk.remove("g0/reserve");
  follower.disk.fill(0);
  const all = () => {
    for (let from = 1; from <= replica.appliedIndex; from += 1) replica.readCommitted(from, 1);
  };
  assertThrows(all, TrilogError, "are being repaired");
  await cluster.run(2_000);
  assertEquals(replica.repair.underWay, true);
  follower.disk.setCapacity(null);
  await cluster.until("it is repaired", () => !replica.repair.underWay);
  all();
});
