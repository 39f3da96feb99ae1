import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { CatchUp, type CaughtUp } from "../../lib/replica/catch_up.ts";
import { type Node, TestCluster } from "./cluster.ts";

interface Told extends CaughtUp {
  readonly node: string;
}

function watched(segmentBytes = 64 * 1024): { cluster: TestCluster; told: Told[] } {
  const told: Told[] = [];
  const observer = (node: Node) =>
    new CatchUp((caughtUp) => told.push({ ...caughtUp, node: node.id }));
  const cluster = new TestCluster(3, ["g"], 1, { observer, segmentBytes });
  return { cluster, told };
}

async function write(cluster: TestCluster, count: number): Promise<void> {
  const leader = await cluster.elected();
  for (let at = 0; at < count; at += 1) {
    await cluster.settle(cluster.replica(leader).propose(utf8(`value ${at}`)));
  }
}

Deno.test("a replica that was away reports how many entries it got, and from which leader", async () => {
  const { cluster, told } = watched();
  await write(cluster, 3);
  const leader = await cluster.elected();
  const away = cluster.nodes.find((node) => node !== leader)!;
  await cluster.level();
  told.length = 0;
  cluster.kill(away);
  await write(cluster, 11);
  cluster.restart(away);
  await cluster.level();
  assertEquals(told.map(({ node, entries, from }) => ({ node, entries, from })), [
    { node: away.id, entries: 11, from: leader.id },
  ]);
});

Deno.test("entries that arrive as they are made, a restart and a rest are no catching up", async () => {
  const { cluster, told } = watched();
  await write(cluster, 20);
  await cluster.run(5_000);
  await write(cluster, 5);
  await cluster.level();
  const leader = await cluster.elected();
  const follower = cluster.nodes.find((node) => node !== leader)!;
  cluster.kill(follower);
  cluster.restart(follower);
  await cluster.run(3_000);
  await write(cluster, 5);
  await cluster.level();
  assertEquals(told, []);
});

Deno.test("entries that come in a snapshot count as well", async () => {
  const { cluster, told } = watched(4_096);
  await write(cluster, 3);
  const leader = await cluster.elected();
  const away = cluster.nodes.find((node) => node !== leader)!;
  await cluster.level();
  told.length = 0;
  cluster.kill(away);
  const before = cluster.replica(leader).raft.lastIndex;
  await write(cluster, 300);
  cluster.restart(away);
  await cluster.level();
  assert(cluster.replica(leader).status().firstIndex > before, "the log no longer reaches back");
  assertEquals(told.map(({ node, entries }) => ({ node, entries })), [
    { node: away.id, entries: cluster.replica(leader).raft.lastIndex - before },
  ]);
});
