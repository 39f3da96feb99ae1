/** PURE. Flags and positional arguments as a command declares them, and reading their values. */

import { TrilogError } from "../base/errors.ts";
import { isValidName } from "../base/limits.ts";
import { suggestion } from "./suggest.ts";
import { formatSize, parseDuration, parseSize } from "./units.ts";

/**
 * What a shell completes a value with: files, or names that the cluster knows (`trilog completions
 * --names`).
 */
export type Completion = "file" | NameKind;
export const NAME_KINDS = ["topic", "partition", "group", "broker", "manager"] as const;
export type NameKind = typeof NAME_KINDS[number];

interface FlagBase {
  /** One line for `--help`. */
  readonly help: string;
  /** What takes the value's place in `--help`; by default the type's own word. */
  readonly placeholder?: string;
  /** In the form a user would type. Shown in `--help`. */
  readonly default?: string;
  readonly required?: true;
  /** Environment variable that stands in where the flag is not given. */
  readonly env?: string;
  /** By default files for a `path`, nothing for other types. */
  readonly completion?: Completion;
}

/**
 * `members` reads `m1=127.0.0.1:9001,m2=...`; `names` reads `b1,b2,b3`; `list` any words. `texts`
 * may be given many times: one text each time.
 */
export type Flag =
  | (FlagBase & {
    readonly type:
      | "string"
      | "boolean"
      | "duration"
      | "address"
      | "addresses"
      | "members"
      | "name"
      | "names"
      | "list"
      | "texts"
      | "path";
  })
  | (FlagBase & { readonly type: "size"; readonly min?: number; readonly max?: number })
  | (FlagBase & { readonly type: "integer"; readonly min?: number; readonly max?: number })
  | (FlagBase & { readonly type: "choice"; readonly choices: readonly string[] });

/** By name in camelCase: `basePort` is typed `--base-port`. */
export type Flags = Readonly<Record<string, Flag>>;

/** A named node and where it listens. */
export interface Member {
  readonly name: string;
  /** `host:port`. */
  readonly address: string;
}

type Typed<F extends Flag> = F extends { type: "boolean" } ? boolean
  : F extends { type: "choice"; choices: readonly (infer Choice)[] } ? Choice
  : F extends { type: "integer" | "duration" | "size" } ? number
  : F extends { type: "addresses" | "names" | "list" | "texts" } ? readonly string[]
  : F extends { type: "members" } ? readonly Member[]
  : string;

type MaybeAbsent<F extends Flag> = F extends { type: "boolean" | "texts" } ? never
  : F extends { default: string } | { required: true } ? never
  : undefined;

/** Values by the flags' names: durations in milliseconds, sizes in bytes. */
export type FlagValues<F extends Flags> = {
  readonly [Name in keyof F]: Typed<F[Name]> | MaybeAbsent<F[Name]>;
};

export type FlagValue = boolean | number | string | readonly string[] | readonly Member[];

/** `basePort` to `base-port`. */
export function flagName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

const ADDRESS = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/;

/** Whether `text` is `host:port` with a port from 0 to 65535. */
export function isAddress(text: string): boolean {
  const match = ADDRESS.exec(text);
  return match !== null && Number(match[2]) <= 65_535;
}

/** The value that `text` means for `flag`; `what` names the flag or variable in the error. */
export function readFlag(flag: Flag, what: string, text: string): FlagValue {
  const refuse = (expected: string): never => {
    throw new TrilogError("usage", `Cannot use ${what} ${quoted(text)}: expected ${expected}`);
  };
  switch (flag.type) {
    case "boolean":
      if (text === "true" || text === "1") return true;
      if (text === "false" || text === "0") return false;
      return refuse("true or false");
    case "string":
    case "path":
      return text;
    case "integer":
      return readInteger(text, flag.min ?? 0, flag.max ?? Number.MAX_SAFE_INTEGER) ??
        refuse(expectedInteger(flag.min ?? 0, flag.max));
    case "duration":
      return parseDuration(text) ?? refuse("a duration such as 500ms, 15s, 2m or 1h");
    case "size":
      return readSize(text, flag.min ?? 0, flag.max ?? Infinity) ??
        refuse(expectedSize(flag.min, flag.max));
    case "address":
      return isAddress(text) ? text : refuse("HOST:PORT, such as 127.0.0.1:9001");
    case "addresses":
      return readList(text, isAddress) ??
        refuse("HOST:PORT[,HOST:PORT...], such as 127.0.0.1:9001,127.0.0.1:9002");
    case "members":
      return readMembers(text) ??
        refuse("NAME=HOST:PORT[,...], each name once, such as m1=127.0.0.1:9001");
    case "name":
      return isValidName(text)
        ? text
        : refuse("a name of 1 to 249 letters, digits, dots, underscores and dashes");
    case "names":
      return readList(text, isValidName) ?? refuse("names with commas between, such as b1,b2,b3");
    case "texts":
      return [text];
    case "list":
      return readList(text, (item) => item !== "") ?? refuse("words with commas between");
    case "choice":
      if (flag.choices.includes(text)) return text;
      return refuse(`${flag.choices.join(", ")}${suggestion(text, flag.choices)}`);
  }
}

/** A value in quotes, so that spaces and control characters show. */
export function quoted(text: string): string {
  return JSON.stringify(text);
}

function readInteger(text: string, min: number, max: number): number | null {
  if (!/^-?\d{1,16}$/.test(text)) return null;
  const value = Number(text);
  return Number.isSafeInteger(value) && value >= min && value <= max ? value : null;
}

function readSize(text: string, min: number, max: number): number | null {
  const bytes = parseSize(text);
  return bytes !== null && bytes >= min && bytes <= max ? bytes : null;
}

function expectedSize(min: number | undefined, max: number | undefined): string {
  return min === undefined || max === undefined
    ? "a size such as 4096, 64KiB or 1GiB"
    : `a size from ${formatSize(min)} to ${formatSize(max)}`;
}

function expectedInteger(min: number, max: number | undefined): string {
  return max === undefined
    ? `a whole number of at least ${min}`
    : `a whole number from ${min} to ${max}`;
}

function readList(text: string, accepts: (item: string) => boolean): string[] | null {
  const items = text.split(",").map((item) => item.trim());
  return items.every(accepts) ? items : null;
}

/** `m1=127.0.0.1:9001,m2=...` as members; null where it is anything else. */
export function readMembers(text: string): Member[] | null {
  const members = text.split(",").map((item) => {
    const [, name, address] = /^\s*([^=]+)=(\S+)\s*$/.exec(item) ?? [];
    return { name, address };
  });
  const sound = members.every(({ name, address }) => isValidName(name) && isAddress(address));
  if (!sound || new Set(members.map(({ name }) => name)).size !== members.length) return null;
  return members;
}
