/** Programs of users: they use the client library as it is, on simulated clocks and sockets. */

import { textOf, utf8 } from "../../base/bytes.ts";
import { sleep } from "../../base/clock.ts";
import { toTrilogError } from "../../base/errors.ts";
import type { Prng } from "../../base/prng.ts";
import { Client } from "../../client/client.ts";
import type { Consumer } from "../../client/consumer.ts";
import type { Producer } from "../../client/producer.ts";
import { SimClock } from "../clock.ts";
import { SimProcess } from "../process.ts";
import type { Books, PartitionContent, SentMessage } from "./books.ts";
import type { Deployment } from "./deployment.ts";
import { identityFrom } from "./machine.ts";

/** Messages that a producer has under way at most. */
const MOST_UNDER_WAY = 40;

/** A process with a client of the deployment in it. */
export class ClientProcess {
  readonly process: SimProcess;
  readonly clock: SimClock;
  readonly client: Client;

  constructor(deployment: Deployment, readonly name: string, readonly random: Prng) {
    const { scheduler, streams, options: { turnMs } } = deployment;
    this.process = new SimProcess(scheduler, name);
    this.clock = new SimClock(this.process, { rate: 1, wallOffsetMs: 0, turnMs });
    this.client = Client.unconnected({
      bootstrap: random.shuffled(deployment.addresses),
      name,
      clock: this.clock,
      random: random.fork(),
      newRequestId: () => identityFrom(random),
      sockets: streams.socketsOf(this.process),
    });
  }
}

/** Sends messages at random moments and writes down what became of each. */
export class ProducerProgram {
  private readonly producer: Producer;
  private stopping = false;
  private messages = 0;
  private underWay = 0;
  private burstEndsMs = 0;

  constructor(
    private readonly seat: ClientProcess,
    private readonly deployment: Deployment,
    private readonly books: Books,
  ) {
    const { random, client } = seat;
    this.producer = client.producer({
      batchBytes: random.pick([200, 2_000, 65_536]),
      deliveryMs: random.pick([3_000, 120_000, 120_000]),
      lingerMs: random.pick([0, 5]),
    });
  }

  get busy(): boolean {
    return this.underWay > 0;
  }

  /** Virtual time until a message's fate is known at the latest. */
  get deliveryMs(): number {
    return this.producer.settings.deliveryMs;
  }

  start(): void {
    if (this.stopping) return;
    const { random, process } = this.seat;
    const { messageEveryMs, burstMs, lullMs } = this.deployment.options;
    let waitMs = random.between(1, 2 * messageEveryMs);
    // Groups come to rest only where nothing is sent for a while.
    if (process.nowMs > this.burstEndsMs) {
      waitMs += random.below(lullMs + 1);
      this.burstEndsMs = process.nowMs + waitMs + random.between(1, burstMs);
    }
    process.after(waitMs, "produce", () => {
      for (let left = random.between(1, 4); left > 0 && this.underWay < MOST_UNDER_WAY; left -= 1) {
        this.send(random.pick(this.deployment.options.topics).name);
      }
      this.start();
    });
  }

  stop(): void {
    this.stopping = true;
  }

  /** One message more; resolves when its fate is known. */
  async send(topic: string, partition?: number): Promise<SentMessage> {
    const { random, name } = this.seat;
    this.messages += 1;
    const sent: SentMessage = {
      producer: name,
      number: this.messages,
      topic,
      value: `${name}-${this.messages}${"x".repeat(random.below(200))}`,
      outcome: "waiting",
      partition: -1,
      offset: -1,
      sentMs: this.deployment.scheduler.nowMs,
    };
    this.books.sent.push(sent);
    this.underWay += 1;
    const key = random.chance(0.5) ? utf8(`k${random.below(5)}`) : null;
    const place = partition === undefined ? {} : { partition };
    try {
      const delivered = await this.producer.send(topic, { key, value: utf8(sent.value), ...place });
      sent.partition = delivered.partition;
      sent.offset = delivered.offset;
      sent.outcome = "acknowledged";
    } catch (thrown) {
      sent.outcome = toTrilogError(thrown).outcomeUnknown ? "unknown" : "refused";
    }
    this.underWay -= 1;
    return sent;
  }
}

/** A place in a consumer group: a program dies or stops there, and another one takes over. */
export class ConsumerSeat {
  failure: unknown = null;
  private seat: ClientProcess | null = null;
  private consumer: Consumer | null = null;

  constructor(
    private readonly deployment: Deployment,
    readonly name: string,
    private readonly random: Prng,
    private readonly group: string,
    private readonly books: Books,
  ) {}

  start(): void {
    if (this.seat !== null) return;
    const { random, deployment } = this;
    this.seat = new ClientProcess(deployment, this.name, random.fork());
    const topics = deployment.options.topics.map(({ name }) => name);
    this.consumer = this.seat.client.consumer(this.group, topics, {
      from: "earliest",
      onBehind: "earliest",
      autoCommitMs: random.pick([100, 1_000]),
      sessionTimeoutMs: random.pick([1_000, 3_000]),
      revokeMs: 1_000,
    });
    const { process } = this.seat;
    this.run(this.consumer).catch((thrown) => {
      if (process.alive) this.failure ??= thrown;
    });
  }

  /** Ends the program there is and starts another one later; false where there is none. */
  replace(how: "kill" | "stop", afterMs: number): boolean {
    const { seat, consumer, deployment } = this;
    if (seat === null || consumer === null) return false;
    this.seat = this.consumer = null;
    const ended = () => {
      seat.process.kill();
      deployment.scheduler.after(afterMs, `start ${this.name}`, () => this.start());
    };
    if (how === "kill") ended();
    else consumer.stop().catch(() => {}).then(ended);
    return true;
  }

  private async run(consumer: Consumer): Promise<void> {
    for (;;) {
      const message = await consumer.next();
      if (message === null) return;
      const { topic, partition, offset, value } = message;
      this.books.noteDelivery(this.group, topic, partition, offset, textOf(value!));
    }
  }
}

/** Reads partitions from some place on, now and then: old messages too are still there. */
export class ReaderProgram {
  failure: unknown = null;
  private stopping = false;

  constructor(
    private readonly seat: ClientProcess,
    private readonly deployment: Deployment,
    private readonly books: Books,
  ) {}

  start(): void {
    this.run().catch((thrown) => {
      this.failure ??= thrown;
    });
  }

  stop(): void {
    this.stopping = true;
  }

  private async run(): Promise<void> {
    const { random, clock } = this.seat;
    while (!this.stopping) {
      await sleep(clock, random.between(1, LONGEST_READER_PAUSE_MS));
      const topic = random.pick(this.deployment.options.topics);
      try {
        await this.read(topic.name, random.below(topic.partitions));
      } catch (thrown) {
        const { code, retryable } = toTrilogError(thrown);
        if (!retryable && code !== "offset_out_of_range") throw thrown;
      }
    }
  }

  private async read(topic: string, partition: number): Promise<void> {
    const { client, random, name } = this.seat;
    const start = await client.offset(topic, partition, "earliest");
    const end = await client.offset(topic, partition, "latest");
    const from = random.chance(0.5) ? start : random.between(start, end);
    const reader = client.reader(topic, partition, { from, maxBytes: 2_000, patienceMs: 3_000 });
    while (reader.offset < end && !this.stopping) {
      const { records } = await reader.next();
      for (const { offset, value } of records) {
        this.books.noteDelivery(name, topic, partition, offset, textOf(value!));
      }
    }
  }
}

const LONGEST_READER_PAUSE_MS = 4_000;

/** Everything that a partition holds, read by the client library. */
export async function readAll(
  { client, clock }: ClientProcess,
  topic: string,
  partition: number,
): Promise<PartitionContent> {
  for (;;) {
    try {
      const startOffset = await client.offset(topic, partition, "earliest");
      const end = await client.offset(topic, partition, "latest");
      const reader = client.reader(topic, partition, { from: startOffset });
      const values = new Map<number, string>();
      while (reader.offset < end) {
        const { records } = await reader.next();
        for (const { offset, value } of records) values.set(offset, textOf(value!));
      }
      return { startOffset, values };
    } catch (thrown) {
      const { code, retryable } = toTrilogError(thrown);
      if (!retryable && code !== "offset_out_of_range") throw thrown;
      await sleep(clock, 50);
    }
  }
}
