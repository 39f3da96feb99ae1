/**
 * Promises that were rejected and that no code waits for. In production one ends its process; in a
 * simulation it is a failure of the run, unless the process was dead already.
 */

import { systemClock } from "../base/system_clock.ts";
import { DeadProcess } from "./process_disk.ts";

export class Rejections {
  private readonly reasons: unknown[] = [];
  private readonly listener = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    if (!isOfDeadProcess(event.reason)) this.reasons.push(event.reason);
  };

  /** Begins to listen. */
  constructor() {
    globalThis.addEventListener("unhandledrejection", this.listener);
  }

  /**
   * Ends it; the first reason, or undefined for none. A run is one turn of the event loop, and the
   * runtime reports at the end of a turn.
   */
  async end(): Promise<unknown> {
    await new Promise<void>((resolve) => systemClock.nextTurn(resolve));
    globalThis.removeEventListener("unhandledrejection", this.listener);
    return this.reasons[0];
  }
}

/** Whether an error came from what the code of a killed process still tried. */
function isOfDeadProcess(reason: unknown): boolean {
  if (reason instanceof DeadProcess) return true;
  return reason instanceof Error && reason.cause !== undefined && isOfDeadProcess(reason.cause);
}
