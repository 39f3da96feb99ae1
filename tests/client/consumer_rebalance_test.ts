/** What a program sees of partitions that come, go, fail, pause and seek. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { sleep } from "../../lib/base/clock.ts";
import { textOf } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import type { TopicPartition } from "../../lib/client/consumer_options.ts";
import { deleteTopicMethod } from "../../lib/client/protocol.ts";
import { produceTo, repeatedBy, World, worldWith } from "./consumer_world.ts";

const second = 1_000;
/** No commit tick comes within a test. */
const NO_TICK = { autoCommitMs: 3_600 * second } as const;

function numbersOf(places: readonly TopicPartition[]): number[] {
  return places.map(({ partition }) => partition);
}

/** A group that stands at offset 5 of partition 0, where retention dropped up to offset 10. */
async function worldBehind(partitions: number): Promise<World> {
  const world = await worldWith(partitions);
  produceTo(world, 0, 0, 5);
  const first = world.join(["t"]);
  first.iterate();
  await world.pass(second);
  await world.settle(first.consumer.stop());
  produceTo(world, 0, 5, 5);
  produceTo(world, 0, 10, 5);
  world.partition("t", 0).trim();
  return world;
}

Deno.test("a partition that fails is heard of within a second, whatever backlog another has", async () => {
  const world = await worldBehind(2);
  produceTo(world, 1, 0, 1_000);
  const member = world.join(["t"]);
  member.iterate(() => sleep(world.clock, 100));
  const startedMs = world.clock.monotonicMs();
  await world.until("the error", () => member.end !== null);
  assert(world.clock.monotonicMs() - startedMs < second, "long before the backlog of 100 s ends");
  assert(member.end instanceof TrilogError);
  assertEquals(member.end.code, "offset_out_of_range");
  assert(member.end.message.includes("t/0 at offset 5"), member.end.message);
  member.iterate();
  const ofOther = () => member.seen.filter(({ partition }) => partition === 1).length;
  await world.until("the backlog", () => ofOther() === 1_000);
  assertEquals(member.seen.filter(({ partition }) => partition === 0).length, 0);
  assertEquals(member.end, null, "it is heard of once");
  produceTo(world, 1, 1_000, 1);
  await world.pass(second);
  assertEquals(member.values.at(-1), "1:1000", "the other partition goes on");
  member.consumer.seek("t", 0, 10);
  await world.pass(second);
  assertEquals(member.values.slice(-5), [10, 11, 12, 13, 14].map((at) => `0:${at}`));
  assertEquals(repeatedBy(member), []);
  await world.end();
});

Deno.test("a partition that failed does not hold up the end of the others", async () => {
  const world = await worldBehind(2);
  produceTo(world, 1, 0, 5);
  const member = world.join(["t"], { until: (_, partition) => partition === 0 ? 15 : 5 });
  member.iterate();
  await world.until("the error", () => member.end !== null);
  assert(member.end instanceof TrilogError);
  member.iterate();
  await world.until("the end", () => member.end !== null);
  assertEquals([member.end, member.values.length], ["done", 5]);
  await world.end();
});

Deno.test("a rebalance in peace repeats nothing, and does not wait for the next commit tick", async () => {
  const world = await worldWith(4);
  for (let partition = 0; partition < 4; partition += 1) produceTo(world, partition, 0, 250);
  const first = world.join(["t"], NO_TICK);
  first.iterate();
  await world.until("all messages", () => first.seen.length === 1_000);
  const late = world.join(["t"], NO_TICK);
  late.iterate();
  await world.pass(second);
  assertEquals([first.assigned.length, late.assigned.length], [2, 2], "it took less than a second");
  for (let partition = 0; partition < 4; partition += 1) produceTo(world, partition, 250, 10);
  await world.pass(second);
  assertEquals(repeatedBy(first, late), []);
  assertEquals(first.seen.length + late.seen.length, 1_040);
  await world.end();
});

Deno.test("a message in hand when its partition is to go is committed once it is done", async () => {
  const world = await worldWith(2);
  produceTo(world, 0, 0, 20);
  produceTo(world, 1, 0, 20);
  const first = world.join(["t"], NO_TICK);
  first.iterate(() => sleep(first.process.clock, 300));
  await world.pass(second);
  const late = world.join(["t"], NO_TICK);
  late.iterate();
  await world.pass(second);
  assertEquals([first.assigned.length, late.assigned.length], [1, 1]);
  await world.until("all messages", () => first.seen.length + late.seen.length >= 40);
  assertEquals(repeatedBy(first, late), []);
  const moved = Number(late.assigned[0].slice(2));
  assert(first.seen.some(({ partition }) => partition === moved), "it had begun with that one");
  await world.end();
});

Deno.test("a commit whose answers are lost while its partition is to go is repeated until it is done", async () => {
  const world = await worldWith(2);
  produceTo(world, 0, 0, 50);
  produceTo(world, 1, 0, 50);
  const first = world.join(["t"], { ...NO_TICK, revokeMs: 60 * second });
  first.iterate();
  await world.pass(second);
  let lost = 0;
  world.loses = (method) => method === "broker.commit" && (lost += 1) <= 2;
  const late = world.join(["t"], NO_TICK);
  late.iterate();
  await world.pass(20 * second);
  assertEquals([lost > 2, first.assigned.length, late.assigned.length], [true, 1, 1]);
  assertEquals(repeatedBy(first, late), []);
  await world.end();
});

Deno.test("listeners hear of partitions before their first message and before they go", async () => {
  const world = await worldWith(2);
  produceTo(world, 0, 0, 3);
  produceTo(world, 1, 0, 3);
  const heard: string[] = [];
  const first = world.join(["t"], {
    autoCommit: false,
    onAssigned: async (partitions) => {
      await sleep(world.clock, 200);
      heard.push(`+${numbersOf(partitions)} seen ${first.seen.length}`);
    },
    onRevoked: async (partitions) => {
      heard.push(`-${numbersOf(partitions)}`);
      await sleep(world.clock, 300);
      await first.consumer.commit();
    },
  });
  first.iterate();
  await world.pass(2 * second);
  assertEquals(heard, ["+0,1 seen 0"]);
  assertEquals(first.seen.length, 6);
  const late = world.join(["t"], { autoCommit: false });
  late.iterate();
  await world.pass(second);
  const moved = late.assigned.map((place) => Number(place.slice(2)));
  assertEquals([heard[1], moved.length], [`-${moved}`, 1]);
  assertEquals(late.values, [], "what the first had handed out was committed by its listener");
  await world.settle(first.consumer.stop());
  assertEquals(heard.length, 3, "and at the end");
  assertEquals(heard[2], `-${1 - moved[0]}`);
  await world.end();
});

Deno.test("partitions that are another member's already are lost, not revoked", async () => {
  const world = await worldWith(2);
  const heard: string[] = [];
  const note = (sign: string) => (partitions: readonly TopicPartition[]) =>
    void heard.push(`${sign}${numbersOf(partitions)}`);
  const options = { sessionTimeoutMs: second, onRevoked: note("-"), onLost: note("!") };
  const paused = world.join(["t"], options);
  paused.iterate();
  await world.pass(second);
  paused.process.pause();
  await world.pass(4 * second);
  paused.process.goOn();
  await world.pass(2 * second);
  assertEquals(heard, ["!0,1"]);
  await world.managers.ask(deleteTopicMethod, { requestId: "delete", name: "t" });
  await world.pass(3 * second);
  assertEquals(heard, ["!0,1", "!0,1"]);
  await world.end();
});

Deno.test("what a listener throws is heard of once, and the partitions come and go all the same", async () => {
  const world = await worldWith(1);
  produceTo(world, 0, 0, 3);
  const own = new Error("a fault of the program");
  const member = world.join(["t"], {
    onAssigned: () => {
      throw own;
    },
  });
  member.iterate();
  await world.pass(second);
  assertEquals(member.end as unknown, own);
  member.iterate();
  await world.pass(second);
  assertEquals([member.end, member.values.length], [null, 3]);
  await world.end();
});

Deno.test("a listener that never resolves delays a partition and the end by revokeMs at most", async () => {
  const world = await worldWith(2);
  const stuck = new Promise<void>(() => {});
  const first = world.join(["t"], { revokeMs: second, onRevoked: () => stuck });
  first.iterate();
  await world.pass(second);
  const late = world.join(["t"]);
  late.iterate();
  await world.pass(second / 2);
  assertEquals(late.assigned.length, 0);
  await world.pass(2 * second);
  assertEquals(late.assigned.length, 1);
  const startedMs = world.clock.monotonicMs();
  await world.settle(first.consumer.stop());
  assert(world.clock.monotonicMs() - startedMs < 2 * second);
  await world.end();
});

Deno.test("a paused partition hands out nothing and stays; resumed it goes on where it was", async () => {
  const world = await worldWith(2);
  const member = world.join(["t"]);
  member.iterate();
  await world.pass(second);
  member.consumer.pause([{ topic: "t", partition: 0 }]);
  assertEquals(numbersOf(member.consumer.paused), [0]);
  produceTo(world, 0, 0, 10);
  produceTo(world, 1, 0, 10);
  await world.pass(30 * second);
  assertEquals([...new Set(member.seen.map(({ partition }) => partition))], [1]);
  assertEquals(member.assigned.length, 2);
  member.consumer.resume();
  await world.pass(second);
  assertEquals(member.seen.map(({ partition }) => partition).filter((at) => at === 0).length, 10);
  assertEquals([member.consumer.paused, repeatedBy(member)], [[], []]);
  const none = { topic: "t", partition: 7 };
  const error = assertThrows(() => member.consumer.pause([none]), TrilogError);
  assertEquals(error.code, "invalid_argument");
  await world.end();
});

Deno.test("a seek forward skips and is committed, a seek back repeats and commits no less", async () => {
  const world = await worldWith(1);
  produceTo(world, 0, 0, 10);
  const member = world.join(["t"]);
  member.iterate();
  await world.pass(second);
  member.consumer.seek("t", 0, 4);
  await world.pass(3 * second);
  assertEquals(member.values.slice(10), [4, 5, 6, 7, 8, 9].map((at) => `0:${at}`));
  assertEquals(world.partition("t", 0).committed(), 10);
  member.consumer.pause();
  produceTo(world, 0, 10, 10);
  await world.pass(second);
  member.consumer.seek("t", 0, 18);
  await world.pass(2 * second);
  assertEquals(world.partition("t", 0).committed(), 18);
  member.consumer.resume();
  await world.pass(second);
  assertEquals(member.values.slice(16), ["0:18", "0:19"]);
  assertThrows(() => member.consumer.seek("t", 1, 0), TrilogError, "not assigned");
  assertThrows(() => member.consumer.seek("t", 0, -1), TrilogError, "offset");
  await world.end();
});

Deno.test("a seek while a message is in hand counts it as done and hands out from there", async () => {
  const world = await worldWith(1);
  produceTo(world, 0, 0, 10);
  const { consumer } = world.join(["t"]);
  const next = async () => textOf((await world.settle(consumer.next()))!.value!);
  assertEquals(await next(), "0:0");
  consumer.seek("t", 0, 7);
  assertEquals([await next(), await next()], ["0:7", "0:8"]);
  consumer.seek("t", 0, 1);
  assertEquals(await next(), "0:1");
  await world.end();
});

Deno.test("onAssigned may seek, so that a program keeps its own positions", async () => {
  const world = await worldWith(2);
  produceTo(world, 0, 0, 10);
  produceTo(world, 1, 0, 10);
  const member = world.join(["t"], {
    onAssigned: (partitions) => {
      for (const { topic, partition } of partitions) member.consumer.seek(topic, partition, 8);
    },
  });
  member.iterate();
  await world.pass(second);
  assertEquals(member.values.sort(), ["0:8", "0:9", "1:8", "1:9"]);
  await world.settle(member.consumer.stop());
  assertEquals([0, 1].map((at) => world.partition("t", at).committed()), [10, 10]);
  await world.end();
});

Deno.test("a consumer with an end does not end while a partition is paused before it", async () => {
  const world = await worldWith(1);
  produceTo(world, 0, 0, 3);
  const member = world.join(["t"], {
    until: () => 3,
    onAssigned: () => sleep(world.clock, 1),
  });
  member.iterate();
  await world.until("an assignment", () => member.assigned.length > 0);
  member.consumer.pause();
  await world.pass(5 * second);
  assertEquals([member.end, member.values.length], [null, 0]);
  member.consumer.resume();
  await world.pass(second);
  assertEquals([member.end, member.values.length], ["done", 3]);
  await world.end();
});

Deno.test("arguments that cannot be used are refused by name", async () => {
  const world = await worldWith(1);
  const wrong = [
    { sessionTimeoutMs: 10 },
    { maxBytes: 0 },
    { onBehind: "skip" },
    { strategy: "fair" },
    { autoCommitMs: 0 },
    { instanceId: "no name" },
    { name: "two words" },
  ];
  for (const options of wrong) {
    const error = assertThrows(() => world.join(["t"], options as { maxBytes: number }));
    assert(error instanceof TrilogError && error.code === "invalid_argument");
    assert(error.message.includes(Object.keys(options)[0]), error.message);
  }
  const { consumer } = world.join(["t"]);
  assertThrows(() => world.join(["../t"]), TrilogError, "topics");
  const error = await assertRejects(() => consumer.nextBatch(0), TrilogError);
  assertEquals(error.code, "invalid_argument");
  await world.end();
});
