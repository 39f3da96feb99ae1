/** `trilog sim` as people and scripts use it. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
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

async function tracedLines(...words: string[]) {
  const path = await Deno.makeTempFile();
  try {
    const { status, stdout } = await run(...words, "--trace", path);
    assertEquals(status, 0);
    const lines = (await Deno.readTextFile(path)).trim().split("\n");
    return { lines, hash: /^trace (\w+)$/m.exec(stdout)![1] };
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("sim --trace writes every event, with the kind, term and entries of each frame", async () => {
  const { lines, hash } = await tracedLines("--seed", "3");
  const { steps, traceHash } = await simulate(3);
  assertEquals(hash, traceHash);
  const lost = lines.filter((line) => / (cut|loss) (frame|request|reply) n?/.test(line));
  assertEquals(lines.length - lost.length, steps);
  for (const line of lines) assertMatch(line, /^\d+\.\d{3} \w+/);
  const frames = lines.filter((line) => / frame (again )?n\d>n\d/.test(line));
  for (const line of frames) assertMatch(line, /n\d>n\d (\w+ )?[a-z_]+( \w+ |$)/);
  const append = / g\d+ append_request term \d+, prev \d+@\d+, entries \d+@\d+ (noop|command) \(/;
  assert(frames.some((line) => append.test(line)), frames.slice(0, 20).join("\n"));
});

Deno.test("sim --system cluster --trace shows every frame that is sent", async () => {
  const { lines, hash } = await tracedLines("--seed", "3", "--system", "cluster");
  assertEquals(hash, (await simulate(3, { options: { system: "cluster" } })).traceHash);
  const vote = / send m\d>m\d \w+ vote_request term \d+, preVote true, last \d+@\d+/;
  assert(lines.some((line) => vote.test(line)));
});

Deno.test("sim refuses an unknown fault and a trace of several runs", async () => {
  const unknown = await run("--seed", "1", "--faults", "powder");
  assertEquals([unknown.status, unknown.stdout], [2, ""]);
  assertStringIncludes(unknown.stderr, "powder");
  assertEquals((await run("--seed", "1", "--runs", "2", "--trace", "x")).status, 2);
});
