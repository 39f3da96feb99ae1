import { assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { OrderedMap } from "../../lib/kv/ordered_map.ts";

/** The entries of a map, by keys in order. */
function sorted(model: ReadonlyMap<string, number>): [string, number][] {
  return [...model].sort(([left], [right]) => left < right ? -1 : 1);
}

/** One random change of both. */
function change(map: OrderedMap<number>, model: Map<string, number>, random: Prng): void {
  const key = `k${random.below(3_000)}`;
  if (random.chance(0.3)) {
    assertEquals(map.delete(key), model.delete(key));
    return;
  }
  const value = random.below(1_000_000);
  map.set(key, value);
  model.set(key, value);
}

Deno.test("an ordered map holds what a map holds, in the order of the keys", () => {
  const random = new Prng(1);
  const [map, model] = [new OrderedMap<number>(), new Map<string, number>()];
  for (let step = 0; step < 20_000; step += 1) change(map, model, random);
  assertEquals(map.size, model.size);
  assertEquals([...map.from("", "")], sorted(model));
  for (let at = 0; at < 3_000; at += 1) assertEquals(map.get(`k${at}`), model.get(`k${at}`));
  for (let step = 0; step < 200; step += 1) {
    const [prefix, after] = [`k${random.below(40)}`, random.pick(["", `k${random.below(3_000)}`])];
    const expected = sorted(model)
      .filter(([key]) => key.startsWith(prefix) && (after === "" || key > after));
    assertEquals([...map.from(prefix, after)], expected);
  }
  for (const [key] of [...model]) map.delete(key);
  assertEquals([map.size, [...map.from("", "")]], [0, []]);
});

Deno.test("keys that come in order fill their chunks", () => {
  const map = new OrderedMap<number>();
  for (let at = 0; at < 10_000; at += 1) map.set(String(at).padStart(6, "0"), at);
  assertEquals([...map.from("", "")].map(([, value]) => value), [...Array(10_000).keys()]);
});

Deno.test("a frozen view shows its moment, also while older and newer views are taken", () => {
  const random = new Prng(2);
  const [map, model] = [new OrderedMap<number>(), new Map<string, number>()];
  const views: { taken: [string, number][]; left: Iterator<readonly [string, number]> }[] = [];
  const expected: [string, number][][] = [];
  for (let step = 0; step < 30_000; step += 1) {
    change(map, model, random);
    if (step % 3_000 === 0) {
      views.push({ taken: [], left: map.frozen()[Symbol.iterator]() });
      expected.push(sorted(model));
    }
    for (const { taken, left } of views) {
      const next = left.next();
      if (!next.done) taken.push([...next.value]);
    }
  }
  views.forEach(({ taken, left }, at) => {
    for (let next = left.next(); !next.done; next = left.next()) taken.push([...next.value]);
    assertEquals(taken, expected[at]);
  });
});
