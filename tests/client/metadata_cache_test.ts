import { assert, assertEquals, assertRejects } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import { MetadataCache } from "../../lib/client/metadata_cache.ts";
import {
  type ClusterMetadata,
  metadataUpdateMethod,
  type MetadataUpdateRequest,
  type Method,
  type TopicMetadata,
} from "../../lib/client/protocol.ts";
import { Routing } from "../../lib/client/routing.ts";
import { SimClock } from "../../lib/sim/clock.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";

const broker = { id: "b1", replicaId: "r1", address: "b1:1", rack: "", alive: true };

function topic(name: string, partitions: number, number = 1): TopicMetadata {
  return {
    name,
    settings: { retentionBytes: 0, retentionMs: 0 },
    partitions: Array.from({ length: partitions }, (_, partition) => ({
      partition,
      groupId: `p/${number}/${partition}`,
      epoch: 1,
      replicas: ["r1"],
      leader: "r1",
      leaderTerm: 1,
    })),
  };
}

/** Managers that count what they are asked, on virtual time. */
class World {
  readonly scheduler = new Scheduler();
  readonly clock = new SimClock(new SimProcess(this.scheduler, "client"));
  readonly routing = new Routing(new Prng(1));
  readonly asked: MetadataUpdateRequest[] = [];
  /** Answers that carried topics. */
  sent = 0;
  version = 1;
  topics = new Map([["t", topic("t", 2)], ["other", topic("other", 500, 2)]]);
  readonly cache: MetadataCache;

  constructor() {
    const managers = {
      update: () => {},
      request: async <Request, Answer>(
        method: Method<Request, Answer>,
        request: Request,
      ): Promise<Answer> => {
        await new Promise<void>((resolve) => this.scheduler.after(1, "answer", resolve));
        assertEquals(method.name, metadataUpdateMethod.name);
        return this.answer(request as MetadataUpdateRequest) as Answer;
      },
    };
    this.cache = new MetadataCache(this.clock, new Prng(2), managers, this.routing);
  }

  /** Gives the metadata, or that nothing is newer. */
  private answer(request: MetadataUpdateRequest): { metadata: ClusterMetadata | null } {
    this.asked.push(request);
    if (this.version <= request.knownVersion) return { metadata: null };
    this.sent += 1;
    const topics = request.topics.flatMap((name) => this.topics.get(name) ?? []);
    const { version } = this;
    return { metadata: { clusterId: "c", version, topics, brokers: [broker], managers: [] } };
  }

  change(...topics: TopicMetadata[]): void {
    this.version += 1;
    for (const changed of topics) this.topics.set(changed.name, changed);
  }

  async run(forMs: number): Promise<void> {
    await this.begun();
    await this.scheduler.runUntil(this.scheduler.nowMs + forMs);
  }

  /** What was begun outside of an event comes to its first timer. */
  private async begun(): Promise<void> {
    for (let turn = 0; turn < 20; turn += 1) await undefined;
  }

  async settle<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    work.then(() => settled = true, () => settled = true);
    await this.begun();
    await this.scheduler.runUntil(this.scheduler.nowMs + 1_000, () => settled);
    return await work;
  }
}

Deno.test("only the topics in use are asked for, and what has not changed is not sent again", async () => {
  const world = new World();
  await world.settle(world.cache.topic("t", 1_000));
  assertEquals(world.asked.map(({ topics }) => topics), [["t"]]);
  for (let count = 0; count < 100; count += 1) {
    assert(world.cache.known("t") !== undefined);
    await world.run(100);
  }
  assert(world.asked.length <= 6, `${world.asked.length} requests in ten seconds`);
  assertEquals(world.sent, 1);
});

Deno.test("a change is known within seconds where the topic is used", async () => {
  const world = new World();
  await world.settle(world.cache.topic("t", 1_000));
  await world.run(5_000);
  world.change(topic("t", 8));
  let tookMs = 0;
  while (world.cache.known("t")!.partitions.length === 2) {
    tookMs += 100;
    await world.run(100);
  }
  assert(tookMs <= 2_200, `it took ${tookMs} ms`);
});

Deno.test("a topic that comes into use later is as new as the others", async () => {
  const world = new World();
  await world.settle(world.cache.topic("t", 1_000));
  world.change(topic("other", 501, 2));
  await world.settle(world.cache.update("linearizable", 1_000));
  const found = await world.settle(world.cache.topic("other", 1_000));
  assertEquals(found.partitions.length, 501);
  assertEquals(world.cache.known("t")?.partitions.length, 2);
});

Deno.test("while requests fail without news, the managers are asked less and less", async () => {
  const world = new World();
  await world.settle(world.cache.topic("t", 1_000));
  world.asked.length = 0;
  for (let at = 0; at < 1_000; at += 1) {
    world.cache.failed();
    await world.run(10);
  }
  assert(world.asked.length < 30, `${world.asked.length} requests in ten seconds`);
  assert(world.asked.slice(0, 2).every(({ consistency }) => consistency === "stale"));
  assert(world.asked.slice(2).every(({ consistency }) => consistency === "linearizable"));
  assertEquals(world.sent, 1);
});

Deno.test("a topic that does not exist is looked for each time, and one that is made is found", async () => {
  const world = new World();
  const missing = () => world.settle(world.cache.topic("new", 1_000));
  assertEquals((await assertRejects(missing, TrilogError)).code, "no_such_topic");
  world.change(topic("new", 3, 3));
  assertEquals((await missing()).partitions.length, 3);
});
