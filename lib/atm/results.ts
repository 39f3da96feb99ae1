/**
 * Results as people and scripts read them: text, or one JSON object a line with the shapes of the
 * commands' contract.
 */

import { formatCents } from "./amounts.ts";
import type { HistoryEntry } from "./codec.ts";
import { type Failure, OPS, usageOf } from "./language.ts";
import type { Layout } from "../cli/desk.ts";
import { memberLines, memberStateText, statusLines } from "../replica/member_words.ts";
import type { MemberChange, MemberState, NodeStatus } from "../replica/node_protocol.ts";
import { visible } from "../base/visible.ts";

/** What a command that succeeded brought. */
export type Result =
  | {
    readonly op: "deposit" | "withdraw" | "balance";
    readonly account: string;
    readonly balanceCents: number;
  }
  | {
    readonly op: "transfer";
    readonly from: string;
    readonly to: string;
    readonly fromCents: number;
    readonly toCents: number;
  }
  | {
    readonly op: "accounts";
    readonly accounts: readonly (readonly [account: string, balanceCents: number])[];
  }
  | {
    readonly op: "history";
    readonly account: string;
    readonly entries: readonly HistoryEntry[];
  }
  | { readonly op: "status" | "members"; readonly status: NodeStatus }
  | { readonly op: "member"; readonly change: MemberChange; readonly state: MemberState }
  | { readonly op: "help" | "quit" };

export type Outcome =
  | { readonly ok: true; readonly result: Result }
  | { readonly ok: false; readonly failure: Failure };

/**
 * An outcome without its last newline: one JSON object, lines for a terminal, or all of it in one
 * line for a pipe.
 */
export function formatOutcome(outcome: Outcome, layout: Layout): string {
  if (layout === "json") return JSON.stringify(toJson(outcome));
  if (!outcome.ok) return failureText(outcome.failure);
  return resultLines(outcome.result).join(layout === "lines" ? "\n" : "; ");
}

function failureText({ code, message, requestId }: Failure): string {
  const repeat = requestId === undefined
    ? ""
    : `; repeat it with --request-id ${requestId} to learn the outcome`;
  return `error ${code}: ${message}${repeat}`;
}

function resultLines(result: Result): readonly string[] {
  switch (result.op) {
    case "deposit":
    case "withdraw":
    case "balance":
      return [`${result.account} ${formatCents(result.balanceCents)}`];
    case "transfer":
      return [
        `${result.from} ${formatCents(result.fromCents)}, ` +
        `${result.to} ${formatCents(result.toCents)}`,
      ];
    case "accounts":
      if (result.accounts.length === 0) return ["no accounts"];
      return result.accounts.map(([account, cents]) => `${account} ${formatCents(cents)}`);
    case "history":
      return result.entries.map(historyText);
    case "status":
      return statusLines(result.status);
    case "members":
      return memberLines(result.status);
    case "member":
      return [memberStateText(result.change, result.state)];
    case "help":
      return helpLines();
    case "quit":
      return ["bye"];
  }
}

const MOVEMENT_TEXT = {
  deposit: "deposit",
  withdraw: "withdraw",
  transfer_in: "transfer from",
  transfer_out: "transfer to",
} as const;

function historyText(entry: HistoryEntry): string {
  const words = [isoTime(entry.timeMs), MOVEMENT_TEXT[entry.movement]];
  if (entry.other !== null) words.push(entry.other);
  words.push(formatCents(entry.cents), "balance", formatCents(entry.balanceCents));
  return words.join(" ");
}

/** One line a command, summaries in a column. */
export function helpLines(): readonly string[] {
  const ops = Object.keys(OPS) as (keyof typeof OPS)[];
  const width = Math.max(...ops.map((op) => usageOf(op).length)) + 3;
  return ops.map((op) => `${usageOf(op).padEnd(width)}${OPS[op].summary}`);
}

function toJson(outcome: Outcome): Record<string, unknown> {
  if (outcome.ok) return { ok: true, op: outcome.result.op, ...resultJson(outcome.result) };
  const { op, code, message, requestId } = outcome.failure;
  // `op` may be anything that was typed; JSON escapes it, but a screenful of it helps nobody.
  const shown = Object.hasOwn(OPS, op) || op === "" ? op : visible(op).slice(1, -1);
  return { ok: false, op: shown, code, message, ...(requestId === undefined ? {} : { requestId }) };
}

function resultJson(result: Result): Record<string, unknown> {
  switch (result.op) {
    case "deposit":
    case "withdraw":
    case "balance":
      return { account: result.account, balance: formatCents(result.balanceCents) };
    case "transfer": {
      const { from, to, fromCents, toCents } = result;
      const fromBalance = formatCents(fromCents);
      return { from, to, fromBalance, toBalance: formatCents(toCents) };
    }
    case "accounts":
      return {
        accounts: result.accounts.map(([account, cents]) => ({
          account,
          balance: formatCents(cents),
        })),
      };
    case "history":
      return { account: result.account, entries: result.entries.map(historyJson) };
    case "status": {
      const { name, ...rest } = result.status;
      return { id: name, ...rest };
    }
    case "members":
      return { members: result.status.members };
    case "member": {
      const { action, name } = result.change;
      return { action, member: name, state: result.state };
    }
    case "help":
      return {
        commands: Object.entries(OPS).map(([op, { summary }]) => ({ command: op, summary })),
      };
    case "quit":
      return {};
  }
}

function historyJson(entry: HistoryEntry): Record<string, unknown> {
  const { index, movement, other } = entry;
  return {
    index,
    time: isoTime(entry.timeMs),
    type: movement,
    amount: formatCents(entry.cents),
    balance: formatCents(entry.balanceCents),
    ...(other === null ? {} : { other }),
  };
}

/** RFC 3339 in UTC, with milliseconds; a stamp from outside the calendar stays a number. */
function isoTime(timeMs: number): string {
  const time = new Date(timeMs);
  return Number.isNaN(time.getTime()) ? String(timeMs) : time.toISOString();
}
