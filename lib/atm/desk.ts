/** The bank's commands at a terminal: lines in, results out. */

import type { ErrorCode } from "../base/errors.ts";
import type { AtmClient } from "./client.ts";
import { formatOutcome, type Outcome } from "./results.ts";

/** What a command brought, as a terminal takes it. */
export interface AtmReply {
  readonly code: ErrorCode | null;
  readonly quit: boolean;
  show(layout: "json" | "lines" | "line"): string;
}

export class AtmDesk {
  constructor(private readonly client: AtmClient) {}

  async line(line: string): Promise<AtmReply | null> {
    const outcome = await this.client.line(line);
    return outcome === null ? null : replyOf(outcome);
  }

  async words(words: readonly string[]): Promise<AtmReply> {
    return replyOf(await this.client.words(words));
  }
}

function replyOf(outcome: Outcome): AtmReply {
  return {
    code: outcome.ok ? null : outcome.failure.code,
    quit: outcome.ok && outcome.result.op === "quit",
    show: (layout) => formatOutcome(outcome, layout),
  };
}
