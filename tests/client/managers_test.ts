import { assert, assertEquals, assertRejects } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import type { Packable } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";
import { Managers } from "../../lib/client/managers.ts";
import { type ClusterMetadata, metadataMethod } from "../../lib/client/protocol.ts";
import { SimClock } from "../../lib/sim/clock.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";

type Behaviour = () => Promise<Packable>;

const METADATA: ClusterMetadata = {
  clusterId: "c",
  version: 1,
  topics: [],
  brokers: [],
  managers: [],
};
const answers: Behaviour = () => Promise.resolve(metadataMethod.answer.encode(METADATA));
const hangs: Behaviour = () => new Promise(() => {});
const refuses: Behaviour = () =>
  Promise.reject(new TrilogError("unavailable", "Cannot reach m: connection refused"));
const says = (code: "unknown_method" | "unavailable", text: string): Behaviour => () =>
  Promise.reject(new TrilogError(code, `Cannot do it: ${text}`, { answered: true }));

/** Managers at the given addresses on virtual time. */
class World {
  readonly scheduler = new Scheduler();
  readonly clock = new SimClock(new SimProcess(this.scheduler, "client"));
  readonly asked: string[] = [];
  readonly managers: Managers;

  constructor(readonly servers: Record<string, Behaviour>, bootstrap = Object.keys(servers)) {
    const caller = {
      call: (address: string) => {
        this.asked.push(address);
        return (this.servers[address] ?? refuses)();
      },
    };
    this.managers = new Managers(caller, this.clock, new Prng(1), bootstrap);
  }

  /** Asks for metadata; gives the answer and how long it took. */
  async metadata(deadlineMs = 5_000): Promise<{ answer: ClusterMetadata; tookMs: number }> {
    const startMs = this.scheduler.nowMs;
    const request = { topics: null, consistency: "linearizable" } as const;
    let settled = false;
    const work = this.managers.request(metadataMethod, request, deadlineMs);
    work.then(() => settled = true, () => settled = true);
    const ticks = () => {
      if (!settled) this.scheduler.after(1, "tick", ticks);
    };
    ticks();
    await this.scheduler.runUntil(startMs + 2 * deadlineMs, () => settled);
    return { answer: await work, tookMs: this.scheduler.nowMs - startMs };
  }
}

Deno.test("a dead first manager is passed over at once", async () => {
  const { tookMs } = await new World({ "m1:1": refuses, "m2:1": answers }).metadata();
  assert(tookMs < 50, `took ${tookMs} ms`);
});

Deno.test("a hung first manager is passed over after 300 ms, and not asked first again", async () => {
  const world = new World({ "m1:1": hangs, "m2:1": answers });
  const { tookMs } = await world.metadata();
  assert(tookMs <= 301, `took ${tookMs} ms`);
  world.asked.length = 0;
  await world.metadata();
  assertEquals(world.asked, ["m2:1"]);
});

Deno.test("without a quorum the error names the managers that do not answer", async () => {
  const noQuorum = says("unavailable", "no leader is known");
  const world = new World({ "m1:1": refuses, "m2:1": refuses, "m3:1": noQuorum });
  world.managers.update([1, 2, 3].map((n) => ({ id: `m${n}`, address: `m${n}:1` })));
  const error = await assertRejects(() => world.metadata(1_000), TrilogError);
  assertEquals(error.code, "unavailable");
  assertEquals(
    error.message,
    "Cannot complete request in time: no manager quorum: m1 (m1:1) and m2 (m2:1) do not answer",
  );
});

Deno.test("where no manager answers the error lists the addresses and the reason", async () => {
  const world = new World({ "m1:1": refuses, "m2:1": refuses });
  const error = await assertRejects(() => world.metadata(1_000), TrilogError);
  assertEquals(
    error.message,
    "Cannot complete request in time: no manager answers at m1:1 and m2:1 (connection refused)",
  );
});

Deno.test("a broker among the addresses is passed over, and named where it is the only one", async () => {
  const broker = says("unknown_method", "it is a broker");
  await new World({ "b1:1": broker, "m1:1": answers }).metadata();
  const error = await assertRejects(() => new World({ "b1:1": broker }).metadata(), TrilogError);
  assertEquals(error.message, "Cannot use b1:1: it is a broker, a manager is needed");
  assertEquals(error.retryable, false);
});
