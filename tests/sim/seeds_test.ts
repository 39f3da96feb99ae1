/** A few seeds for the fast tests; `seeds_slow_test.ts` runs many. */

import { assertEquals } from "@std/assert";
import { simulate } from "../../lib/sim/simulate.ts";

Deno.test("ten seeds keep every invariant, lose nothing and go on after healing", async () => {
  for (let seed = 1001; seed <= 1010; seed += 1) {
    const { outcome, detail } = await simulate(seed);
    assertEquals({ seed, outcome, detail }, { seed, outcome: "ok", detail: "" });
  }
});

for (const system of ["kv", "queue"] as const) {
  Deno.test(`three seeds of ${system} keep every invariant and go on after healing`, async () => {
    for (let seed = 1001; seed <= 1003; seed += 1) {
      const { outcome, detail } = await simulate(seed, { options: { system } });
      assertEquals({ seed, outcome, detail }, { seed, outcome: "ok", detail: "" });
    }
  });
}

Deno.test("wall clocks that jump in both directions never make a leader's stamps run ahead", async () => {
  for (let seed = 1; seed <= 6; seed += 1) {
    const options = { system: "kv", kinds: ["clock", "transfer"] } as const;
    const { outcome, detail } = await simulate(seed, { options });
    assertEquals({ seed, outcome, detail }, { seed, outcome: "ok", detail: "" });
  }
});
