/** The bank as a simulated system, and its books: balances after each command. */

import {
  type Answer,
  type Command,
  decodeAnswer,
  decodeCommand,
  encodeCommand,
  encodeQuestion,
  type Question,
} from "../atm/codec.ts";
import { BankMachine } from "../atm/machine.ts";
import type { Prng } from "../base/prng.ts";
import type { Index } from "../raft/types.ts";
import type { Noted } from "./command_watch.ts";
import type { Books, Trade } from "./trade.ts";

/** Accounts in every group. */
const ACCOUNTS = ["alice", "bob", "carol", "dave"];

type Look = Extract<Question, { op: "balance" }>;

export const bankTrade: Trade<Command, Look, Answer, BankMachine> = {
  newMachine: () => new BankMachine(),
  newBooks: () => new BankBooks(),
  background: () => {},
  encodeCommand,
  decodeCommand,
  requestIdOf: ({ requestId }) => requestId,
  encodeQuestion,
  decodeAnswer,
  drawCommand: (random, requestId) =>
    draw(random, requestId, random.pick(["deposit", "deposit", "withdraw", "transfer"])),
  drawQuestion: (random) => ({ op: "balance", account: random.pick(ACCOUNTS) }),
  proofCommand: (random, requestId) => draw(random, requestId, "deposit"),
  proofQuestion: { op: "balance", account: "alice" },
};

function draw(random: Prng, requestId: string, op: Command["op"]): Command {
  const [from, to] = random.shuffled(ACCOUNTS);
  const cents = random.between(1, 1000);
  if (op === "transfer") return { op, requestId, from, to, cents };
  return { op, requestId, account: from, cents };
}

class BankBooks implements Books<Command, Look, Answer> {
  readonly pages: Index[] = [0];
  private readonly balances = new Map<string, number>();
  /** Balances of all accounts on each page. */
  private readonly states: ReadonlyMap<string, number>[] = [new Map()];

  /** Carries out a command, or not. */
  enter({ index, command }: Noted<Command>, first: boolean): void {
    if (!first) return;
    const { balances } = this;
    const holds = (account: string) => (balances.get(account) ?? -1) >= command.cents;
    if (command.op === "transfer") {
      if (holds(command.from) && balances.has(command.to)) {
        this.add(command.from, -command.cents);
        this.add(command.to, command.cents);
      }
    } else if (command.op === "deposit") this.add(command.account, command.cents);
    else if (holds(command.account)) this.add(command.account, -command.cents);
    this.pages.push(index);
    this.states.push(new Map(balances));
  }

  wrongAnswer(index: Index, command: Command, answer: Answer): string | null {
    const page = this.pages.indexOf(index);
    const expect = (account: string, cents: number) => {
      const balance = this.balanceOn(page, account);
      return balance === cents ? null : `${account} was said to hold ${cents}, not ${balance}`;
    };
    if (answer.kind === "balance") return expect(answer.account, answer.balanceCents);
    if (answer.kind === "transferred") {
      return expect(answer.from, answer.fromCents) ?? expect(answer.to, answer.toCents);
    }
    if (answer.kind !== "refused") return `answered by ${answer.kind}`;
    const account = command.op === "transfer" ? command.from : command.account;
    const held = this.balanceOn(page, account);
    switch (answer.code) {
      case "insufficient_funds":
        return held !== null && held < command.cents ? null : `refused although it holds ${held}`;
      case "no_such_account":
        return this.balanceOn(page, answer.account ?? "") === null ? null : "the account exists";
      default:
        return `refused by ${answer.code}`;
    }
  }

  isTrue(page: number, { account }: Look, answer: Answer): boolean {
    return this.balanceOn(page, account) ===
      (answer.kind === "balance" ? answer.balanceCents : null);
  }

  /** What an account holds on a page; null: it does not exist. */
  private balanceOn(page: number, account: string): number | null {
    return this.states[page].get(account) ?? null;
  }

  private add(account: string, cents: number): void {
    this.balances.set(account, (this.balances.get(account) ?? 0) + cents);
  }
}
