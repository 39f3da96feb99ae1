import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { Producer, type ProducerOptions } from "../../lib/client/producer.ts";
import { FakePartition, numbered, produceAll } from "./producer_world.ts";

Deno.test("messages get the offsets of the log, in the order in which they were sent", async () => {
  const partition = new FakePartition();
  const texts = numbered(500);
  const results = await produceAll(partition, texts);
  assertEquals(partition.log, texts);
  assertEquals(results.map(({ offset }) => offset), texts.map((_, at) => at));
});

Deno.test("with requests and answers lost every message stands in the log once and in order", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const partition = new FakePartition(seed);
    partition.loss = 0.2;
    const texts = numbered(300);
    const results = await produceAll(partition, texts, { batchBytes: 200, deliveryMs: 10_000_000 });
    assertEquals(partition.log, texts, `seed ${seed}`);
    assertEquals(results.map(({ offset }) => offset), texts.map((_, at) => at), `seed ${seed}`);
  }
});

Deno.test("no more than five batches are under way", async () => {
  const partition = new FakePartition();
  await produceAll(partition, numbered(1_000), { batchBytes: 150 });
  assertEquals(partition.mostInFlight, 5);
});

Deno.test("messages that come while a batch is under way share the next one", async () => {
  const partition = new FakePartition();
  await produceAll(partition, numbered(200));
  assert(partition.batchSizes.length < 60, `${partition.batchSizes.length} batches`);
});

Deno.test("a message that nobody acknowledges fails when its time is over, with its outcome unknown", async () => {
  const partition = new FakePartition();
  partition.loss = 1;
  const results = await produceAll(partition, numbered(3), { deliveryMs: 5_000 });
  assertEquals(results.map(({ error }) => error?.code), Array(3).fill("outcome_unknown"));
});

Deno.test("a message that certainly went nowhere fails as unavailable", async () => {
  const partition = new FakePartition();
  partition.refusal = new TrilogError("not_leader", "Cannot serve p/1/0: not its leader");
  const results = await produceAll(partition, numbered(3), { deliveryMs: 5_000 });
  assertEquals(results.map(({ error }) => error?.code), Array(3).fill("unavailable"));
});

Deno.test("after a refusal the messages behind it go on under a new producer", async () => {
  const partition = new FakePartition();
  const producer = new Producer(partition, {});
  await producer.prepare("t");
  const codes: (string | undefined)[] = [];
  const note = (error: TrilogError | null) => codes.push(error?.code);
  partition.refusal = new TrilogError("invalid_batch", "Cannot append batch: broken");
  producer.enqueue("t", { value: utf8("refused") }, note);
  await partition.settle(partition.wait(50));
  partition.refusal = null;
  producer.enqueue("t", { value: utf8("taken") }, note);
  await partition.settle(producer.stop());
  assertEquals(codes, ["invalid_batch", undefined]);
  assertEquals(partition.log, ["taken"]);
});

Deno.test("a full buffer makes callers wait until something is acknowledged", async () => {
  const partition = new FakePartition();
  const producer = new Producer(partition, { bufferBytes: 1_000 });
  await producer.prepare("t");
  producer.enqueue("t", { value: new Uint8Array(2_000) }, () => {});
  assertEquals(producer.canSend, false);
  await partition.settle(producer.ready());
  assertEquals(producer.canSend, true);
  await partition.settle(producer.stop());
});

Deno.test("a message that is too large is refused at once and disturbs no other", async () => {
  const partition = new FakePartition();
  const producer = new Producer(partition, {});
  await producer.prepare("t");
  const large = { value: new Uint8Array(1024 * 1024 + 1) };
  const error = assertThrows(() => producer.enqueue("t", large, () => {}), TrilogError);
  assertEquals(error.code, "message_too_large");
  producer.enqueue("t", { value: utf8("fine") }, () => {});
  await partition.settle(producer.stop());
  assertEquals(partition.log, ["fine"]);
});

Deno.test("stop waits for messages whose topic is still being looked up, and takes no more", async () => {
  const partition = new FakePartition();
  const producer = new Producer(partition, {});
  const sent = [producer.send("t", { value: utf8("a") }), producer.send("t", { value: utf8("b") })];
  const stopped = producer.stop();
  const late = await assertRejects(() => producer.send("t", { value: utf8("c") }), TrilogError);
  assertEquals(late.code, "shutting_down");
  await partition.settle(stopped);
  assertEquals((await Promise.all(sent)).map(({ offset }) => offset), [0, 1]);
  assertEquals(partition.log, ["a", "b"]);
});

Deno.test("flush waits for what was sent before it, however much others send meanwhile", async () => {
  const partition = new FakePartition();
  const producer = new Producer(partition, { batchBytes: 100 });
  await producer.prepare("t");
  let sent = 0;
  let delivered = 0;
  let flushed = false;
  const send = () => {
    sent += 1;
    producer.enqueue("t", { value: utf8(`message ${sent}`) }, () => delivered += 1);
  };
  const feed = () => {
    for (let count = 0; count < 10; count += 1) send();
    if (!flushed && sent < 20_000) partition.clock.after(1, feed);
  };
  feed();
  await partition.settle(partition.wait(50));
  const before = sent;
  const done = producer.flush().then(() => {
    flushed = true;
    return delivered;
  });
  await partition.settle(done);
  assert(await done >= before, "all that was sent before is delivered");
  assert(sent < 20_000, "it resolved while others send");
  await partition.settle(partition.wait(5));
  await partition.settle(producer.stop());
  assertEquals(delivered, sent);
});

Deno.test("flush waits for a message whose topic is still being looked up", async () => {
  const partition = new FakePartition();
  const producer = new Producer(partition, {});
  const sent = producer.send("t", { value: "a" });
  await partition.settle(producer.flush());
  assertEquals(partition.log, ["a"]);
  assertEquals(await sent, { partition: 0, offset: 0 });
});

Deno.test("flush and stop resolve after a message was refused, with or without others", async () => {
  for (const others of [0, 1]) {
    const partition = new FakePartition();
    const producer = new Producer(partition, {});
    await producer.prepare("t");
    for (let count = 0; count < others; count += 1) {
      producer.enqueue("t", { value: "fine" }, () => {});
    }
    const large = new Uint8Array(limits.messageBytes + 1);
    const error = assertThrows(() => producer.enqueue("t", { value: large }, () => {}));
    assert(error instanceof TrilogError && error.code === "message_too_large");
    await partition.settle(producer.flush());
    await assertRejects(() => producer.send("t", { value: large }), TrilogError, "limit");
    await partition.settle(producer.stop());
    assertEquals(partition.log.length, others);
  }
});

Deno.test("flush resolves when its messages fail", async () => {
  const partition = new FakePartition();
  partition.loss = 1;
  const producer = new Producer(partition, { deliveryMs: 1_000 });
  const sent = producer.send("t", { value: "a" });
  const failed = assertRejects(() => sent, TrilogError);
  await partition.settle(producer.flush());
  assertEquals((await failed).code, "outcome_unknown");
});

Deno.test("the limit of a message is that of its value: a key and headers fit beside it", async () => {
  const partition = new FakePartition();
  const producer = new Producer(partition, {});
  await producer.prepare("t");
  const value = new Uint8Array(limits.messageBytes).fill(97);
  const headers = [{ key: "trace", value: new Uint8Array(16 * 1024) }];
  const sent = producer.send("t", { key: "a key", value, headers });
  await partition.settle(sent);
  assertEquals(partition.log[0].length, limits.messageBytes);
  const many = [{ key: "trace", value: new Uint8Array(32 * 1024) }];
  const error = await assertRejects(
    () => producer.send("t", { key: "a key", value, headers: many }),
    TrilogError,
  );
  assertEquals(error.code, "message_too_large");
  await partition.settle(producer.stop());
});

Deno.test("a batch that has no room for the next message leaves at once, whatever the linger", async () => {
  const partition = new FakePartition();
  const producer = new Producer(partition, { batchBytes: limits.batchBytes, lingerMs: 60_000 });
  await producer.prepare("t");
  const times: number[] = [];
  for (let count = 0; count < 3; count += 1) {
    const value = new Uint8Array(600 * 1024).fill(97);
    producer.enqueue("t", { value }, () => times.push(partition.clock.monotonicMs()));
  }
  await partition.settle(partition.wait(1_000));
  assertEquals(times.length, 3);
  await partition.settle(producer.stop());
});

Deno.test("text is sent as UTF-8, and what is neither text nor bytes is refused by name", async () => {
  const partition = new FakePartition();
  const producer = new Producer(partition, {});
  await partition.settle(producer.send("t", { key: "k", value: "grün" }));
  assertEquals(partition.log, ["grün"]);
  const wrong: unknown[] = [
    { value: 5 },
    {},
    { key: {}, value: "x" },
    { value: "x", timestampMs: 1.5 },
    { value: "x", timestampMs: -1 },
    { value: "x", headers: [{ key: 1, value: null }] },
    { value: "x", headers: [{ key: "h" }] },
  ];
  for (const message of wrong) {
    const error = await assertRejects(
      () => producer.send("t", message as { value: string }),
      TrilogError,
    );
    assertEquals(error.code, "invalid_argument", error.message);
  }
  await partition.settle(producer.stop());
  assertEquals(partition.log.length, 1);
});

Deno.test("options that cannot work are refused by name", () => {
  const wrong: unknown[] = [
    { bufferBytes: 0 },
    { batchBytes: NaN },
    { lingerMs: -1 },
    { deliveryMs: "soon" },
    { compression: "zip" },
    { acks: "all" },
  ];
  for (const options of wrong) {
    const error = assertThrows(
      () => new Producer(new FakePartition(), options as ProducerOptions),
      TrilogError,
    );
    assertEquals(error.code, "invalid_argument");
    assert(error.message.includes(Object.keys(options as object)[0]), error.message);
  }
});

Deno.test("a callback that throws does not make a delivered message look like a failed one", async () => {
  const partition = new FakePartition();
  const thrown: unknown[] = [];
  const { clock } = partition;
  const nextTurn = clock.nextTurn.bind(clock);
  clock.nextTurn = (run) =>
    nextTurn(() => {
      try {
        run();
      } catch (error) {
        thrown.push(error);
      }
    });
  const producer = new Producer(partition, {});
  await producer.prepare("t");
  const own = new Error("a fault of the program");
  producer.enqueue("t", { value: "a" }, () => {
    throw own;
  });
  const second = producer.send("t", { value: "b" });
  await partition.settle(producer.stop());
  assertEquals(await second, { partition: 0, offset: 1 });
  await partition.settle(partition.wait(1));
  assertEquals([partition.log, thrown], [["a", "b"], [own]]);
});

Deno.test("a topic that is made again gets a producer's next messages, the first included, once and in order", async () => {
  const partition = new FakePartition(3);
  const producer = new Producer(partition, { lingerMs: 1 });
  for (let at = 0; at < 20; at += 1) {
    await partition.settle(producer.send("t", { value: utf8(`old ${at}`) }));
  }
  partition.replace();
  const first = producer.send("t", { value: utf8("first") });
  await partition.settle(first);
  assertEquals((await first).offset, 0);
  for (let at = 0; at < 20; at += 1) {
    await partition.settle(producer.send("t", { value: utf8(`new ${at}`) }));
  }
  const expected = ["first", ...Array.from({ length: 20 }, (_, at) => `new ${at}`)];
  assertEquals(partition.log, expected);
  await partition.settle(producer.stop());
});
