/**
 * `deno task mutants`: applies one mutant at a time to a copy of the tree, and looks for what kills
 * it: the test files that it names, the seeds that it names, the other fast tests of its area, then
 * any seeds of the simulator. Writes the table of tests/mutants/README.md.
 *
 *     --only=a,b     these mutants
 *     --from=NAME    those from there on
 *     --named        only the test files that they name
 *     --trust        without running all killers first on the code as it is
 */

import { walkSync } from "@std/fs";
import { dirname, join, relative } from "@std/path";
import { MUTANTS } from "./mutants.ts";
import type { Mutant, Seeds } from "./mutant.ts";

const ROOT = join(import.meta.dirname!, "../..");
const README = join(import.meta.dirname!, "README.md");
/** A mutant whose tests do not end is killed by that. */
const LONGEST_MS = 120_000;
/** The fast tests of an area. */
const AREA_MS = 300_000;
/** All killers together, before the first mutant. */
const BASELINE_MS = 900_000;

/** What the fast tests of a folder of lib are, beyond those that a mutant names. */
const AREAS: Readonly<Record<string, readonly string[]>> = {
  raft: ["tests/raft", "tests/module"],
  storage: ["tests/storage", "tests/replica"],
  replica: ["tests/replica", "tests/sim"],
  broker: ["tests/broker", "tests/sim"],
  manager: ["tests/manager", "tests/broker"],
  client: ["tests/client", "tests/broker"],
};

/** At most 500 seeds in all. */
const SEEDS: readonly Seeds[] = [
  { system: "kv", first: 1, count: 200 },
  { system: "queue", first: 1, count: 200 },
  { system: "cluster", first: 1, count: 50 },
];

interface Result {
  readonly name: string;
  /** Null: nothing did. */
  readonly killer: string | null;
  readonly seconds: number;
}

/** Output of a deno process in the copy; null where it passed. */
async function failureOf(
  copy: string,
  args: readonly string[],
  longestMs: number = LONGEST_MS,
): Promise<string | null> {
  const aborted = AbortSignal.timeout(longestMs);
  const command = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: copy,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
    signal: aborted,
  });
  const { success, stdout, stderr } = await command.output();
  if (success) return null;
  if (aborted.aborted) return `no end within ${longestMs / 1_000} s`;
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

/** Paths that exist, of test files or folders. */
function present(copy: string, paths: readonly string[]): string[] {
  return paths.filter((path) => {
    try {
      return Deno.statSync(join(copy, path)) !== null;
    } catch {
      return false;
    }
  });
}

/**
 * The first test that fails, as `file: name`; null where all pass. Throws where the mutant cannot be
 * loaded.
 */
async function failingTest(
  copy: string,
  paths: readonly string[],
  longestMs?: number,
  filter?: string,
): Promise<string | null> {
  const found = present(copy, paths);
  if (found.length === 0) return null;
  const args = ["test", "-A", "--no-check", "--parallel", "--fail-fast"];
  const options = [...args, "--ignore=tests/**/*_slow_test.ts"];
  if (filter !== undefined) options.push(`--filter=${filter}`);
  const output = await failureOf(copy, [...options, ...found], longestMs);
  if (output === null || output.startsWith("no end")) return output;
  const errors = output.slice(output.indexOf("ERRORS"));
  const [, name, file] = /^(.+?) => \.\/([^:\s]+)/m.exec(errors) ?? [];
  if (name !== undefined) return `${file}: ${name}`;
  const [, uncaught] = /^\.\/(\S+) \(uncaught error\)/m.exec(errors) ?? [];
  if (uncaught !== undefined && !/SyntaxError|could not be parsed/.test(errors)) {
    return `${uncaught}: an error that no test caught`;
  }
  throw new Error(`the mutant does not run: ${output.slice(0, 2_000)}`);
}

async function failingSeed(copy: string, seeds: readonly Seeds[]): Promise<string | null> {
  for (const { system, first, count } of seeds) {
    const args = ["run", "-A", "--no-check", "tests/mutants/seeds.ts", system, first, count];
    const output = await failureOf(copy, args.map(String));
    // Seeds that need too long show nothing.
    if (output !== null && !output.startsWith("no end")) return output.trim().split("\n")[0];
  }
  return null;
}

async function killerOf(copy: string, mutant: Mutant): Promise<string | null> {
  const area = AREAS[mutant.file.split("/")[1]] ?? [];
  const named = await failingTest(copy, mutant.killers, LONGEST_MS, mutant.filter);
  if (named !== null || Deno.args.includes("--named")) return named;
  const seed = await failingSeed(copy, mutant.seeds ?? []);
  if (seed !== null) return seed;
  const other = await failingTest(copy, area, AREA_MS);
  // Much work that takes long shows nothing; a named test that does not end shows the mutant.
  if (other !== null && !other.startsWith("no end")) return other;
  return mutant.seeds === undefined ? await failingSeed(copy, SEEDS) : null;
}

async function run(copy: string, mutant: Mutant): Promise<Result> {
  const path = join(copy, mutant.file);
  const text = Deno.readTextFileSync(path);
  if (text.split(mutant.find).length !== 2) {
    throw new Error(`${mutant.name}: its text is not found exactly once in ${mutant.file}`);
  }
  const startMs = performance.now();
  try {
    Deno.writeTextFileSync(path, text.replace(mutant.find, () => mutant.put));
    const killer = await killerOf(copy, mutant);
    return { name: mutant.name, killer, seconds: (performance.now() - startMs) / 1_000 };
  } finally {
    Deno.writeTextFileSync(path, text);
  }
}

/** Copies what tests need into a directory of its own. */
function copyOfTree(): string {
  const copy = Deno.makeTempDirSync({ prefix: "trilog-mutants-" });
  const take = (path: string) => {
    const target = join(copy, relative(ROOT, path));
    Deno.mkdirSync(dirname(target), { recursive: true });
    Deno.copyFileSync(path, target);
  };
  for (const folder of ["lib", "cmd", "tests"]) {
    for (const { path } of walkSync(join(ROOT, folder), { includeDirs: false })) take(path);
  }
  for (const file of ["main.ts", "deno.json", "deno.lock"]) take(join(ROOT, file));
  return copy;
}

function chosen(): readonly Mutant[] {
  const option = (name: string) =>
    Deno.args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
  const only = option("only")?.split(",");
  const from = option("from");
  const start = from === undefined ? 0 : MUTANTS.findIndex(({ name }) => name === from);
  if (start < 0) throw new Error(`there is no mutant ${from}`);
  return MUTANTS.slice(start).filter(({ name }) => only === undefined || only.includes(name));
}

const BEGIN = "<!-- mutants: begin -->";
const END = "<!-- mutants: end -->";

/** Replaces the rows of `results` in the table and keeps those of the other mutants. */
function writeTable(results: readonly Result[]): void {
  const text = Deno.readTextFileSync(README);
  const [before, rest] = text.split(BEGIN);
  const [table, after] = rest.split(END);
  const known = new Map(
    [...table.matchAll(/^\| `([^`]+)` .*$/gm)].map(([row, name]) => [name, row]),
  );
  for (const { name, killer, seconds } of results) {
    const { file, breaks } = MUTANTS.find((mutant) => mutant.name === name)!;
    const killed = (killer ?? "**survived**").replaceAll("|", "\\|");
    known.set(
      name,
      `| \`${name}\` | \`${file}\` | ${breaks} | ${killed} | ${seconds.toFixed(1)} |`,
    );
  }
  const rows = MUTANTS.flatMap(({ name }) => known.get(name) ?? []);
  const head = "| mutant | file | what it breaks | killed by | seconds |\n|-|-|-|-|-|\n";
  Deno.writeTextFileSync(
    README,
    `${before}${BEGIN}\n\n${head}${rows.join("\n")}\n\n${END}${after}`,
  );
  new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", README] }).outputSync();
}

const mutants = chosen();
const copy = copyOfTree();
const results: Result[] = [];
try {
  if (!Deno.args.includes("--trust")) {
    const killers = [...new Set(mutants.flatMap((mutant) => mutant.killers))];
    const failing = await failingTest(copy, killers, BASELINE_MS);
    if (failing !== null) throw new Error(`a killer fails without any mutant: ${failing}`);
  }
  for (const mutant of mutants) {
    const result = await run(copy, mutant);
    const seconds = result.seconds.toFixed(1);
    console.log(`${mutant.name}: ${result.killer ?? "SURVIVED"} (${seconds} s)`);
    results.push(result);
    writeTable([result]);
  }
} finally {
  Deno.removeSync(copy, { recursive: true });
}
const survivors = results.filter(({ killer }) => killer === null);
console.log(`${results.length - survivors.length} of ${results.length} mutants are killed`);
Deno.exit(survivors.length === 0 ? 0 : 1);
