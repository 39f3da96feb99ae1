import { assert, assertEquals, assertRejects } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import type { Packable } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";
import { LeaderWatch } from "../../lib/client/leader_watch.ts";
import { leadersMethod } from "../../lib/client/protocol.ts";
import { type Route, Routing } from "../../lib/client/routing.ts";
import { SimClock } from "../../lib/sim/clock.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";

const PARTITIONS = 20;

/** Three brokers, of which b1 leads everything in term 1. */
class World {
  readonly scheduler = new Scheduler();
  readonly clock = new SimClock(new SimProcess(this.scheduler, "client"));
  readonly routing = new Routing(new Prng(1));
  readonly asked: { readonly broker: string; readonly groups: number }[] = [];
  /** The leader that the other replicas know, and its term. */
  leader = { address: "b1:1", term: 1 };
  readonly watch: LeaderWatch;

  constructor() {
    const ids = ["b1", "b2", "b3"];
    this.routing.update({
      clusterId: "c",
      version: 1,
      topics: [{
        name: "t",
        settings: { retentionBytes: 0, retentionMs: 0 },
        partitions: Array.from({ length: PARTITIONS }, (_, partition) => ({
          partition,
          groupId: `p/1/${partition}`,
          epoch: 1,
          replicas: ids,
          leader: "b1",
          leaderTerm: 1,
        })),
      }],
      brokers: ids.map((id) => ({ id, replicaId: id, address: `${id}:1`, rack: "", alive: true })),
      managers: [],
    });
    const call = async (broker: string, _: string, params: Packable): Promise<Packable> => {
      const { groups } = leadersMethod.request.decode(params, "request");
      this.asked.push({ broker, groups: groups.length });
      await new Promise<void>((resolve) => this.scheduler.after(1, "answer", resolve));
      return leadersMethod.answer.encode({
        leaders: groups.map(({ groupId }) => ({ groupId, ...this.leader })),
      });
    };
    this.watch = new LeaderWatch(this.clock, { call }, this.routing);
  }

  route(partition = 0): Route {
    return this.routing.route("t", partition)!;
  }

  answersAfter<T>(delayMs: number, answer: T): Promise<T> {
    return new Promise((resolve) => this.scheduler.after(delayMs, "done", () => resolve(answer)));
  }

  async until(forMs: number, work: Promise<unknown>): Promise<void> {
    let settled = false;
    work.then(() => settled = true, () => settled = true);
    await this.scheduler.runUntil(this.scheduler.nowMs + forMs, () => settled);
  }
}

const never = new Promise<never>(() => {});

Deno.test("a request to a hung leader fails within 200 ms of the start of another, which is asked next", async () => {
  const world = new World();
  const waiting = Array.from(
    { length: PARTITIONS },
    (_, partition) => world.watch.watch(world.route(partition), 0, never),
  );
  const all = Promise.allSettled(waiting);
  await world.until(400, all);
  assertEquals(world.route().address, "b1:1");
  assert(world.asked.length > 0 && world.asked.every(({ broker }) => broker !== "b1:1"));
  assert(world.asked.every(({ groups }) => groups === PARTITIONS), "one question for all of them");
  world.leader = { address: "b2:1", term: 2 };
  const electedMs = world.scheduler.nowMs;
  await world.until(5_000, all);
  assert(world.scheduler.nowMs - electedMs <= 200, `${world.scheduler.nowMs - electedMs} ms`);
  const error = await assertRejects(() => waiting[0], TrilogError);
  assertEquals([error.outcomeUnknown, error.retryable], [true, true]);
  for (let partition = 0; partition < PARTITIONS; partition += 1) {
    assertEquals(world.route(partition).address, "b2:1");
  }
});

Deno.test("a leader that is only slow is waited for", async () => {
  const world = new World();
  const slow = world.watch.watch(world.route(), 0, world.answersAfter(2_000, "answer"));
  await world.until(5_000, slow);
  assertEquals(await slow, "answer");
});

Deno.test("what an old leader's follower says is not believed", async () => {
  const world = new World();
  world.routing.moved("p/1/0", "b2:1", 3);
  const slow = world.watch.watch(world.route(), 0, world.answersAfter(1_000, "answer"));
  world.leader = { address: "b3:1", term: 2 };
  await world.until(5_000, slow);
  assertEquals(await slow, "answer");
  assertEquals(world.route().address, "b2:1");
});

Deno.test("quick answers and requests that are held back ask nobody", async () => {
  const world = new World();
  for (let count = 0; count < 20; count += 1) {
    await world.until(1_000, world.watch.watch(world.route(), 0, world.answersAfter(5, "")));
  }
  await world.until(1_000, world.watch.watch(world.route(), 500, world.answersAfter(500, "")));
  assertEquals(world.asked, []);
});

Deno.test("a leader that stays slow is asked about less and less", async () => {
  const world = new World();
  const slow = world.watch.watch(world.route(), 0, world.answersAfter(60_000, "answer"));
  await world.until(61_000, slow);
  assertEquals(await slow, "answer");
  assert(world.asked.length < 60, `${world.asked.length} questions in a minute`);
});

Deno.test("where every answer is late, late answers are the usual and nobody is asked", async () => {
  const world = new World();
  for (let count = 0; count < 60; count += 1) {
    await world.until(2_000, world.watch.watch(world.route(), 500, world.answersAfter(600, "")));
  }
  world.asked.length = 0;
  await world.until(2_000, world.watch.watch(world.route(), 500, world.answersAfter(900, "")));
  assertEquals(world.asked, []);
});
