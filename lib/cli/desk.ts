/**
 * A place where commands are given one by one, at a prompt or through a pipe: what the terminals
 * of the replicated machines have in common.
 */

import type { ErrorCode } from "../base/errors.ts";

/** `lines` may take several lines, for a terminal; `line` takes one, for a pipe. */
export type Layout = "json" | "lines" | "line";

/** What a command brought. */
export interface Reply {
  /** Why it failed; null where it did not. */
  readonly code: ErrorCode | null;
  /** The terminal is to be left. */
  readonly quit: boolean;
  /** Its text or bytes without the last newline; null: nothing is to be printed. */
  show(layout: Layout): string | Uint8Array | null;
}

export interface Desk {
  /** Carries out a typed line; null for a line of blanks. Never rejects. */
  line(line: string): Promise<Reply | null>;
  /** Carries out a command given as words. Never rejects. */
  words(words: readonly string[]): Promise<Reply>;
}

export interface DeskTerminal {
  /** Lines without their newline, as they come. */
  readonly lines: AsyncIterable<string>;
  /** Takes one result, without its last newline. */
  readonly print: (result: string | Uint8Array) => Promise<void> | void;
  readonly layout: Layout;
}

/**
 * A line in, its result out, in order, until the lines end or the desk is left; resolves with
 * whether every command succeeded.
 */
export async function serveDesk(desk: Desk, terminal: DeskTerminal): Promise<boolean> {
  let allSucceeded = true;
  for await (const line of terminal.lines) {
    const reply = await desk.line(line);
    if (reply === null) continue;
    const shown = reply.show(terminal.layout);
    if (shown !== null) await terminal.print(shown);
    if (reply.code !== null) allSucceeded = false;
    if (reply.quit) break;
  }
  return allSucceeded;
}
