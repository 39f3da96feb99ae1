import { assert, assertEquals } from "@std/assert";
import { assertComplete, Feed } from "./feed.ts";
import { eventually, type Harness, nowMs, sleep, withHarness } from "./harness.ts";
import { numberedLines, QueueCluster, type Server } from "./queue_cluster.ts";

async function started(harness: Harness, flags: readonly string[] = []): Promise<QueueCluster> {
  const cluster = new QueueCluster(harness, { managerFlags: flags });
  await cluster.ready();
  await cluster.createTopic("t");
  return cluster;
}

/** Kills a server while messages flow, sees them go on, and starts it again. */
async function survive(cluster: QueueCluster, feed: Feed, victim: Server): Promise<void> {
  await feed.progress(100);
  await victim.process.kill();
  await feed.progress(200);
  cluster.restart(victim);
  await victim.process.line("stderr", /^listening on/);
}

Deno.test("any broker may be killed (-9) while messages flow: nothing lost, doubled or reordered", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    const follower = cluster.start("consume", "t", "--follow");
    const feed = new Feed(cluster, "t");
    await survive(cluster, feed, await cluster.leader("t"));
    for (const broker of cluster.brokers) {
      await cluster.ready();
      await survive(cluster, feed, broker);
    }
    await feed.finish();
    await assertComplete(cluster, feed.given);
    await eventually("the consumer that was running all the time to have everything", () => {
      return follower.lines("stdout").length >= feed.given || null;
    });
    assertEquals([...follower.lines("stdout")], numberedLines(0, feed.given));
  });
});

Deno.test("any manager may be killed (-9) while messages flow, the leading one too", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    const feed = new Feed(cluster, "t");
    for (const manager of [await cluster.leadingManager(), ...cluster.managers]) {
      await survive(cluster, feed, manager);
      await cluster.status();
    }
    await feed.finish();
    await assertComplete(cluster, feed.given);
    await cluster.createTopic("another");
  });
});

Deno.test("after kill -9 of everything at once all that was acknowledged is there", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    await cluster.done(["produce", "t"], numberedLines(0, 3_000).map((l) => `${l}\n`).join(""));
    await Promise.all(cluster.servers.map(({ process }) => process.kill()));
    for (const server of cluster.servers) cluster.restart(server);
    await cluster.ready();
    await assertComplete(cluster, 3_000);
    await cluster.done(["produce", "t"], "line 3000\n");
    await assertComplete(cluster, 3_001);
  });
});

Deno.test("a producer waits for brokers that are all away and delivers when they return", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    const feed = new Feed(cluster, "t");
    await feed.progress(100);
    await Promise.all(cluster.brokers.map(({ process }) => process.kill()));
    await sleep(500);
    for (const broker of cluster.brokers) cluster.restart(broker);
    await feed.progress(100);
    await feed.finish();
    await assertComplete(cluster, feed.given);
  });
});

Deno.test("a broker that is stopped in an orderly way leaves hardly a gap", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    const feed = new Feed(cluster, "t");
    await feed.progress(100);
    const leader = await cluster.leader("t");
    const startMs = nowMs();
    assertEquals(await leader.process.terminate(), 0);
    await feed.progress(100);
    assert(nowMs() - startMs < 5_000);
    cluster.restart(leader);
    await feed.finish();
    await assertComplete(cluster, feed.given);
  });
});

Deno.test("a broker that missed messages has them all when it leads", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    const late = cluster.brokers.find((broker) => broker !== undefined)!;
    await late.process.kill();
    await cluster.done(["produce", "t"], numberedLines(0, 2_000).map((l) => `${l}\n`).join(""));
    cluster.restart(late);
    await cluster.ready();
    // One of the other two dies: the majority for the next message includes the one that was away.
    const others = cluster.brokers.filter((broker) => broker !== late);
    await others[0].process.kill();
    await cluster.done(["produce", "t"], "line 2000\n");
    await assertComplete(cluster, 2_001);
  });
});
