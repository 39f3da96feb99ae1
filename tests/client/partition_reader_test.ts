import { assertEquals, assertRejects } from "@std/assert";
import { textOf } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { PartitionReader } from "../../lib/client/partition_reader.ts";
import { FakeProcess, World } from "./consumer_world.ts";

async function readerFrom(from: number): Promise<{ world: World; reader: PartitionReader }> {
  const world = await World.create();
  await world.createTopic("t", 1);
  const partition = world.partition("t", 0);
  partition.produce("a", "b", "c");
  partition.produce("d");
  const access = world.access(new FakeProcess(world.clock));
  return { world, reader: new PartitionReader(access, "t", 0, { from }) };
}

Deno.test("a reader gives the messages from its offset on, and waits for more", async () => {
  const { world, reader } = await readerFrom(1);
  const seen: string[] = [];
  const run = async () => {
    for await (const { topic, partition, offset, value } of reader) {
      seen.push(`${topic}/${partition}/${offset} ${textOf(value!)}`);
      if (offset === 4) return;
    }
  };
  const running = run();
  await world.pass(1_000);
  assertEquals(seen, ["t/0/1 b", "t/0/2 c", "t/0/3 d"]);
  world.partition("t", 0).produce("e");
  await world.settle(running);
  assertEquals(seen.at(-1), "t/0/4 e");
  assertEquals(reader.offset, 5);
  await world.end();
});

Deno.test("a reader that is behind the trim says so, and goes on where it is sent", async () => {
  const { world, reader } = await readerFrom(0);
  world.partition("t", 0).trim();
  const error = await assertRejects(() => world.settle(reader.next()), TrilogError);
  assertEquals(error.code, "offset_out_of_range");
  reader.seek(3);
  const { records, startOffset, endOffset } = await world.settle(reader.next());
  assertEquals(records.map(({ value }) => textOf(value!)), ["d"]);
  assertEquals([startOffset, endOffset], [3, 4]);
  await world.end();
});

Deno.test("a reader goes on at the earliest or latest message where it is told to", async () => {
  for (const onBehind of ["earliest", "latest"] as const) {
    const { world } = await readerFrom(0);
    const partition = world.partition("t", 0);
    partition.trim();
    const access = world.access(new FakeProcess(world.clock));
    const reader = new PartitionReader(access, "t", 0, { from: 0, onBehind });
    await world.settle(reader.next());
    partition.produce("e");
    const { records } = await world.settle(reader.next());
    const seen = records.map(({ value }) => textOf(value!));
    assertEquals(seen, onBehind === "earliest" ? ["d", "e"] : ["e"]);
    await world.end();
  }
});

Deno.test("after a failure a reader asks again", async () => {
  const { world, reader } = await readerFrom(0);
  const first = await world.settle(reader.next());
  assertEquals(first.records.length, 4);
  world.partition("t", 0).produce("e");
  world.loses = (method) => method === "broker.fetch";
  const error = await assertRejects(() => world.settle(reader.next()), TrilogError);
  assertEquals(error.code, "unavailable");
  world.loses = () => false;
  const { records } = await world.settle(reader.next());
  assertEquals(records.map(({ value }) => textOf(value!)), ["e"]);
  await world.end();
});

Deno.test("a seek while a fetch is under way decides what comes next", async () => {
  const { world, reader } = await readerFrom(0);
  const under = reader.next();
  reader.seek(3);
  assertEquals((await world.settle(under)).records, []);
  const { records } = await world.settle(reader.next());
  assertEquals(records.map(({ offset }) => offset), [3]);
  await world.end();
});
