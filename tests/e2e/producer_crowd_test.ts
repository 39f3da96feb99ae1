import { assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { Client } from "../../lib/client/mod.ts";
import { withHarness } from "./harness.ts";
import { QueueCluster } from "./queue_cluster.ts";

/** More than a partition remembered when it counted producers. */
const PRODUCERS = 4_500;

Deno.test("4,500 producers that write to one partition in turns have no message refused", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { managers: 1 });
    await cluster.ready();
    await cluster.createTopic("t", 1);
    const client = await Client.connect({ bootstrap: cluster.bootstrap.split(",") });
    try {
      const producers = Array.from({ length: PRODUCERS }, () => client.producer());
      await Promise.all(producers.map((producer) => producer.prepare("t")));
      for (const round of [1, 2]) {
        const value = utf8(`round ${round}`);
        await Promise.all(producers.map((producer) => producer.send("t", { value })));
      }
      assertEquals(await client.offset("t", 0, "latest"), 2 * PRODUCERS);
      await Promise.all(producers.map((producer) => producer.stop()));
    } finally {
      client.close();
    }
  });
});
