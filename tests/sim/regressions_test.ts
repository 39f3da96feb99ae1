/** Seeds that once found a fault; the list with what it was stands in tests/README.md. */

import { assertEquals } from "@std/assert";
import { simulate } from "../../lib/sim/simulate.ts";

const SEEDS = [
  [59, "a batch over several segments was compacted before the core knew that it was applied"],
  [3, "an acknowledgement left while its entry waited for room on a full disk"],
] as const;

for (const [seed, fault] of SEEDS) {
  Deno.test(`seed ${seed} is clean: ${fault}`, async () => {
    const { outcome, detail } = await simulate(seed);
    assertEquals({ outcome, detail }, { outcome: "ok", detail: "" });
  });
}
