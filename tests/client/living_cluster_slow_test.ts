/** One cluster, one client that lives through what happens to servers and topics. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { textOf, utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { Client } from "../../lib/client/client.ts";
import { eventually, type Harness, nowMs, withHarness } from "../e2e/harness.ts";
import { QueueCluster } from "../e2e/queue_cluster.ts";

async function world(
  run: (cluster: QueueCluster, client: Client) => Promise<void>,
): Promise<void> {
  await withHarness(async (harness: Harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    await cluster.createTopic("t");
    await cluster.leader("t");
    const client = await Client.connect({ bootstrap: cluster.bootstrap.split(",") });
    try {
      await run(cluster, client);
    } finally {
      client.close();
    }
  });
}

/** All messages of a partition, from its first on. */
async function messages(client: Client, topic: string, partition = 0): Promise<string[]> {
  const end = await client.offset(topic, partition, "latest");
  const reader = client.reader(topic, partition, { from: 0 });
  const texts: string[] = [];
  while (reader.offset < end) {
    texts.push(...(await reader.next()).records.map(({ value }) => textOf(value!)));
  }
  return texts;
}

Deno.test("a hung leader costs clients little more than the time to another, and nothing is sent twice", async () => {
  await world(async (cluster, client) => {
    const producer = client.producer();
    let sent = 0;
    let longestMs = 0;
    let going = true;
    const feeding = (async () => {
      while (going) {
        const startMs = nowMs();
        await producer.send("t", { value: utf8(`${sent++}`) });
        longestMs = Math.max(longestMs, nowMs() - startMs);
      }
    })();
    await eventually("messages to flow", () => sent > 50 || null);
    longestMs = 0;
    const leader = await cluster.leader("t");
    leader.process.signal("SIGSTOP");
    const before = sent;
    await eventually("messages to flow again", () => sent > before + 50 || null);
    leader.process.signal("SIGCONT");
    going = false;
    await feeding;
    // Elections take 300 to 600 ms here, more where the processors are busy; an attempt takes 3 s.
    assert(longestMs < 2_000, `the longest send took ${longestMs} ms`);
    assertEquals(await messages(client, "t"), Array.from({ length: sent }, (_, at) => `${at}`));
    await producer.stop();
  });
});

Deno.test("added partitions and topics made again are learnt by a client that goes on", async () => {
  await world(async (cluster, client) => {
    const producer = client.producer();
    const reader = client.reader("t", 0, { from: 0 });
    const restarting = client.reader("t", 0, { from: 0, onReplaced: "restart" });
    for (let count = 0; count < 5; count += 1) await producer.send("t", { value: utf8("old") });
    assertEquals((await reader.next()).records.length, 5);
    assertEquals((await restarting.next()).records.length, 5);

    await cluster.done(["topic", "alter", "t", "--partitions", "8"]);
    const last = await producer.send("t", { value: utf8("to the last"), partition: 7 });
    assertEquals(last, { partition: 7, offset: 0 });
    await eventually("keys to be spread over all partitions", async () => {
      const key = utf8(`key ${Math.random()}`);
      return (await producer.send("t", { key, value: utf8("spread") })).partition > 1 || null;
    });

    await cluster.done(["topic", "delete", "t"]);
    await cluster.createTopic("t");
    const again = await producer.send("t", { value: utf8("new"), partition: 0 });
    assertEquals(again, { partition: 0, offset: 0 });
    assertEquals(await messages(client, "t"), ["new"]);
    const error = await assertRejects(async () => {
      for (;;) await reader.next();
    }, TrilogError);
    assertEquals(error.code, "topic_replaced");
    let { records } = await restarting.next();
    while (records.length === 0) ({ records } = await restarting.next());
    assertEquals(records.map(({ value }) => textOf(value!)), ["new"]);
    await producer.stop();
  });
});

Deno.test("with the first manager killed commands go on, and without a majority they name the missing ones", async () => {
  await world(async (cluster) => {
    await cluster.managers[0].process.kill();
    assertEquals((await cluster.run(["produce", "t"], "one\n")).code, 0);
    await cluster.managers[1].process.kill();
    // The manager that is left must first miss the others.
    await eventually("the missing managers to be named", async () => {
      const { code, stderr } = await cluster.run(["produce", "t", "--timeout", "3s"], "two\n");
      assert(code !== 0);
      assert(stderr.includes("no manager quorum"), stderr);
      for (const { id, address } of cluster.managers.slice(0, 2)) {
        assert(stderr.includes(`${id} (${address})`), stderr);
      }
      return true;
    });
  });
});
