/** Backups of a whole cluster, and what is made from them elsewhere. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { existsSync } from "@std/fs";
import { eventually, type Harness, withHarness } from "./harness.ts";
import { numberedLines, QueueCluster } from "./queue_cluster.ts";

const text = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join("");

/** Everything a topic holds: offsets, keys, times, headers and values. */
async function everything(cluster: QueueCluster, topic: string): Promise<string[]> {
  const printed = await cluster.done(["consume", topic, "--with-metadata", "--json"]);
  return printed.trim().split("\n").sort();
}

async function settings(cluster: QueueCluster, topic: string): Promise<unknown> {
  const { partitions, ...rest } = JSON.parse(
    await cluster.done(["topic", "describe", topic, "--json"]),
  );
  return { ...rest, partitions: partitions.length };
}

async function started(harness: Harness, brokerFlags: readonly string[] = []) {
  const cluster = new QueueCluster(harness, { managers: 1, brokerFlags });
  await cluster.ready();
  return cluster;
}

Deno.test("topics, messages and offsets are the same in a cluster restored from a backup", async () => {
  await withHarness(async (harness) => {
    const source = await started(harness);
    const flags = ["--partitions", "2", "--retention-time", "7d", "--retention-bytes", "1GiB"];
    await source.done(["topic", "create", "orders", ...flags]);
    await source.done(["topic", "create", "empty"]);
    const lines = numberedLines(0, 5_000).map((line, at) => `key${at % 7}:${line}`);
    const produce = ["produce", "orders", "--key-separator", ":", "--compression", "gzip"];
    await source.done(produce, text(lines) + "no newline at the end");
    const consume = ["consume", "orders", "--group", "billing", "--max", "1000"];
    assertEquals((await source.done(consume)).split("\n").length, 1_001);
    await source.done(["topic", "create", "deleted"]);
    await source.done(["consume", "deleted", "--group", "gone"]);
    await source.done(["topic", "delete", "deleted"]);
    const file = join(harness.temporaryDirectory(), "all.backup");
    const told = await source.done(["cluster", "backup", file, "--with-data"]);
    assertEquals(told, "2 topics and 5,001 messages backed up\n");

    const copy = await started(harness);
    const restored = await copy.done(["cluster", "restore", file, "--json"]);
    assertEquals(JSON.parse(restored), { file, topics: 2, messages: 5_001 });
    assertEquals(await everything(copy, "orders"), await everything(source, "orders"));
    assertEquals(await copy.done(["consume", "empty"]), "");
    assertEquals(await settings(copy, "orders"), await settings(source, "orders"));
    const lag = async (cluster: QueueCluster) => {
      const printed = await cluster.done(["group", "describe", "billing", "--json"]);
      return JSON.parse(printed).partitions.map((one: { lag: number }) => one.lag);
    };
    const [left, right] = await lag(copy);
    assertEquals([left, right], await lag(source));
    assertEquals(left + right, 4_001);
    const again = await copy.run(["cluster", "restore", file]);
    assertEquals(again.code, 1);
    assertStringIncludes(again.stderr, "topic_exists");
  });
});

Deno.test("a log that no longer began at 0 has its offsets after a restore", async () => {
  await withHarness(async (harness) => {
    const source = await started(harness, ["--segment-bytes", "64KiB"]);
    await source.done(["topic", "create", "t", "--retention-bytes", "64KiB"]);
    for (let at = 0; at < 6; at += 1) {
      await source.done(["produce", "t"], text(numberedLines(at * 2_000, 2_000)));
    }
    const first = async (cluster: QueueCluster) => (await cluster.status()).partitions[0];
    await eventually("retention to drop the first messages", async () => {
      await source.done(["produce", "t"], text(numberedLines(0, 2_000)));
      return (await first(source)).startOffset > 0 || null;
    });
    // Nothing is dropped any more while the two are compared.
    await source.done(["topic", "alter", "t", "--retention-bytes", "1GiB"]);
    const file = join(harness.temporaryDirectory(), "t.backup");
    await source.done(["cluster", "backup", file, "--with-data"]);
    const expected = await everything(source, "t");
    const copy = await started(harness);
    await copy.done(["cluster", "restore", file]);
    assertEquals(await everything(copy, "t"), expected);
  });
});

Deno.test("without data only topics are restored, and a damaged backup is refused whole", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    await cluster.createTopic("t", 3);
    await cluster.done(["produce", "t"], text(numberedLines(0, 10)));
    const file = join(harness.temporaryDirectory(), "topics.backup");
    assertEquals(
      await cluster.done(["cluster", "backup", file]),
      "1 topic and 0 messages backed up\n",
    );
    await cluster.done(["topic", "delete", "t"]);
    const bytes = Deno.readFileSync(file);
    const damaged = bytes.slice();
    damaged[30] ^= 1;
    const faults: [Uint8Array, string][] = [
      [bytes.subarray(0, bytes.length - 1), "its end is missing"],
      [damaged, "fails its checksum"],
      [new TextEncoder().encode("something else"), "it is no backup"],
    ];
    for (const [content, reason] of faults) {
      Deno.writeFileSync(`${file}.bad`, content);
      const { code, stderr } = await cluster.run(["cluster", "restore", `${file}.bad`]);
      assertEquals(code, 1);
      assertStringIncludes(stderr, reason);
    }
    assertEquals(await cluster.done(["topic", "list"]), "");
    await cluster.done(["cluster", "restore", file]);
    await cluster.allOk();
    assertEquals((await cluster.status()).partitions.length, 3);
    assertEquals(await cluster.done(["consume", "t"]), "");
    const nowhere = await cluster.run(["cluster", "backup", "/no/such/place"]);
    assertEquals([nowhere.code, existsSync("/no/such/place")], [1, false]);
  });
});
