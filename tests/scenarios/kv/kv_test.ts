/** The key-value rows on virtual time, three seeds each; `deno task scenarios` runs more. */

import { play } from "../world.ts";
import { kvScenarios } from "./kv_scenarios.ts";

for (const scenario of kvScenarios) {
  Deno.test(scenario.name, async () => {
    for (const seed of [1, 2, 3]) await play(scenario, seed, false);
  });
}
