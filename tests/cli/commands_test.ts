/** Every command of the program keeps the rules of the house: declared well, examples that run. */

import { assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import type { Command } from "../../lib/cli/command.ts";
import { COMMON_FLAGS, parseCommand, resolveCommand } from "../../lib/cli/parse.ts";

const ROOT = join(import.meta.dirname!, "..", "..");

async function programCommands(): Promise<Command[]> {
  const table = await Deno.readTextFile(join(ROOT, "main.ts"));
  const files = [...table.matchAll(/import\("\.\/(cmd\/\w+\.ts)"\)/g)].map(([, file]) => file);
  return await Promise.all(files.map(async (file) => (await import(join(ROOT, file))).command));
}

function withSubcommands(command: Command): Command[] {
  return [command, ...(command.subcommands ?? []).flatMap(withSubcommands)];
}

/** The words of each call of trilog in an example such as `cat log | trilog produce "my logs"`. */
function callsIn(example: string): string[][] {
  return [...example.matchAll(/(?:^|[\s(])trilog((?:\s+(?:"[^"]*"|'[^']*'|[^\s|<>;&()"']+))*)/g)]
    .map(([, words]) =>
      [...words.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, double, single, plain]) =>
        double ?? single ?? plain
      )
    );
}

const commands = await programCommands();

for (const top of commands) {
  for (const command of withSubcommands(top)) {
    const { name, summary, examples, flags, subcommands, run } = command;
    Deno.test(`the command ${top === command ? "" : `${top.name} `}${name} is declared well`, () => {
      assertMatch(name, /^[a-z][a-z-]*$/);
      assertMatch(summary, /^[^.\n]{5,75}$/);
      assertEquals(examples.length >= 2, true, "two examples to copy");
      assertEquals((run === undefined) !== (subcommands === undefined), true, "run or subcommands");
      const shadowed = Object.keys(flags ?? {}).filter((flag) => flag in COMMON_FLAGS);
      assertEquals(shadowed, [], "flags that every command has anyway");
      for (const flag of Object.values(flags ?? {})) assertMatch(flag.help, /^[^\n]{3,}[^.\n]$/);
    });
  }
}

Deno.test("every example of every command is a right command line", () => {
  for (const command of commands.flatMap(withSubcommands)) {
    for (const example of command.examples) {
      const calls = callsIn(example);
      assertEquals(calls.length > 0, true, `${example} does not call trilog`);
      for (const [name, ...words] of calls) {
        const top = commands.find((candidate) => candidate.name === name);
        assertEquals(top !== undefined, true, `${example} calls an unknown command`);
        const resolved = resolveCommand(top!, words);
        parseCommand(resolved.command, resolved.words, () => undefined);
      }
    }
  }
});

Deno.test("calls are found in examples", () => {
  assertEquals(callsIn(`cat a.log | trilog produce "my logs" --json | wc -l`), [
    ["produce", "my logs", "--json"],
  ]);
  assertEquals(callsIn("source <(trilog completions bash)"), [["completions", "bash"]]);
  assertEquals(callsIn("trilog atm --connect h:1 -- deposit alice 5; trilog kv"), [
    ["atm", "--connect", "h:1", "--", "deposit", "alice", "5"],
    ["kv"],
  ]);
});
