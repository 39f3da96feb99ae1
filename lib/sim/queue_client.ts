/**
 * A client of the simulated queue: it produces by the producer of the client library, fetches, and
 * claims and commits for consumer groups, and writes down what it was told.
 */

import { utf8 } from "../base/bytes.ts";
import { sleep } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Prng } from "../base/prng.ts";
import { readBatchHeader } from "../batch/batch_header.ts";
import type { ClaimCommand, CommitCommand } from "../broker/partition_commands.ts";
import type { PartitionAccess, PartitionRequest } from "../client/access.ts";
import { Producer } from "../client/producer.ts";
import {
  claimMethod,
  commitMethod,
  type FetchAnswer,
  fetchMethod,
  type Isolation,
  type ProduceAnswer,
  produceMethod,
  type TopicMetadata,
} from "../client/protocol.ts";
import type { Method } from "../client/protocol_method.ts";
import { type Route, Routing } from "../client/routing.ts";
import { SimClock } from "./clock.ts";
import type { SimProcess } from "./process.ts";
import type { PartitionStory } from "./queue_audit.ts";
import type { Reach, SimClient } from "./system.ts";

/** The topic whose partitions the groups are. */
export const TOPIC = "events";

/** Messages that a client leaves with its producer at most. */
const MOST_UNDER_WAY = 30;
const CONSUMER_GROUPS = ["readers", "writers"];

/** The cluster as the client library sees it; its metadata never changes. */
class Access implements PartitionAccess {
  readonly clock: SimClock;
  private readonly routing: Routing;

  constructor(
    private readonly process: SimProcess,
    private readonly stories: readonly PartitionStory[],
    private readonly reach: Reach,
    readonly random: Prng,
  ) {
    this.clock = new SimClock(process);
    this.routing = new Routing(random);
    this.routing.update({
      clusterId: TOPIC,
      version: 1,
      topics: [topicOf(reach)],
      brokers: reach.addresses.map((address) => ({
        id: address,
        replicaId: address,
        address,
        rack: "",
        alive: true,
      })),
      managers: [],
    });
  }

  topic(name: string): Promise<TopicMetadata> {
    const found = this.routing.topic(name);
    if (found !== undefined) return Promise.resolve(found);
    return Promise.reject(new TrilogError("no_such_topic", `Cannot use ${name}: no such topic`));
  }

  partitionCount(topic: string): number | null {
    return this.routing.topic(topic)?.partitions.length ?? null;
  }

  route(topic: string, partition: number): Promise<Route> {
    const found = this.routing.route(topic, partition);
    if (found !== null) return Promise.resolve(found);
    const text = `Cannot use partition ${partition} of ${topic}: there is no such partition`;
    return Promise.reject(new TrilogError("no_such_partition", text));
  }

  async askLeader<Request extends PartitionRequest, Answer>(
    route: Route,
    method: Method<Request, Answer>,
    request: Omit<Request, keyof PartitionRequest>,
  ): Promise<Answer> {
    const { groupId, epoch, address } = route;
    const group = this.reach.groupNames.indexOf(groupId);
    const full = { ...request, groupId, epoch } as unknown as Request;
    const params = method.request.encode(full);
    const reply = await this.reach.call(this.process, address, group, method.name, params);
    this.routing.succeeded(route);
    const answer = method.answer.decode(reply, method.name);
    if (method.name === produceMethod.name) this.note(group, request, answer);
    return answer;
  }

  noteFailure(route: Route, error: TrilogError): number | null {
    const advice = this.routing.failed(route, error);
    return advice.kind === "give_up" ? null : advice.delayMs;
  }

  private note(group: number, request: unknown, answer: unknown): void {
    const { batch } = request as { readonly batch: Uint8Array };
    const header = readBatchHeader(batch);
    this.stories[group].answers.push({ header, answer: answer as ProduceAnswer });
  }
}

function topicOf({ groupNames, addresses }: Reach): TopicMetadata {
  return {
    name: TOPIC,
    settings: { retentionBytes: 0, retentionMs: 0 },
    partitions: groupNames.map((groupId, partition) => ({
      partition,
      groupId,
      epoch: 0,
      replicas: addresses,
      leader: null,
      leaderTerm: 0,
    })),
  };
}

export class QueueClient implements SimClient {
  private readonly access: Access;
  private readonly producer: Producer;
  private prepared = false;
  private stopping = false;
  private asking = false;
  private underWay = 0;
  private messages = 0;

  constructor(
    private readonly process: SimProcess,
    private readonly stories: readonly PartitionStory[],
    private readonly reach: Reach,
    private readonly random: Prng,
  ) {
    this.access = new Access(process, stories, reach, random.fork());
    this.producer = new Producer(this.access, {
      batchBytes: random.pick([100, 1_000, 65_536]),
      deliveryMs: random.pick([1_000, 4_000, 120_000]),
    });
  }

  get busy(): boolean {
    return this.asking || this.underWay > 0;
  }

  start(): void {
    if (this.stopping) return;
    this.process.after(this.random.between(1, 40), "client", () => {
      this.asking = true;
      this.act(this.random.below(this.stories.length)).then(() => {
        this.asking = false;
        this.start();
      });
    });
  }

  stop(): void {
    this.stopping = true;
  }

  /** One message more is acknowledged, and read where it was said to stand. */
  async prove(group: number): Promise<void> {
    await this.prepare();
    let offset: number | null = null;
    while (offset === null) offset = await this.send(group);
    for (;;) {
      const answer = await this.fetch(group, offset, "linearizable");
      if (answer !== null && answer.batches.length > 0) return;
      await sleep(this.access.clock, 1);
    }
  }

  private async act(group: number): Promise<void> {
    await this.prepare();
    const { random } = this;
    const story = this.stories[group];
    const what = random.next();
    if (what < 0.6) {
      for (let left = random.between(1, 4); left > 0 && this.underWay < MOST_UNDER_WAY; left -= 1) {
        void this.send(group);
      }
    } else if (what < 0.85) {
      const offset = random.between(Math.max(0, story.knownEnd - 20), story.knownEnd);
      await this.fetch(group, offset, random.pick(["committed", "linearizable"]));
    } else await this.consume(group, random.pick(CONSUMER_GROUPS));
  }

  private async prepare(): Promise<void> {
    if (this.prepared) return;
    await this.producer.prepare(TOPIC);
    this.prepared = true;
  }

  /** Gives a message away; resolves with its offset, or null when that failed. */
  private send(group: number): Promise<number | null> {
    const story = this.stories[group];
    this.messages += 1;
    const value = `${this.process.name}-${this.messages}@${group}${
      "x".repeat(this.random.below(300))
    }`;
    const sent = {
      client: this.process.name,
      value,
      knownBefore: story.knownEnd,
      offset: null as number | null,
      refused: false,
    };
    story.sent.push(sent);
    this.underWay += 1;
    return new Promise((resolve) => {
      this.producer.enqueue(TOPIC, { value: utf8(value), partition: group }, (error, delivered) => {
        this.underWay -= 1;
        sent.refused = error !== null && !error.outcomeUnknown;
        sent.offset = delivered?.offset ?? null;
        if (delivered !== null) story.knownEnd = Math.max(story.knownEnd, delivered.offset + 1);
        resolve(sent.offset);
      });
    });
  }

  private async fetch(
    group: number,
    offset: number,
    isolation: Isolation,
  ): Promise<FetchAnswer | null> {
    const story = this.stories[group];
    const knownBefore = story.knownEnd;
    const request = { offset, maxBytes: 2_000, minBytes: 1, maxWaitMs: 20, isolation };
    const answer = await this.attempt(group, fetchMethod, request);
    if (answer === null) return null;
    const highestAfter = this.reach.highest(group);
    story.fetches.push({ offset, isolation, knownBefore, highestAfter, answer });
    story.knownEnd = Math.max(story.knownEnd, answer.endOffset);
    return answer;
  }

  /** Takes a partition over for a consumer group and commits an offset, perhaps too late. */
  private async consume(group: number, consumers: string): Promise<void> {
    const story = this.stories[group];
    const generation = story.generation += 1;
    const member = this.process.name;
    const claimant = { group: consumers, generation, member };
    // The books find a command by its text, so its fields are in the order of its codec.
    const claim = { kind: "claim", group: consumers, born: 0, generation, member } as const;
    if (!await this.keep(group, claim)) return;
    if (this.random.chance(0.3)) await sleep(this.access.clock, this.random.between(1, 50));
    const offset = this.random.between(0, story.knownEnd);
    await this.keep(group, { kind: "commit", ...claimant, offset });
  }

  private async keep(group: number, command: ClaimCommand | CommitCommand): Promise<boolean> {
    const { kind, ...request } = command;
    const answer = kind === "claim"
      ? await this.attempt(group, claimMethod, request as ClaimCommand)
      : await this.attempt(group, commitMethod, request as CommitCommand);
    if (answer === null) return false;
    this.stories[group].positions.push({ command, offset: answer.offset });
    return true;
  }

  /** One attempt at whom the client takes for the leader; null when it failed. */
  private async attempt<Request extends PartitionRequest, Answer>(
    group: number,
    method: Method<Request, Answer>,
    request: Omit<Request, keyof PartitionRequest>,
  ): Promise<Answer | null> {
    const route = await this.access.route(TOPIC, group);
    try {
      return await this.access.askLeader(route, method, request);
    } catch (thrown) {
      if (!(thrown instanceof TrilogError)) throw thrown;
      this.access.noteFailure(route, thrown);
      return null;
    }
  }
}
