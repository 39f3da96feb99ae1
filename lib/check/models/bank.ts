/**
 * PURE. A bank. The key is the account: `deposit AMOUNT` opens it where there is none, `withdraw
 * AMOUNT`, `balance` answers what it holds. `transfer {from, to, amount}` needs both accounts, and
 * `accounts` answers all balances by account. A deposit or withdrawal may answer `{balance}`, a
 * transfer `{fromBalance, toBalance}`: the balances afterwards. Any other answer is not compared.
 *
 * Amounts are whole cents, or text with at most two digits after the point ("100.00"). Of the
 * refusals, `insufficient_funds`, `no_such_account` and `balance_limit` tell something about the
 * balances and are checked; any other failure only says that nothing moved.
 *
 * Transfers tie the accounts together: the bank is one object.
 */

import { limits } from "../../base/limits.ts";
import type { Operation } from "../history.ts";
import { canonicalText, isObject, type Value } from "../values.ts";
import {
  type Action,
  change,
  type Model,
  observation,
  senseless,
  shortened,
  unknownFunction,
} from "./model.ts";

/** Cents by account; an account that was never opened is missing. */
type Balances = ReadonlyMap<string, number>;

export const bankModel: Model<Balances> = {
  name: "bank",
  initial: new Map(),
  partOf: () => "",
  actionOf,
  textOf: (balances) => canonicalText(Object.fromEntries(balances)),
  describe: (balances) => shortened(canonicalText(Object.fromEntries(balances)), 120),
};

/** What moves, and what the answer says it left behind (null: nothing). */
interface Movement {
  readonly from: string | null;
  readonly to: string | null;
  readonly cents: number;
  /** A deposit opens its account. */
  readonly opens: boolean;
  readonly fromAfter: number | null;
  readonly toAfter: number | null;
}

function actionOf(operation: Operation): Action<Balances> | null {
  switch (operation.f) {
    case "balance":
      return balanceAction(operation);
    case "accounts":
      return accountsAction(operation);
    case "deposit":
    case "withdraw":
    case "transfer":
      return movementAction(operation, movementOf(operation));
    default:
      throw unknownFunction(operation, "bank", "deposit, withdraw, balance, transfer and accounts");
  }
}

function balanceAction(operation: Operation): Action<Balances> | null {
  const account = accountOf(operation, operation.key);
  if (operation.outcome === "fail" && operation.error === "no_such_account") {
    return observation((balances) => !balances.has(account));
  }
  if (operation.outcome !== "ok") return null;
  const cents = amountOf(operation, operation.output);
  return observation((balances) => balances.get(account) === cents);
}

function accountsAction(operation: Operation): Action<Balances> | null {
  const { outcome, output } = operation;
  if (outcome !== "ok") return null;
  if (!isObject(output)) throw senseless(operation, "accounts answers balances by account");
  const seen = Object.entries(output)
    .map(([account, amount]) => [account, amountOf(operation, amount)] as const);
  return observation((balances) =>
    balances.size === seen.length &&
    seen.every(([account, cents]) => balances.get(account) === cents)
  );
}

function movementAction(operation: Operation, movement: Movement): Action<Balances> | null {
  if (operation.outcome !== "fail") return change((balances) => moved(balances, movement));
  const { from, to, cents } = movement;
  switch (operation.error) {
    case "insufficient_funds":
      return observation((balances) =>
        from !== null && (balances.get(from) ?? Infinity) < cents &&
        (to === null || balances.has(to))
      );
    case "no_such_account":
      return observation((balances) => !canFind(balances, movement));
    case "balance_limit":
      return observation((balances) =>
        to !== null && (balances.get(to) ?? 0) + cents > limits.balanceCents
      );
    default:
      return null;
  }
}

function canFind(balances: Balances, { from, to, opens }: Movement): boolean {
  return (from === null || balances.has(from)) && (to === null || opens || balances.has(to));
}

/** The balances after a movement, or null where it is refused or leaves others than it says. */
function moved(balances: Balances, movement: Movement): Balances | null {
  const { from, to, cents, fromAfter, toAfter } = movement;
  if (!canFind(balances, movement)) return null;
  const after = new Map(balances);
  if (from !== null) {
    const left = balances.get(from)! - cents;
    if (left < 0 || (fromAfter !== null && left !== fromAfter)) return null;
    after.set(from, left);
  }
  if (to !== null) {
    const held = (after.get(to) ?? 0) + cents;
    if (held > limits.balanceCents || (toAfter !== null && held !== toAfter)) return null;
    after.set(to, held);
  }
  return after;
}

function movementOf(operation: Operation): Movement {
  const { f, key, input, output } = operation;
  const answer = isObject(output) ? output : {};
  if (f === "transfer") {
    if (!isObject(input)) throw senseless(operation, "a transfer takes {from, to, amount}");
    return {
      from: accountOf(operation, input.from),
      to: accountOf(operation, input.to),
      cents: amountOf(operation, input.amount),
      opens: false,
      fromAfter: amountOrNull(answer.fromBalance),
      toAfter: amountOrNull(answer.toBalance),
    };
  }
  const account = accountOf(operation, key);
  const cents = amountOf(operation, input);
  const balance = amountOrNull(answer.balance);
  return f === "deposit"
    ? { from: null, to: account, cents, opens: true, fromAfter: null, toAfter: balance }
    : { from: account, to: null, cents, opens: false, fromAfter: balance, toAfter: null };
}

function accountOf(operation: Operation, value: Value | undefined): string {
  if (typeof value === "string" && value !== "") return value;
  if (typeof value === "number") return String(value);
  throw senseless(operation, "it names no account");
}

function amountOf(operation: Operation, value: Value | undefined): number {
  const cents = amountOrNull(value);
  if (cents === null) {
    throw senseless(operation, `${canonicalText(value ?? null)} is no amount`);
  }
  return cents;
}

/** Cents of 12300 or "123.00" or "123"; null for anything else. */
function amountOrNull(value: Value | undefined): number | null {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0 ? value : null;
  const [, whole, fraction] = /^(\d{1,14})(?:\.(\d{1,2}))?$/.exec(String(value)) ?? [];
  if (typeof value !== "string" || whole === undefined) return null;
  return Number(whole) * 100 + Number((fraction ?? "").padEnd(2, "0"));
}
