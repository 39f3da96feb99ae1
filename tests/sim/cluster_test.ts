/** Seeds of whole deployments for the fast tests; `cluster_slow_test.ts` runs many. */

import { assertEquals } from "@std/assert";
import { simulate } from "../../lib/sim/simulate.ts";

Deno.test("two seeds of the whole cluster keep every invariant and lose nothing", async () => {
  for (const seed of [9, 39]) {
    const { outcome, detail } = await simulate(seed, { options: { system: "cluster" } });
    assertEquals({ seed, outcome, detail }, { seed, outcome: "ok", detail: "" });
  }
});
