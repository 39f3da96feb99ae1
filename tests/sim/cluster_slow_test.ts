/** Simulations of whole deployments in the default tests; `deno task sim:night` runs more. */

import { assertEquals } from "@std/assert";
import { DEPLOYMENT_FAULT_KINDS } from "../../lib/sim/deployment/options.ts";
import { simulate } from "../../lib/sim/simulate.ts";

const CLUSTER_SEEDS = 30;

Deno.test(`${CLUSTER_SEEDS} seeds of the whole cluster lose nothing and go on after healing`, async () => {
  const fired = new Set<string>();
  const sums: Record<string, number> = {};
  for (let seed = 101; seed <= 100 + CLUSTER_SEEDS; seed += 1) {
    const { outcome, detail, faultsFired, operations } = await simulate(seed, {
      options: { system: "cluster" },
    });
    assertEquals({ seed, outcome, detail }, { seed, outcome: "ok", detail: "" });
    Object.keys(faultsFired).forEach((fault) => fired.add(fault));
    for (const [name, count] of Object.entries(operations)) sums[name] = (sums[name] ?? 0) + count;
  }
  const silent = [...DEPLOYMENT_FAULT_KINDS, "loss", "cut"].filter((kind) => !fired.has(kind));
  assertEquals(silent, [], "every kind of fault must really have happened");
  const rare = Object.entries(sums).filter(([, count]) => count < 20 * CLUSTER_SEEDS);
  assertEquals(rare, [], "every kind of operation must really have happened");
});
