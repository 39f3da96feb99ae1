/** What messages call a request, and why the bank refused it. */

import { limits } from "../base/limits.ts";
import { formatCents } from "./amounts.ts";
import { memberChangeText } from "../replica/member_words.ts";
import { type Answer, decodeCommand, decodeQuestion } from "./codec.ts";
import type { Request } from "./language.ts";

/** `withdraw 5.00 from alice`, to follow "Cannot". */
export function requestText(request: Request): string {
  switch (request.op) {
    case "deposit":
      return `deposit ${formatCents(request.cents)} to ${request.account}`;
    case "withdraw":
      return `withdraw ${formatCents(request.cents)} from ${request.account}`;
    case "transfer":
      return `transfer ${formatCents(request.cents)} from ${request.from} to ${request.to}`;
    case "balance":
      return `read the balance of ${request.account}`;
    case "history":
      return `read the history of ${request.account}`;
    case "accounts":
      return "list the accounts";
    case "status":
    case "members":
      return `read the ${request.op}`;
    case "member":
      return memberChangeText(request.change);
    default:
      return request.op;
  }
}

/** A stored command in the words of the event log. */
export function describeCommand(bytes: Uint8Array): string {
  const command = decodeCommand(bytes);
  return command === null ? "nonsense" : requestText(command);
}

/** A question in the words of the event log. */
export function describeQuestion(bytes: Uint8Array): string {
  const question = decodeQuestion(bytes);
  if (question === null) return "nonsense";
  return "account" in question ? `${question.op} of ${question.account}` : question.op;
}

export function refusalText(
  request: Request,
  refusal: Extract<Answer, { kind: "refused" }>,
): string {
  return `Cannot ${requestText(request)}: ${stateOf(refusal)}`;
}

function stateOf({ code, account, balanceCents }: Extract<Answer, { kind: "refused" }>): string {
  const balance = formatCents(balanceCents ?? 0);
  switch (code) {
    case "insufficient_funds":
      return `${account} has ${balance}`;
    case "no_such_account":
      return `there is no account ${account}`;
    case "balance_limit":
      return `${account} has ${balance}, and no balance goes above ` +
        formatCents(limits.balanceCents);
    case "storage_full":
      return "the bank's state is full: it takes no new accounts and no movements";
    case "same_account":
      return `both are ${account}`;
    case "invalid_account":
      return "the bank does not take that account name";
    case "invalid_amount":
      return "the bank does not take that amount";
    case "invalid_argument":
      return "its request id was used for another command";
    default:
      return `the bank refused it (${code})`;
  }
}
