/** Servers that get only a part of a processor, as under `cpulimit`: stopped and continued in turns. */

import { assert } from "@std/assert";
import { assertComplete, Feed } from "./feed.ts";
import { eventually, nowMs, sleep, withHarness } from "./harness.ts";
import { QueueCluster, type Server } from "./queue_cluster.ts";

const ON_MS = 40;
const OFF_MS = 360;
const STARVED_MS = 6_000;
const PARTITIONS = 12;

/** Has a server run for 40 ms of each 400 ms, from its own moment on, until the time is over. */
async function starve({ process }: Server, untilMs: number): Promise<void> {
  await sleep(Math.random() * (ON_MS + OFF_MS));
  while (nowMs() < untilMs) {
    process.signal("SIGSTOP");
    await sleep(OFF_MS);
    process.signal("SIGCONT");
    await sleep(ON_MS);
  }
}

/** Leaders that were elected so far, of the managers and of all partitions. */
function elections(cluster: QueueCluster): number {
  return cluster.servers.flatMap(({ process }) => process.lines("stderr"))
    .filter((line) => line.includes("became leader")).length;
}

Deno.test("servers that run 40 ms of each 400 ms keep their leaders, and nothing is lost", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    await cluster.createTopic("t");
    await cluster.createTopic("quiet", PARTITIONS);
    await cluster.allOk();
    // Leaderships that go to the preferred brokers at the start are no elections under load.
    await eventually("every partition to be led by its first replica", async () => {
      const { partitions } = await cluster.status();
      return partitions.every(({ leader, replicas }) => leader === replicas[0]) || null;
    });
    const feed = new Feed(cluster, "t");
    await feed.progress(100);
    const before = elections(cluster);
    const acknowledged = feed.acknowledged;
    const untilMs = nowMs() + STARVED_MS;
    await Promise.all(cluster.servers.map((server) => starve(server, untilMs)));
    const elected = elections(cluster) - before;
    const served = feed.acknowledged - acknowledged;
    // The machine that runs the tests may itself stop a process for longer, now and then.
    assert(elected <= 3, `${elected} leaders were elected`);
    assert(served > 20, `${served} messages were acknowledged meanwhile`);
    await feed.finish();
    await assertComplete(cluster, feed.given);
  });
});
