/** A consumer group that grows by a crowd while others produce. */

import { assert } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { Client } from "../../lib/client/client.ts";
import type { Consumer } from "../../lib/client/consumer.ts";
import { eventually, nowMs, sleep, withHarness } from "../e2e/harness.ts";
import { QueueCluster } from "../e2e/queue_cluster.ts";

const PARTITIONS = 100;
const MEMBERS = 60;
/**
 * Bounds for a machine that runs other tests as well; alone the group settles in one second, no
 * leader is elected and no message takes half a second. Without what this test is about there were
 * thousands of elections and messages of twenty seconds.
 */
const SETTLE_MS = 8_000;
const PRODUCE_MS = 2_000;
const MOST_ELECTIONS = 2;

function elections(cluster: QueueCluster): number {
  return cluster.servers.flatMap(({ process }) => process.lines("stderr"))
    .filter((line) => line.includes("became leader")).length;
}

/** Sends one message after the other; `stop` gives the longest time that one took. */
function probe(client: Client): { stop: () => Promise<number> } {
  const producer = client.producer();
  let longestMs = 0;
  let going = true;
  const work = (async () => {
    while (going) {
      const startMs = nowMs();
      await producer.send("probe", { value: utf8("x") });
      longestMs = Math.max(longestMs, nowMs() - startMs);
      await sleep(20);
    }
    await producer.stop();
  })();
  return {
    stop: async () => {
      going = false;
      await work;
      return longestMs;
    },
  };
}

Deno.test("sixty members that join at once share a hundred partitions within seconds, and leaders stay", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    await cluster.createTopic("probe");
    await cluster.createTopic("t", PARTITIONS);
    await cluster.allOk();
    await eventually("every partition to be led by its first replica", async () => {
      const { partitions } = await cluster.status();
      return partitions.every(({ leader, replicas }) => leader === replicas[0]) || null;
    });
    const bootstrap = cluster.bootstrap.split(",");
    const newClient = () => Client.unconnected({ bootstrap });
    const clients = [newClient()];
    const before = elections(cluster);
    const probing = probe(clients[0]);
    const consumers: Consumer[] = [];
    for (let at = 0; at < MEMBERS; at += 1) {
      const client = newClient();
      clients.push(client);
      const consumer = client.consumer("g", ["t"]);
      consumers.push(consumer);
      void consumer.next();
    }
    const startMs = nowMs();
    const shares = () => consumers.map(({ assigned }) => assigned.length);
    await eventually("the group to be settled", () => {
      const even = shares().every((share) => share === 1 || share === 2);
      return (even && shares().reduce((sum, share) => sum + share, 0) === PARTITIONS) || null;
    });
    const tookMs = nowMs() - startMs;
    const longestMs = await probing.stop();
    await Promise.all(consumers.map((consumer) => consumer.stop()));
    for (const client of clients) client.close();
    assert(tookMs < SETTLE_MS, `it took ${tookMs} ms`);
    assert(longestMs < PRODUCE_MS, `a message took ${longestMs} ms`);
    const elected = elections(cluster) - before;
    assert(elected <= MOST_ELECTIONS, `${elected} leaders were elected`);
  });
});
