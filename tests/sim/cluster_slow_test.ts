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

/** Shorter faults, and more of them: {@link REGRESSIONS} are seeds under these. */
const DENSE = { system: "cluster", faultsMs: 12_000, faultEveryMs: 600 } as const;

const REGRESSIONS = [
  [
    41,
    ["wipe", "partition", "move"],
    "a voter's replica was deleted: its promotion was unreported",
  ],
  [146, null, "a founder that was moved away from never founded"],
  [220, null, "the same, after two brokers were retired"],
] as const;

for (const [seed, kinds, fault] of REGRESSIONS) {
  Deno.test(`seed ${seed} of the cluster is clean: ${fault}`, async () => {
    const options = kinds === null ? DENSE : { ...DENSE, kinds };
    const { outcome, detail } = await simulate(seed, { options });
    assertEquals({ outcome, detail }, { outcome: "ok", detail: "" });
  });
}
