/** `trilog check`: its exit status and what it prints. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { jsonLine } from "../../lib/check/recorder.ts";
import { runProgram } from "../../lib/cli/program.ts";
import { FakeTerminal } from "../cli/fake_terminal.ts";
import { type Bar, eventsOf } from "./bars.ts";

const commands = { check: () => import("../../cmd/check.ts") };

const RIGHT: readonly Bar[] = [
  { f: "set", key: "k", input: "1", at: [1, 2] },
  { f: "get", key: "k", output: "1", at: [3, 4] },
];
const WRONG: readonly Bar[] = [...RIGHT, { f: "get", key: "k", output: "2", at: [5, 6] }];

async function check(text: string, ...words: string[]) {
  const directory = await Deno.makeTempDir({ prefix: "trilog-check-" });
  try {
    const file = join(directory, "history.jsonl");
    const html = join(directory, "picture.html");
    await Deno.writeTextFile(file, text);
    const terminal = new FakeTerminal();
    const onStart = () => new AbortController().signal;
    const given = words.map((word) => word === "PICTURE" ? html : word);
    const program = { version: "1", commands, terminal, onStart };
    const status = await runProgram(["check", file, ...given], program);
    const picture = await Deno.readTextFile(html).catch(() => null);
    return { status, stdout: terminal.stdout, stderr: terminal.stderr, picture };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function textOf(bars: readonly Bar[]): string {
  return eventsOf(bars).map((event) => `${jsonLine(event)}\n`).join("");
}

Deno.test("a linearizable history exits with 0", async () => {
  const { status, stdout, stderr } = await check(textOf(RIGHT), "--model", "kv");
  assertEquals([status, stdout], [0, "linearizable: 2 operations on 1 object\n"]);
  assertStringIncludes(stderr, "configurations in ");
});

Deno.test("one that is not exits with 1, shows the window and writes the picture", async () => {
  const found = await check(textOf(WRONG), "--model", "kv", "--html", "PICTURE");
  assertEquals(found.status, 1);
  assertStringIncludes(found.stdout, 'not linearizable: key "k"\n');
  assertStringIncludes(found.stdout, '  process client 2  get "k" -> "2"  5..6 ms\n');
  assertStringIncludes(found.picture ?? "", "<svg");
});

Deno.test("one that is not decided in its budget exits with 3", async () => {
  const { status, stdout } = await check(textOf(RIGHT), "--model", "kv", "--memory", "1B");
  assertEquals(status, 3);
  assertStringIncludes(stdout, "unknown: the memory budget ran out");
});

Deno.test("--json prints one object", async () => {
  const { status, stdout } = await check(textOf(WRONG), "--model", "kv", "--json");
  assertEquals(status, 1);
  const { elapsedMs, ...found } = JSON.parse(stdout);
  assertEquals(typeof elapsedMs, "number");
  assertEquals(found, {
    verdict: "not_linearizable",
    model: "kv",
    form: "json",
    operations: 3,
    objects: 1,
    configurations: 2,
    key: "k",
    isSmallest: true,
    window: [{
      number: 2,
      process: "client 2",
      f: "get",
      key: "k",
      input: null,
      outcome: "ok",
      output: "2",
      error: null,
      calledAt: 4,
      returnedAt: 5,
      calledMs: 5,
      returnedMs: 6,
    }],
    longestOrder: [0, 1],
  });
});

Deno.test("what cannot be read exits with 2, so that nobody takes it for a verdict", async () => {
  const broken = await check(`${textOf(RIGHT)}nonsense\n`, "--model", "kv");
  assertEquals([broken.status, broken.stdout], [2, ""]);
  assertStringIncludes(broken.stderr, "line 5: it is not JSON");
  const other = await check(textOf(RIGHT), "--model", "bank");
  assertEquals(other.status, 2);
  assertStringIncludes(other.stderr, "the model bank knows deposit");
  const missing = await check("", "--model", "kv", "--html", "/nowhere/at/all.html");
  assertEquals(missing.status, 2);
  assertStringIncludes(missing.stderr, "it is empty");
  const unwritable = await check(textOf(RIGHT), "--model", "kv", "--html", "/nowhere/at/all.html");
  assertEquals(unwritable.status, 2);
  assertStringIncludes(unwritable.stderr, "Cannot write /nowhere/at/all.html");
});
