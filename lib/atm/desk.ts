/** The bank's commands at a terminal: lines in, results out. */

import type { Desk, Reply } from "../cli/desk.ts";
import type { AtmClient } from "./client.ts";
import { formatOutcome, type Outcome } from "./results.ts";

export class AtmDesk implements Desk {
  constructor(private readonly client: AtmClient) {}

  async line(line: string): Promise<Reply | null> {
    const outcome = await this.client.line(line);
    return outcome === null ? null : replyOf(outcome);
  }

  async words(words: readonly string[]): Promise<Reply> {
    return replyOf(await this.client.words(words));
  }
}

function replyOf(outcome: Outcome): Reply {
  return {
    code: outcome.ok ? null : outcome.failure.code,
    quit: outcome.ok && outcome.result.op === "quit",
    show: (layout) => formatOutcome(outcome, layout),
  };
}
