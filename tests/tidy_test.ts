/**
 * The house rules that a program can check: who may import whom, which globals are out of bounds,
 * how long a file may be. Each rule is a function from files to complaints, and is shown to fail
 * on a bad sample before it is asked about the tree.
 */

import { assertEquals } from "@std/assert";
import { existsSync, walkSync } from "@std/fs";
import { dirname, join, normalize, relative } from "@std/path";

interface SourceFile {
  /** From the root of the repository, with `/` between parts. */
  readonly path: string;
  readonly text: string;
}

type Rule = (files: readonly SourceFile[]) => string[];

const ROOT = join(import.meta.dirname!, "..");
const MAX_LINES = 500;

/** What each folder of lib may import besides itself: folders, or single files of them. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  types: [],
  base: [],
  batch: ["base"],
  raft: ["base"],
  // The words of the core, and the stored form of a membership.
  storage: ["base", "raft/types.ts", "raft/membership.ts"],
  net: ["base", "raft/types.ts"],
  replica: ["base", "raft", "storage", "net"],
  client: ["base", "batch", "net"],
  manager: ["base", "batch", "raft/types.ts", "storage", "net", "replica", "client"],
  broker: ["base", "batch", "raft/types.ts", "storage", "net", "replica", "client"],
  atm: ["base", "raft/types.ts", "storage", "net", "replica", "client", "cli"],
  kv: ["base", "batch", "raft/types.ts", "storage", "net", "replica", "client", "cli"],
  module: ["base", "raft"],
  http: ["base", "client"],
  check: ["base"],
  cli: ["base"],
  sim: [
    "base",
    "batch",
    "raft",
    "storage",
    "net",
    "replica",
    "client",
    "manager",
    "broker",
    "atm",
    "kv",
  ],
};

/** Folders and files that are PURE or MACHINE even where no first comment says so. */
const PURE_PLACES = ["lib/raft/", "lib/batch/", "lib/net/frame.ts", "lib/atm/machine.ts"];
const PURE_IMPORTS = [
  "lib/base/",
  "lib/batch/",
  "lib/replica/state_machine.ts",
  "lib/replica/state_stream.ts",
  "lib/replica/requests.ts",
];

interface Ban {
  readonly what: string;
  readonly pattern: RegExp;
  /** Where it holds. */
  readonly scope: RegExp;
  /** Files that are named for it. */
  readonly allowed: RegExp;
}

const LIBRARY = /^lib\//;

const BANS: readonly Ban[] = [
  {
    what: "the clock of the machine (take a Clock)",
    // `new Date(timeMs)` only formats a time that somebody was given.
    pattern: /\bDate\.now\b|\bnew Date\(\s*\)|(?<!new )\bDate\(|\bperformance\./,
    scope: LIBRARY,
    allowed: /^lib\/base\/system_clock\.ts$/,
  },
  {
    what: "timers of the machine (take a Clock)",
    pattern: /\b(setTimeout|setInterval|setImmediate)\b/,
    scope: LIBRARY,
    allowed: /^lib\/base\/system_clock\.ts$/,
  },
  {
    what: "randomness of the machine (take a Random)",
    pattern: /\bMath\.random\b|\bgetRandomValues\b|\brandomUUID\b/,
    scope: LIBRARY,
    allowed: /^lib\/base\/system_random\.ts$/,
  },
  {
    what: "Deno and Node's system modules (take a Disk, a PeerTransport, a Terminal)",
    pattern: /\bDeno\.|["']node:(fs|net|tls|os|process|child_process|timers|http)[\/"']/,
    scope: LIBRARY,
    allowed:
      /\/(deno|system)_\w+\.ts$|^lib\/net\/(tcp|tls)\w*\.ts$|^lib\/cli\/(self_command|children)\.ts$/,
  },
  {
    what: "console (take a Logger or a Terminal)",
    pattern: /\bconsole\./,
    scope: /^(lib|cmd)\/|^main\.ts$/,
    allowed: /^$/,
  },
];

const COMMENT_OR_STRING = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;

/** The code without its comments; strings stay, for they may be module names. */
function withoutComments(text: string): string {
  return text.replace(COMMENT_OR_STRING, (part) => part.startsWith("/") ? " " : part);
}

/** The code without comments and without what plain strings say. */
function withoutProse(text: string): string {
  return text.replace(
    COMMENT_OR_STRING,
    (part) => part.startsWith("/") ? " " : part.includes("node:") ? part : '""',
  );
}

/** Our own files that a file imports, from the root; packages are left out. */
function importsOf(file: SourceFile): string[] {
  const statement = /(?:\bfrom\s*|\bimport\s*\(?\s*)["'](\.{1,2}\/[^"']+)["']/g;
  return [...withoutComments(file.text).matchAll(statement)]
    .map(([, target]) => normalize(join(dirname(file.path), target)));
}

function isCode(file: SourceFile): boolean {
  return file.path.endsWith(".ts");
}

function importDirection(files: readonly SourceFile[]): string[] {
  return files.filter(isCode).flatMap((file) =>
    importsOf(file).filter((target) => !mayImport(file.path, target))
      .map((target) => `${file.path} must not import ${target}`)
  );
}

function mayImport(from: string, target: string): boolean {
  if (from.startsWith("lib/")) {
    const [, folder] = from.split("/");
    const allowed = LAYERS[folder] ?? [];
    return [folder, ...allowed].some((place) =>
      target === `lib/${place}` || target.startsWith(`lib/${place}/`)
    );
  }
  if (/^tests\/(e2e|chaos)\//.test(from)) return /^tests\/(e2e|chaos)\//.test(target);
  if (from.startsWith("tests/")) return true;
  return !target.startsWith("tests/");
}

function knownFolders(files: readonly SourceFile[]): string[] {
  const folders = new Set(
    files.map(({ path }) => path.split("/")).filter((parts) => parts[0] === "lib" && parts[2])
      .map((parts) => parts[1]),
  );
  return [...folders].filter((folder) => !Object.hasOwn(LAYERS, folder))
    .map((folder) => `lib/${folder} has no place in the layers`);
}

function bannedGlobals(files: readonly SourceFile[]): string[] {
  return files.filter(isCode).flatMap(({ path, text }) => {
    const code = withoutProse(text);
    return BANS.filter(({ scope, allowed, pattern }) =>
      scope.test(path) && !allowed.test(path) && pattern.test(code)
    ).map(({ what }) => `${path} uses ${what}`);
  });
}

function isMarkedPure(file: SourceFile): boolean {
  const firstComment = /^\s*(?:\/\*[\s\S]*?\*\/|(?:\/\/[^\n]*\n)+)/.exec(file.text)?.[0] ?? "";
  return /\b(PURE|MACHINE)\b/.test(firstComment.split("\n").slice(0, 2).join("\n"));
}

/** A pure file is as pure as what it imports: files of its own folder count as pure with it. */
function pureImports(files: readonly SourceFile[]): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const pure = files.filter((file) =>
    isCode(file) && file.path.startsWith("lib/") &&
    (isMarkedPure(file) || PURE_PLACES.some((place) => file.path.startsWith(place)))
  ).map(({ path }) => path);
  const seen = new Set(pure);
  const complaints: string[] = [];
  for (const path of seen) {
    const file = byPath.get(path);
    for (const target of file === undefined ? [] : importsOf(file)) {
      if (PURE_IMPORTS.some((place) => target.startsWith(place))) continue;
      if (libFolder(target) === libFolder(path)) seen.add(target);
      else complaints.push(`${path} is pure and must not import ${target}`);
    }
    if (file !== undefined && BANS.some(({ pattern }) => pattern.test(withoutProse(file.text)))) {
      complaints.push(`${path} is pure and must not touch the machine`);
    }
  }
  return complaints;
}

/** `lib/check/models/kv.ts` belongs to `check`. */
function libFolder(path: string): string {
  return path.split("/").slice(0, 2).join("/");
}

function fileLength(files: readonly SourceFile[]): string[] {
  return files.filter(isCode).flatMap(({ path, text }) => {
    const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
    return lines > MAX_LINES ? [`${path} has ${lines} lines, more than ${MAX_LINES}`] : [];
  });
}

// Written in parts, so that this file does not break its own rules.
const LEFTOVER = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "X" + "XX"].join("|")})\\b`);
const MACHINE_PATH = new RegExp(`(^|[^\\w./-])/(${["wo" + "rk", "ro" + "ot"].join("|")})/`, "m");

function noLeftovers(files: readonly SourceFile[]): string[] {
  return files.filter(({ text }) => LEFTOVER.test(text))
    .map(({ path }) => `${path} has something left to do`);
}

function noMachinePaths(files: readonly SourceFile[]): string[] {
  return files.filter(({ text }) => MACHINE_PATH.test(text))
    .map(({ path }) => `${path} names a path of one machine`);
}

/**
 * The map's table has one row for each folder of lib, and its last column is that folder's entry in
 * the layers.
 */
function onTheMap(files: readonly SourceFile[]): string[] {
  const map = files.find(({ path }) => path === "lib/README.md");
  if (map === undefined) return ["there is no lib/README.md"];
  const rows = [...map.text.matchAll(/^\| `([\w-]+)\/` *\|.*\| *([^|]*?) *\|$/gm)];
  const folders = new Set([
    ...files.map(({ path }) => path.split("/")).filter((parts) => parts[0] === "lib" && parts[2])
      .map((parts) => parts[1]),
    ...rows.map(([, folder]) => folder),
  ]);
  return [...folders].flatMap((folder) => {
    const cells = rows.filter(([, name]) => name === folder).map(([, , cell]) => cell);
    if (cells.length !== 1) return [`lib/README.md has ${cells.length} rows for lib/${folder}`];
    const expected = LAYERS[folder]?.join(", ") || "nothing of ours";
    return cells[0] === expected
      ? []
      : [`lib/README.md says that lib/${folder} may import ${cells[0]}, and not ${expected}`];
  });
}

/** A file of cmd that declares a command is in main.ts's table, under its own name. */
function commandsInTable(files: readonly SourceFile[]): string[] {
  const table = files.find(({ path }) => path === "main.ts")?.text ?? "";
  return files.flatMap(({ path, text }) => {
    const [, name] = /^cmd\/([a-z_]+)\.ts$/.exec(path) ?? [];
    if (name === undefined || !/^export const command\b/m.test(text)) return [];
    const line = `${name}: () => import("./${path}")`;
    return table.includes(line) ? [] : [`main.ts lacks ${line}`];
  });
}

const RULES: readonly {
  readonly sentence: string;
  readonly rule: Rule;
  /** Files that the rule must complain about, each once. */
  readonly bad: readonly SourceFile[];
  /** Files that look like it and are in order. */
  readonly good: readonly SourceFile[];
}[] = [
  {
    sentence: "imports go down the layers only",
    rule: importDirection,
    bad: [
      { path: "lib/base/x.ts", text: `import { a } from "../raft/types.ts";` },
      { path: "lib/storage/x.ts", text: `import type {\n  A,\n} from "../raft/core.ts";` },
      { path: "lib/client/x.ts", text: `export * from "../../tests/helper.ts";` },
      { path: "lib/cli/x.ts", text: `const a = await import("../../cmd/atm.ts");` },
      { path: "tests/e2e/x_test.ts", text: `import "../../lib/base/bytes.ts";` },
      { path: "cmd/x.ts", text: `import { a } from "../tests/a.ts";` },
    ],
    good: [
      { path: "lib/storage/x.ts", text: `import type { Entry } from "../raft/types.ts";` },
      { path: "lib/base/x.ts", text: `// import { a } from "../raft/types.ts";` },
      { path: "tests/base/x_test.ts", text: `import { a } from "../../lib/base/bytes.ts";` },
    ],
  },
  {
    sentence: "every folder of lib has its place in the layers",
    rule: knownFolders,
    bad: [{ path: "lib/utilities/x.ts", text: "" }],
    good: [{ path: "lib/README.md", text: "" }, { path: "lib/base/x.ts", text: "" }],
  },
  {
    sentence: "clock, randomness, disk and network come in through constructors",
    rule: bannedGlobals,
    bad: [
      { path: "lib/raft/a.ts", text: "const now = Date.now();" },
      { path: "lib/raft/b.ts", text: "const now = new Date();" },
      { path: "lib/raft/c.ts", text: "const now = performance.now();" },
      { path: "lib/raft/d.ts", text: "setTimeout(run, 5);" },
      { path: "lib/raft/e.ts", text: "const x = `${Math.random()}`;" },
      { path: "lib/raft/f.ts", text: "Deno.exit(1);" },
      { path: "lib/raft/g.ts", text: `import { openSync } from "node:fs";` },
      { path: "lib/raft/h.ts", text: "console.log(1);" },
      { path: "cmd/i.ts", text: "console.error(1);" },
    ],
    good: [
      { path: "lib/base/system_clock.ts", text: "Date.now(); setTimeout(run, 5);" },
      { path: "lib/storage/deno_disk.ts", text: "Deno.openSync(path);" },
      { path: "lib/raft/a.ts", text: `const t = new Date(timeMs); // not Date.now()` },
      { path: "lib/raft/b.ts", text: `const t = "Deno.exit";` },
      { path: "cmd/a.ts", text: "Deno.exit(1);" },
    ],
  },
  {
    sentence: "PURE and MACHINE files import base, batch and the state machine's interface only",
    rule: pureImports,
    bad: [
      { path: "lib/manager/a.ts", text: `/** PURE. */\nimport { a } from "../net/rpc.ts";` },
      { path: "lib/raft/d.ts", text: `import { a } from "../storage/disk.ts";` },
      { path: "lib/manager/e.ts", text: `// PURE\nconst now = Date.now();` },
    ],
    good: [
      { path: "lib/manager/a.ts", text: `/** PURE. */\nimport { a } from "../base/bytes.ts";` },
      { path: "lib/manager/c.ts", text: `import { rpc } from "../client/routing.ts";` },
    ],
  },
  {
    sentence: `no file has more than ${MAX_LINES} lines`,
    rule: fileLength,
    bad: [{ path: "lib/base/x.ts", text: "a\n".repeat(MAX_LINES + 1) }],
    good: [{ path: "lib/base/x.ts", text: "a\n".repeat(MAX_LINES) }],
  },
  {
    sentence: "nothing is left to do",
    rule: noLeftovers,
    bad: [{ path: "lib/base/x.ts", text: "// TO" + "DO: more" }],
    good: [{ path: "lib/base/x.ts", text: "// what is left to do: nothing" }],
  },
  {
    sentence: "no file names a path of one machine",
    rule: noMachinePaths,
    bad: [{ path: "README.md", text: "see /wo" + "rk/main" }],
    good: [{ path: "README.md", text: "see ../network/ and a/wo" + "rk/b" }],
  },
  {
    sentence: "every folder of lib has one row on the map, with what it may import",
    rule: onTheMap,
    bad: [{ path: "lib/atm/x.ts", text: "" }],
    good: [{ path: "lib/base/x.ts", text: "" }],
  },
  {
    sentence: "every command is in the table of main.ts",
    rule: commandsInTable,
    bad: [{ path: "cmd/x.ts", text: "export const command = 1;" }],
    good: [{ path: "cmd/shared.ts", text: "export const flags = {};" }],
  },
];

const MAP: SourceFile = {
  path: "lib/README.md",
  text: "atm is no row\n| `base/` | what all share | nothing of ours |\n",
};

for (const { sentence, rule, bad, good } of RULES) {
  Deno.test(`the rule can fail: ${sentence}`, () => {
    const found = bad.filter((file) => rule([file, MAP]).length === 0).map(({ path }) => path);
    assertEquals(found, [], "bad samples that passed");
    assertEquals(good.flatMap((file) => rule([file, MAP])), []);
  });
}

Deno.test("the rule can fail: what a PURE file imports from its own folder is pure, too", () => {
  const files = [
    { path: "lib/manager/b.ts", text: `/**\n * MACHINE: b.\n */\nimport "./c.ts";` },
    { path: "lib/manager/c.ts", text: `import { rpc } from "../client/routing.ts";` },
  ];
  assertEquals(pureImports(files), [
    "lib/manager/c.ts is pure and must not import lib/client/routing.ts",
  ]);
});

function tree(): SourceFile[] {
  const files: SourceFile[] = [];
  const add = (path: string) => {
    files.push({ path: relative(ROOT, path), text: Deno.readTextFileSync(path) });
  };
  for (const folder of ["lib", "cmd", "tests", ".ci"].map((name) => join(ROOT, name))) {
    if (!existsSync(folder)) continue;
    for (const entry of walkSync(folder, { includeDirs: false })) add(entry.path);
  }
  for (const entry of Deno.readDirSync(ROOT)) {
    if (entry.isFile && /\.(ts|md|sh|json)$/.test(entry.name)) add(join(ROOT, entry.name));
  }
  return files;
}

const files = tree();

Deno.test("the rule can fail: each row of the map is needed, and each of its cells is compared", () => {
  const map = files.find(({ path }) => path === "lib/README.md")!;
  const withMap = (text: string) => [...files.filter((file) => file !== map), { ...map, text }];
  for (const folder of Object.keys(LAYERS)) {
    const row = new RegExp(`^\\| \`${folder}/\` .*\n`, "m");
    assertEquals(onTheMap(withMap(map.text.replace(row, ""))).length, 1, `without ${folder}`);
    const changed = map.text.replace(row, (line) => line.replace(/([^|]*)\|\n$/, " cmd |\n"));
    assertEquals(onTheMap(withMap(changed)).length, 1, `another cell of ${folder}`);
    assertEquals(onTheMap(withMap(map.text.replace(row, "$&$&"))).length, 1, `${folder} twice`);
  }
});

for (const { sentence, rule } of RULES) {
  Deno.test(`in the tree: ${sentence}`, () => {
    assertEquals(rule(files), []);
  });
}
