/** What signals do to a running command; the signals and the exit themselves come from outside. */

import type { Interruption } from "./command.ts";
import { exitStatus } from "./program.ts";

export interface SignalSource {
  /** Calls `run` each time the process gets the signal. */
  listen(signal: "SIGINT" | "SIGTERM", run: () => void): void;
  /** Ends the process at once. */
  exit(status: number): void;
}

/**
 * The signal that a command with this `interruption` watches; see {@link Interruption}. A second
 * Ctrl-C ends the process at once, so that nobody is kept waiting by a run that cannot finish.
 */
export function watchSignals(interruption: Interruption, source: SignalSource): AbortSignal {
  const controller = new AbortController();
  const interrupt = () => {
    if (interruption === "immediate" || controller.signal.aborted) {
      source.exit(exitStatus.interrupted);
    } else {
      controller.abort();
    }
  };
  source.listen("SIGINT", interrupt);
  if (interruption === "server") source.listen("SIGTERM", () => controller.abort());
  return controller.signal;
}
