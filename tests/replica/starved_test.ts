import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { type Node, TestCluster } from "./cluster.ts";

/** Has nodes run for `onMs` and be stopped for `offMs`, again and again until `untilMs`. */
function starve(
  cluster: TestCluster,
  nodes: readonly Node[],
  [onMs, offMs]: readonly [number, number],
  untilMs: number,
): void {
  const { scheduler, random } = cluster;
  for (const node of nodes) {
    const run = () => {
      node.process.resume();
      if (scheduler.nowMs < untilMs) scheduler.after(onMs, "stop", stop);
    };
    const stop = () => {
      node.process.pause();
      scheduler.after(offMs, "run", run);
    };
    scheduler.after(random.next() * (onMs + offMs), "stop", stop);
  }
}

for (const duty of [[40, 60], [40, 160], [50, 400]] as const) {
  Deno.test(`processes that run ${duty[0]} ms of ${duty[0] + duty[1]} ms keep their leader`, async () => {
    const cluster = new TestCluster(3, ["g"], 5, { restAfterMs: Infinity });
    const leader = await cluster.elected();
    const { term } = cluster.replica(leader).raft;
    starve(cluster, cluster.nodes, duty, cluster.scheduler.nowMs + 60_000);
    let acknowledged = 0;
    while (cluster.scheduler.nowMs < 58_000) {
      const at = cluster.leader();
      if (at === undefined) await cluster.run(10);
      else {
        await cluster.run(100);
        await cluster.settle(cluster.replica(at).propose(utf8("x"))).then(
          () => acknowledged += 1,
          () => {},
        );
      }
    }
    await cluster.run(10_000);
    const terms = cluster.replica(await cluster.elected()).raft.term - term;
    assert(terms <= 1, `${terms} terms went by`);
    assert(acknowledged > 30, `${acknowledged} commands were acknowledged`);
  });
}

Deno.test("groups at rest stay at rest while their processes are starved", async () => {
  const groups = Array.from({ length: 20 }, (_, at) => `g${at}`);
  const cluster = new TestCluster(3, groups, 6);
  for (const group of groups) await cluster.elected(group);
  const resting = () =>
    cluster.nodes.every(({ host }) => [...host.replicas()].every((replica) => replica.resting));
  await cluster.until("every group is at rest", resting);
  const terms = () => groups.map((group) => cluster.replica(cluster.nodes[0], group).raft.term);
  const before = terms();
  starve(cluster, cluster.nodes, [40, 360], cluster.scheduler.nowMs + 20_000);
  await cluster.run(25_000);
  assertEquals(terms(), before);
  assert(resting());
});

Deno.test("a leader that hangs is replaced within the usual time although all were starved before", async () => {
  const cluster = new TestCluster(3, ["g"], 7, { restAfterMs: Infinity });
  const leader = await cluster.elected();
  starve(cluster, cluster.nodes, [40, 60], cluster.scheduler.nowMs + 5_000);
  await cluster.run(12_000);
  const hung = cluster.leader() ?? leader;
  hung.process.pause();
  const sinceMs = cluster.scheduler.nowMs;
  await cluster.until(
    "another leader",
    () => cluster.nodes.some((node) => node !== hung && cluster.replica(node).isLeader),
  );
  assert(cluster.scheduler.nowMs - sinceMs < 1_000, `${cluster.scheduler.nowMs - sinceMs} ms`);
});

Deno.test("while all are starved a hung leader is still replaced within the bound", async () => {
  const cluster = new TestCluster(3, ["g"], 8, { restAfterMs: Infinity });
  const leader = await cluster.elected();
  const others = cluster.nodes.filter((node) => node !== leader);
  starve(cluster, others, [40, 60], cluster.scheduler.nowMs + 60_000);
  await cluster.run(5_000);
  leader.process.pause();
  const sinceMs = cluster.scheduler.nowMs;
  await cluster.until(
    "another leader",
    () => others.some((node) => cluster.replica(node).isLeader),
    30_000,
  );
  // Four election timeouts of running time, of which they get four tenths, and the votes.
  const tookMs = cluster.scheduler.nowMs - sinceMs;
  assert(tookMs < 4 * 300 / 0.4 + 1_000, `${tookMs} ms`);
});
