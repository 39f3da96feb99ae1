import { assert, assertEquals } from "@std/assert";
import { runReference } from "./http_reference.ts";

Deno.test("the reference run in short: every consumer has exactly the lines of its topics", async () => {
  const { produced, consumed, killed } = await runReference({ lines: 120, kills: 4, awayMs: 300 });
  assertEquals(produced, 600);
  assertEquals(consumed[0], 600);
  assert(killed.length >= 2, `servers were killed in between: ${killed}`);
});
