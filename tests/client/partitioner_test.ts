import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { utf8 } from "../../lib/base/bytes.ts";
import { partitionOfKey } from "../../lib/batch/murmur2.ts";
import { Partitioner } from "../../lib/client/partitioner.ts";

Deno.test("a key always goes to the same partition, the one that Kafka chooses", () => {
  const partitioner = new Partitioner(new Prng(1));
  for (let key = 0; key < 100; key += 1) {
    const bytes = utf8(`key-${key}`);
    assertEquals(partitioner.choose("logs", 7, bytes), partitionOfKey(bytes, 7));
  }
});

Deno.test("messages without a key stay on a partition until its batch is closed", () => {
  const partitioner = new Partitioner(new Prng(1));
  const first = partitioner.choose("logs", 3, null);
  for (let message = 0; message < 50; message += 1) {
    assertEquals(partitioner.choose("logs", 3, null), first);
  }
  partitioner.batchClosed("logs", first, 3);
  assertEquals(partitioner.choose("logs", 3, null), (first + 1) % 3);
  partitioner.batchClosed("logs", first, 3);
  assertEquals(partitioner.choose("logs", 3, null), (first + 1) % 3, "another's batch");
});

Deno.test("closing batches in turn visits every partition equally", () => {
  const partitioner = new Partitioner(new Prng(2));
  const visits = [0, 0, 0, 0, 0];
  for (let batch = 0; batch < 50; batch += 1) {
    const chosen = partitioner.choose("logs", 5, null);
    visits[chosen] += 1;
    partitioner.batchClosed("logs", chosen, 5);
  }
  assertEquals(visits, [10, 10, 10, 10, 10]);
});

Deno.test("producers do not all begin on the same partition, and topics do not share a place", () => {
  const starts = new Set<number>();
  for (let seed = 0; seed < 40; seed += 1) {
    starts.add(new Partitioner(new Prng(seed)).choose("logs", 4, null));
  }
  assertEquals(starts.size, 4);
  const partitioner = new Partitioner(new Prng(3));
  assert(partitioner.choose("wide", 1000, null) < 1000);
  assertEquals(partitioner.choose("narrow", 1, null), 0);
});
