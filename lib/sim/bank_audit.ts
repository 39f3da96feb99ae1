/**
 * The books of the simulated bank, kept a second time and as simply as possible: the commands of
 * the log in their order, each request id once. What customers were told and what the replicas
 * hold must agree with it.
 */

import { type Answer, type Command, decodeCommand } from "../atm/codec.ts";
import { BankMachine } from "../atm/machine.ts";
import { equalBytes } from "../base/bytes.ts";
import type { Index, ReplicaId } from "../raft/types.ts";
import type { Replica } from "../replica/replica.ts";
import { SessionMachine } from "../replica/sessions.ts";
import type { StateMachine } from "../replica/state_machine.ts";
import { BrokenInvariant, type GroupOracle } from "./oracle.ts";
import type { Look, Mutation } from "./workload.ts";

/** Where each request id stands in one group's log. */
export class BankWatch {
  readonly requests = new Map<string, { readonly index: Index; readonly command: Command }>();

  /** The bank with every command that reaches it noted. */
  watch(bank: BankMachine): StateMachine {
    return {
      apply: (bytes, context) => {
        const command = decodeCommand(bytes);
        if (command !== null && !this.requests.has(command.requestId)) {
          this.requests.set(command.requestId, { index: context.index, command });
        }
        return bank.apply(bytes, context);
      },
      query: (question) => bank.query(question),
      snapshot: () => bank.snapshot(),
      restore: (snapshot) => bank.restore(snapshot),
    };
  }
}

/** A replica's machine: sessions around the bank, both watched. */
export function watchedBank(id: ReplicaId, oracle: GroupOracle, watch: BankWatch): StateMachine {
  return oracle.watch(id, new SessionMachine(watch.watch(new BankMachine())));
}

/** Balances after each command, by the simplest possible rules. */
class Books {
  private readonly balances = new Map<string, number>();
  /** Balances of all accounts after a request, in the order of their indexes. */
  readonly pages: { readonly index: Index; readonly balances: ReadonlyMap<string, number> }[] = [
    { index: 0, balances: new Map() },
  ];

  /** Carries out a command, or not. */
  enter(index: Index, command: Command): void {
    const { balances } = this;
    const holds = (account: string) => (balances.get(account) ?? -1) >= command.cents;
    if (command.op === "transfer") {
      if (holds(command.from) && balances.has(command.to)) {
        this.add(command.from, -command.cents);
        this.add(command.to, command.cents);
      }
    } else if (command.op === "deposit") this.add(command.account, command.cents);
    else if (holds(command.account)) this.add(command.account, -command.cents);
    this.pages.push({ index, balances: new Map(balances) });
  }

  /** What an account held after `index`; null: it did not exist. */
  balanceAt(index: Index, account: string): number | null {
    let page = this.pages.length - 1;
    while (this.pages[page].index > index) page -= 1;
    return this.pages[page].balances.get(account) ?? null;
  }

  private add(account: string, cents: number): void {
    this.balances.set(account, (this.balances.get(account) ?? 0) + cents);
  }
}

/** Checks everything that customers of one group were told; throws {@link BrokenInvariant}. */
export function auditGroup(
  group: string,
  watch: BankWatch,
  mutations: readonly Mutation[],
  looks: readonly Look[],
): void {
  const books = new Books();
  const inOrder = [...watch.requests.values()].sort((left, right) => left.index - right.index);
  for (const { index, command } of inOrder) books.enter(index, command);
  const demand = (holds: boolean, message: string) => {
    if (!holds) throw new BrokenInvariant(`group ${group}: ${message}`);
  };
  for (const mutation of mutations) {
    const { requestId } = mutation.command;
    const index = watch.requests.get(requestId)?.index;
    if (mutation.outcome === "refused") {
      demand(index === undefined, `${requestId} was certainly not done, yet stands at ${index}`);
    }
    if (mutation.outcome !== "acknowledged" || mutation.answer === null) continue;
    demand(index !== undefined, `durability: ${requestId} was acknowledged and is nowhere`);
    demand(
      index as number > mutation.knownBefore,
      `linearizability: ${requestId} stands at ${index}, but began after ${mutation.knownBefore}`,
    );
    const fault = wrongAnswer(books, index as number, mutation.command, mutation.answer);
    demand(fault === null, `${requestId} at ${index}: ${fault}`);
  }
  for (const look of looks) demand(isPossible(books, look), `a read is stale: ${textOf(look)}`);
}

/** What an answer says that the books do not, or null. */
function wrongAnswer(books: Books, index: Index, command: Command, answer: Answer): string | null {
  const expect = (account: string, cents: number) => {
    const balance = books.balanceAt(index, account);
    return balance === cents ? null : `${account} was said to hold ${cents}, not ${balance}`;
  };
  if (answer.kind === "balance") return expect(answer.account, answer.balanceCents);
  if (answer.kind === "transferred") {
    return expect(answer.from, answer.fromCents) ?? expect(answer.to, answer.toCents);
  }
  if (answer.kind !== "refused") return `answered by ${answer.kind}`;
  const account = command.op === "transfer" ? command.from : command.account;
  const held = books.balanceAt(index, account);
  switch (answer.code) {
    case "insufficient_funds":
      return held !== null && held < command.cents ? null : `refused although it holds ${held}`;
    case "no_such_account":
      return books.balanceAt(index, answer.account ?? "") === null ? null : "the account exists";
    default:
      return `refused by ${answer.code}`;
  }
}

/** Whether a read's answer was true at some moment between its beginning and its end. */
function isPossible(books: Books, { account, answer, knownBefore, highestAfter }: Look): boolean {
  const said = answer.kind === "balance" ? answer.balanceCents : null;
  if (books.balanceAt(knownBefore, account) === said) return true;
  return books.pages.some(({ index, balances }) =>
    index > knownBefore && index <= highestAfter && (balances.get(account) ?? null) === said
  );
}

function textOf(look: Look): string {
  return `${look.account} between ${look.knownBefore} and ${look.highestAfter}: ` +
    JSON.stringify(look.answer);
}

/**
 * A replica must hold exactly what its log gives, sessions and remembered requests included,
 * however it came there: entry by entry, after restarts, or by snapshots.
 */
export function auditReplica(oracle: GroupOracle, replica: Replica): void {
  const machine = new SessionMachine(new BankMachine());
  for (let index = 1; index <= replica.appliedIndex; index += 1) {
    const known = oracle.commands.get(index);
    if (known !== undefined) machine.apply(known.command, known.context);
  }
  const wanted = machine.snapshot();
  const held = replica.machine.snapshot();
  if (!equalBytes(wanted, held)) {
    throw new BrokenInvariant(
      `group ${oracle.group}: a replica's state after ${replica.appliedIndex} is not its log's`,
    );
  }
}
