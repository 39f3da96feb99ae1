/**
 * A command is one object: what it is called, what it takes, two examples to copy, and what it
 * does. Parsing, `--help`, completion and the types of the values all follow from it.
 */

import type { Completion, Flags, FlagValues } from "./flags.ts";
import type { Terminal } from "./terminal.ts";

export interface Positional {
  /** One line for `--help`. */
  readonly help: string;
  readonly optional?: true;
  /** Takes all remaining words, none included; only the last may. */
  readonly rest?: true;
  readonly choices?: readonly string[];
  /** What a shell completes it with; only that of the first positional is used. */
  readonly completion?: Completion;
}

/** In the order they are typed; `brokerId` shows as `BROKER-ID`. */
export type Positionals = Readonly<Record<string, Positional>>;

type PositionalValue<P extends Positional> = P extends { rest: true } ? readonly string[]
  :
    | (P extends { choices: readonly (infer Choice)[] } ? Choice : string)
    | (
      P extends { optional: true } ? undefined : never
    );

export type PositionalValues<P extends Positionals> = {
  readonly [Name in keyof P]: PositionalValue<P[Name]>;
};

/** What a run is given. */
export interface Context<F extends Flags = Flags, P extends Positionals = Positionals> {
  readonly flags: FlagValues<F>;
  readonly args: PositionalValues<P>;
  /** The words after `--`, untouched. Empty where there is no `--`. */
  readonly words: readonly string[];
  /** Texts of the flags that were given on the command line, by camelCase name. */
  readonly given: Readonly<Record<string, string>>;
  /** `--json`: one JSON object a line on stdout. */
  readonly json: boolean;
  readonly terminal: Terminal;
  /** Aborts on Ctrl-C (and SIGTERM for a server), where the command's `interruption` says so. */
  readonly signal: AbortSignal;
  /** Every command of the program, for completions. */
  readonly commands: () => Promise<readonly Command[]>;
}

/**
 * What Ctrl-C does. `immediate`: the process ends with 130. `graceful`: `signal` aborts, the run
 * may finish (commit what was printed), then 130. `server`: SIGINT and SIGTERM abort `signal` and
 * the run's own status counts. A second Ctrl-C always ends the process with 130.
 */
export type Interruption = "immediate" | "graceful" | "server";

export interface CommandSpec<F extends Flags, P extends Positionals> {
  readonly name: string;
  /** One line, without a full stop. */
  readonly summary: string;
  /** More for `--help`, in lines of at most 80 characters. */
  readonly details?: string;
  /** At least two, to copy. */
  readonly examples: readonly [string, string, ...string[]];
  readonly flags?: F;
  readonly positionals?: P;
  /** Says what the words after `--` are; without it they are refused. */
  readonly words?: string;
  readonly interruption?: Interruption;
  /** A command with subcommands has no `run`. */
  readonly subcommands?: readonly Command[];
  /** The exit status, or a `TrilogError`. */
  readonly run?: (context: Context<F, P>) => Promise<number> | number;
}

/** A command whose types are worked out and forgotten: what tables of commands hold. */
export type Command = CommandSpec<Flags, Positionals>;

/** Declares a command; the values in `run` get their types from the declarations. */
export function defineCommand<
  // deno-lint-ignore ban-types
  const F extends Flags = {},
  // deno-lint-ignore ban-types
  const P extends Positionals = {},
>(spec: CommandSpec<F, P>): Command {
  return spec as unknown as Command;
}

/** `brokerId` to `BROKER-ID`. */
export function positionalName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter}`).toUpperCase();
}
