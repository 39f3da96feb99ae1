/**
 * Customers of the simulated bank: they deposit, withdraw, transfer and look, repeat under the same
 * request id what may be repeated, and write down what they were told. `bank_audit.ts` holds that
 * against the log.
 */

import {
  type Answer,
  type Command,
  decodeAnswer,
  encodeCommand,
  encodeQuestion,
} from "../atm/codec.ts";
import { TrilogError } from "../base/errors.ts";
import type { Prng } from "../base/prng.ts";
import type { Index } from "../raft/types.ts";
import type { SimProcess } from "./process.ts";

/** The bank as its customers reach it, and what only the simulation can tell about it. */
export interface BankAccess {
  /** Rejects with a `TrilogError`; its code says whether anything may have happened. */
  command(client: SimProcess, node: number, group: number, bytes: Uint8Array): Promise<Uint8Array>;
  query(client: SimProcess, node: number, group: number, bytes: Uint8Array): Promise<Uint8Array>;
  /** Highest index of a group that any replica has applied. */
  highest(group: number): Index;
  /** Index at which a request was first applied, or null. */
  indexOf(group: number, requestId: string): Index | null;
}

/** A mutation and what became of it. */
export interface Mutation {
  readonly kind: "mutation";
  readonly group: number;
  readonly command: Command;
  /** Highest index in the group of whose effect any customer knew when it began. */
  readonly knownBefore: Index;
  /** Acknowledged with an answer; refused: certainly not done; or nobody can tell. */
  outcome: "acknowledged" | "refused" | "unknown" | "under way";
  answer: Answer | null;
}

/** A linearizable read and its answer. */
export interface Look {
  readonly kind: "look";
  readonly group: number;
  readonly account: string;
  readonly knownBefore: Index;
  /** Highest index applied anywhere when the answer arrived. */
  readonly highestAfter: Index;
  readonly answer: Answer;
}

/** Accounts in every group. */
export const ACCOUNTS = ["alice", "bob", "carol", "dave"];

/** How often one mutation is tried at most. */
const MOST_ATTEMPTS = 6;

/** What the customers of one simulation share. */
export interface Bank {
  readonly access: BankAccess;
  readonly nodes: number;
  readonly groups: number;
  /** Highest index per group of whose effect any customer was told. */
  readonly known: Index[];
  readonly mutations: Mutation[];
  readonly looks: Look[];
}

export class Customer {
  private requests = 0;
  private stopping = false;
  private node: number;
  /** Whether an operation is under way. */
  busy = false;

  constructor(
    private readonly process: SimProcess,
    private readonly bank: Bank,
    private readonly random: Prng,
  ) {
    this.node = random.below(bank.nodes);
  }

  start(): void {
    if (this.stopping) return;
    this.process.after(this.random.between(1, 40), "customer", () => {
      const group = this.random.below(this.bank.groups);
      this.busy = true;
      const work = this.random.chance(0.3)
        ? this.look(group, this.random.pick(ACCOUNTS))
        : this.mutate(group, this.draw());
      work.then(() => {
        this.busy = false;
        this.start();
      });
    });
  }

  /** Ends after the operation under way. */
  stop(): void {
    this.stopping = true;
  }

  /** Reads a balance; true when there was an answer. */
  async look(group: number, account: string): Promise<boolean> {
    const { access, known, looks } = this.bank;
    const knownBefore = known[group];
    const question = encodeQuestion({ op: "balance", account });
    const bytes = await this.attempt(() => access.query(this.process, this.node, group, question));
    if (bytes instanceof TrilogError) return false;
    const highestAfter = access.highest(group);
    const answer = decodeAnswer(bytes);
    looks.push({ kind: "look", group, account, knownBefore, highestAfter, answer });
    return true;
  }

  /** Runs one command until it is answered or patience ends; true when it was acknowledged. */
  async mutate(group: number, command: Command): Promise<boolean> {
    const { access, known, mutations } = this.bank;
    const mutation: Mutation = {
      kind: "mutation",
      group,
      command,
      knownBefore: known[group],
      outcome: "under way",
      answer: null,
    };
    mutations.push(mutation);
    const bytes = encodeCommand(command);
    let mayHaveHappened = false;
    for (let left = this.random.between(1, MOST_ATTEMPTS); left > 0; left -= 1) {
      const reply = await this.attempt(() => access.command(this.process, this.node, group, bytes));
      if (!(reply instanceof TrilogError)) {
        mutation.answer = decodeAnswer(reply);
        mutation.outcome = "acknowledged";
        const index = access.indexOf(group, command.requestId) ?? 0;
        known[group] = Math.max(known[group], index);
        return true;
      }
      mayHaveHappened ||= reply.outcomeUnknown;
    }
    mutation.outcome = mayHaveHappened ? "unknown" : "refused";
    return false;
  }

  /** A command with a request id that nobody else uses. */
  draw(op = this.random.pick(["deposit", "deposit", "withdraw", "transfer"] as const)): Command {
    this.requests += 1;
    const requestId = `${this.process.name}-${this.requests}`;
    const [from, to] = this.random.shuffled(ACCOUNTS);
    const cents = this.random.between(1, 1000);
    if (op === "transfer") return { op, requestId, from, to, cents };
    return { op, requestId, account: from, cents };
  }

  /** One call; a failure that a user may meet is returned, and the next call goes elsewhere. */
  private async attempt(call: () => Promise<Uint8Array>): Promise<Uint8Array | TrilogError> {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof TrilogError)) throw error;
      this.node = this.random.below(this.bank.nodes);
      return error;
    }
  }
}
