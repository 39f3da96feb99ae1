/** Managers, partitions and consumers' clients in one process, on virtual time. */

import { type Clock, sleep, type Timer } from "../../lib/base/clock.ts";
import { textOf, utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import type { Packable } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";
import { patchBaseOffset, readBatchHeader } from "../../lib/batch/batch_header.ts";
import { BatchBuilder } from "../../lib/batch/batch_writer.ts";
import { PartitionMachine } from "../../lib/broker/partition.ts";
import { groupAnswer, type PartitionCommand } from "../../lib/broker/partition_commands.ts";
import { Consumer, type ConsumerAccess } from "../../lib/client/consumer.ts";
import type { ConsumerOptions } from "../../lib/client/consumer_options.ts";
import { Managers as ManagersClient } from "../../lib/client/managers.ts";
import type { Message } from "../../lib/client/message.ts";
import type {
  ClaimRequest,
  CommitRequest,
  FetchAnswer,
  FetchRequest,
  ListOffsetsRequest,
  Method,
} from "../../lib/client/protocol.ts";
import type { Call } from "../../lib/net/rpc.ts";
import { Applier } from "../broker/partition_support.ts";
import { type Managers, managersWith } from "../manager/manager_fixture.ts";

export const GROUP = "g";

/** A partition as its leader would serve it. */
export class FakePartition {
  readonly applier = new Applier(new PartitionMachine());
  /** Groups' claims, in order: `member@generation`. */
  readonly claims: string[] = [];
  private batches: { readonly index: number; readonly bytes: Uint8Array }[] = [];
  private readonly waiting = new Set<() => void>();

  constructor(private readonly clock: Clock) {}

  get machine(): PartitionMachine {
    return this.applier.machine;
  }

  produce(...values: string[]): void {
    this.produceAt(1_000, ...values);
  }

  /** Messages with this timestamp. */
  produceAt(timestampMs: number, ...values: string[]): void {
    const builder = new BatchBuilder();
    for (const value of values) builder.add(null, utf8(value), timestampMs);
    const bytes = builder.finish();
    const base = this.machine.endOffset;
    this.applier.data(bytes.slice());
    patchBaseOffset(bytes, base, 1);
    this.batches.push({ index: this.applier.index, bytes });
    for (const wake of [...this.waiting]) wake();
  }

  /** Retention drops everything before the last batch. */
  trim(): void {
    const { index } = this.batches[this.batches.length - 1];
    this.applier.command({ kind: "trim", index });
    this.batches = this.batches.filter((batch) => batch.index >= index);
  }

  committed(group = GROUP): number | null {
    return this.machine.describe().groups.find((one) => one.group === group)?.offset ?? null;
  }

  run(command: PartitionCommand & { kind: "claim" | "commit" }): { offset: number | null } {
    if (command.kind === "claim") this.claims.push(`${command.member}@${command.generation}`);
    return groupAnswer.decode(this.applier.command(command));
  }

  async fetch({ offset, maxWaitMs }: FetchRequest): Promise<FetchAnswer> {
    const { startOffset, endOffset } = this.machine;
    if (offset < startOffset || offset > endOffset) {
      const state = `it goes from ${startOffset} to ${endOffset}`;
      throw new TrilogError("offset_out_of_range", `Cannot fetch at ${offset}: ${state}`);
    }
    if (offset === endOffset) await this.more(maxWaitMs);
    const found = this.batches.filter(({ bytes }) => {
      const { baseOffset, count } = readBatchHeader(bytes);
      return baseOffset + count > offset;
    });
    return {
      batches: found.slice(0, 2).map(({ bytes }) => bytes),
      startOffset: this.machine.startOffset,
      endOffset: this.machine.endOffset,
    };
  }

  private more(longestMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        timer.cancel();
        this.waiting.delete(wake);
        resolve();
      };
      const timer = this.clock.after(longestMs, wake);
      this.waiting.add(wake);
    });
  }
}

/** A process with a client; paused, it does nothing and hears nothing until it goes on. */
export class FakeProcess {
  private paused = false;
  private held: (() => void)[] = [];
  requests = 0;
  readonly clock: Clock;

  constructor(private readonly real: Clock) {
    this.clock = {
      monotonicMs: () => real.monotonicMs(),
      wallMs: () => real.wallMs(),
      after: (delayMs, run) => this.after(delayMs, run),
      nextTurn: (run) => void this.after(0, run),
    };
  }

  pause(): void {
    this.paused = true;
  }

  goOn(): void {
    this.paused = false;
    const { held } = this;
    this.held = [];
    for (const run of held) run();
  }

  /** What `work` ends in, but not while the process is paused. */
  async heard<T>(work: Promise<T>): Promise<T> {
    this.requests += 1;
    await work.catch(() => {});
    while (this.paused) await new Promise<void>((resolve) => this.held.push(resolve));
    return await work;
  }

  private after(delayMs: number, run: () => void): Timer {
    let cancelled = false;
    const timer = this.real.after(delayMs, () => {
      if (!this.paused) run();
      else this.held.push(() => cancelled || run());
    });
    return {
      cancel: () => {
        cancelled = true;
        timer.cancel();
      },
    };
  }
}

/** A consumer and what it was given. */
export class Member {
  readonly seen: Message[] = [];
  /** Null while the iteration goes on; then how it ended. */
  end: "done" | TrilogError | null = null;

  constructor(
    readonly consumer: Consumer,
    readonly process: FakeProcess,
  ) {}

  /** Iterates; `work` is done with each message before the next is asked for. */
  iterate(work: (message: Message) => Promise<void> | void = () => {}): void {
    this.end = null;
    const run = async () => {
      for await (const message of this.consumer) {
        this.seen.push(message);
        await work(message);
      }
    };
    run().then(() => {
      this.end = "done";
    }, (error) => {
      this.end = error;
    });
  }

  /** Requests that its process has sent. */
  get asked(): number {
    return this.process.requests;
  }

  get values(): string[] {
    return this.seen.map(({ value }) => textOf(value!));
  }

  /** `topic/partition` of all it has now. */
  get assigned(): string[] {
    return this.consumer.assigned.map(({ topic, partition }) => `${topic}/${partition}`);
  }
}

export class World {
  readonly partitions = new Map<string, FakePartition>();
  readonly members: Member[] = [];
  readonly down = new Set<string>();
  readonly random: Prng;
  /** Chance that an answer of a partition or a manager is lost. */
  loss = 0;
  /** Which methods' answers are lost for certain: what was asked is done. */
  loses: (method: string) => boolean = () => false;
  private names = 0;

  private constructor(readonly managers: Managers, seed: number) {
    this.random = new Prng(seed);
  }

  static async create(seed = 1): Promise<World> {
    return new World(await managersWith(3), seed);
  }

  get clock(): Clock {
    return this.managers.clock;
  }

  pass(durationMs: number): Promise<void> {
    return this.managers.pass(durationMs);
  }

  /** Lets time pass until `done` holds; fails after a minute. */
  async until(what: string, done: () => boolean): Promise<void> {
    const endMs = this.clock.monotonicMs() + 60_000;
    while (!done()) {
      if (this.clock.monotonicMs() > endMs) throw new Error(`${what} did not happen`);
      await this.pass(10);
    }
  }

  /** What `work` comes to, with the time that it takes. */
  settle<T>(work: Promise<T>): Promise<T> {
    return this.managers.clock.settle(work);
  }

  async createTopic(topic: string, partitions: number): Promise<void> {
    await this.managers.createTopic(topic, undefined, partitions, `create-${++this.names}`);
  }

  partition(topic: string, number: number): FakePartition {
    const { groupId } = this.placed(topic, number);
    const found = this.partitions.get(groupId) ?? new FakePartition(this.clock);
    this.partitions.set(groupId, found);
    return found;
  }

  join(topics: readonly string[], options: ConsumerOptions = {}): Member {
    const process = new FakeProcess(this.clock);
    const consumer = new Consumer(this.access(process), GROUP, topics, options);
    const member = new Member(consumer, process);
    this.members.push(member);
    return member;
  }

  /** Ends everything that was begun. */
  async end(): Promise<void> {
    this.loss = 0;
    this.loses = () => false;
    for (const { process, consumer } of this.members) {
      process.goOn();
      await this.settle(consumer.stop({ failed: true })).catch(() => {});
    }
    this.managers.stop();
  }

  private placed(topic: string, number: number) {
    const { state } = this.managers.servers.get("m1")!.machine;
    const found = state.topics.get(topic)?.partitions[number];
    if (found !== undefined) return found;
    throw new TrilogError("no_such_topic", `Cannot use ${topic}/${number}: there is none`);
  }

  /** What a client of that process offers to consumers and readers. */
  access(process: FakeProcess): ConsumerAccess {
    const { clock } = process;
    const caller = {
      call: (address: string, method: string, params: Packable, options: { deadlineMs: number }) =>
        process.heard(this.callManager(address, method, params, options.deadlineMs)),
    };
    const bootstrap = [...this.managers.servers.keys()].map((name) => `${name}:9001`);
    return {
      clock,
      random: this.random,
      managers: new ManagersClient(caller, clock, this.random, bootstrap),
      newRequestId: () => `member-${++this.names}`,
      partitionRequest: ((
        topic: string,
        partition: number,
        method: Method<unknown, unknown>,
        request: unknown,
        deadlineMs: number,
      ) =>
        process.heard(
          this.askPartition(topic, partition, method.name, request, deadlineMs),
        )) as ConsumerAccess["partitionRequest"],
    };
  }

  private async callManager(
    address: string,
    method: string,
    params: Packable,
    deadlineMs: number,
  ): Promise<Packable> {
    await sleep(this.clock, 1);
    if (this.down.has(address)) {
      throw new TrilogError("unavailable", `Cannot reach ${address}: it is down`);
    }
    const handler = this.managers.servers.get(address.split(":")[0])!.handlers.get(method)!;
    const answer = await handler(params, { deadlineMs, method } as Call);
    await sleep(this.clock, 1);
    if (!this.loses(method) && !this.random.chance(this.loss)) return answer as Packable;
    await sleep(this.clock, deadlineMs);
    throw new TrilogError("deadline_exceeded", `Cannot call ${address}: no answer`);
  }

  private async askPartition(
    topic: string,
    number: number,
    method: string,
    request: unknown,
    deadlineMs: number,
  ): Promise<unknown> {
    await sleep(this.clock, 1 + this.random.below(3));
    const partition = this.partition(topic, number);
    const answer = await this.answerOf(partition, method, request);
    await sleep(this.clock, 1 + this.random.below(3));
    if (!this.loses(method) && !this.random.chance(this.loss)) return answer;
    await sleep(this.clock, deadlineMs);
    throw new TrilogError("outcome_unknown", `Cannot tell the outcome for ${topic}: no answer`);
  }

  private async answerOf(partition: FakePartition, method: string, request: unknown) {
    const { machine } = partition;
    switch (method) {
      case "broker.fetch":
        return await partition.fetch(request as FetchRequest);
      case "broker.claim":
        return partition.run({ kind: "claim", ...request as ClaimRequest });
      case "broker.commit":
        return partition.run({ kind: "commit", ...request as CommitRequest });
      case "broker.list_offsets": {
        const { at } = request as ListOffsetsRequest;
        return { offset: at === "earliest" ? machine.startOffset : machine.endOffset };
      }
      default:
        throw new Error(`no ${method} here`);
    }
  }
}

/** A world with a topic `t`. */
export async function worldWith(partitions: number, seed = 1): Promise<World> {
  const world = await World.create(seed);
  await world.createTopic("t", partitions);
  return world;
}

/** `count` messages for a partition of `t`, `partition:number`, from the number `first` on. */
export function produceTo(world: World, partition: number, first: number, count: number): void {
  const values = Array.from({ length: count }, (_, at) => `${partition}:${first + at}`);
  world.partition("t", partition).produce(...values);
}

/** The same for each of the first partitions. */
export function produceToAll(
  world: World,
  partitions: number,
  first: number,
  count: number,
): void {
  for (let at = 0; at < partitions; at += 1) produceTo(world, at, first, count);
}

/** Values that were handed out more than once, by all members together. */
export function repeatedBy(...members: readonly Member[]): string[] {
  const values = members.flatMap(({ values }) => values).sort();
  return values.filter((value, at) => value === values[at - 1]);
}
