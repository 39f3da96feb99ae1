/**
 * What a person types at an ATM, read into requests. Everything that can be judged without the
 * bank (words, names, amounts) is judged here, so that nonsense never reaches the network.
 */

import { type ErrorCode, TrilogError } from "../base/errors.ts";
import { isValidName, limits } from "../base/limits.ts";
import { parseAmount } from "./amounts.ts";
import { visible } from "../base/visible.ts";
import { commandNamed, splitLine, type Word } from "../base/words.ts";
import { MEMBER_USAGE, parseMemberChange } from "../replica/member_words.ts";
import type { MemberChange } from "../replica/node_protocol.ts";

/** A request to change money; `requestId` is null where the user gave none. */
export type Mutation =
  | {
    readonly op: "deposit" | "withdraw";
    readonly account: string;
    readonly cents: number;
    readonly requestId: string | null;
  }
  | {
    readonly op: "transfer";
    readonly from: string;
    readonly to: string;
    readonly cents: number;
    readonly requestId: string | null;
  };

export type Request =
  | Mutation
  | { readonly op: "balance" | "history"; readonly account: string }
  | { readonly op: "member"; readonly change: MemberChange }
  | { readonly op: "accounts" | "members" | "status" | "help" | "quit" };

export type Op = Request["op"];

/** Why a command did nothing, or may have done something that is not known. */
export interface Failure {
  /** The command as typed, also where there is no such command. */
  readonly op: string;
  readonly code: ErrorCode;
  readonly message: string;
  /** With `outcome_unknown`: repeat the command with this id to learn the outcome. */
  readonly requestId?: string;
}

export type Parsed =
  | { readonly ok: true; readonly request: Request }
  | { readonly ok: false; readonly failure: Failure };

/** Characters of one line; more is no command. */
export const LINE_CHARACTERS = 4_096;

interface OpInfo {
  readonly parameters: readonly ("ACCOUNT" | "FROM" | "TO" | "AMOUNT")[];
  /** How it is typed, where the parameters do not tell. */
  readonly usage?: string;
  readonly summary: string;
}

/** Every command of the language, in the order of its help. */
export const OPS: Readonly<Record<Op, OpInfo>> = {
  deposit: {
    parameters: ["ACCOUNT", "AMOUNT"],
    summary: "put money in; opens the account if there is none",
  },
  withdraw: { parameters: ["ACCOUNT", "AMOUNT"], summary: "take money out" },
  balance: {
    parameters: ["ACCOUNT"],
    summary: "what the account holds now, the same on every ATM",
  },
  transfer: {
    parameters: ["FROM", "TO", "AMOUNT"],
    summary: "move money between two accounts, all of it or nothing",
  },
  accounts: { parameters: [], summary: "every account and its balance" },
  history: {
    parameters: ["ACCOUNT"],
    summary: `the last ${limits.historyEntries.toLocaleString("en")} movements of the account`,
  },
  members: { parameters: [], summary: "every ATM of the bank" },
  member: {
    parameters: [],
    usage: MEMBER_USAGE,
    summary: "add, replace or remove an ATM; a new one is NAME=HOST:PORT",
  },
  status: { parameters: [], summary: "this ATM and the others" },
  help: { parameters: [], summary: "this list" },
  quit: { parameters: [], summary: "leave" },
};

const REQUEST_ID_FLAG = "--request-id";

/** One typed line as a request; null for a line of blanks. */
export function parseLine(line: string): Parsed | null {
  if (line.length > LINE_CHARACTERS) {
    return failure("", "unknown_command", `a line has at most ${LINE_CHARACTERS} characters`);
  }
  const words = splitLine(line);
  if (words === null) return failure("", "unknown_command", "a quote is not closed");
  return words.length === 0 ? null : parse(words);
}

/** One command given as words, such as those after `--`. */
export function parseWords(words: readonly string[]): Parsed {
  if (words.length === 0) return failure("", "unknown_command", "no command was given");
  return parse(words.map((text) => ({ text, quoted: false })));
}

/** How a command is typed: `deposit ACCOUNT AMOUNT`. */
export function usageOf(op: Op): string {
  return OPS[op].usage ?? [op, ...OPS[op].parameters].join(" ");
}

/** Completions for the last word of `line`: commands, while the first word is being typed. */
export function completionsOf(line: string): readonly string[] {
  const typed = line.trimStart();
  if (/[ \t]/.test(typed)) return [];
  return Object.keys(OPS).filter((op) => op.startsWith(typed));
}

function parse(words: readonly Word[]): Parsed {
  const op = commandNamed(words[0].text);
  try {
    const request = requestOf(op, words.slice(1));
    return { ok: true, request };
  } catch (thrown) {
    if (!(thrown instanceof TrilogError)) throw thrown;
    return { ok: false, failure: { op, code: thrown.code, message: thrown.message } };
  }
}

function requestOf(op: string, words: readonly Word[]): Request {
  if (!isOp(op)) {
    const known = Object.keys(OPS).join(", ");
    throw new TrilogError(
      "unknown_command",
      `Cannot run ${visible(op)}: there is no such command; expected ${known}`,
    );
  }
  if (op === "member") return { op, change: parseMemberChange(words.map(({ text }) => text)) };
  const { args, requestId } = takeRequestId(op, words);
  if (args.length !== OPS[op].parameters.length) {
    throw wrongUsage(op, `it is typed ${usageOf(op)}`);
  }
  switch (op) {
    case "deposit":
    case "withdraw":
      return { op, account: parseName(args[0]), cents: parseAmount(args[1]), requestId };
    case "transfer":
      return transferOf(args, requestId);
    case "balance":
    case "history":
      return { op, account: parseName(args[0]) };
    default:
      return { op };
  }
}

function transferOf(args: readonly string[], requestId: string | null): Request {
  const from = parseName(args[0]);
  const to = parseName(args[1]);
  if (from === to) {
    throw new TrilogError(
      "same_account",
      `Cannot transfer from ${from} to ${to}: they are the same account`,
    );
  }
  return { op: "transfer", from, to, cents: parseAmount(args[2]), requestId };
}

/** The account name `text`, or throws `invalid_account`. */
function parseName(text: string): string {
  if (isValidName(text)) return text;
  throw new TrilogError(
    "invalid_account",
    `Cannot use account name ${visible(text)}: a name is 1 to ${limits.nameCharacters} of ` +
      "a-z A-Z 0-9 . _ - and not . or ..",
  );
}

/** Takes `--request-id ID` or `--request-id=ID` out of the words, wherever it stands. */
function takeRequestId(
  op: Op,
  words: readonly Word[],
): { args: readonly string[]; requestId: string | null } {
  const args: string[] = [];
  let requestId: string | null = null;
  for (let at = 0; at < words.length; at += 1) {
    const { text, quoted } = words[at];
    const isFlag = !quoted && (text === REQUEST_ID_FLAG || text.startsWith(`${REQUEST_ID_FLAG}=`));
    if (!isFlag) {
      args.push(text);
      continue;
    }
    if (!OPS[op].parameters.includes("AMOUNT")) {
      throw wrongUsage(op, `it moves nothing and takes no ${REQUEST_ID_FLAG}`);
    }
    const given = text === REQUEST_ID_FLAG
      ? words[at += 1]?.text
      : text.slice(REQUEST_ID_FLAG.length + 1);
    if (!isValidName(given)) {
      throw wrongUsage(op, `${REQUEST_ID_FLAG} needs an ID made like an account name`);
    }
    if (requestId !== null) throw wrongUsage(op, `${REQUEST_ID_FLAG} is given twice`);
    requestId = given;
  }
  return { args, requestId };
}

function isOp(text: string): text is Op {
  return Object.hasOwn(OPS, text);
}

function wrongUsage(op: Op, state: string): TrilogError {
  return new TrilogError("unknown_command", `Cannot run ${op}: ${state}`);
}

function failure(op: string, code: ErrorCode, state: string): Parsed {
  return { ok: false, failure: { op, code, message: `Cannot run a command: ${state}` } };
}
