/** Seeds that once found a fault; the list with what it was stands in tests/README.md. */

import { assertEquals } from "@std/assert";
import { simulate } from "../../lib/sim/simulate.ts";

const SEEDS = [
  [
    "atm",
    467,
    "a batch over several segments was compacted before the core knew that it was applied",
  ],
  ["atm", 3, "an acknowledgement left while its entry waited for room on a full disk"],
  ["kv", 161, "a checkpoint let entries go in the middle of a batch of them"],
  ["queue", 50006, "the core did not learn what was durable while later entries waited for room"],
  ["queue", 1036, "the audit read a log that was closed by a quarantine during the audit"],
  ["kv", 220, "after a failed transfer nobody answered reads under the lease"],
] as const;

for (const [system, seed, fault] of SEEDS) {
  Deno.test(`seed ${seed} of ${system} is clean: ${fault}`, async () => {
    const { outcome, detail } = await simulate(seed, { options: { system } });
    assertEquals({ outcome, detail }, { outcome: "ok", detail: "" });
  });
}
