/**
 * Customers who move money at all ATMs at once, whatever happens to the network, and keep books
 * of their own. A success counts, a refusal and `unavailable` count for nothing, and what is
 * `outcome_unknown` is repeated under its id until it is known: at the end the books must agree
 * with the bank to the cent. An `unavailable` that moved money, a repeat that moved it twice or an
 * acknowledged transfer that was lost all show.
 */

import { assert, assertEquals } from "@std/assert";
import type { Answer, AtmCluster } from "./atm_cluster.ts";
import { eventually } from "./harness.ts";

const OPENING_CENTS = 100_000;

export class Crowd {
  /** What each account should hold, in cents. */
  readonly books = new Map<string, number>();
  /** Answers by `ok` or code. */
  readonly counts = new Map<string, number>();
  private stopping = false;
  private workers: Promise<void>[] = [];
  /** Why somebody has stopped working; null while all work. */
  private failure: unknown = null;
  private step = 0;

  private constructor(private readonly cluster: AtmCluster, accounts: number) {
    for (let at = 1; at <= accounts; at += 1) this.books.set(`p${at}`, OPENING_CENTS);
  }

  /** Opens accounts and has one customer walk up to each ATM. */
  static async start(cluster: AtmCluster, accounts: number = 5): Promise<Crowd> {
    const crowd = new Crowd(cluster, accounts);
    for (const account of crowd.books.keys()) {
      await cluster.at(cluster.names[0]).eventually(`deposit ${account} ${OPENING_CENTS / 100}`);
    }
    crowd.workers = cluster.names.map((name) =>
      crowd.work(name).catch((thrown) => {
        crowd.failure ??= thrown;
      })
    );
    return crowd;
  }

  count(code: string): number {
    return this.counts.get(code) ?? 0;
  }

  /** Waits for that many more successes, which shows that the bank goes on. */
  async progress(successes: number): Promise<void> {
    const target = this.count("ok") + successes;
    await eventually(`${successes} more successes`, () => {
      if (this.failure !== null) throw this.failure;
      return this.count("ok") >= target || null;
    });
  }

  /** Waits for that many more answers of an ATM that could not serve: the fault was felt. */
  async trouble(answers: number): Promise<void> {
    const felt = () => this.count("unavailable") + this.count("outcome_unknown");
    const target = felt() + answers;
    await eventually(`${answers} more failures`, () => felt() >= target || null);
  }

  /** Has everybody finish, and compares the books with what every ATM tells. */
  async settle(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.workers);
    if (this.failure !== null) throw this.failure;
    const expected = Object.fromEntries(
      [...this.books].map(([name, cents]) => [name, text(cents)]),
    );
    for (const name of this.cluster.names) {
      const told = await this.cluster.balances(name);
      const known = Object.fromEntries(
        Object.entries(told).filter(([account]) => this.books.has(account)),
      );
      assertEquals(known, expected, `the books and what ${name} tells`);
    }
  }

  private async work(atm: string): Promise<void> {
    while (!this.stopping) {
      const move = this.nextMove();
      let answer = await this.ask(atm, move.line);
      while (!answer.ok && answer.code === "outcome_unknown") {
        answer = await this.ask(this.another(), `${move.line} --request-id ${answer.requestId}`);
      }
      if (answer.ok) move.book();
      else assert(["unavailable", "insufficient_funds"].includes(answer.code), answer.message);
    }
  }

  private async ask(atm: string, line: string): Promise<Answer> {
    const answer = await this.cluster.at(atm).ask(line);
    const key = answer.ok ? "ok" : answer.code;
    this.counts.set(key, this.count(key) + 1);
    return answer;
  }

  /** Every ATM in turn: whoever can answer will. */
  private another(): string {
    const { names } = this.cluster;
    return names[this.step += 1, this.step % names.length];
  }

  private nextMove(): { readonly line: string; readonly book: () => void } {
    this.step += 1;
    const accounts = [...this.books.keys()];
    const from = accounts[this.step % accounts.length];
    const to = accounts[(this.step * 3 + 1) % accounts.length];
    const cents = 1 + (this.step * 7919) % 30_000;
    const add = (account: string, change: number) => {
      this.books.set(account, this.books.get(account)! + change);
    };
    if (from !== to && this.step % 4 !== 0) {
      const line = `transfer ${from} ${to} ${text(cents)}`;
      return { line, book: () => [add(from, -cents), add(to, cents)] };
    }
    return this.step % 3 === 0
      ? { line: `withdraw ${from} ${text(cents)}`, book: () => add(from, -cents) }
      : { line: `deposit ${from} ${text(cents)}`, book: () => add(from, cents) };
  }
}

/** Cents as an amount is typed. */
function text(cents: number): string {
  return (cents / 100).toFixed(2);
}
