/** PURE. Words of a command line against a command's declaration: strict, with suggestions. */

import { parseArgs } from "@std/cli/parse-args";
import { TrilogError } from "../base/errors.ts";
import { type Command, positionalName } from "./command.ts";
import { type Flag, flagName, type FlagValue, quoted, readFlag } from "./flags.ts";
import { suggestion } from "./suggest.ts";

/** Flags every command has. */
export const COMMON_FLAGS = {
  json: { type: "boolean", help: "one JSON object a line, for scripts" },
  help: { type: "boolean", help: "show this help" },
  version: { type: "boolean", help: "show the version" },
} as const;

/** The command that the words name, and the words that are left for it. */
export interface Resolved {
  readonly command: Command;
  /** Names from the top: `["topic", "create"]`. */
  readonly path: readonly string[];
  readonly words: readonly string[];
}

export interface Parsed {
  readonly flags: Readonly<Record<string, FlagValue | undefined>>;
  readonly args: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly words: readonly string[];
  readonly given: Readonly<Record<string, string>>;
  readonly json: boolean;
}

/** `usage` error: exit status 2. */
export function usageError(message: string): TrilogError {
  return new TrilogError("usage", message);
}

/** Whether a word asks for `name` (`--help`, `--version`) before any `--`. */
export function asksFor(words: readonly string[], name: "help" | "version" | "json"): boolean {
  for (const word of words) {
    if (word === "--") return false;
    if (word === `--${name}` || (name === "help" && word === "-h")) return true;
  }
  return false;
}

/** Walks down subcommands. A command that needs one and gets none is a `usage` error. */
export function resolveCommand(top: Command, words: readonly string[]): Resolved {
  let command = top;
  const path = [top.name];
  let at = 0;
  while (command.subcommands !== undefined) {
    const word = words[at];
    const next = command.subcommands.find((candidate) => candidate.name === word);
    if (next === undefined) {
      if (asksFor(words, "help")) break;
      throw unknownSubcommand(command.subcommands, path, word);
    }
    command = next;
    path.push(next.name);
    at += 1;
  }
  return { command, path, words: words.slice(at) };
}

function unknownSubcommand(
  subcommands: readonly Command[],
  path: readonly string[],
  word: string | undefined,
): TrilogError {
  const names = subcommands.map((command) => command.name);
  const line = ["trilog", ...path].join(" ");
  if (word === undefined || word.startsWith("-")) {
    return usageError(`Cannot run ${line}: name one of ${names.join(", ")} first`);
  }
  const hint = suggestion(word, names) || `; expected ${names.join(", ")}`;
  return usageError(`Cannot run ${line} ${word}: there is no such command${hint}`);
}

/** Reads all values; `environment` answers for flags that are not given. */
export function parseCommand(
  command: Command,
  words: readonly string[],
  environment: (name: string) => string | undefined,
): Parsed {
  const declared: Record<string, Flag> = { ...command.flags, ...COMMON_FLAGS };
  const byName = new Map(Object.keys(declared).map((name) => [flagName(name), name]));
  const split = joinValues(words, declared, byName);
  const names = [...byName.keys()];
  const parsed = parseArgs(split.joined, { string: [...names, "_"], collect: names });
  const given: Record<string, string> = {};
  const repeated: Record<string, readonly string[]> = {};
  for (const [typed, name] of byName) {
    const texts = parsed[typed] as readonly string[];
    if (declared[name].type === "texts") {
      repeated[name] = texts;
      continue;
    }
    if (texts.length > 1) throw usageError(`Cannot use --${typed}: it is given twice`);
    if (texts.length === 1) given[name] = texts[0];
  }
  if (split.rest !== null && command.words === undefined) {
    throw usageError(`Cannot run ${command.name}: it takes no words after --`);
  }
  return {
    flags: { ...flagValues(command.flags ?? {}, given, environment), ...repeated },
    args: positionalValues(command, parsed._ as string[]),
    words: split.rest ?? [],
    given,
    json: given.json === "true",
  };
}

/**
 * Makes `--name value` one word, and refuses what is not declared. `parseArgs` would guess: it
 * takes `true` after a boolean flag, and no value that begins with a dash.
 */
function joinValues(
  words: readonly string[],
  declared: Readonly<Record<string, Flag>>,
  byName: ReadonlyMap<string, string>,
): { joined: string[]; rest: readonly string[] | null } {
  const joined: string[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at];
    if (word === "--") return { joined, rest: words.slice(at + 1) };
    if (!word.startsWith("-") || word === "-") {
      joined.push(word);
      continue;
    }
    const equals = word.indexOf("=");
    const typed = word.slice(2, equals < 0 ? undefined : equals);
    const name = word.startsWith("--") ? byName.get(typed) : undefined;
    if (name === undefined) throw unknownFlag(word, byName.keys());
    let value = equals < 0 ? undefined : word.slice(equals + 1);
    if (declared[name].type === "boolean") {
      value = String(readFlag(declared[name], `--${typed}`, value ?? "true"));
    } else if (value === undefined) {
      at += 1;
      value = words[at];
      const isFlag = value?.startsWith("--") && byName.has(value.slice(2).split("=")[0]);
      if (isFlag) value = undefined;
    }
    if (value === undefined || value === "") {
      throw usageError(`Cannot use --${typed}: it needs a value`);
    }
    joined.push(`--${typed}=${value}`);
  }
  return { joined, rest: null };
}

function unknownFlag(word: string, known: Iterable<string>): TrilogError {
  const flags = [...known].map((name) => `--${name}`);
  const typed = word.split("=")[0];
  const hint = suggestion(typed, flags) || "; see --help";
  return usageError(`Cannot use ${typed}: there is no such flag${hint}`);
}

function flagValues(
  flags: Readonly<Record<string, Flag>>,
  given: Readonly<Record<string, string>>,
  environment: (name: string) => string | undefined,
): Record<string, FlagValue | undefined> {
  const values: Record<string, FlagValue | undefined> = {};
  for (const [name, flag] of Object.entries(flags)) {
    const fromEnvironment = flag.env === undefined ? undefined : environment(flag.env);
    if (given[name] !== undefined) {
      values[name] = readFlag(flag, `--${flagName(name)}`, given[name]);
    } else if (fromEnvironment !== undefined && fromEnvironment !== "") {
      values[name] = readFlag(flag, `${flag.env}`, fromEnvironment);
    } else if (flag.default !== undefined) {
      values[name] = readFlag(flag, `--${flagName(name)}`, flag.default);
    } else if (flag.required) {
      throw usageError(`Cannot run: --${flagName(name)} is missing (${flag.help})`);
    } else {
      values[name] = flag.type === "boolean" ? false : undefined;
    }
  }
  return values;
}

function positionalValues(
  command: Command,
  words: readonly string[],
): Record<string, string | readonly string[] | undefined> {
  const values: Record<string, string | readonly string[] | undefined> = {};
  let at = 0;
  for (const [name, positional] of Object.entries(command.positionals ?? {})) {
    if (positional.rest) {
      values[name] = words.slice(at);
      at = words.length;
      continue;
    }
    const word = words[at];
    if (word === undefined) {
      if (positional.optional) continue;
      throw usageError(
        `Cannot run ${command.name}: ${positionalName(name)} is missing (${positional.help})`,
      );
    }
    if (positional.choices !== undefined && !positional.choices.includes(word)) {
      throw usageError(
        `Cannot use ${quoted(word)} as ${positionalName(name)}: expected ` +
          `${positional.choices.join(", ")}${suggestion(word, positional.choices)}`,
      );
    }
    values[name] = word;
    at += 1;
  }
  if (at < words.length) {
    const hint = command.words === undefined
      ? ""
      : `; a command comes after --: -- ${words.slice(at).join(" ")}`;
    const state = `${quoted(words[at])} is one word too many${hint}`;
    throw usageError(`Cannot run ${command.name}: ${state}`);
  }
  return values;
}
