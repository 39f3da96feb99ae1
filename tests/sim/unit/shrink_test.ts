import { assert, assertEquals } from "@std/assert";
import { type Fault, scheduleOf } from "../../../lib/sim/faults.ts";
import { optionsOf } from "../../../lib/sim/options.ts";
import { shrink } from "../../../lib/sim/shrink.ts";
import type { SimOverrides, SimResult } from "../../../lib/sim/simulate.ts";

const seed = 3;
const options = { ...optionsOf(seed), faultEveryMs: 100, kinds: ["crash", "pause"] as const };
const schedule = scheduleOf(seed, options);

/** A run that fails while two certain faults are in its schedule. */
function failsWith(culprits: readonly Fault[]) {
  return (seed: number, { faults = [] }: SimOverrides = {}): Promise<SimResult> =>
    Promise.resolve({
      seed,
      outcome: culprits.every((culprit) => faults.includes(culprit)) ? "invariant" : "ok",
      detail: "",
      traceHash: "",
      steps: faults.length,
      virtualMs: 0,
      kinds: [],
      faultsFired: {},
      operations: { acknowledged: 0, reads: 0 },
    });
}

Deno.test("shrinking leaves exactly the faults that are needed", async () => {
  assert(schedule.length > 20);
  const culprits = [schedule[4], schedule[17]];
  const shrunk = await shrink(seed, { options, faults: schedule }, 500, failsWith(culprits));
  assertEquals(shrunk?.faults, culprits);
  assertEquals(shrunk?.faultsMs, culprits[1].atMs + 1);
  assertEquals(shrunk?.result.outcome, "invariant");
});

Deno.test("shrinking ends after its allowance with what it has", async () => {
  const culprits = [schedule[4], schedule[17]];
  const shrunk = await shrink(seed, { options, faults: schedule }, 5, failsWith(culprits));
  assert(shrunk !== null && shrunk.runs <= 5);
  assert(culprits.every((culprit) => shrunk.faults.includes(culprit)));
});

Deno.test("a seed that does not fail cannot be shrunk", async () => {
  const never = failsWith([{ kind: "sync_error", atMs: 1, node: 0 }]);
  assertEquals(await shrink(seed, { options, faults: schedule }, 10, never), null);
});
