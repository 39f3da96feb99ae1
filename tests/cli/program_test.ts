import { assertEquals, assertStringIncludes } from "@std/assert";
import { type ErrorCode, TrilogError } from "../../lib/base/errors.ts";
import { type Context, defineCommand, type Interruption } from "../../lib/cli/command.ts";
import { type CommandTable, exitStatus, runProgram, statusOf } from "../../lib/cli/program.ts";
import { FakeTerminal } from "./fake_terminal.ts";

const examples = ["trilog greet ann", "trilog greet ann --times 3"] as const;

const greet = defineCommand({
  name: "greet",
  summary: "greets somebody",
  details: "As often as it is told to.",
  examples,
  flags: {
    times: { type: "integer", default: "1", help: "how often" },
    tone: { type: "choice", choices: ["warm", "cold"], default: "warm", help: "how" },
    note: { type: "string", required: true, env: "TEST_NOTE", help: "what for" },
  },
  positionals: { name: { help: "whom" } },
  async run({ flags, args, terminal, json }) {
    // The types follow from the declaration: these lines would not compile otherwise.
    const times: number = flags.times;
    const tone: "warm" | "cold" = flags.tone;
    const note: string = flags.note;
    for (let count = 0; count < times; count += 1) {
      await terminal.print(json ? JSON.stringify({ tone, note }) : `hello ${args.name}`);
    }
    return 0;
  },
});

function failing(code: ErrorCode) {
  return defineCommand({
    name: "fail",
    summary: "fails",
    examples,
    run: () => {
      throw new TrilogError(code, "Cannot do it: no", { leader: "h:1" });
    },
  });
}

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  words: readonly string[],
  options: { commands?: CommandTable; terminal?: FakeTerminal; signal?: AbortSignal } = {},
): Promise<Outcome> {
  const terminal = options.terminal ?? new FakeTerminal({ environment: { TEST_NOTE: "n" } });
  const status = await runProgram(words, {
    version: "1.2.3",
    commands: options.commands ?? { greet: () => Promise.resolve({ command: greet }) },
    terminal,
    onStart: () => options.signal ?? new AbortController().signal,
  });
  return { status, stdout: terminal.stdout, stderr: terminal.stderr };
}

Deno.test("a command runs with its values and its status is the program's", async () => {
  assertEquals(await run(["greet", "ann", "--times", "2"]), {
    status: 0,
    stdout: "hello ann\nhello ann\n",
    stderr: "",
  });
  assertEquals((await run(["greet", "ann", "--json"])).stdout, `{"tone":"warm","note":"n"}\n`);
});

Deno.test("an unknown command is wrong usage with a suggestion", async () => {
  assertEquals(await run(["gret", "ann"]), {
    status: 2,
    stdout: "",
    stderr: "trilog: Cannot run trilog gret: there is no such command; did you mean greet?\n",
  });
  for (const word of ["constructor", "__proto__", "toString", "--frob"]) {
    assertEquals((await run([word])).status, 2, word);
  }
});

Deno.test("help shows usage, flags with their defaults, and the examples", async () => {
  const { status, stdout } = await run(["greet", "--help"]);
  assertEquals(status, 0);
  for (
    const part of [
      "Usage: trilog greet [FLAGS] NAME",
      "As often as it is told to.",
      "--times N         how often (default 1)",
      "--tone warm|cold  how (default warm)",
      "--note TEXT       what for (required; or $TEST_NOTE)",
      ...examples,
    ]
  ) {
    assertStringIncludes(stdout, part);
  }
  assertEquals((await run(["help", "greet"])).stdout, stdout);
  assertEquals((await run(["greet", "ann", "--frobnicate", "-h"])).stdout, stdout);
});

Deno.test("help of the program lists the commands; no command at all is wrong usage", async () => {
  const { status, stdout } = await run(["--help"]);
  assertEquals(status, 0);
  assertStringIncludes(stdout, "greet  greets somebody");
  assertEquals(await run([]), { status: 2, stdout: "", stderr: stdout });
});

Deno.test("the version shows wherever it is asked for", async () => {
  for (const words of [["--version"], ["greet", "--version"]]) {
    assertEquals((await run(words)).stdout, "trilog 1.2.3\n");
  }
});

Deno.test("an error goes to stderr, as text or as JSON, and decides the status", async () => {
  const commands: CommandTable = {
    fail: () => Promise.resolve({ command: failing("unavailable") }),
  };
  assertEquals(await run(["fail"], { commands }), {
    status: 3,
    stdout: "",
    stderr: "trilog: Cannot do it: no (unavailable)\n",
  });
  const { status, stderr } = await run(["fail", "--json"], { commands });
  assertEquals(status, 3);
  assertEquals(JSON.parse(stderr), {
    ok: false,
    code: "unavailable",
    message: "Cannot do it: no",
    retryable: true,
    leader: "h:1",
  });
});

Deno.test("every kind of failure has its exit status", () => {
  const expected: [ErrorCode, number][] = [
    ["usage", 2],
    ["unknown_command", 2],
    ["unavailable", 3],
    ["deadline_exceeded", 3],
    ["outcome_unknown", 3],
    ["connection_closed", 3],
    ["cancelled", 130],
    ["insufficient_funds", 1],
    ["no_such_topic", 1],
    ["corrupt", 1],
    ["internal", 1],
  ];
  for (const [code, status] of expected) {
    assertEquals(statusOf(new TrilogError(code, "Cannot: x")), status, code);
  }
});

Deno.test("what is no error of ours shows its stack, for it is a bug", async () => {
  const command = defineCommand({
    name: "break",
    summary: "",
    examples,
    run: () => {
      throw new RangeError("oh");
    },
  });
  const { status, stderr } = await run(["break"], {
    commands: { break: () => Promise.resolve({ command }) },
  });
  assertEquals(status, 1);
  assertStringIncludes(stderr, "RangeError: oh");
  assertStringIncludes(stderr, "program_test.ts");
  assertStringIncludes(stderr, "trilog: Cannot carry on: oh (internal)");
});

Deno.test("a reader that goes away ends the program quietly", async () => {
  const terminal = new FakeTerminal({ closesAfterBytes: 10, environment: { TEST_NOTE: "n" } });
  const { status, stderr } = await run(["greet", "ann", "--times", "5"], { terminal });
  assertEquals([status, stderr], [exitStatus.outputClosed, ""]);
});

Deno.test("a graceful command that was interrupted ends with 130, a server with its own", async () => {
  const statuses: Record<string, number> = {};
  for (const interruption of ["graceful", "server"] satisfies Interruption[]) {
    const controller = new AbortController();
    const command = defineCommand({
      name: "wait",
      summary: "",
      examples,
      interruption,
      run({ signal }: Context) {
        controller.abort();
        return signal.aborted ? 0 : 1;
      },
    });
    const commands = { wait: () => Promise.resolve({ command }) };
    const { status } = await run(["wait"], { commands, signal: controller.signal });
    statuses[interruption] = status;
  }
  assertEquals(statuses, { graceful: 130, server: 0 });
});
