/** The program itself, as a process: statuses and streams of a few runs that need no cluster. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { VERSION } from "../../lib/cli/version.ts";

const ROOT = join(import.meta.dirname!, "..", "..");

function trilog(...words: string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-A", join(ROOT, "main.ts"), ...words],
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  });
}

async function run(...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await trilog(...words).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("the version is that of deno.json", async () => {
  const { version } = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.json")));
  assertEquals(VERSION, version);
  assertEquals(await run("--version"), { code: 0, stdout: `trilog ${VERSION}\n`, stderr: "" });
});

Deno.test("wrong usage exits with 2 and a suggestion, on stderr only", async () => {
  const command = await run("completion", "bash");
  assertEquals([command.code, command.stdout], [2, ""]);
  assertStringIncludes(command.stderr, "did you mean completions?");
  const flag = await run("completions", "--jsn", "bash");
  assertEquals([flag.code, flag.stdout], [2, ""]);
  assertStringIncludes(flag.stderr, "did you mean --json?");
  const json = await run("completions", "--json", "basch");
  assertEquals(json.code, 2);
  assertEquals(JSON.parse(json.stderr).code, "usage");
});

Deno.test("help lists every command of the table, each with a summary and two examples", async () => {
  const { code, stdout } = await run("--help");
  assertEquals(code, 0);
  const table = await Deno.readTextFile(join(ROOT, "main.ts"));
  const names = [...table.matchAll(/^ {2}(\w+): \(\) => import\(/gm)].map(([, name]) => name);
  assertEquals(names.includes("completions"), true);
  for (const name of names) {
    assertEquals(new RegExp(`^  ${name} +\\S`, "m").test(stdout), true, `${name} is not listed`);
    const module = await import(join(ROOT, "cmd", `${name}.ts`));
    const { command } = module;
    assertEquals([command.name, command.examples.length >= 2], [name, true]);
  }
});

Deno.test("the completion script of the program is well formed", async () => {
  const { code, stdout } = await run("completions", "bash");
  assertEquals(code, 0);
  const check = new Deno.Command("bash", { args: ["-n"], stdin: "piped", stderr: "piped" }).spawn();
  const writer = check.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdout));
  await writer.close();
  const { success } = await check.output();
  assertEquals(success, true);
});

Deno.test("a reader that goes away ends the program as SIGPIPE does others, quietly", async () => {
  const child = trilog("completions", "bash").spawn();
  await child.stdout.cancel();
  const { code } = await child.status;
  const stderr = await new Response(child.stderr).text();
  assertEquals([code, stderr], [141, ""]);
});
