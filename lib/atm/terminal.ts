/** The loop at an ATM: a line in, its outcome out, in order, until the lines end or `quit`. */

import type { AtmClient } from "./client.ts";
import { formatOutcome, type Layout } from "./results.ts";

export interface AtmTerminal {
  /** Lines without their newline, as they come. */
  readonly lines: AsyncIterable<string>;
  /** Takes one result: a text without its last newline. */
  readonly print: (text: string) => Promise<void> | void;
  readonly layout: Layout;
}

/** Serves a terminal; resolves with whether every command succeeded. */
export async function serveTerminal(client: AtmClient, terminal: AtmTerminal): Promise<boolean> {
  let allSucceeded = true;
  for await (const line of terminal.lines) {
    const outcome = await client.line(line);
    if (outcome === null) continue;
    await terminal.print(formatOutcome(outcome, terminal.layout));
    if (!outcome.ok) allSucceeded = false;
    else if (outcome.result.op === "quit") break;
  }
  return allSucceeded;
}
