/** A bank machine driven by commands and questions as values, with the log's indexes counted. */

import {
  type Answer,
  type Command,
  decodeAnswer,
  encodeCommand,
  encodeQuestion,
  type Question,
} from "../../lib/atm/codec.ts";
import { BankMachine } from "../../lib/atm/machine.ts";

type WithoutId<T> = T extends unknown ? Omit<T, "requestId"> : never;

export class Bank {
  readonly machine: BankMachine;
  index = 0;
  private ids = 0;

  constructor(machine = new BankMachine()) {
    this.machine = machine;
  }

  /** Applies a command under an id of its own. */
  run(command: WithoutId<Command>): Answer {
    this.ids += 1;
    return this.repeat({ ...command, requestId: `auto-${this.ids}` } as Command);
  }

  /** Applies a command under the id it names. */
  repeat(command: Command): Answer {
    return decodeAnswer(this.applyBytes(encodeCommand(command)));
  }

  applyBytes(command: Uint8Array): Uint8Array {
    this.index += 1;
    const context = { index: this.index, term: 1, timeMs: 1_700_000_000_000 + this.index };
    return this.machine.apply(command, context);
  }

  ask(question: Question): Answer {
    return decodeAnswer(this.machine.query(encodeQuestion(question)));
  }

  deposit(account: string, cents: number): Answer {
    return this.run({ op: "deposit", account, cents });
  }

  withdraw(account: string, cents: number): Answer {
    return this.run({ op: "withdraw", account, cents });
  }

  transfer(from: string, to: string, cents: number): Answer {
    return this.run({ op: "transfer", from, to, cents });
  }

  balance(account: string): number | null {
    const answer = this.ask({ op: "balance", account });
    return answer.kind === "balance" ? answer.balanceCents : null;
  }
}

/** A second machine that was restored from the first one's snapshot. */
export function restored(machine: BankMachine): BankMachine {
  const copy = new BankMachine();
  copy.restore(machine.snapshot());
  return copy;
}
