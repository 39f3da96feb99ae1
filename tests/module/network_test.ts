import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { Network } from "../../lib/module/mod.ts";
import { play, type World } from "../scenarios/world.ts";

/** A network on virtual time with an echo at `s`. */
async function inVirtualTime(
  run: (world: World, network: Network) => Promise<void>,
): Promise<void> {
  const scenario = (world: World) => {
    const network = new Network({ clock: world.clock, random: world.random.fork() });
    network.serve("s", (request) => request);
    return run(world, network);
  };
  await play({ name: "network", run: scenario }, 1, false);
}

const PING = utf8("ping");

/** Outcomes of calls made at the same time, with the time that each took. */
async function callMany(world: World, network: Network, count: number) {
  const end = network.end("c", "s");
  const startMs = world.nowMs;
  return await Promise.all(
    Array.from({ length: count }, async () => {
      const answer = await end.call(PING);
      return { answered: answer !== null, tookMs: world.nowMs - startMs };
    }),
  );
}

Deno.test("a reliable network delivers every call at once, and counts calls and bytes", () =>
  inVirtualTime(async (world, network) => {
    const results = await callMany(world, network, 100);
    assert(results.every(({ answered, tookMs }) => answered && tookMs === 0));
    assertEquals(network.calls, 100);
    assertEquals(network.callsTo("s"), 100);
    assertEquals(network.bytes, 100 * 2 * PING.length);
  }));

Deno.test("an unreliable network delays requests by 0 to 26 ms and loses a tenth each way", () =>
  inVirtualTime(async (world, network) => {
    network.reliable = false;
    const results = await callMany(world, network, 10_000);
    const answered = results.filter((result) => result.answered).length;
    assert(Math.abs(answered - 8100) < 200, `${answered} of 10,000 were answered`);
    const handled = network.callsTo("s");
    assert(Math.abs(handled - 9000) < 200, `${handled} of 10,000 arrived`);
    const delays = new Set(results.map(({ tookMs }) => Math.round(tookMs)));
    assertEquals(Math.min(...delays), 0);
    assertEquals(Math.max(...delays), 26);
  }));

Deno.test("with long reordering two answers of three wait for 200 to 2,200 ms", () =>
  inVirtualTime(async (world, network) => {
    network.longReordering = true;
    const results = await callMany(world, network, 9000);
    const late = results.filter(({ tookMs }) => tookMs > 0).map(({ tookMs }) => tookMs);
    assert(Math.abs(late.length - 6000) < 200, `${late.length} of 9,000 waited`);
    assert(Math.min(...late) >= 200 && Math.max(...late) <= 2200);
    assert(results.every(({ answered }) => answered));
  }));

Deno.test("a cut end fails its calls after a while, one way only", () =>
  inVirtualTime(async (world, network) => {
    network.enable("c", "s", false);
    for (const [longDelays, boundMs] of [[false, 100], [true, 7000]] as const) {
      network.longDelays = longDelays;
      const results = await callMany(world, network, 1000);
      assert(results.every(({ answered }) => !answered));
      const longest = Math.max(...results.map(({ tookMs }) => tookMs));
      assert(longest < boundMs && longest > boundMs * 0.9, `the longest took ${longest} ms`);
    }
    assert((await network.end("s2", "s").call(PING)) !== null, "other ends are not cut");
    network.enable("c", "s", true);
    assert((await network.end("c", "s").call(PING)) !== null);
  }));

Deno.test("answers of a server that was replaced or cut off meanwhile are lost", () =>
  inVirtualTime(async (world, network) => {
    const slowly = async (request: Uint8Array) => {
      await world.sleep(50);
      return request;
    };
    network.serve("s", slowly);
    const first = network.end("c", "s").call(PING);
    await world.sleep(10);
    network.serve("s", slowly);
    const second = network.end("c", "s").call(PING);
    await world.sleep(10);
    network.enable("c", "s", false);
    assertEquals([await first, await second], [null, null]);
  }));

Deno.test("nobody's calls are answered, and a server that shuts down is nobody", () =>
  inVirtualTime(async (_world, network) => {
    assertEquals(await network.end("c", "nobody").call(PING), null);
    network.serve("s", () => {
      throw new TrilogError("shutting_down", "Cannot answer call: server killed");
    });
    assertEquals(await network.end("c", "s").call(PING), null);
    network.remove("s");
    assertEquals(await network.end("c", "s").call(PING), null);
  }));
