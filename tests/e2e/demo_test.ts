import { assert, assertStringIncludes } from "@std/assert";
import { runDemo } from "./demo.ts";
import { nowMs } from "./harness.ts";

Deno.test("the demo accounts for everything in under a minute", async () => {
  const said: string[] = [];
  const startMs = nowMs();
  await runDemo((line) => said.push(line));
  assert(nowMs() - startMs < 60_000, "the demo is promised to take less than a minute");
  assertStringIncludes(said.join("\n"), "everything is accounted for");
});
