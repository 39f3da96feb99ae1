/** Simulations in the default tests; `trilog sim` runs more. */

import { assert, assertEquals } from "@std/assert";
import { FAULT_KINDS } from "../../lib/sim/options.ts";
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
  const silent = [...FAULT_KINDS, "loss", "replay", "cut"].filter((kind) => !fired.has(kind));
  assertEquals(silent, [], "every kind of fault must really have happened");
  assert(acknowledged > 50 * SEEDS, `only ${acknowledged} operations were acknowledged`);
  assert(reads > 20 * SEEDS, `only ${reads} reads were answered`);
});

/** Seeds whose runs use much of everything: many nodes, many groups, every kind of fault. */
const TWICE = [2, 9, 12, 119];

Deno.test("the same seed gives the same run, twice in one process", async () => {
  for (const seed of TWICE) assertEquals(await simulate(seed), await simulate(seed));
});

Deno.test("the same seed gives the same run in another process", async () => {
  const module = new URL("../../lib/sim/simulate.ts", import.meta.url);
  const config = new URL("../../deno.json", import.meta.url);
  const script = `import { simulate } from ${JSON.stringify(module.href)};
    for (const seed of ${JSON.stringify(TWICE)}) {
      console.log(JSON.stringify(await simulate(seed)));
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
  for (const [at, seed] of TWICE.entries()) assertEquals(there[at], await simulate(seed));
});
