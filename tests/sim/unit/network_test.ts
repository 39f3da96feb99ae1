import { assert, assertEquals, assertRejects } from "@std/assert";
import { TrilogError } from "../../../lib/base/errors.ts";
import type { Packable } from "../../../lib/base/msgpack.ts";
import { Prng } from "../../../lib/base/prng.ts";
import {
  type LinkOptions,
  perfectLink,
  type SimEndpoint,
  SimNetwork,
} from "../../../lib/sim/network.ts";
import { SimProcess } from "../../../lib/sim/process.ts";
import { Scheduler } from "../../../lib/sim/scheduler.ts";

interface Node {
  process: SimProcess;
  endpoint: SimEndpoint;
  seen: Packable[];
}

function world(options: Partial<LinkOptions> = {}) {
  const scheduler = new Scheduler();
  const network = new SimNetwork(scheduler, new Prng(1), { ...perfectLink, ...options });
  const start = (name: string, id = name): Node => {
    const process = new SimProcess(scheduler, name);
    const endpoint = network.listen(process, id, `${name}:1`);
    const seen: Packable[] = [];
    endpoint.setHandler({
      frame: (from, group, body) => seen.push([from, group, body]),
      connected: (peer) => seen.push(`connected ${peer}`),
      unreachable: (peer) => seen.push(`unreachable ${peer}`),
    });
    return { process, endpoint, seen };
  };
  return { scheduler, network, start };
}

async function pair(options: Partial<LinkOptions> = {}) {
  const made = world(options);
  const [a, b] = [made.start("a"), made.start("b")];
  a.endpoint.setAddress("b", "b:1");
  b.endpoint.setAddress("a", "a:1");
  await made.scheduler.runUntil(1000);
  assertEquals([a.seen, b.seen], [["connected b"], ["connected a"]]);
  a.seen.length = b.seen.length = 0;
  return { ...made, a, b };
}

Deno.test("a frame crosses the network as bytes and shares nothing with its sender", async () => {
  const { scheduler, a, b } = await pair();
  const data = new Uint8Array([1, 2, 3]);
  a.endpoint.send("b", "g", ["hello", data]);
  data.fill(9);
  assertEquals(a.endpoint.queuedBytes("b") > 0, true);
  await scheduler.runUntil(2000);
  assertEquals(b.seen, [["a", "g", ["hello", new Uint8Array([1, 2, 3])]]]);
  assertEquals(a.endpoint.queuedBytes("b"), 0);
});

Deno.test("without reordering frames arrive in the order of sending", async () => {
  const { scheduler, a, b } = await pair({ delayMs: [1, 50] });
  for (let number = 0; number < 50; number += 1) a.endpoint.send("b", "g", number);
  await scheduler.runUntil(3000);
  assertEquals(b.seen.map((frame) => (frame as Packable[])[2]), [...Array(50).keys()]);
});

Deno.test("a bad network loses, repeats and reorders", async () => {
  const { scheduler, network, a, b } = await pair({
    loss: 0.3,
    replay: 0.5,
    replayDelayMs: 100,
    delayMs: [1, 50],
    reorder: true,
  });
  for (let number = 0; number < 200; number += 1) a.endpoint.send("b", "g", number);
  await scheduler.runUntil(3000);
  const numbers = b.seen.map((frame) => (frame as Packable[])[2] as number);
  const different = new Set(numbers).size;
  assert(different > 110 && different < 170, `${different} of 200 arrived`);
  assertEquals(numbers.length, different + (network.faultsFired.get("replay") ?? 0));
  assert(numbers.some((number, at) => number < numbers[at - 1]), "none was overtaken");
});

Deno.test("a cut stops one direction only, and what is under way in it", async () => {
  const { scheduler, network, a, b } = await pair({ delayMs: [10, 10] });
  a.endpoint.send("b", "g", "under way");
  network.cut("a", "b");
  a.endpoint.send("b", "g", "lost");
  b.endpoint.send("a", "g", "arrives");
  await scheduler.runUntil(2000);
  assertEquals([a.seen, b.seen], [[["b", "g", "arrives"]], []]);
  network.heal();
  a.endpoint.send("b", "g", "again");
  await scheduler.runUntil(3000);
  assertEquals(b.seen, [["a", "g", "again"]]);
});

Deno.test("a clogged link delivers everything late", async () => {
  const { scheduler, network, a, b } = await pair();
  network.clog("a", "b", 500);
  a.endpoint.send("b", "g", 1);
  await scheduler.runUntil(1400);
  assertEquals(b.seen.length, 0);
  await scheduler.runUntil(1600);
  assertEquals(b.seen.length, 1);
});

Deno.test("a killed process is told unreachable once, and connected when it is back", async () => {
  const { scheduler, start, a, b } = await pair();
  a.endpoint.send("b", "g", "under way");
  b.process.kill();
  await scheduler.runUntil(2000);
  assertEquals(a.seen, ["unreachable b"]);
  a.endpoint.send("b", "g", "to nobody");
  const next = start("b");
  next.endpoint.setAddress("a", "a:1");
  await scheduler.runUntil(3000);
  assertEquals(a.seen, ["unreachable b", "connected b"]);
  assertEquals([b.seen, next.seen], [[], ["connected a"]]);
});

Deno.test("a process cut off or paused is never called unreachable", async () => {
  const { scheduler, network, a, b } = await pair();
  b.process.pause();
  await scheduler.runUntil(2000);
  network.cut("a", "b");
  await scheduler.runUntil(3000);
  assertEquals(a.seen, []);
});

Deno.test("a process of another identity at the address gets no connection", async () => {
  const { scheduler, start } = world();
  const a = start("a");
  const b = start("b", "another");
  a.endpoint.setAddress("b", "b:1");
  await scheduler.runUntil(1000);
  a.endpoint.send("b", "g", 1);
  await scheduler.runUntil(2000);
  assertEquals([a.seen, b.seen], [[], []]);
});

Deno.test("a forgotten peer gets nothing any more", async () => {
  const { scheduler, a, b } = await pair();
  a.endpoint.forget("b");
  a.endpoint.send("b", "g", 1);
  await scheduler.runUntil(2000);
  assertEquals(b.seen, []);
});

Deno.test("a paused process takes its frames when it goes on", async () => {
  const { scheduler, a, b } = await pair();
  b.process.pause();
  a.endpoint.send("b", "g", 1);
  await scheduler.runUntil(2000);
  assertEquals(b.seen, []);
  b.process.resume();
  await scheduler.runUntil(2001);
  assertEquals(b.seen, [["a", "g", 1]]);
});

Deno.test("calls are answered, refused, or run into their deadline", async () => {
  const { scheduler, network, start } = world();
  const server = start("s");
  const client = new SimProcess(scheduler, "client");
  server.endpoint.setRequestHandler((method, params) => {
    if (method === "echo") return Promise.resolve(params);
    return Promise.reject(new TrilogError("not_leader", "Cannot echo", { leader: "x:1" }));
  });
  const call = (address: string, method: string) =>
    network.call(client, address, method, [1, "two"], 100);
  const outcomes: Promise<unknown>[] = [
    call("s:1", "echo"),
    assertRejects(() => call("s:1", "fail"), TrilogError, "Cannot echo").then((error) => [
      error.code,
      error.leader,
      error.retryable,
    ]),
    assertRejects(() => call("nobody:1", "echo"), TrilogError).then((error) => error.code),
  ];
  await scheduler.runUntil(50);
  network.cut("s", "client");
  outcomes.push(assertRejects(() => call("s:1", "echo"), TrilogError).then((error) => error.code));
  await scheduler.runUntil(151);
  network.heal();
  outcomes.push(assertRejects(() => call("s:1", "echo"), TrilogError).then((error) => error.code));
  server.process.kill();
  await scheduler.runUntil(1000);
  assertEquals(await Promise.all(outcomes), [
    [1, "two"],
    ["not_leader", "x:1", true],
    "unavailable",
    "deadline_exceeded",
    "connection_closed",
  ]);
});
