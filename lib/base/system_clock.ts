/** The machine's own clocks and timers: one of the few files that may touch them. */

import type { Clock, Timer } from "./clock.ts";

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs: number, run: () => void): Timer {
    const id = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(id) };
  },
  // setTimeout(0) costs 2 ms under Deno, setImmediate 3 us.
  nextTurn: (run) => {
    setImmediate(run);
  },
};
