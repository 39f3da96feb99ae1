/** Files that are removed or put back by hand, and rot that costs one replica of several. */

import { assert, assertEquals } from "@std/assert";
import type { SimOptions } from "../../lib/sim/options.ts";
import { type SimResult, simulate } from "../../lib/sim/simulate.ts";

async function run(seeds: number, options: Partial<SimOptions>): Promise<SimResult[]> {
  const results: SimResult[] = [];
  for (let seed = 1; seed <= seeds; seed += 1) {
    const result = await simulate(seed, { options });
    assertEquals([seed, result.outcome, result.detail], [seed, "ok", ""]);
    results.push(result);
  }
  return results;
}

function count(results: readonly SimResult[], event: string): number {
  return results.reduce((sum, { faultsFired }) => sum + (faultsFired[event] ?? 0), 0);
}

const small = { nodes: 3, groups: 3, faultEveryMs: 500 } as const;

Deno.test("a group whose directory is removed is quarantined alone, and begins anew", async () => {
  const kinds = ["delete_group", "crash"] as const;
  const results = await run(5, { ...small, system: "queue", kinds });
  assert(count(results, "quarantined") >= 3);
  assertEquals(count(results, "rebuild"), 0);
  assert(count(results, "begun again") >= 3);
});

Deno.test("a store's node without its group comes back as another one", async () => {
  const results = await run(4, { ...small, system: "kv", kinds: ["delete_group", "power"] });
  assert(count(results, "rebuild") >= 2);
});

Deno.test("peers accuse a copy that was put back, and no replica that was merely restarted", async () => {
  const kinds = ["put_back", "crash", "power"] as const;
  const results = await run(10, { ...small, system: "queue", kinds });
  assert(count(results, "amnesia accused") >= 2);
});
