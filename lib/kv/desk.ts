/** The store's commands at a terminal: lines in, results out. */

import type { Desk, Layout, Reply } from "../cli/desk.ts";
import type { KvClient } from "./client.ts";
import type { WatchedChange } from "./codec.ts";
import { type Parsed, parseLine, parseWords } from "./language.ts";
import { formatOutcome, type Outcome } from "./results.ts";

export interface KvDeskOptions {
  readonly client: KvClient;
  /** Whether keys and values are written in base64, in and out. */
  readonly base64: boolean;
  /** Shows a change while somebody watches. */
  readonly show: (change: WatchedChange) => Promise<void> | void;
  /** Ends watching. */
  readonly signal: AbortSignal;
}

export class KvDesk implements Desk {
  constructor(private readonly options: KvDeskOptions) {}

  async line(line: string): Promise<Reply | null> {
    const parsed = parseLine(line, this.options.base64);
    return parsed === null ? null : await this.run(parsed);
  }

  async words(words: readonly string[]): Promise<Reply> {
    return await this.run(parseWords(words, this.options.base64));
  }

  private async run(parsed: Parsed): Promise<Reply> {
    const outcome = parsed.ok ? await this.carryOut(parsed.request) : parsed;
    return {
      code: outcome.ok ? null : outcome.failure.code,
      quit: outcome.ok && outcome.result.op === "quit",
      show: (layout) => this.shown(outcome, layout),
    };
  }

  private async carryOut(request: Extract<Parsed, { ok: true }>["request"]): Promise<Outcome> {
    const { client, show, signal } = this.options;
    if (request.op !== "watch") return await client.run(request);
    let left = request.max ?? Infinity;
    if (left === 0) return { ok: true, result: { op: "watch" } };
    return await client.watch(request, async (change) => {
      await show(change);
      left -= 1;
      return left > 0;
    }, signal);
  }

  /** Changes are all that watching prints, unless it failed. */
  private shown(outcome: Outcome, layout: Layout): string | Uint8Array | null {
    if (outcome.ok && outcome.result.op === "watch") return null;
    return formatOutcome(outcome, layout, this.options.base64);
  }
}
