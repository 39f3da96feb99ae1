/** `trilog consume` without a group, against partitions on virtual time. */

import { assert, assertEquals } from "@std/assert";
import {
  consumeLast,
  consumePartitions,
  type Consumption,
  type Queue,
} from "../../cmd/consume_partitions.ts";
import { MessagePrinter } from "../../cmd/message_printer.ts";
import { Progress } from "../../lib/cli/progress.ts";
import { PartitionReader } from "../../lib/client/partition_reader.ts";
import { alterTopicMethod, listOffsetsMethod } from "../../lib/client/protocol.ts";
import { FakeTerminal } from "../cli/fake_terminal.ts";
import { FakeProcess, World } from "./consumer_world.ts";

const second = 1_000;

async function worldWith(partitions: number): Promise<World> {
  const world = await World.create();
  await world.createTopic("t", partitions);
  return world;
}

function queueOf(world: World): Queue {
  const access = world.access(new FakeProcess(world.clock));
  return {
    offset: async (topic, partition, at, timeMs = 0) => {
      const request = { at, timeMs };
      const { offset } = await access.partitionRequest(
        topic,
        partition,
        listOffsetsMethod,
        request,
        5 * second,
      );
      return offset;
    },
    reader: (topic, partition, options) => new PartitionReader(access, topic, partition, options),
  };
}

interface Run {
  readonly terminal: FakeTerminal;
  readonly options: Consumption;
  readonly controller: AbortController;
}

function runOf(world: World, partitions: number[], more: Partial<Consumption> = {}): Run {
  const terminal = new FakeTerminal();
  const progress = new Progress({
    terminal,
    clock: world.clock,
    noun: "message",
    verb: "consumed",
    silent: true,
  });
  const printer = new MessagePrinter({
    terminal,
    topic: "t",
    form: "value",
    max: Infinity,
    progress,
  });
  const controller = new AbortController();
  const position = { kind: "earliest" } as const;
  const { signal } = controller;
  const fixed = { topic: "t", partitions, position, onBehind: "fail", follow: false } as const;
  const options = { ...fixed, printer, signal, ...more };
  return { terminal, options, controller };
}

function linesOf(terminal: FakeTerminal): string[] {
  return terminal.stdout.split("\n").slice(0, -1);
}

Deno.test("following a partition for thousands of fetches leaves nothing on the signal", async () => {
  const world = await worldWith(1);
  const { terminal, options, controller } = runOf(world, [0], { follow: true });
  const { signal } = controller;
  let listeners = 0;
  let most = 0;
  let added = 0;
  const { addEventListener: add, removeEventListener: remove } = signal;
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    added += 1;
    listeners += 1;
    most = Math.max(most, listeners);
    add.apply(signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners -= 1;
    remove.apply(signal, args);
  };
  const running = consumePartitions(queueOf(world), options);
  for (let count = 0; count < 1_000; count += 1) {
    world.partition("t", 0).produce(`message ${count}`);
    await world.pass(10);
  }
  assertEquals(linesOf(terminal).length, 1_000);
  controller.abort();
  await world.settle(running);
  assert(added > 300, `${added} fetches were waited for`);
  assertEquals([most, listeners], [1, 0]);
  await world.end();
});

Deno.test("with follow the messages of partitions that are added later are printed, too", async () => {
  const world = await worldWith(1);
  const topic = () => world.managers.servers.get("m1")!.machine.state.topics.get("t");
  const count = () => topic()?.partitions.length ?? null;
  const added = { clock: world.clock, count };
  const { terminal, options, controller } = runOf(world, [0], { follow: true, added });
  const running = consumePartitions(queueOf(world), options);
  world.partition("t", 0).produce("first");
  await world.pass(second);
  await world.managers.ask(alterTopicMethod, {
    requestId: "alter",
    name: "t",
    partitions: 3,
    retentionBytes: null,
    retentionMs: null,
  });
  world.partition("t", 2).produce("added");
  await world.pass(2 * second);
  assertEquals(linesOf(terminal), ["first", "added"]);
  controller.abort();
  await world.settle(running);
  await world.end();
});

Deno.test("a position before the end counts offsets of each partition, down to the first", async () => {
  const world = await worldWith(2);
  world.partition("t", 0).produce("a0", "a1", "a2");
  world.partition("t", 1).produce("b0");
  const { terminal, options } = runOf(world, [0, 1], {
    position: { kind: "before_end", count: 2 },
  });
  await world.settle(consumePartitions(queueOf(world), options));
  assertEquals(linesOf(terminal).sort(), ["a1", "a2", "b0"]);
  await world.end();
});

Deno.test("the last messages are those of all partitions together, by time", async () => {
  const world = await worldWith(3);
  world.partition("t", 0).produceAt(10, "a10");
  world.partition("t", 1).produceAt(20, "b20");
  world.partition("t", 0).produceAt(30, "a30");
  world.partition("t", 2).produceAt(5, "c5");
  world.partition("t", 1).produceAt(15, "b15");
  const last = async (count: number) => {
    const { terminal, options } = runOf(world, [0, 1, 2]);
    await world.settle(consumeLast(queueOf(world), count, options));
    return linesOf(terminal);
  };
  assertEquals(await last(1), ["a30"]);
  assertEquals(await last(3), ["b20", "b15", "a30"], "a partition's own order is kept");
  assertEquals(await last(9), ["c5", "a10", "b20", "b15", "a30"]);
  const { terminal, options, controller } = runOf(world, [0, 1, 2], { follow: true });
  const running = consumeLast(queueOf(world), 1, options);
  await world.pass(second);
  world.partition("t", 2).produceAt(40, "c40");
  await world.pass(second);
  assertEquals(linesOf(terminal), ["a30", "c40"]);
  controller.abort();
  await world.settle(running);
  await world.end();
});
