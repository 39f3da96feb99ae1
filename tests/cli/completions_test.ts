import { assertEquals, assertStringIncludes } from "@std/assert";
import { type Command, defineCommand } from "../../lib/cli/command.ts";
import { completionScript, SHELLS } from "../../lib/cli/completions.ts";

const examples = ["trilog a", "trilog b"] as const;

const commands: readonly Command[] = [
  defineCommand({
    name: "topic",
    summary: "it's about topics: all of them",
    examples,
    subcommands: [
      defineCommand({
        name: "create",
        summary: "create a topic",
        examples,
        flags: {
          partitions: { type: "integer", help: "how many" },
          acks: { type: "choice", choices: ["quorum", "leader"], help: "when" },
          dataDirectory: { type: "path", help: "where" },
        },
        positionals: { name: { help: "" } },
      }),
      defineCommand({ name: "list", summary: "list topics", examples }),
      defineCommand({
        name: "delete",
        summary: "delete a topic",
        examples,
        flags: { group: { type: "name", help: "", completion: "group" } },
        positionals: { name: { help: "", completion: "topic" } },
      }),
    ],
  }),
  defineCommand({
    name: "completions",
    summary: "completion scripts",
    examples,
    positionals: { shell: { help: "", choices: ["bash", "zsh", "fish"] } },
  }),
  defineCommand({
    name: "inspect",
    summary: "look",
    examples,
    positionals: { directory: { help: "", completion: "file" } },
  }),
];

/** What bash offers for the last word of a line. */
async function bashOffers(...words: string[]): Promise<string[]> {
  const quoted = ["trilog", ...words].map((word) => `'${word}'`).join(" ");
  const script = `${completionScript("bash", commands)}
COMP_WORDS=(${quoted}); COMP_CWORD=${words.length}
compopt() { echo "files"; }
trilog() { echo "$3-one $3-two"; }
_trilog
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { code, stdout, stderr } = await new Deno.Command("bash", { args: ["-c", script] })
    .output();
  assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
}

async function hasShell(shell: string): Promise<boolean> {
  try {
    return (await new Deno.Command(shell, { args: ["-c", "exit"], stderr: "null" }).output())
      .success;
  } catch {
    return false;
  }
}

for (const shell of SHELLS) {
  const present = await hasShell(shell);
  Deno.test({
    name: `the script for ${shell} is well formed${present ? "" : ` (no ${shell} here)`}`,
    ignore: !present,
    async fn() {
      const file = await Deno.makeTempFile();
      try {
        await Deno.writeTextFile(file, completionScript(shell, commands));
        const { code, stderr } = await new Deno.Command(shell, { args: ["-n", file] }).output();
        assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
      } finally {
        await Deno.remove(file);
      }
    },
  });
}

Deno.test("bash completes commands, subcommands, flags, choices and paths", async () => {
  assertEquals(await bashOffers(""), ["topic", "completions", "inspect"]);
  assertEquals(await bashOffers("to"), ["topic"]);
  assertEquals(await bashOffers("topic", ""), ["create", "list", "delete"]);
  assertEquals(await bashOffers("topic", "create", "--pa"), ["--partitions"]);
  assertEquals(await bashOffers("topic", "create", "--acks", ""), ["quorum", "leader"]);
  assertEquals(await bashOffers("topic", "create", "--data-directory", ""), ["files"]);
  assertEquals(await bashOffers("topic", "create", "--partitions", ""), []);
  assertEquals(await bashOffers("topic", "--json", "list", "--"), [
    "--json",
    "--help",
    "--version",
  ]);
  assertEquals(await bashOffers("completions", "z"), ["zsh"]);
  assertEquals(await bashOffers("topic", "create", "--", ""), []);
});

Deno.test("bash completes names that the cluster knows, and files of a positional", async () => {
  assertEquals(await bashOffers("topic", "delete", ""), ["topic-one", "topic-two"]);
  assertEquals(await bashOffers("topic", "delete", "topic-t"), ["topic-two"]);
  assertEquals(await bashOffers("topic", "delete", "--group", ""), ["group-one", "group-two"]);
  assertEquals(await bashOffers("topic", "create", ""), [], "there is no list of new names");
  assertEquals(await bashOffers("inspect", "./d"), ["files"]);
});

Deno.test("every command and flag is in every shell's script", () => {
  for (const shell of SHELLS) {
    const script = completionScript(shell, commands);
    for (const word of ["topic", "create", "list", "completions", "quorum", "data-directory"]) {
      assertStringIncludes(script, word, `${shell} lacks ${word}`);
    }
  }
  assertStringIncludes(completionScript("fish", commands), "it\\'s about topics: all of them");
  assertStringIncludes(completionScript("zsh", commands), "it'\\''s about topics\\: all of them");
});
