/** Producers that the partition does not remember any more. */

import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import type { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { Producer } from "../../lib/client/producer.ts";
import { FakePartition, numbered, produceAll } from "./producer_world.ts";

/** A producer that has sent one message and that the partition has forgotten since. */
async function forgottenProducer(partition: FakePartition): Promise<Producer> {
  const producer = new Producer(partition, { deliveryMs: 60_000 });
  await producer.prepare("t");
  producer.enqueue("t", { value: utf8("first") }, () => {});
  await partition.settle(producer.flush());
  partition.aheadMs += limits.producerMemoryMs + 60_000;
  await produceAll(partition, ["other"]);
  assertEquals(partition.machine.describe().producers, 1);
  return producer;
}

Deno.test("a producer that was forgotten goes on under another identity, and no send of it fails", async () => {
  const partition = new FakePartition();
  const producer = await forgottenProducer(partition);
  const errors: (TrilogError | null)[] = [];
  for (const text of numbered(20)) {
    producer.enqueue("t", { value: utf8(text) }, (error) => errors.push(error));
    await partition.settle(partition.wait(1));
  }
  await partition.settle(producer.stop());
  assertEquals(errors, Array(20).fill(null));
  assertEquals(partition.log, ["first", "other", ...numbered(20)]);
});

Deno.test("a producer goes on after a recovery that lost its last messages", async () => {
  const partition = new FakePartition();
  const producer = new Producer(partition, {});
  await producer.prepare("t");
  const errors: (TrilogError | null)[] = [];
  const send = async (text: string) => {
    producer.enqueue("t", { value: utf8(text) }, (error) => errors.push(error));
    await partition.settle(producer.flush());
  };
  await send("kept");
  const survivor = partition.machine.snapshot();
  await send("lost");
  partition.machine.restore(survivor);
  await send("next");
  assertEquals([errors, partition.machine.endOffset], [[null, null, null], 2]);
});

Deno.test("with requests and answers lost, a forgotten producer stores nothing twice", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const partition = new FakePartition(seed);
    const producer = await forgottenProducer(partition);
    partition.loss = 0.3;
    const texts = numbered(30);
    const codes: (string | undefined)[] = [];
    for (const [at, text] of texts.entries()) {
      producer.enqueue("t", { value: utf8(text) }, (error) => codes[at] = error?.code);
      await partition.settle(partition.wait(2));
    }
    await partition.settle(producer.stop());
    const stored = partition.log.slice(2);
    assertEquals(stored, [...new Set(stored)], `seed ${seed}: nothing twice`);
    assertEquals(stored, texts.filter((text) => stored.includes(text)), `seed ${seed}: in order`);
    for (const [at, text] of texts.entries()) {
      const code = codes[at];
      if (code === undefined) assert(stored.includes(text), `seed ${seed}: ${text} is stored`);
      else assertEquals(code, "outcome_unknown", `seed ${seed}`);
    }
  }
});

Deno.test("a retry of a first batch ends before the partition may have forgotten the producer", async () => {
  const partition = new FakePartition();
  partition.loss = 1;
  const startMs = partition.scheduler.nowMs;
  const results = await produceAll(partition, numbered(1), { deliveryMs: 24 * 3_600_000 });
  assertEquals(results[0].error?.code, "outcome_unknown");
  assert(partition.scheduler.nowMs - startMs < limits.producerLeastMemoryMs);
});
