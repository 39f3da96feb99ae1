/**
 * Runs seeds of one system of the simulator until one fails: `seeds.ts SYSTEM FIRST COUNT`. Prints
 * that seed and its outcome, and ends with status 1. The runner of mutants starts it in a copy of
 * the tree.
 */

import type { SystemName } from "../../lib/sim/options.ts";
import { simulate } from "../../lib/sim/simulate.ts";

const [system, first, count] = Deno.args;
for (let seed = Number(first); seed < Number(first) + Number(count); seed += 1) {
  const { outcome, detail } = await simulate(seed, { options: { system: system as SystemName } });
  if (outcome === "ok") continue;
  console.log(`${system} seed ${seed}: ${outcome}: ${detail.split("\n")[0]}`);
  Deno.exit(1);
}
