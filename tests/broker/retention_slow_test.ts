/** Retention by age in real brokers, which takes as long as the retention time. */

import { assertEquals } from "@std/assert";
import { sleep } from "../../lib/base/clock.ts";
import { systemClock } from "../../lib/base/system_clock.ts";
import { codeOf, eventually, TestBrokers } from "./cluster.ts";
import { sentBy } from "./partition_support.ts";

Deno.test("messages go when they are too old on all replicas, though nothing is written any more", async () => {
  await TestBrokers.with(3, async (cluster) => {
    const founders = cluster.ids("b1", "b2", "b3");
    cluster.managers.want("g", {
      founders,
      replicas: founders,
      settings: { retentionBytes: 0, retentionMs: 1_000 },
    });
    await cluster.led("b1");
    for (let batch = 0; batch < 10; batch += 1) await cluster.deliver(sentBy(7, batch * 50, 50));
    const partitions = ["b1", "b2", "b3"].map((name) => cluster.partition(name)!);
    const bytes = partitions[0].replica.store.bytes();
    for (const { machine, replica } of partitions) {
      await eventually("the messages are dropped", () => machine.startOffset === 500 || null);
      await eventually("their room is free", () => replica.store.bytes() < bytes / 4 || null);
    }
    assertEquals(await codeOf(cluster.fetch("b1", 0)), "offset_out_of_range");
    const { lastIndex } = cluster.partition("b1")!.replica.raft;
    await sleep(systemClock, 1_500);
    assertEquals(
      cluster.partition("b1")!.replica.raft.lastIndex,
      lastIndex,
      "nothing more follows",
    );
    await cluster.deliver(sentBy(7, 500, 1));
    assertEquals(await cluster.messages("b1", 500), ["500:m0"]);
  });
});
