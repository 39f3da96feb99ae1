/** A sample of the crash points and of the flipped bytes; `deno task crashpoints` runs all. */

import { Prng } from "../../lib/base/prng.ts";
import { brokerScript } from "./broker_script.ts";
import { nodeScript } from "./node_script.ts";
import { prepare, rotOne } from "./rot.ts";
import { CRASH_KINDS, type Script, sweepOne } from "./sweep.ts";

/** Operations of each stage and ways to crash, drawn by the seed. */
async function sample(script: Script, seed: number, each: number): Promise<void> {
  const random = new Prng(seed);
  const operations = await script.record();
  for (const stage of script.stages) {
    const points = operations.flatMap((made, at) => made.stage === stage ? [at + 1] : []);
    for (let count = 0; count < each; count += 1) {
      await sweepOne(script, operations, random.pick(points), random.pick(CRASH_KINDS));
    }
  }
}

Deno.test("a node crashes at sampled disk operations: nothing acknowledged is lost", async () => {
  await sample(nodeScript, 1, 1);
});

Deno.test("a broker crashes at sampled disk operations: no acknowledged message is lost", async () => {
  await sample(brokerScript, 2, 2);
});

Deno.test("a segment whose name was only in the cache of a killed process is kept by its next start", async () => {
  const operations = await nodeScript.record();
  const renamed = operations.findIndex(({ operation, path }) =>
    operation === "rename" && path.endsWith(".segment") && !path.includes("/00000001-")
  );
  await sweepOne(nodeScript, operations, renamed + 1, "kill");
});

Deno.test("a flipped byte in one of three directories is detected and repaired from the others", async () => {
  const prepared = await prepare();
  for (const { path, sizeBytes } of prepared.files) {
    await rotOne(prepared, path, Math.floor(sizeBytes / 3));
  }
});
