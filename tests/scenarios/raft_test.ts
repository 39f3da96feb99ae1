/** The Raft rows on virtual time, three seeds each; `deno task scenarios` runs more. */

import { manyElections } from "./raft_elections.ts";
import { raftTests } from "./scenarios.ts";
import { play, type Scenario } from "./world.ts";

const SEEDS = [1, 2, 3];

async function playAll(scenario: Scenario): Promise<void> {
  for (const seed of SEEDS) await play(scenario, seed, false);
}

for (const scenario of raftTests) {
  Deno.test(scenario.name, () => playAll(scenario));
}

// A step of its own name, so that `--filter election` picks the two basic ones above and no more.
Deno.test("leaders of seven servers", async (test) => {
  await test.step(manyElections.name, () => playAll(manyElections));
});
