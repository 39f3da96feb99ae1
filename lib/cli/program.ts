/** The whole program as a function: words in, exit status out. `main.ts` only wires it up. */

import { type ErrorCode, toTrilogError, TrilogError } from "../base/errors.ts";
import type { Command, Context, Interruption } from "./command.ts";
import { commandHelp, programHelp } from "./help.ts";
import { asksFor, parseCommand, resolveCommand, usageError } from "./parse.ts";
import { suggestion } from "./suggest.ts";
import { OutputClosed, printError, type Terminal } from "./terminal.ts";

/** Loads a command's module when it is needed. */
export type CommandTable = Readonly<Record<string, () => Promise<{ readonly command: Command }>>>;

export interface ProgramOptions {
  readonly version: string;
  readonly commands: CommandTable;
  readonly terminal: Terminal;
  /** Called once before the command runs; the signal it returns is handed to the command. */
  readonly onStart: (interruption: Interruption) => AbortSignal;
}

/** Exit statuses of the commands' contract. */
export const exitStatus = {
  done: 0,
  failed: 1,
  usage: 2,
  noAnswer: 3,
  interrupted: 130,
  /** 128 + SIGPIPE: what a program ends with whose reader went away. */
  outputClosed: 141,
} as const;

const NO_ANSWER: ReadonlySet<ErrorCode> = new Set([
  "unavailable",
  "deadline_exceeded",
  "outcome_unknown",
  "connection_closed",
  "not_leader",
]);

/** The exit status that an error means. */
export function statusOf(error: TrilogError): number {
  if (error instanceof OutputClosed) return exitStatus.outputClosed;
  if (error.code === "usage" || error.code === "unknown_command") return exitStatus.usage;
  if (error.code === "cancelled") return exitStatus.interrupted;
  return NO_ANSWER.has(error.code) ? exitStatus.noAnswer : exitStatus.failed;
}

/** Runs the command that `words` name; never throws, prints its error itself. */
export async function runProgram(
  words: readonly string[],
  options: ProgramOptions,
): Promise<number> {
  const { terminal } = options;
  try {
    const status = await dispatch(words, options);
    await terminal.flush();
    return status;
  } catch (thrown) {
    const error = toTrilogError(thrown);
    if (!(error instanceof OutputClosed)) await terminal.flush().catch(() => {});
    reportError(terminal, error, asksFor(words, "json"));
    return statusOf(error);
  }
}

async function dispatch(words: readonly string[], options: ProgramOptions): Promise<number> {
  const [first, ...others] = words;
  if (first === "--version") return print(options.terminal, `trilog ${options.version}`);
  if (first === undefined || first === "--help" || first === "-h" || first === "help") {
    return await showHelp(first === "help" ? others : [], options, first !== undefined);
  }
  const top = await load(options.commands, first);
  const { command, path, words: rest } = resolveCommand(top, others);
  if (asksFor(rest, "help")) return print(options.terminal, commandHelp(command, path));
  if (asksFor(rest, "version")) return print(options.terminal, `trilog ${options.version}`);
  const parsed = parseCommand(command, rest, (name) => options.terminal.environment(name));
  if (command.run === undefined) throw usageError(`Cannot run ${path.join(" ")}: see --help`);
  const interruption = command.interruption ?? "immediate";
  const signal = options.onStart(interruption);
  const commands = () => loadAll(options.commands);
  const context = { ...parsed, terminal: options.terminal, signal, commands } as Context;
  const status = await command.run(context);
  return signal.aborted && interruption === "graceful" ? exitStatus.interrupted : status;
}

async function showHelp(
  words: readonly string[],
  options: ProgramOptions,
  asked: boolean,
): Promise<number> {
  if (words.length > 0) {
    const { command, path } = resolveCommand(await load(options.commands, words[0]), [
      ...words.slice(1),
      "--help",
    ]);
    return print(options.terminal, commandHelp(command, path));
  }
  const loaded = await loadAll(options.commands);
  const text = programHelp(options.version, loaded);
  if (asked) return print(options.terminal, text);
  printError(options.terminal, text);
  return exitStatus.usage;
}

/** Every command of a table, in its order. */
async function loadAll(commands: CommandTable): Promise<Command[]> {
  const modules = await Promise.all(Object.values(commands).map((loadOne) => loadOne()));
  return modules.map(({ command }) => command);
}

async function load(commands: CommandTable, name: string): Promise<Command> {
  if (!Object.hasOwn(commands, name)) {
    const hint = suggestion(name, Object.keys(commands)) || "; see trilog --help";
    const what = name.startsWith("-") ? "there is no such flag" : "there is no such command";
    throw usageError(`Cannot run trilog ${name}: ${what}${hint}`);
  }
  return (await commands[name]()).command;
}

async function print(terminal: Terminal, text: string): Promise<number> {
  await terminal.print(text);
  return exitStatus.done;
}

function reportError(terminal: Terminal, error: TrilogError, json: boolean): void {
  if (error instanceof OutputClosed) return;
  const { code, message, retryable, leader } = error;
  if (json) {
    const shown = leader === undefined ? {} : { leader };
    printError(terminal, JSON.stringify({ ok: false, code, message, retryable, ...shown }));
    return;
  }
  if (code === "internal" && error.cause instanceof Error && error.cause.stack !== undefined) {
    printError(terminal, error.cause.stack);
  }
  printError(terminal, code === "usage" ? `trilog: ${message}` : `trilog: ${message} (${code})`);
}
