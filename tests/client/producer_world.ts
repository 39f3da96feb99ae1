/** One partition for the tests of producers, on virtual time. */

import { assertEquals } from "@std/assert";
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
export class FakePartition implements PartitionAccess {
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

export interface Result {
  readonly error: TrilogError | null;
  readonly offset: number | null;
}

export async function produceAll(
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

export function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `message ${at}`);
}
