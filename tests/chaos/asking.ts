/**
 * How a client of a bank or a store asks: a request whose outcome is unknown is repeated under its
 * id, at any server, until it is known; that is one operation, which must have happened once. A few
 * are left as they are: they may take effect at any later time.
 */

import { sleep } from "../e2e/harness.ts";
import type { Dice } from "./dice.ts";
import type { History, Open, Value } from "./history.ts";
import type { Answer, Terminal } from "./terminal.ts";

/** One operation: what is typed, how it is recorded, and how its answer reads. */
export interface Request {
  readonly line: string;
  readonly f: string;
  readonly key: string | null;
  readonly value: Value;
  /** The answer of a success. */
  readonly answer: (answer: Answer) => Value;
  /** Codes of refusals that the model understands, and what is recorded for each. */
  readonly refusals: Readonly<Record<string, (open: Open) => void>>;
}

const ABANDONED = 0.1;
/** Abandoned requests double what the check has to consider, each. */
const MOST_ABANDONED = 5;
const MOST_REPEATS = 40;

/** Those who ask about the same object: they share a history. */
export class Company {
  private abandoned = 0;
  private renamed = 0;

  constructor(
    readonly history: History,
    private readonly dice: Dice,
    private readonly terminals: readonly Terminal[],
  ) {}

  /** Asks once for all; gives the name under which the same client asks next. */
  async ask(process: string, terminal: Terminal, request: Request): Promise<string> {
    const open = this.history.begin(process, request.f, request.key, request.value);
    let answer = await terminal.ask(request.line);
    if (isUnknown(answer) && this.abandons()) return this.leave(process, open, answer.code);
    for (let repeats = 0; isUnknown(answer); repeats += 1) {
      if (repeats === MOST_REPEATS) return this.leave(process, open, answer.code);
      await sleep(100);
      const repeated = `${request.line} --request-id ${answer.requestId}`;
      answer = await this.dice.pick(this.terminals).ask(repeated);
    }
    if (answer.ok) open.ok(request.answer(answer));
    else this.refuse(open, request, answer);
    return process;
  }

  private refuse(open: Open, { line, refusals }: Request, { code, message }: Answer): void {
    const known = refusals[code];
    if (known !== undefined) known(open);
    else if (code === "unavailable") open.fail(code);
    else throw new Error(`"${line}" was answered with ${code}: ${message}`);
  }

  private abandons(): boolean {
    if (this.abandoned >= MOST_ABANDONED || !this.dice.chance(ABANDONED)) return false;
    this.abandoned += 1;
    return true;
  }

  private leave(process: string, open: Open, code: string): string {
    open.info(code);
    this.renamed += 1;
    return `${process.replace(/\+.*/, "")}+${this.renamed}`;
  }
}

function isUnknown(answer: Answer): boolean {
  return !answer.ok && answer.code === "outcome_unknown";
}
