/** PURE. The text of `--help`, from the declarations. */

import { type Command, positionalName } from "./command.ts";
import { type Flag, flagName } from "./flags.ts";
import { COMMON_FLAGS } from "./parse.ts";

const PLACEHOLDERS: Readonly<Record<Flag["type"], string>> = {
  boolean: "",
  string: "TEXT",
  path: "PATH",
  integer: "N",
  duration: "DURATION",
  size: "SIZE",
  address: "HOST:PORT",
  addresses: "HOST:PORT[,...]",
  members: "NAME=HOST:PORT[,...]",
  name: "NAME",
  names: "NAME[,...]",
  texts: "TEXT",
  list: "WORD[,...]",
  choice: "",
};

/** Help of the whole program. */
export function programHelp(
  version: string,
  commands: readonly { readonly name: string; readonly summary: string }[],
): string {
  return [
    `trilog ${version}: replicated systems on one Raft library`,
    "",
    "Usage: trilog COMMAND [FLAGS] [ARGUMENTS]",
    "",
    "Commands:",
    ...aligned(commands.map(({ name, summary }) => [name, summary])),
    "",
    "Examples:",
    "  trilog COMMAND --help",
    "  trilog completions bash",
    "",
    "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answered in time,",
    "130 on Ctrl-C. Data goes to stdout, everything else to stderr.",
  ].join("\n");
}

/** Help of one command; `path` are its names from the top. */
export function commandHelp(command: Command, path: readonly string[]): string {
  const lines = [`${command.summary}`, "", `Usage: ${usageLine(command, path)}`];
  if (command.details !== undefined) lines.push("", command.details.trimEnd());
  if (command.subcommands !== undefined) {
    lines.push("", "Commands:");
    lines.push(...aligned(command.subcommands.map(({ name, summary }) => [name, summary])));
  }
  const positionals = Object.entries(command.positionals ?? {});
  if (positionals.length > 0 || command.words !== undefined) {
    const rows = positionals.map(([name, { help, choices }]) => [
      positionalName(name),
      choices === undefined ? help : `${help} (${choices.join(", ")})`,
    ]);
    if (command.words !== undefined) rows.push(["-- WORDS", command.words]);
    lines.push("", "Arguments:", ...aligned(rows));
  }
  const flags = Object.entries<Flag>({ ...command.flags, ...COMMON_FLAGS });
  lines.push(
    "",
    "Flags:",
    ...aligned(flags.map(([name, flag]) => [flagTerm(name, flag), flagHelp(flag)])),
  );
  lines.push("", "Examples:", ...command.examples.map((example) => `  ${example}`));
  return lines.join("\n");
}

/** `trilog topic create [FLAGS] NAME`. */
export function usageLine(command: Command, path: readonly string[]): string {
  const words = ["trilog", ...path];
  if (command.subcommands !== undefined) words.push("COMMAND");
  words.push("[FLAGS]");
  for (const [name, { optional, rest }] of Object.entries(command.positionals ?? {})) {
    const shown = positionalName(name);
    words.push(rest ? `[${shown}...]` : optional ? `[${shown}]` : shown);
  }
  if (command.words !== undefined) words.push("[-- WORDS...]");
  return words.join(" ");
}

function flagTerm(name: string, flag: Flag): string {
  const value = flag.placeholder ??
    (flag.type === "choice" ? flag.choices.join("|") : PLACEHOLDERS[flag.type]);
  return `--${flagName(name)}${value === "" ? "" : ` ${value}`}`;
}

function flagHelp(flag: Flag): string {
  const notes: string[] = [];
  if (flag.required) notes.push("required");
  if (flag.default !== undefined) notes.push(`default ${flag.default}`);
  if (flag.env !== undefined) notes.push(`or $${flag.env}`);
  return notes.length === 0 ? flag.help : `${flag.help} (${notes.join("; ")})`;
}

/** Two columns; a long left side gets a line of its own. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widest = Math.min(30, Math.max(...rows.map(([term]) => term.length)));
  return rows.map(([term, help]) =>
    term.length > widest
      ? `  ${term}\n  ${" ".repeat(widest)}  ${help}`
      : `  ${term.padEnd(widest)}  ${help}`
  );
}
