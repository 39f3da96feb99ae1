/**
 * What a person types at the key-value store, read into requests. Everything that can be judged
 * without the store (words, sizes, durations) is judged here, so that nonsense never reaches the
 * network.
 */

import { utf8 } from "../base/bytes.ts";
import { type ErrorCode, toTrilogError, TrilogError } from "../base/errors.ts";
import { isValidName, limits } from "../base/limits.ts";
import { visible } from "../base/visible.ts";
import { commandNamed, splitLine, type Word } from "../base/words.ts";
import { formatDuration, formatSize, parseDuration } from "../cli/units.ts";
import { MEMBER_USAGE, parseMemberChange } from "../replica/member_words.ts";
import type { MemberChange } from "../replica/node_protocol.ts";

/** A request to change a key; `requestId` is null where the user gave none. */
export type Mutation =
  & { readonly key: Uint8Array; readonly requestId: string | null }
  & (
    | { readonly op: "set"; readonly value: Uint8Array; readonly ttlMs: number | null }
    | { readonly op: "delete" }
    | {
      readonly op: "cas";
      /** The value that must be there; null: none. */
      readonly old: Uint8Array | null;
      readonly value: Uint8Array;
      readonly ttlMs: number | null;
    }
  );

export type Request =
  | Mutation
  | { readonly op: "get"; readonly key: Uint8Array }
  | { readonly op: "list"; readonly prefix: Uint8Array }
  | {
    readonly op: "watch";
    readonly prefix: Uint8Array;
    /** Revision after which to begin; null: what comes from now on. */
    readonly after: number | null;
    /** End after so many changes; null: never. */
    readonly max: number | null;
  }
  | { readonly op: "member"; readonly change: MemberChange }
  | { readonly op: "members" | "status" | "help" | "quit" };

export type Op = Request["op"];

/** Why a command did nothing, or may have done something that is not known. */
export interface Failure {
  /** The command as typed, also where there is no such command. */
  readonly op: string;
  readonly code: ErrorCode;
  readonly message: string;
  /** With `outcome_unknown`: repeat the command with this id to learn the outcome. */
  readonly requestId?: string;
  /** Address of the leader, where a node named it. */
  readonly leader?: string;
}

export type Parsed =
  | { readonly ok: true; readonly request: Request }
  | { readonly ok: false; readonly failure: Failure };

type FlagName = "--ttl" | "--absent" | "--request-id" | "--after" | "--max";

interface OpInfo {
  readonly usage: string;
  readonly summary: string;
  /** Least and largest number of words after the command. */
  readonly words: readonly [number, number];
  readonly flags: readonly FlagName[];
}

/** Every command of the language, in the order of its help. */
export const OPS: Readonly<Record<Op, OpInfo>> = {
  set: {
    usage: "set KEY VALUE [--ttl 10s]",
    summary: "set a value; with --ttl it expires",
    words: [2, 2],
    flags: ["--ttl", "--request-id"],
  },
  get: { usage: "get KEY", summary: "print the value", words: [1, 1], flags: [] },
  delete: {
    usage: "delete KEY",
    summary: "delete a key",
    words: [1, 1],
    flags: ["--request-id"],
  },
  cas: {
    usage: "cas KEY OLD|--absent NEW",
    summary: "set the value if it is OLD, or if there is none",
    words: [2, 3],
    flags: ["--absent", "--ttl", "--request-id"],
  },
  list: {
    usage: "list [PREFIX]",
    summary: "keys and values in the order of the keys",
    words: [0, 1],
    flags: [],
  },
  watch: {
    usage: "watch [PREFIX]",
    summary: "follow changes (--after REVISION, --max COUNT)",
    words: [0, 1],
    flags: ["--after", "--max"],
  },
  members: { usage: "members", summary: "every node of the store", words: [0, 0], flags: [] },
  member: {
    usage: MEMBER_USAGE,
    summary: "add, replace or remove a node; a new one is NAME=HOST:PORT",
    words: [2, 3],
    flags: [],
  },
  status: { usage: "status", summary: "this node and the others", words: [0, 0], flags: [] },
  help: { usage: "help", summary: "this list", words: [0, 0], flags: [] },
  quit: { usage: "quit", summary: "leave", words: [0, 0], flags: [] },
};

/** Flags that take no value. */
const BARE: ReadonlySet<string> = new Set<FlagName>(["--absent"]);

/** One typed line as a request; null for a line of blanks. `base64`: so are keys and values. */
export function parseLine(line: string, base64: boolean): Parsed | null {
  const words = splitLine(line);
  if (words === null) {
    return failure("", "unknown_command", "Cannot run a command: a quote is open");
  }
  return words.length === 0 ? null : parse(words, base64);
}

/** One command given as words, such as those after `--`. */
export function parseWords(words: readonly string[], base64: boolean): Parsed {
  if (words.length === 0) {
    return failure("", "unknown_command", "Cannot run a command: none was given");
  }
  return parse(words.map((text) => ({ text, quoted: false })), base64);
}

/** Completions for the last word of `line`: commands, while the first word is being typed. */
export function completionsOf(line: string): readonly string[] {
  const typed = line.trimStart();
  if (/[ \t]/.test(typed)) return [];
  return Object.keys(OPS).filter((op) => op.startsWith(typed));
}

function parse(words: readonly Word[], base64: boolean): Parsed {
  const op = commandNamed(words[0].text);
  try {
    return { ok: true, request: requestOf(op, words.slice(1), base64) };
  } catch (thrown) {
    const { code, message } = toTrilogError(thrown);
    return failure(op, code, message);
  }
}

function requestOf(op: string, words: readonly Word[], base64: boolean): Request {
  if (!isOp(op)) {
    const state = `there is no such command; expected ${Object.keys(OPS).join(", ")}`;
    throw new TrilogError("unknown_command", `Cannot run ${visible(op)}: ${state}`);
  }
  const { args, flags } = takeFlags(op, words);
  const absent = flags.has("--absent");
  const [least, most] = OPS[op].words;
  const wanted = op === "cas" ? (absent ? 2 : 3) : null;
  const fits = wanted === null
    ? args.length >= least && args.length <= most
    : args.length === wanted;
  if (!fits) throw wrongUsage(op, `it is typed ${OPS[op].usage}`);
  if (op === "member") return { op, change: parseMemberChange(args) };
  const bytes = args.map((text) => bytesFrom(text, base64));
  const prefix = bytes[0] ?? new Uint8Array(0);
  switch (op) {
    case "set":
    case "delete":
    case "cas":
      return mutationOf(op, bytes, absent, flags);
    case "get":
      return { op, key: checkedKey(bytes[0]) };
    case "list":
      return { op, prefix };
    case "watch":
      return { op, prefix, after: countOf(op, flags, "--after"), max: countOf(op, flags, "--max") };
    default:
      return { op };
  }
}

function mutationOf(
  op: "set" | "delete" | "cas",
  [first, ...values]: readonly Uint8Array[],
  absent: boolean,
  flags: ReadonlyMap<FlagName, string>,
): Mutation {
  const key = checkedKey(first);
  const requestId = flags.get("--request-id") ?? null;
  if (requestId !== null && !isValidName(requestId)) {
    throw wrongUsage(op, "--request-id needs an ID of a-z A-Z 0-9 . _ -");
  }
  if (op === "delete") return { op, key, requestId };
  const sizeBytes = values.reduce((sum, value) => sum + value.length, 0);
  if (sizeBytes > limits.valueBytes) {
    const what = op === "set" ? "a value has" : "the old value and the new one have";
    throw new TrilogError(
      "value_too_large",
      `Cannot ${op} ${keyText(key)}: ${what} at most ${formatSize(limits.valueBytes)}, ` +
        `not ${sizeBytes} bytes`,
    );
  }
  const ttlMs = timeToLive(op, flags.get("--ttl"));
  if (op === "set") return { op, key, value: values[0], ttlMs, requestId };
  const old = absent ? null : values[0];
  return { op, key, old, value: values[values.length - 1], ttlMs, requestId };
}

/** `"key"`, for messages. */
export function keyText(key: Uint8Array): string {
  return visible(new TextDecoder().decode(key));
}

function checkedKey(key: Uint8Array): Uint8Array {
  if (key.length === 0) throw new TrilogError("invalid_key", "Cannot use key: it is empty");
  if (key.length <= limits.keyBytes) return key;
  throw new TrilogError(
    "key_too_large",
    `Cannot use key ${keyText(key)}: a key has at most ${formatSize(limits.keyBytes)}, ` +
      `not ${key.length} bytes`,
  );
}

function bytesFrom(text: string, base64: boolean): Uint8Array {
  if (!base64) return utf8(text);
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    throw new TrilogError("invalid_argument", `Cannot read ${visible(text)}: it is not base64`);
  }
}

function timeToLive(op: Op, text: string | undefined): number | null {
  if (text === undefined) return null;
  const ttlMs = parseDuration(text);
  if (ttlMs !== null && ttlMs > 0 && ttlMs <= limits.timeToLiveMs) return ttlMs;
  const most = formatDuration(limits.timeToLiveMs);
  throw wrongUsage(op, `--ttl needs a duration such as 10s, at most ${most}`);
}

function countOf(op: Op, flags: ReadonlyMap<FlagName, string>, name: FlagName): number | null {
  const text = flags.get(name);
  if (text === undefined) return null;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw wrongUsage(op, `${name} needs a whole number`);
}

/** Takes `--flag VALUE` and `--flag=VALUE` out of the words, wherever they stand. */
function takeFlags(
  op: Op,
  words: readonly Word[],
): { args: readonly string[]; flags: ReadonlyMap<FlagName, string> } {
  const args: string[] = [];
  const flags = new Map<FlagName, string>();
  for (let at = 0; at < words.length; at += 1) {
    const { text, quoted } = words[at];
    const [, typed, given] = /^(--[a-z-]+)(?:=(.*))?$/s.exec(text) ?? [];
    const name = OPS[op].flags.find((flag) => flag === typed);
    if (quoted || name === undefined) {
      args.push(text);
      continue;
    }
    if (flags.has(name)) throw wrongUsage(op, `${name} is given twice`);
    const value = BARE.has(name)
      ? given === undefined ? "" : undefined
      : given ?? words[at += 1]?.text;
    if (value === undefined) throw wrongUsage(op, `it is typed ${OPS[op].usage}`);
    flags.set(name, value);
  }
  return { args, flags };
}

function isOp(text: string): text is Op {
  return Object.hasOwn(OPS, text);
}

function wrongUsage(op: Op, state: string): TrilogError {
  return new TrilogError("unknown_command", `Cannot run ${op}: ${state}`);
}

function failure(op: string, code: ErrorCode, message: string): Parsed {
  return { ok: false, failure: { op, code, message } };
}
