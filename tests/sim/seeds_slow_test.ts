/** Simulations in the default tests; `trilog sim` runs more. */

import { assert, assertEquals } from "@std/assert";
import { FAULT_KINDS, SYSTEMS } from "../../lib/sim/options.ts";
import { type SimResult, simulate } from "../../lib/sim/simulate.ts";

const SEEDS = 200;

Deno.test(`${SEEDS} seeds keep every invariant, lose nothing and go on after healing`, async () => {
  const fired = new Set<string>();
  let acknowledged = 0;
  let reads = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const { outcome, detail, faultsFired, operations } = await simulate(seed);
    assertEquals({ seed, outcome, detail }, { seed, outcome: "ok", detail: "" });
    Object.keys(faultsFired).forEach((fault) => fired.add(fault));
    acknowledged += operations.acknowledged;
    reads += operations.reads;
  }
  // Only the store's reads have a setting to be restarted with.
  const kinds = FAULT_KINDS.filter((kind) => kind !== "reads");
  const silent = [...kinds, "loss", "replay", "cut"].filter((kind) => !fired.has(kind));
  assertEquals(silent, [], "every kind of fault must really have happened");
  assert(acknowledged > 50 * SEEDS, `only ${acknowledged} operations were acknowledged`);
  assert(reads > 20 * SEEDS, `only ${reads} reads were answered`);
});

const OTHER_SEEDS = 30;

for (const system of ["kv", "queue"] as const) {
  Deno.test(`${OTHER_SEEDS} seeds of ${system} keep every invariant and go on after healing`, async () => {
    const sums: Record<string, number> = {};
    for (let seed = 1; seed <= OTHER_SEEDS; seed += 1) {
      const result = await simulate(seed, { options: { system } });
      const { outcome, detail } = result;
      assertEquals({ seed, outcome, detail }, { seed, outcome: "ok", detail: "" });
      const { operations } = result;
      for (const [name, count] of Object.entries(operations)) {
        sums[name] = (sums[name] ?? 0) + count;
      }
    }
    const rare = Object.entries(sums).filter(([, count]) => count < OTHER_SEEDS);
    assertEquals(rare, [], "every kind of operation must really have happened");
  });
}

/** Seeds whose runs use much of everything: many nodes, many groups, every kind of fault. */
const TWICE = [2, 9, 12, 119];

Deno.test("the same seed gives the same run, twice in one process", async () => {
  for (const system of SYSTEMS) {
    for (const seed of TWICE) {
      const once = await simulate(seed, { options: { system } });
      assertEquals(await simulate(seed, { options: { system } }), once);
    }
  }
});

Deno.test("the same seed gives the same run in another process", async () => {
  const module = new URL("../../lib/sim/simulate.ts", import.meta.url);
  const config = new URL("../../deno.json", import.meta.url);
  const script = `import { simulate } from ${JSON.stringify(module.href)};
    for (const system of ${JSON.stringify(SYSTEMS)}) {
      for (const seed of ${JSON.stringify(TWICE)}) {
        console.log(JSON.stringify(await simulate(seed, { options: { system } })));
      }
    }`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--config", config.pathname, "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const { stdout } = await child.output();
  const there = new TextDecoder().decode(stdout).trim().split("\n")
    .map((line) => JSON.parse(line) as SimResult);
  for (const system of SYSTEMS) {
    for (const seed of TWICE) {
      assertEquals(there.shift(), await simulate(seed, { options: { system } }));
    }
  }
});
