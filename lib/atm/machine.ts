/**
 * The bank: accounts with a balance in whole cents and a history. It judges every command itself,
 * whatever a terminal checked before: what stands in the log may come from anybody.
 */

import { assert } from "../base/assert.ts";
import { concatBytes } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { TrilogError } from "../base/errors.ts";
import { isValidName, limits } from "../base/limits.ts";
import { type Packable, unpack } from "../base/msgpack.ts";
import { type PackedRequest, RequestMemory } from "../replica/requests.ts";
import type { ApplyContext, StateMachine } from "../replica/state_machine.ts";
import { batched, StateReader, streamOf } from "../replica/state_stream.ts";
import { isAmount } from "./amounts.ts";
import {
  type Answer,
  type Command,
  decodeCommand,
  decodeQuestion,
  encodeAnswer,
  type HistoryEntry,
  type Movement,
  type Question,
} from "./codec.ts";
import {
  type Account,
  bytesOf,
  FrozenAccounts,
  newAccountBytes,
  type PackedAccount,
} from "./accounts.ts";
import { HistoryRing, RECORD_BYTES } from "./history.ts";

/** Snapshots of version 1 were one value, of which this was the first element. */
const FIRST_VERSION = 1;
const SNAPSHOT_VERSION = 2;
/** Accounts or requests of one frame of a snapshot. */
const FRAME_BYTES = 64 * 1024;

/** A page of the account list ends after this many bytes of names and figures. */
const PAGE_BYTES = 1024 * 1024;
/** Upper bound of what one account adds to a page beyond its name. */
const PAGE_ACCOUNT_BYTES = 16;

/** Body of a snapshot of version 1. */
type FirstBody = readonly [
  depositedCents: string,
  withdrawnCents: string,
  accounts: readonly (readonly [name: string, balanceCents: number, historyBytes: number])[],
  /** The histories of all accounts, one behind the other. */
  histories: Uint8Array,
  requests: Packable,
];

type Done = Exclude<Answer, { kind: "refused" }>;

export class BankMachine implements StateMachine {
  /** By name; a map keeps the order of insertion, which is that of the numbers. */
  private accounts = new Map<string, Account>();
  /** Account n at n - 1. */
  private byNumber: Account[] = [];
  private requests = new RequestMemory();
  private depositedCents = 0n;
  private withdrawnCents = 0n;
  /** What {@link limits.stateBytes} bounds. */
  private heldBytes = 0;
  /** The state that a checkpoint is being made of. */
  private frozen: FrozenAccounts | null = null;
  /** Account names in order, or null after an account was opened. */
  private sortedNames: string[] | null = null;

  /** `stateBytes`: the largest state, in bytes of accounts and their histories. */
  constructor(private readonly stateBytes: number = limits.stateBytes) {}

  apply(command: Uint8Array, context: ApplyContext): Uint8Array {
    const decoded = decodeCommand(command);
    if (decoded === null || !isValidName(decoded.requestId)) {
      return encodeAnswer(refusal("malformed"));
    }
    // A refusal that depends on the command alone is the same at every repeat: not remembered.
    const fault = faultOf(decoded);
    if (fault !== null) return encodeAnswer(fault);
    const lookup = this.requests.lookup(decoded.requestId, command);
    switch (lookup.kind) {
      case "repeat":
        return lookup.answer;
      case "conflict":
        return encodeAnswer(refusal("invalid_argument"));
      case "expired":
        return encodeAnswer(refusal("session_expired"));
      case "new": {
        const answer = encodeAnswer(this.execute(decoded, context));
        this.requests.remember(decoded.requestId, command, answer);
        return answer;
      }
    }
  }

  query(question: Uint8Array): Uint8Array {
    const decoded = decodeQuestion(question);
    return encodeAnswer(decoded === null ? refusal("malformed") : this.answer(decoded));
  }

  /** Equal states give equal bytes: accounts go by number, requests by log order. */
  snapshot(): Uint8Array {
    return concatBytes([...this.partsOf(new FrozenAccounts(this.byNumber))]);
  }

  restore(snapshot: Uint8Array): void {
    this.restoreParts([snapshot]);
  }

  /** A later call ends an earlier one, whose parts must not be taken any more. */
  freeze(): Iterable<Uint8Array> {
    this.frozen = new FrozenAccounts(this.byNumber);
    return this.partsOf(this.frozen);
  }

  private partsOf(accounts: FrozenAccounts): Iterable<Uint8Array> {
    const { depositedCents, withdrawnCents, requests } = this;
    const head = [String(depositedCents), String(withdrawnCents), requests.seen];
    return streamOf(SNAPSHOT_VERSION, framesOf(head, accounts, requests.packed()));
  }

  /** Throws `unsupported_version` or `malformed`, or when money was made or lost; then as before. */
  restoreParts(parts: Iterable<Uint8Array>): void {
    const reader = new StateReader(parts);
    if (reader.version === null) return this.restoreFirstVersion(concatBytes([...reader.rest()]));
    if (reader.version !== SNAPSHOT_VERSION) throw unknownVersion(reader.version);
    const [deposited, withdrawn, seen] = reader.next() as readonly [string, string, number];
    const accounts: PackedAccount[] = [];
    for (const batch of reader.list()) {
      for (const [name, balanceCents, history] of batch as unknown as PackedAccount[]) {
        accounts.push([name, balanceCents, history]);
      }
    }
    const requests = [...reader.list()].flatMap((batch) => batch as unknown as PackedRequest[]);
    this.take(deposited, withdrawn, accounts, RequestMemory.of(seen, requests));
  }

  private restoreFirstVersion(snapshot: Uint8Array): void {
    const [version, body] = unpack(snapshot) as [number, Packable];
    if (version !== FIRST_VERSION) throw unknownVersion(version);
    const [deposited, withdrawn, packedAccounts, histories, requests] = body as FirstBody;
    let offset = 0;
    const accounts = packedAccounts.map(([name, balanceCents, historyBytes]): PackedAccount => {
      return [name, balanceCents, histories.subarray(offset, offset += historyBytes)];
    });
    this.take(deposited, withdrawn, accounts, RequestMemory.unpack(requests));
  }

  /** Replaces the state by that of a snapshot. */
  private take(
    deposited: string,
    withdrawn: string,
    packed: readonly PackedAccount[],
    requests: RequestMemory,
  ): void {
    const accounts = new Map<string, Account>();
    for (const [name, balanceCents, bytes] of packed) {
      const history = HistoryRing.unpack(bytes);
      accounts.set(name, { name, number: accounts.size + 1, balanceCents, history });
    }
    const depositedCents = BigInt(deposited);
    const withdrawnCents = BigInt(withdrawn);
    assert(
      sumOf(accounts) === depositedCents - withdrawnCents,
      "the balances of a snapshot are what was deposited less what was withdrawn",
    );
    this.accounts = accounts;
    this.byNumber = [...accounts.values()];
    this.requests = requests;
    this.depositedCents = depositedCents;
    this.withdrawnCents = withdrawnCents;
    this.heldBytes = this.byNumber.reduce((sum, account) => sum + bytesOf(account), 0);
    this.frozen = null;
    this.sortedNames = null;
  }

  /**
   * Sums in cents, counted apart from each other: the balances as they stand, and what came in
   * and went out. Money is conserved while `total` is `deposited - withdrawn`.
   */
  totals(): { total: bigint; deposited: bigint; withdrawn: bigint } {
    return {
      total: sumOf(this.accounts),
      deposited: this.depositedCents,
      withdrawn: this.withdrawnCents,
    };
  }

  private execute(command: Command, context: ApplyContext): Answer {
    switch (command.op) {
      case "deposit":
        return this.deposit(command.account, command.cents, context);
      case "withdraw":
        return this.withdraw(command.account, command.cents, context);
      case "transfer":
        return this.transfer(command.from, command.to, command.cents, context);
    }
  }

  private deposit(name: string, cents: number, context: ApplyContext): Answer {
    const known = this.accounts.get(name);
    if (known !== undefined && known.balanceCents > limits.balanceCents - cents) {
      return refusal("balance_limit", name, known.balanceCents);
    }
    if (!this.hasRoom(known ?? name)) return refusal("storage_full", name);
    const account = known ?? this.open(name);
    this.depositedCents += BigInt(cents);
    this.move(account, cents, context, "deposit");
    return balanceOf(account);
  }

  private withdraw(name: string, cents: number, context: ApplyContext): Answer {
    const account = this.accounts.get(name);
    if (account === undefined) return refusal("no_such_account", name);
    if (account.balanceCents < cents) {
      return refusal("insufficient_funds", name, account.balanceCents);
    }
    if (!this.hasRoom(account)) return refusal("storage_full", name);
    this.withdrawnCents += BigInt(cents);
    this.move(account, -cents, context, "withdraw");
    return balanceOf(account);
  }

  private transfer(from: string, to: string, cents: number, context: ApplyContext): Answer {
    const source = this.accounts.get(from);
    if (source === undefined) return refusal("no_such_account", from);
    const target = this.accounts.get(to);
    if (target === undefined) return refusal("no_such_account", to);
    if (source.balanceCents < cents) {
      return refusal("insufficient_funds", from, source.balanceCents);
    }
    if (target.balanceCents > limits.balanceCents - cents) {
      return refusal("balance_limit", to, target.balanceCents);
    }
    if (!this.hasRoom(source, target)) return refusal("storage_full", from);
    this.move(source, -cents, context, "transfer_out", target);
    this.move(target, cents, context, "transfer_in", source);
    return {
      kind: "transferred",
      from,
      to,
      fromCents: source.balanceCents,
      toCents: target.balanceCents,
    };
  }

  /** Changes a balance and notes it in the account's history. */
  private move(
    account: Account,
    cents: number,
    { index, timeMs }: ApplyContext,
    movement: Movement,
    other?: Account,
  ): void {
    this.frozen?.keep(account);
    this.heldBytes -= bytesOf(account);
    account.balanceCents += cents;
    const { balanceCents } = account;
    const amount = Math.abs(cents);
    const number = other?.number ?? 0;
    account.history.add({ index, timeMs, movement, cents: amount, balanceCents, other: number });
    this.heldBytes += bytesOf(account);
  }

  /** Whether one more movement of each of these fits; a name is that of a new account. */
  private hasRoom(...places: readonly (Account | string)[]): boolean {
    const growth = places.reduce((sum, place) => {
      if (typeof place === "string") return sum + newAccountBytes(place) + RECORD_BYTES;
      return sum + (place.history.isFull ? 0 : RECORD_BYTES);
    }, 0);
    return growth === 0 || this.heldBytes + growth <= this.stateBytes;
  }

  private open(name: string): Account {
    const number = this.accounts.size + 1;
    const account: Account = { name, number, balanceCents: 0, history: new HistoryRing() };
    this.accounts.set(name, account);
    this.byNumber.push(account);
    this.heldBytes += bytesOf(account);
    this.sortedNames = null;
    return account;
  }

  private answer(question: Question): Answer {
    if (question.op === "requests") return { kind: "requests", requests: this.requests.seen };
    if (question.op === "totals") return this.answerTotals();
    if (question.op === "accounts") return this.answerAccounts(question.after);
    if (!isValidName(question.account)) return refusal("invalid_account");
    const account = this.accounts.get(question.account);
    if (account === undefined) return refusal("no_such_account", question.account);
    return question.op === "balance"
      ? balanceOf(account)
      : { kind: "history", account: account.name, entries: this.historyOf(account) };
  }

  private answerTotals(): Done {
    const { total, deposited, withdrawn } = this.totals();
    return {
      kind: "totals",
      accounts: this.accounts.size,
      totalCents: String(total),
      depositedCents: String(deposited),
      withdrawnCents: String(withdrawn),
    };
  }

  private answerAccounts(after: string): Done {
    const names = this.names();
    const page: [string, number][] = [];
    let bytes = 0;
    for (let at = firstAfter(names, after); at < names.length; at += 1) {
      const name = names[at];
      bytes += name.length + PAGE_ACCOUNT_BYTES;
      if (bytes > PAGE_BYTES) return { kind: "accounts", accounts: page, more: true };
      page.push([name, this.accounts.get(name)!.balanceCents]);
    }
    return { kind: "accounts", accounts: page, more: false };
  }

  private historyOf(account: Account): HistoryEntry[] {
    return account.history.list().map((record) => ({
      ...record,
      other: record.other === 0 ? null : this.byNumber[record.other - 1].name,
    }));
  }

  /** Names are ASCII, so that the order of UTF-16 units is everybody's order. */
  private names(): readonly string[] {
    this.sortedNames ??= [...this.accounts.keys()].sort();
    return this.sortedNames;
  }
}

/** What is wrong with a command whatever the state of the bank is, or null. */
function faultOf(command: Command): Answer | null {
  const names = command.op === "transfer" ? [command.from, command.to] : [command.account];
  if (!names.every(isValidName)) return refusal("invalid_account");
  if (names[0] === names[1]) return refusal("same_account", names[0]);
  return isAmount(command.cents) ? null : refusal("invalid_amount");
}

function refusal(
  code: ErrorCode,
  account: string | null = null,
  balanceCents: number | null = null,
): Answer {
  return { kind: "refused", code, account, balanceCents };
}

function balanceOf({ name, balanceCents }: Account): Done {
  return { kind: "balance", account: name, balanceCents };
}

/** The frames of a snapshot: lists in batches, each list ended by null. */
function* framesOf(
  head: Packable,
  accounts: FrozenAccounts,
  requests: readonly PackedRequest[],
): Generator<Packable, void, void> {
  yield head;
  const accountBytes = ([name, , history]: PackedAccount) => newAccountBytes(name) + history.length;
  yield* batched(accounts.take(), accountBytes, FRAME_BYTES);
  yield null;
  const requestBytes = ([id, command, answer]: PackedRequest) =>
    id.length + command.length + answer.length;
  yield* batched(requests, requestBytes, FRAME_BYTES);
  yield null;
}

function unknownVersion(version: number): TrilogError {
  return new TrilogError(
    "unsupported_version",
    `Cannot restore the bank: its snapshot has version ${version}, known is ${SNAPSHOT_VERSION}`,
  );
}

function sumOf(accounts: ReadonlyMap<string, Account>): bigint {
  let sum = 0n;
  for (const { balanceCents } of accounts.values()) sum += BigInt(balanceCents);
  return sum;
}

/** Where the first name above `after` stands in a sorted list. */
function firstAfter(names: readonly string[], after: string): number {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (names[middle] <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}
