import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { textOf, utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { Prng } from "../../lib/base/prng.ts";
import { validateBatch } from "../../lib/batch/batch_reader.ts";
import { recordsOf } from "../../lib/batch/batch_reader.ts";
import { PartitionMachine } from "../../lib/broker/partition.ts";
import { produceAnswer } from "../../lib/broker/partition_commands.ts";
import type { PartitionAccess } from "../../lib/client/access.ts";
import { Producer, type ProducerOptions } from "../../lib/client/producer.ts";
import type { ProduceAnswer, ProduceRequest } from "../../lib/client/protocol.ts";
import { SimClock } from "../../lib/sim/clock.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";

/** One partition behind a network that loses requests and answers, on virtual time. */
class FakePartition implements PartitionAccess {
  readonly scheduler = new Scheduler();
  readonly clock = new SimClock(new SimProcess(this.scheduler, "client"));
  readonly random = new Prng(5);
  readonly faults: Prng;
  machine = new PartitionMachine();
  readonly log: string[] = [];
  groupId = "p/1/0";
  readonly batchSizes: number[] = [];
  inFlight = 0;
  mostInFlight = 0;
  loss = 0;
  /** Added to the log's stamps. */
  aheadMs = 0;
  /** Refuses every request with this. */
  refusal: TrilogError | null = null;
  private index = 0;

  constructor(seed = 1) {
    this.faults = new Prng(seed);
  }

  topic(name: string) {
    const settings = { retentionBytes: 0, retentionMs: 0 };
    return Promise.resolve({
      name,
      settings,
      partitions: [{
        partition: 0,
        groupId: this.groupId,
        epoch: 0,
        replicas: ["b1"],
        leader: "b1",
        leaderTerm: 1,
      }],
    });
  }

  partitionCount() {
    return 1;
  }

  route() {
    return Promise.resolve({ groupId: this.groupId, epoch: 0, address: "b1:1" });
  }

  async askLeader<_Request, Answer>(
    _route: unknown,
    _method: unknown,
    request: unknown,
    deadlineMs: number,
  ): Promise<Answer> {
    this.inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
    try {
      await this.wait(1 + this.faults.below(3));
      if (this.refusal !== null) throw this.refusal;
      if (this.faults.chance(this.loss)) return await this.lost(deadlineMs);
      const answer = this.append((request as ProduceRequest).batch);
      await this.wait(1 + this.faults.below(3));
      if (this.faults.chance(this.loss)) return await this.lost(deadlineMs);
      return answer as Answer;
    } finally {
      this.inFlight -= 1;
    }
  }

  noteFailure(_route: unknown, error: TrilogError): number | null {
    return error.retryable ? 10 : null;
  }

  /** The topic is deleted and made again, under another number. */
  replace(): void {
    this.machine = new PartitionMachine();
    this.groupId = "p/2/0";
    this.index = 0;
    this.log.length = 0;
  }

  wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.scheduler.after(delayMs, "wait", resolve));
  }

  async settle(promise: Promise<unknown>): Promise<void> {
    let settled = false;
    promise.then(() => settled = true, () => settled = true);
    // What was begun outside of an event comes to its first timer or request.
    for (let turn = 0; turn < 20; turn += 1) await undefined;
    await this.scheduler.runUntil(this.scheduler.nowMs + 10_000_000, () => settled);
    await promise;
  }

  private async lost(deadlineMs: number): Promise<never> {
    await this.wait(deadlineMs);
    throw new TrilogError("deadline_exceeded", "Cannot call b1: no answer");
  }

  private append(batch: Uint8Array): ProduceAnswer {
    validateBatch(batch);
    this.batchSizes.push(batch.length);
    this.index += 1;
    const timeMs = 1_000 + Math.floor(this.scheduler.nowMs) + this.aheadMs;
    const context = { index: this.index, term: 1, timeMs };
    const result = produceAnswer.decode(this.machine.apply(batch, context));
    if (!result.duplicate) {
      for (const record of recordsOf(batch)) this.log.push(textOf(record.value!));
    }
    return { baseOffset: result.baseOffset, timeMs: 1_000, duplicate: result.duplicate };
  }
}

interface Result {
  readonly error: TrilogError | null;
  readonly offset: number | null;
}

async function produceAll(
  partition: FakePartition,
  texts: readonly string[],
  options: ProducerOptions = {},
): Promise<Result[]> {
  const producer = new Producer(partition, options);
  await producer.prepare("t");
  const results: Result[] = [];
  let heard = 0;
  for (const [at, text] of texts.entries()) {
    producer.enqueue("t", { value: utf8(text) }, (error, delivered) => {
      assertEquals(heard, at, "callers hear in order");
      heard += 1;
      results[at] = { error, offset: delivered?.offset ?? null };
    });
    if (at % 7 === 0) await partition.settle(partition.wait(1));
  }
  await partition.settle(producer.stop());
  return results;
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `message ${at}`);
}

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
