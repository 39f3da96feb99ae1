/**
 * The bank's commands, questions and answers as MessagePack arrays. The numbers that lead them
 * are stored in logs and snapshots: never reuse one. Answers hold codes and figures but no prose,
 * so that two versions of trilog keep equal states; `results.ts` words them.
 */

import { type ErrorCode, isErrorCode } from "../base/errors.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";

/** Changes money. `requestId` makes a repeat harmless: it gets the first answer. */
export type Command =
  | {
    readonly op: "deposit" | "withdraw";
    readonly requestId: string;
    readonly account: string;
    readonly cents: number;
  }
  | {
    readonly op: "transfer";
    readonly requestId: string;
    readonly from: string;
    readonly to: string;
    readonly cents: number;
  };

/** Changes nothing. */
export type Question =
  | { readonly op: "balance"; readonly account: string }
  /** Accounts by name, those after `after` ("" for the first page). */
  | { readonly op: "accounts"; readonly after: string }
  | { readonly op: "history"; readonly account: string }
  /** Sums over the whole bank, for audits. */
  | { readonly op: "totals" }
  /** How many mutating requests were remembered so far; see `requests.ts`. */
  | { readonly op: "requests" };

export type Movement = "deposit" | "withdraw" | "transfer_in" | "transfer_out";

/** One line of an account's history. */
export interface HistoryEntry {
  /** Index of the log entry that did it: the order over all accounts. */
  readonly index: number;
  /** The leader's stamp, milliseconds since 1970. */
  readonly timeMs: number;
  readonly movement: Movement;
  readonly cents: number;
  /** Balance of this account afterwards. */
  readonly balanceCents: number;
  /** The other account of a transfer, else null. */
  readonly other: string | null;
}

export type Answer =
  /**
   * Nothing moved. `account` is the one that stood in the way and `balanceCents` what it holds,
   * where the code is about one.
   */
  | {
    readonly kind: "refused";
    readonly code: ErrorCode;
    readonly account: string | null;
    readonly balanceCents: number | null;
  }
  | { readonly kind: "balance"; readonly account: string; readonly balanceCents: number }
  | {
    readonly kind: "transferred";
    readonly from: string;
    readonly to: string;
    readonly fromCents: number;
    readonly toCents: number;
  }
  | {
    readonly kind: "accounts";
    readonly accounts: readonly (readonly [account: string, balanceCents: number])[];
    /** Whether accounts follow after the last one here. */
    readonly more: boolean;
  }
  | {
    readonly kind: "history";
    readonly account: string;
    readonly entries: readonly HistoryEntry[];
  }
  | {
    readonly kind: "totals";
    readonly accounts: number;
    /** Sums beyond 2^53 are possible, hence decimal text; all in cents. */
    readonly totalCents: string;
    readonly depositedCents: string;
    readonly withdrawnCents: string;
  }
  | { readonly kind: "requests"; readonly requests: number };

const COMMANDS = { deposit: 1, withdraw: 2, transfer: 3 } as const;
const QUESTIONS = { balance: 1, accounts: 2, history: 3, totals: 4, requests: 5 } as const;
const ANSWERS = {
  refused: 0,
  balance: 1,
  transferred: 2,
  accounts: 3,
  history: 4,
  totals: 5,
  requests: 6,
} as const;
const MOVEMENTS: readonly Movement[] = ["deposit", "withdraw", "transfer_in", "transfer_out"];

export function encodeCommand(command: Command): Uint8Array {
  const head = [COMMANDS[command.op], command.requestId];
  return command.op === "transfer"
    ? pack([...head, command.from, command.to, command.cents])
    : pack([...head, command.account, command.cents]);
}

/** The command in `bytes`, its names and amount not yet judged; null where it is none. */
export function decodeCommand(bytes: Uint8Array): Command | null {
  const [kind, requestId, ...rest] = unpackArray(bytes);
  if (typeof requestId !== "string") return null;
  if (kind === COMMANDS.transfer) {
    const [from, to, cents] = rest;
    if (rest.length !== 3 || typeof from !== "string" || typeof to !== "string") return null;
    return typeof cents === "number" ? { op: "transfer", requestId, from, to, cents } : null;
  }
  const op = kind === COMMANDS.deposit ? "deposit" : kind === COMMANDS.withdraw ? "withdraw" : null;
  const [account, cents] = rest;
  if (op === null || rest.length !== 2 || typeof account !== "string") return null;
  return typeof cents === "number" ? { op, requestId, account, cents } : null;
}

export function encodeQuestion(question: Question): Uint8Array {
  switch (question.op) {
    case "balance":
    case "history":
      return pack([QUESTIONS[question.op], question.account]);
    case "accounts":
      return pack([QUESTIONS.accounts, question.after]);
    case "totals":
    case "requests":
      return pack([QUESTIONS[question.op]]);
  }
}

/** The question in `bytes`, its name not yet judged; null where it is none. */
export function decodeQuestion(bytes: Uint8Array): Question | null {
  const [kind, name, ...rest] = unpackArray(bytes);
  if (rest.length > 0) return null;
  if (name === undefined) {
    if (kind === QUESTIONS.totals) return { op: "totals" };
    return kind === QUESTIONS.requests ? { op: "requests" } : null;
  }
  if (typeof name !== "string") return null;
  if (kind === QUESTIONS.balance) return { op: "balance", account: name };
  if (kind === QUESTIONS.history) return { op: "history", account: name };
  return kind === QUESTIONS.accounts ? { op: "accounts", after: name } : null;
}

export function encodeAnswer(answer: Answer): Uint8Array {
  const kind = ANSWERS[answer.kind];
  switch (answer.kind) {
    case "refused":
      return pack([kind, answer.code, answer.account, answer.balanceCents]);
    case "balance":
      return pack([kind, answer.account, answer.balanceCents]);
    case "transferred":
      return pack([kind, answer.from, answer.to, answer.fromCents, answer.toCents]);
    case "accounts":
      return pack([kind, answer.accounts, answer.more]);
    case "history":
      return pack([kind, answer.account, answer.entries.map(packHistoryEntry)]);
    case "totals":
      return pack([
        kind,
        answer.accounts,
        answer.totalCents,
        answer.depositedCents,
        answer.withdrawnCents,
      ]);
    case "requests":
      return pack([kind, answer.requests]);
  }
}

/**
 * The answer in `bytes`. They come from the bank's own machine, so their shape is trusted as far
 * as `unpack` checks it; a kind that a newer version added reads as a refusal.
 */
export function decodeAnswer(bytes: Uint8Array): Answer {
  // deno-lint-ignore no-explicit-any
  const [kind, ...rest] = unpack(bytes) as [number, ...any[]];
  switch (kind) {
    case ANSWERS.balance:
      return { kind: "balance", account: rest[0], balanceCents: rest[1] };
    case ANSWERS.transferred: {
      const [from, to, fromCents, toCents] = rest;
      return { kind: "transferred", from, to, fromCents, toCents };
    }
    case ANSWERS.accounts:
      return { kind: "accounts", accounts: rest[0], more: rest[1] };
    case ANSWERS.history:
      return { kind: "history", account: rest[0], entries: rest[1].map(unpackHistoryEntry) };
    case ANSWERS.totals: {
      const [accounts, totalCents, depositedCents, withdrawnCents] = rest;
      return { kind: "totals", accounts, totalCents, depositedCents, withdrawnCents };
    }
    case ANSWERS.requests:
      return { kind: "requests", requests: rest[0] };
    default: {
      const [code, account, balanceCents] = rest;
      if (kind !== ANSWERS.refused || !isErrorCode(code)) {
        return { kind: "refused", code: "unsupported_version", account: null, balanceCents: null };
      }
      return { kind: "refused", code, account, balanceCents };
    }
  }
}

function packHistoryEntry(entry: HistoryEntry): Packable {
  return [
    entry.index,
    entry.timeMs,
    MOVEMENTS.indexOf(entry.movement),
    entry.cents,
    entry.balanceCents,
    entry.other,
  ];
}

function unpackHistoryEntry(packed: Packable): HistoryEntry {
  const [index, timeMs, movement, cents, balanceCents, other] = packed as [
    number,
    number,
    number,
    number,
    number,
    string | null,
  ];
  return { index, timeMs, movement: MOVEMENTS[movement], cents, balanceCents, other };
}

/** The parts of an encoded array; empty for anything else. */
function unpackArray(bytes: Uint8Array): readonly Packable[] {
  try {
    const value = unpack(bytes);
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}
