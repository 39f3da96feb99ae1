/** A client of a bank or a key-value store: a line in, a JSON object out, one at a time. */

import { type Harness, nowMs, type Running } from "../e2e/harness.ts";

// deno-lint-ignore no-explicit-any
export type Answer = any;

/** What a person was promised is 5 s; a machine where this many processes run gets more. */
const ANSWER_MS = 10_000;

export class Terminal {
  /** The longest that anybody waited for an answer. */
  static slowestMs = 0;
  private readonly process: Running;
  private place = 0;
  private last: Promise<unknown> = Promise.resolve();

  constructor(harness: Harness, command: "atm" | "kv", addresses: readonly string[]) {
    this.process = harness.start(command, "--connect", addresses.join(","), "--json");
  }

  /** Types a line after those before it. */
  ask(line: string): Promise<Answer> {
    const answer = this.last.then(() => this.askNow(line));
    this.last = answer.catch(() => {});
    return answer;
  }

  private async askNow(line: string): Promise<Answer> {
    const startMs = nowMs();
    await this.process.write(`${line}\n`);
    const options = { from: this.place, patienceMs: ANSWER_MS };
    const { text, place } = await this.process.line("stdout", /^\{/, options);
    this.place = place + 1;
    Terminal.slowestMs = Math.max(Terminal.slowestMs, nowMs() - startMs);
    return JSON.parse(text);
  }
}
