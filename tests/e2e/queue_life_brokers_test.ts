/** Brokers that join, leave, die for good and return, without a restart of anybody else. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { assertAllThere, Feed } from "./feed.ts";
import { eventually, type Harness, withHarness } from "./harness.ts";
import { QueueCluster } from "./queue_cluster.ts";

const QUICK = ["--heartbeat-interval", "200ms", "--time-to-dead", "1500ms"];

async function started(
  harness: Harness,
  brokers: number,
  partitions: number,
  flags: readonly string[] = [],
): Promise<QueueCluster> {
  const cluster = new QueueCluster(harness, { brokers, managerFlags: [...QUICK, ...flags] });
  await cluster.ready();
  await cluster.createTopic("t", partitions);
  await cluster.allOk();
  return cluster;
}

/** What each broker holds and leads, by name. */
async function loads(cluster: QueueCluster): Promise<Record<string, [number, number]>> {
  const { brokers } = await cluster.status();
  return Object.fromEntries(brokers.map(({ id, hosted, led }) => [id, [hosted, led]]));
}

/** Waits until the brokers' numbers of replicas, and of leaders, differ by at most one. */
async function evenedOut(cluster: QueueCluster): Promise<void> {
  let last = "";
  await eventually("even loads", async () => {
    const all = Object.values(await loads(cluster));
    last = JSON.stringify(all);
    const even = [0, 1].every((at) => {
      const counts = all.map((load) => load[at]);
      return Math.max(...counts) - Math.min(...counts) <= 1;
    });
    return even || null;
  }).catch((error) => {
    throw new Error(`${error.message}; ${last}`);
  });
}

Deno.test("a fourth and fifth broker that join under load get their share by themselves", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness, 3, 10);
    const feed = new Feed(cluster, "t");
    await feed.progress(100);
    cluster.addBroker("b4");
    cluster.addBroker("b5");
    await cluster.ready();
    await evenedOut(cluster);
    await cluster.allOk();
    await feed.progress(100);
    await feed.finish();
    assertEquals((await loads(cluster)).b5[0], 6);
    await assertAllThere(cluster, "t", feed.given);
  });
});

Deno.test("with --rebalance off only the command evens out, and it moves what was placed by hand", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness, 3, 4, ["--rebalance", "off"]);
    await cluster.done(["cluster", "move", "t/0", "--to", "b3,b2,b1"]);
    cluster.addBroker("b4");
    await cluster.ready();
    assertEquals((await loads(cluster)).b4, [0, 0]);
    const printed = await cluster.done(["cluster", "rebalance", "--json"]);
    const lines = printed.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(lines.map(({ broker, hosted }) => [broker, hosted]), [
      ["b1", 3],
      ["b2", 3],
      ["b3", 3],
      ["b4", 3],
    ]);
    await evenedOut(cluster);
    // Nothing is left to do, so that the same command again ends at once.
    await cluster.done(["cluster", "rebalance"]);
  });
});

Deno.test("what was placed by hand stays there, however uneven", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness, 3, 3);
    for (const at of [0, 1, 2]) {
      await cluster.done(["cluster", "move", `t/${at}`, "--to", "b1,b2,b3"]);
    }
    cluster.addBroker("b4");
    await cluster.ready();
    await cluster.createTopic("u", 1);
    await cluster.allOk();
    await eventually("b1 to lead what it was given", async () => {
      return (await loads(cluster)).b1[1] === 3 || null;
    });
    assertEquals((await loads(cluster)).b4[0], 1, "only the new topic's replica");
  });
});

Deno.test("a broker is drained under load, interrupted and repeated, and then removed", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness, 4, 6);
    const [leaving, second] = cluster.brokers;
    const feed = new Feed(cluster, "t");
    await feed.progress(100);
    const refused = await cluster.run(["cluster", "remove", "b2"]);
    assertEquals(refused.code, 1);
    assertStringIncludes(refused.stderr, "drain it first");
    const interrupted = cluster.start("cluster", "drain", leaving.id);
    await interrupted.line("stderr", /b1 leads \d+ partitions? and holds \d+ replica/);
    interrupted.signal("SIGINT");
    await interrupted.status();
    assertEquals(await cluster.done(["cluster", "drain", leaving.id]), "b1 is empty\n");
    await cluster.hosts(leaving, 0);
    assertEquals((await loads(cluster)).b1, [0, 0]);
    await feed.progress(100);
    assertEquals(await cluster.done(["cluster", "remove", leaving.id]), "b1 is removed\n");
    assertEquals(await leaving.process.status(), 1, "it is told so, and ends");
    assertStringIncludes(leaving.process.text("stderr"), "removed from the cluster");
    assertEquals(Object.keys(await loads(cluster)), ["b2", "b3", "b4"]);
    const tooFew = await cluster.run(["cluster", "drain", second.id]);
    assertEquals(tooFew.code, 1);
    assertStringIncludes(tooFew.stderr, "not_enough_brokers");
    await feed.finish();
    await cluster.allOk();
    await assertAllThere(cluster, "t", feed.given);
  });
});

Deno.test("a broker that stays dead is replaced, is told so when it returns, and may be removed", async () => {
  await withHarness(async (harness) => {
    const flags = ["--replace-after", "1s", "--rebalance", "off"];
    const cluster = await started(harness, 4, 4, flags);
    const feed = new Feed(cluster, "t");
    await feed.progress(100);
    const [victim] = cluster.brokers;
    await victim.process.kill();
    await eventually("its replicas to be elsewhere", async () => {
      const { brokers, partitions } = await cluster.status();
      const replaced = brokers.find(({ id }) => id === victim.id)?.held === 0;
      return replaced && partitions.every(({ state }) => state === "ok") || null;
    });
    await feed.progress(100);
    cluster.restart(victim);
    await cluster.hosts(victim, 0);
    await feed.finish();
    await assertAllThere(cluster, "t", feed.given);
    await victim.process.kill();
    await cluster.done(["cluster", "remove", victim.id]);
    cluster.restart(victim);
    assertEquals(await victim.process.status(), 1);
    assertStringIncludes(victim.process.text("stderr"), "removed from the cluster");
    // With an empty disk it is a new broker that happens to have the name.
    Deno.removeSync(`${cluster.data}/${victim.id}`, { recursive: true });
    cluster.restart(victim);
    await cluster.ready();
    assertEquals((await loads(cluster)).b1, [0, 0]);
  });
});

Deno.test("leaders are spread, and come back to a broker that was away", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness, 3, 6);
    const spread = { b1: [6, 2], b2: [6, 2], b3: [6, 2] };
    await eventually("leaders to be spread", async () => {
      return JSON.stringify(await loads(cluster)) === JSON.stringify(spread) || null;
    });
    for (const broker of [cluster.brokers[0], cluster.brokers[1]]) {
      await broker.process.kill();
      await eventually("others to lead", async () => {
        return (await loads(cluster))[broker.id][1] === 0 || null;
      });
      cluster.restart(broker);
      await eventually("its leaderships to be back", async () => {
        return JSON.stringify(await loads(cluster)) === JSON.stringify(spread) || null;
      });
    }
  });
});
