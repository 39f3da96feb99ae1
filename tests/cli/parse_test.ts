import { assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { type Command, defineCommand } from "../../lib/cli/command.ts";
import { parseCommand, resolveCommand } from "../../lib/cli/parse.ts";

const everyFlag = defineCommand({
  name: "every",
  summary: "has a flag of every type",
  examples: ["trilog every a", "trilog every b"],
  flags: {
    text: { type: "string", help: "any text" },
    loud: { type: "boolean", help: "a switch" },
    partitionCount: { type: "integer", min: 1, max: 10, default: "1", help: "how many" },
    offset: { type: "integer", min: -100, help: "may be negative" },
    linger: { type: "duration", default: "5ms", help: "how long" },
    batchSize: { type: "size", help: "how large" },
    listen: { type: "address", help: "where" },
    bootstrap: { type: "addresses", env: "TEST_BOOTSTRAP", default: "h:1", help: "who" },
    peers: { type: "members", help: "with whom" },
    id: { type: "name", help: "what name" },
    to: { type: "names", help: "which" },
    faults: { type: "list", help: "what" },
    acks: { type: "choice", choices: ["quorum", "leader"], default: "quorum", help: "when" },
    data: { type: "path", help: "which directory" },
  },
  positionals: { topic: { help: "which topic" }, brokerId: { help: "which", optional: true } },
  words: "a command",
});

function parse(words: readonly string[], environment: Record<string, string> = {}) {
  return parseCommand(everyFlag, words, (name) => environment[name]);
}

function refusal(words: readonly string[], environment: Record<string, string> = {}): string {
  const error = assertThrows(() => parse(words, environment), TrilogError);
  assertEquals(error.code, "usage");
  return error.message;
}

Deno.test("every type of flag reads as what it means", () => {
  const { flags, args, words } = parse([
    ...["t", "--text", "a b", "--loud", "--partition-count", "3", "--offset", "-5"],
    ...["--linger=2s", "--batch-size", "64KiB", "--listen", "127.0.0.1:0"],
    ...["--bootstrap", "a:1,[::1]:2", "--peers", "m1=h:1,m2=h:2", "--id", "b1"],
    ...["--to", "b1,b2", "--faults", "loss,crash", "--acks", "leader", "--data", "./d", "b9"],
    ...["--", "get", "--loud", "--"],
  ]);
  assertEquals(flags as unknown, {
    text: "a b",
    loud: true,
    partitionCount: 3,
    offset: -5,
    linger: 2_000,
    batchSize: 65_536,
    listen: "127.0.0.1:0",
    bootstrap: ["a:1", "[::1]:2"],
    peers: [{ name: "m1", address: "h:1" }, { name: "m2", address: "h:2" }],
    id: "b1",
    to: ["b1", "b2"],
    faults: ["loss", "crash"],
    acks: "leader",
    data: "./d",
  });
  assertEquals(args, { topic: "t", brokerId: "b9" });
  assertEquals(words, ["get", "--loud", "--"]);
});

Deno.test("what is not given has its default, the environment's value, or is absent", () => {
  const { flags, args, given, json } = parse(["t"]);
  assertEquals(flags.partitionCount, 1);
  assertEquals(flags.linger, 5);
  assertEquals(flags.loud, false);
  assertEquals(flags.text, undefined);
  assertEquals(flags.bootstrap, ["h:1"]);
  assertEquals(args, { topic: "t" });
  assertEquals([given, json], [{}, false]);
  assertEquals(parse(["t"], { TEST_BOOTSTRAP: "x:9" }).flags.bootstrap, ["x:9"]);
  assertEquals(parse(["t"], { TEST_BOOTSTRAP: "" }).flags.bootstrap, ["h:1"]);
  assertEquals(parse(["--bootstrap", "y:8", "t"], { TEST_BOOTSTRAP: "x:9" }).given, {
    bootstrap: "y:8",
  });
});

Deno.test("words that only look like numbers, truths or flags stay what was typed", () => {
  assertEquals(parse(["1e3", "007"]).args, { topic: "1e3", brokerId: "007" });
  assertEquals(parse(["--loud", "true"]).args, { topic: "true" });
  assertEquals(parse(["--loud=false", "t"]).flags.loud, false);
  assertEquals(parse(["-"]).args.topic, "-");
  assertEquals(parse(["t", "--text", "--"]).flags.text, "--");
  assertEquals(parse(["t", "--text", "a=b\nc"]).flags.text, "a=b\nc");
  assertEquals(parse(["t", "--text=--loud"]).flags.text, "--loud");
});

Deno.test("an unknown flag is refused with the nearest known one", () => {
  assertEquals(
    refusal(["t", "--lingr", "5ms"]),
    "Cannot use --lingr: there is no such flag; did you mean --linger?",
  );
  assertEquals(
    refusal(["t", "--xyzzy=1"]),
    "Cannot use --xyzzy: there is no such flag; see --help",
  );
  assertEquals(refusal(["t", "-5"]), "Cannot use -5: there is no such flag; see --help");
  assertEquals(refusal(["t", "--no-loud"]).startsWith("Cannot use --no-loud: there is no"), true);
  assertEquals(refusal(["t", "--__proto__=1"]).startsWith("Cannot use --__proto__"), true);
  assertEquals(refusal(["t", "--constructor", "1"]).startsWith("Cannot use --constructor"), true);
  assertEquals(refusal(["t", "--partitionCount", "2"]).includes("--partition-count?"), true);
});

Deno.test("a wrong value is refused with what is expected", () => {
  const cases: [string[], string][] = [
    [["--partition-count", "0"], `--partition-count "0": expected a whole number from 1 to 10`],
    [["--partition-count", "2.5"], `expected a whole number from 1 to 10`],
    [["--offset", "-101"], `--offset "-101": expected a whole number of at least -100`],
    [["--linger", "5"], `--linger "5": expected a duration such as 500ms, 15s, 2m or 1h`],
    [["--batch-size", "64kb"], `--batch-size "64kb": expected a size such as 4096, 64KiB or 1GiB`],
    [["--listen", "localhost"], `--listen "localhost": expected HOST:PORT`],
    [["--listen", "h:70000"], `--listen "h:70000": expected HOST:PORT`],
    [["--bootstrap", "a:1,,b:2"], `--bootstrap "a:1,,b:2": expected HOST:PORT[,HOST:PORT...]`],
    [["--peers", "m1=h:1,m1=h:2"], `expected NAME=HOST:PORT[,...], each name once`],
    [["--peers", "m1"], `expected NAME=HOST:PORT`],
    [["--id", "../x"], `--id "../x": expected a name`],
    [["--id", "a\u0007"], `--id "a\\u0007": expected a name`],
    [["--to", "b1, b/2"], `expected names with commas between`],
    [["--acks", "qorum"], `--acks "qorum": expected quorum, leader; did you mean quorum?`],
    [["--loud=maybe"], `--loud "maybe": expected true or false`],
    [["--text"], `Cannot use --text: it needs a value`],
    [["--text="], `Cannot use --text: it needs a value`],
    [["--text", "--loud"], `Cannot use --text: it needs a value`],
    [["--text", "a", "--text", "b"], `Cannot use --text: it is given twice`],
  ];
  for (const [words, part] of cases) {
    const message = refusal(["t", ...words]);
    assertEquals(message.includes(part), true, `${message} lacks ${part}`);
  }
  assertEquals(
    refusal(["t"], { TEST_BOOTSTRAP: "nonsense" }).startsWith(`Cannot use TEST_BOOTSTRAP "nonsens`),
    true,
  );
});

Deno.test("missing and superfluous arguments are refused by name", () => {
  assertEquals(refusal([]), "Cannot run every: TOPIC is missing (which topic)");
  assertEquals(
    refusal(["a", "b", "c"]),
    `Cannot run every: "c" is one word too many; a command comes after --: -- c`,
  );
  const strict = defineCommand({
    name: "strict",
    summary: "",
    examples: ["", ""],
    flags: { id: { type: "name", required: true, help: "own name" } },
    positionals: { shell: { choices: ["bash", "zsh"], help: "which" } },
  });
  const message = (words: string[]) =>
    assertThrows(() => parseCommand(strict, words, () => undefined), TrilogError).message;
  assertEquals(message(["bash"]), "Cannot run: --id is missing (own name)");
  assertEquals(
    message(["--id", "a", "bsh"]),
    `Cannot use "bsh" as SHELL: expected bash, zsh; did you mean bash?`,
  );
  assertEquals(
    message(["--id", "a", "bash", "--", "x"]),
    "Cannot run strict: it takes no words after --",
  );
});

Deno.test("a rest argument takes all remaining words, and none", () => {
  const many = defineCommand({
    name: "many",
    summary: "",
    examples: ["", ""],
    positionals: { first: { help: "" }, others: { help: "", rest: true } },
  });
  const read = (words: string[]) => parseCommand(many, words, () => undefined).args;
  assertEquals(read(["a"]), { first: "a", others: [] });
  assertEquals(read(["a", "b", "c"]), { first: "a", others: ["b", "c"] });
});

Deno.test("subcommands are found by name, with a suggestion where there is none", () => {
  const leaf = (name: string): Command =>
    defineCommand({ name, summary: "", examples: ["", ""], run: () => 0 });
  const topic = defineCommand({
    name: "topic",
    summary: "",
    examples: ["", ""],
    subcommands: [leaf("create"), leaf("list")],
  });
  const { path, words } = resolveCommand(topic, ["create", "logs", "--json"]);
  assertEquals([path, words], [["topic", "create"], ["logs", "--json"]]);
  assertEquals(resolveCommand(topic, ["--help"]).path, ["topic"]);
  const message = (given: string[]) =>
    assertThrows(() => resolveCommand(topic, given), TrilogError).message;
  assertEquals(
    message(["craete"]),
    "Cannot run trilog topic craete: there is no such command; did you mean create?",
  );
  assertEquals(
    message(["xyzzy"]),
    "Cannot run trilog topic xyzzy: there is no such command; expected create, list",
  );
  assertEquals(message([]), "Cannot run trilog topic: name one of create, list first");
});
