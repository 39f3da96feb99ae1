/** Waiting for something that goes on by itself: shown on stderr, ended by Ctrl-C. */

import { unlessAborted } from "../lib/base/abort.ts";
import { sleep } from "../lib/base/clock.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { printError, type Terminal } from "../lib/cli/terminal.ts";
import { clipped } from "../lib/cli/width.ts";

const POLL_MS = 300;
const ERASE_LINE = "\r\x1b[K";

/** How far something is. */
export interface Stage {
  /** For people: what is left. */
  readonly text: string;
  readonly done: boolean;
}

/**
 * Looks until it is done, and shows each change: on one line of a terminal, else line by line.
 * Resolves with false where the signal ended the waiting.
 */
export async function waitUntilDone(
  terminal: Terminal,
  signal: AbortSignal,
  look: () => Promise<Stage>,
): Promise<boolean> {
  let told = "";
  const erase = () => {
    if (terminal.stderrIsTerminal && told !== "") terminal.writeError(ERASE_LINE);
  };
  try {
    while (!signal.aborted) {
      const { text, done } = await look();
      if (done) return true;
      if (text !== told) {
        erase();
        if (!terminal.stderrIsTerminal) printError(terminal, text);
        else terminal.writeError(clipped(text, terminal.columns() - 1));
        told = text;
      }
      await unlessAborted(sleep(systemClock, POLL_MS), signal);
    }
    return false;
  } finally {
    erase();
  }
}
