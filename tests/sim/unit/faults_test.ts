import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../../lib/base/prng.ts";
import { linksOf, mayLoseOne, scheduleOf, SHAPES } from "../../../lib/sim/faults.ts";
import { FAULT_KINDS, optionsOf } from "../../../lib/sim/options.ts";

const seeds = [...Array(500).keys()].map((seed) => seed + 1);

Deno.test("a seed always gives the same options and faults, and they are plain data", () => {
  for (const seed of seeds.slice(0, 50)) {
    const options = optionsOf(seed);
    assertEquals(options, optionsOf(seed));
    const faults = scheduleOf(seed, options);
    assertEquals(faults, scheduleOf(seed, options));
    assertEquals(faults, JSON.parse(JSON.stringify(faults)));
  }
});

Deno.test("the seeds together reach every size and every kind of fault", () => {
  const all = seeds.map((seed) => optionsOf(seed));
  const distinct = (values: number[]) => [...new Set(values)].sort((a, b) => a - b);
  assertEquals(distinct(all.map(({ nodes }) => nodes)), [1, 2, 3, 4, 5, 6, 7]);
  assertEquals(distinct(all.map(({ groups }) => groups)), [...Array(16).keys()].map((n) => n + 1));
  assert(all.some(({ link }) => link.loss > 0.25) && all.some(({ link }) => link.replay > 0.45));
  const faults = seeds.flatMap((seed) => scheduleOf(seed, optionsOf(seed, { system: "kv" })));
  assertEquals(new Set(faults.map(({ kind }) => kind)), new Set(FAULT_KINDS));
  const shapes = faults.flatMap((fault) => fault.kind === "partition" ? [fault.shape] : []);
  assertEquals(new Set(shapes), new Set(SHAPES));
});

Deno.test("what damages durable data befalls a minority of the nodes only", () => {
  const damaging = ["sync_error", "read_error", "rot", "misdirected_write", "wipe"];
  let most = 0;
  for (const seed of seeds) {
    const options = optionsOf(seed);
    const victims = new Set<number>();
    for (const fault of scheduleOf(seed, options)) {
      if (damaging.includes(fault.kind) && "node" in fault) victims.add(fault.node);
    }
    assert(victims.size <= (mayLoseOne(options.nodes) ? options.victims : 0));
    assert(options.victims === 1 || 2 * options.victims < options.nodes);
    most = Math.max(most, victims.size);
  }
  assertEquals(most, 2);
});

Deno.test("faults come in order, within the time for faults, at nodes and groups there are", () => {
  for (const seed of seeds) {
    const options = optionsOf(seed);
    let lastMs = 0;
    for (const fault of scheduleOf(seed, options)) {
      assert(fault.atMs >= lastMs && fault.atMs < options.faultsMs);
      lastMs = fault.atMs;
      if ("node" in fault) assert(fault.node < options.nodes);
      if ("group" in fault) assert(fault.group < options.groups);
      if (fault.kind === "membership") assert(fault.voters.length >= Math.min(3, options.nodes));
    }
  }
});

Deno.test("partitions cut what their shape says", () => {
  const shapeOf = (shape: typeof SHAPES[number]) => {
    const cut = new Set(linksOf(new Prng(3), shape, 5).map(([from, to]) => `${from}${to}`));
    const open = (from: number) =>
      [0, 1, 2, 3, 4].filter((to) => to !== from && !cut.has(`${from}${to}`)).length;
    return [0, 1, 2, 3, 4].map(open).sort().join("");
  };
  assertEquals(shapeOf("ring"), "22222");
  assertEquals(shapeOf("isolate"), "03333");
  assertEquals(shapeOf("deaf"), "33334");
  assertEquals(shapeOf("mute"), "04444");
  assertEquals(shapeOf("bridge").endsWith("4"), true);
  assertEquals(linksOf(new Prng(1), "split", 1), []);
  const split = linksOf(new Prng(5), "split", 5).map(([from, to]) => `${from}${to}`);
  assertEquals(split.every((link) => split.includes(link[1] + link[0])), true);
  const oneWay = linksOf(new Prng(5), "one_way", 5).map(([from, to]) => `${from}${to}`);
  assertEquals(oneWay.some((link) => oneWay.includes(link[1] + link[0])), false);
});
