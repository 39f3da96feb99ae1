import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { textOf, utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
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
  readonly machine = new PartitionMachine();
  readonly log: string[] = [];
  readonly batchSizes: number[] = [];
  inFlight = 0;
  mostInFlight = 0;
  loss = 0;
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
        groupId: "p/1/0",
        epoch: 0,
        replicas: ["b1"],
        leader: "b1",
        leaderTerm: 1,
      }],
    });
  }

  route() {
    return Promise.resolve({ groupId: "p/1/0", epoch: 0, address: "b1:1" });
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

  wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.scheduler.after(delayMs, "wait", resolve));
  }

  async settle(promise: Promise<unknown>): Promise<void> {
    let settled = false;
    promise.then(() => settled = true, () => settled = true);
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
    const context = { index: this.index, term: 1, timeMs: 1_000 };
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
