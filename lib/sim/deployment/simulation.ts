/**
 * A simulation of a whole deployment: managers, brokers and clients under faults and load, then
 * healed, made to prove that it is well, and read through.
 */

import { sleep } from "../../base/clock.ts";
import { Prng } from "../../base/prng.ts";
import { NoProgress } from "../outcome.ts";
import type { Scheduler } from "../scheduler.ts";
import type { Operations } from "../system.ts";
import { Books, type PartitionContent } from "./books.ts";
import { ClientProcess, ConsumerSeat, ProducerProgram, readAll, ReaderProgram } from "./clients.ts";
import { Deployment } from "./deployment.ts";
import type { DeploymentFault } from "./faults.ts";
import { complaints, describe } from "./health.ts";
import { DeploymentInjector } from "./injector.ts";
import { Operator } from "./operator.ts";
import type { DeploymentOptions } from "./options.ts";

/** Virtual time that a healed deployment has for each thing that is asked of it. */
const PROGRESS_MS = 60_000;
/** Longest chain of awaits that ends within its event: server code has longer ones than a core. */
export const MICROTASK_TURNS = 24;
const GROUP = "readers";

export class DeploymentSimulation {
  readonly deployment: Deployment;
  private readonly injector: DeploymentInjector;
  private readonly books = new Books();
  private readonly producers: ProducerProgram[];
  private readonly consumers: ConsumerSeat[];
  private readonly reader: ReaderProgram;
  private readonly operator: Operator;
  /** Where the operator, and afterwards the auditor, sits. */
  private readonly seat: ClientProcess;
  private scanned = 0;

  constructor(
    seed: number,
    private readonly options: DeploymentOptions,
    private readonly faults: readonly DeploymentFault[],
    private readonly scheduler: Scheduler,
  ) {
    const random = new Prng(seed ^ 0x3c4d5e);
    const deployment = new Deployment(scheduler, options, random.fork());
    this.deployment = deployment;
    this.seat = new ClientProcess(deployment, "operator", random.fork());
    this.operator = new Operator(this.seat, deployment, this.books);
    const reading = new ClientProcess(deployment, "reader", random.fork());
    this.reader = new ReaderProgram(reading, deployment, this.books);
    this.producers = numbered("p", options.producers).map((name) => {
      const seat = new ClientProcess(deployment, name, random.fork());
      return new ProducerProgram(seat, deployment, this.books);
    });
    this.consumers = numbered("c", options.consumers).map((name) =>
      new ConsumerSeat(deployment, name, random.fork(), GROUP, this.books)
    );
    const names = [...numbered("p", options.producers), ...numbered("c", options.consumers)];
    this.injector = new DeploymentInjector(deployment, names, this.operator, this.consumers);
  }

  async run(): Promise<void> {
    const { scheduler, producers, consumers, options, injector } = this;
    this.deployment.start();
    injector.schedule(this.faults);
    const ready = this.operator.createTopics(options.topics);
    ready.then(() => {
      for (const program of [...producers, ...consumers, this.reader]) program.start();
    });
    await scheduler.runUntil(options.faultsMs);
    injector.heal();
    await this.wait("the topics are there", ready);
    await this.wait("the operator is done", this.operator.finish());
    for (const program of [...producers, this.reader]) program.stop();
    const longestMs = Math.max(...producers.map(({ deliveryMs }) => deliveryMs));
    const settled = () => producers.every(({ busy }) => !busy);
    await this.demand("every message is settled", settled, longestMs + PROGRESS_MS);
    await this.demandHealth();
    await this.proveProgress();
    await this.demandHealth();
    await this.scan();
  }

  get faultsFired(): Record<string, number> {
    return this.injector.report();
  }

  get operations(): Operations {
    return {
      acknowledged: this.books.acknowledged,
      reads: this.books.deliveries,
      scanned: this.scanned,
    };
  }

  /** Lets time pass until something holds; what takes too long is no progress. */
  private async demand(
    what: string,
    holds: () => boolean,
    withinMs: number = PROGRESS_MS,
    why: () => string = () => "",
  ): Promise<void> {
    if (await this.scheduler.runUntil(this.scheduler.nowMs + withinMs, holds)) return;
    const message = `Within ${withinMs} ms after healing it must hold that ${what}`;
    throw new NoProgress(`${message}\n${why()}\n${describe(this.deployment)}`);
  }

  private async wait<T>(what: string, promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise.then(done, done);
    await this.demand(what, () => settled);
    return await promise;
  }

  /** Looks now and then: to look after every step would take longer than the steps. */
  private async demandHealth(): Promise<void> {
    const untilMs = this.scheduler.nowMs + PROGRESS_MS;
    for (;;) {
      const found = complaints(this.deployment);
      if (found.length === 0) return;
      if (this.scheduler.nowMs >= untilMs) {
        throw new NoProgress(
          `Within ${PROGRESS_MS} ms after healing the deployment must be well:\n` +
            `${found.join("\n")}\n${describe(this.deployment)}`,
        );
      }
      await this.scheduler.runUntil(this.scheduler.nowMs + LOOK_MS);
    }
  }

  /** One message more in each partition, and the group is handed out everything. */
  private async proveProgress(): Promise<void> {
    const [producer] = this.producers;
    for (const topic of this.deployment.metadata?.sortedTopics() ?? []) {
      for (const partition of topic.partitions.keys()) {
        await this.wait(
          `${topic.name}/${partition} takes a message`,
          this.deliver(producer, topic.name, partition),
        );
      }
    }
  }

  /** Sends until a message is acknowledged: some producers give each up after a short while. */
  private async deliver(
    producer: ProducerProgram,
    topic: string,
    partition: number,
  ): Promise<void> {
    for (;;) {
      const { outcome } = await producer.send(topic, partition);
      if (outcome === "acknowledged") return;
      await sleep(this.seat.clock, 10);
    }
  }

  private async scan(): Promise<void> {
    for (const topic of this.deployment.metadata?.sortedTopics() ?? []) {
      for (const partition of topic.partitions.keys()) {
        const label = `${topic.name}/${partition}`;
        const read = readAll(this.seat, topic.name, partition);
        const content = await this.wait(`${label} is read through`, read);
        this.scanned += content.values.size;
        this.books.audit(topic.name, partition, content);
        const subscribed = this.options.topics.some(({ name }) => name === topic.name);
        const { groupId } = topic.partitions[partition];
        if (subscribed) await this.demandConsumed(topic.name, partition, groupId, content);
      }
    }
  }

  private async demandConsumed(
    topic: string,
    partition: number,
    groupId: string,
    content: PartitionContent,
  ): Promise<void> {
    // What retention has dropped meanwhile is handed out to no consumer any more.
    const missing = () =>
      this.books.missing(GROUP, topic, partition, content)
        .filter((offset) => offset >= this.deployment.startOffset(groupId));
    for (const { failure } of [...this.consumers, this.reader]) if (failure !== null) throw failure;
    await this.demand(
      `the group is handed out all of ${topic}/${partition}`,
      () => missing().length === 0,
      PROGRESS_MS,
      () => `missing: ${missing().join()}`,
    );
  }
}

const LOOK_MS = 100;

function numbered(letter: string, count: number): string[] {
  return Array.from({ length: count }, (_, at) => `${letter}${at + 1}`);
}
