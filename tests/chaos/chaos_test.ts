/**
 * Real processes under faults: `deno task chaos --chaos=kill,partition --seed=7 --duration=60s
 * --nodes=5 --workload=bank,register,queue`. See tests/README.md.
 */

import { withHarness } from "../e2e/harness.ts";
import { runWorkload } from "./run.ts";
import { readSettings, wordsOf } from "./settings.ts";

const settings = readSettings(Deno.args);

for (const workload of settings.workloads) {
  Deno.test(`the ${workload} survives ${settings.faults}`, async () => {
    const seed = `chaos: seed ${settings.seed}`;
    console.log(`${seed}: deno task chaos ${wordsOf({ ...settings, workloads: [workload] })}`);
    try {
      await withHarness(async (harness) => {
        await runWorkload(harness, workload, settings, (line) => console.log(line));
      });
    } finally {
      console.log(seed);
    }
  });
}
