/** `trilog sim` as people and scripts use it. */

import { assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import { type CommandTable, runProgram } from "../../lib/cli/program.ts";
import { simulate } from "../../lib/sim/simulate.ts";
import { FakeTerminal } from "../cli/fake_terminal.ts";

const commands: CommandTable = { sim: () => import("../../cmd/sim.ts") };

async function run(...words: string[]) {
  const terminal = new FakeTerminal();
  const onStart = () => new AbortController().signal;
  const status = await runProgram(["sim", ...words], { version: "1", commands, terminal, onStart });
  return { status, stdout: terminal.stdout, stderr: terminal.stderr };
}

Deno.test("sim prints the seed first and last, and the trace hash of the run", async () => {
  const { status, stdout } = await run("--seed", "7");
  const lines = stdout.trim().split("\n");
  assertEquals([status, lines[0], lines[lines.length - 1]], [0, "seed 7", "seed 7"]);
  assertStringIncludes(stdout, `trace ${(await simulate(7)).traceHash}\n`);
});

Deno.test("sim --json prints one object for each run", async () => {
  const { status, stdout } = await run("--seed", "5", "--runs", "2", "--faults", "power", "--json");
  const results = stdout.trim().split("\n").map((line) => JSON.parse(line));
  assertEquals([status, results.map(({ seed }) => seed)], [0, [5, 6]]);
  const unasked = results.flatMap(({ faultsFired }) => Object.keys(faultsFired))
    .filter((fault) => ["crash", "pause", "rot", "wipe", "partition"].includes(fault));
  assertEquals(unasked, []);
});

Deno.test("sim --system runs another system, whose traces are its own", async () => {
  const { status, stdout } = await run("--seed", "7", "--system", "queue");
  assertEquals(status, 0);
  const { traceHash } = await simulate(7, { options: { system: "queue" } });
  assertStringIncludes(stdout, `trace ${traceHash}\n`);
  assertNotEquals(traceHash, (await simulate(7)).traceHash);
});

Deno.test("sim --trace writes every event", async () => {
  const path = await Deno.makeTempFile();
  try {
    assertEquals((await run("--seed", "7", "--trace", path)).status, 0);
    const lines = (await Deno.readTextFile(path)).trim().split("\n");
    assertEquals(lines.length, (await simulate(7)).steps);
    assertMatch(lines[0], /^\d+\.\d{3} \w+/);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("sim refuses an unknown fault and a trace of several runs", async () => {
  const unknown = await run("--seed", "1", "--faults", "powder");
  assertEquals([unknown.status, unknown.stdout], [2, ""]);
  assertStringIncludes(unknown.stderr, "powder");
  assertEquals((await run("--seed", "1", "--runs", "2", "--trace", "x")).status, 2);
});
