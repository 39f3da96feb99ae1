/** Histories as a picture shows them: bars over a line of time. */

import { type HistoryEvent, type Operation, operationsOf } from "../../lib/check/history.ts";
import type { Value } from "../../lib/check/values.ts";

export interface Bar {
  /** A client of its own where it is left out. */
  readonly process?: string;
  readonly f: string;
  readonly key?: string;
  readonly input?: Value;
  readonly output?: Value;
  /** Invoked and answered at these times, each used once; never answered without the second. */
  readonly at: readonly [number, number] | readonly [number];
  /** It failed: with this error, or (true) without one. */
  readonly fails?: string | true;
}

export function eventsOf(bars: readonly Bar[]): HistoryEvent[] {
  const events: HistoryEvent[] = [];
  for (const [number, bar] of bars.entries()) {
    const { f, input = null, output = null, fails } = bar;
    const process = bar.process ?? `client ${number}`;
    const common = { process, f, key: bar.key ?? null };
    const [calledMs, returnedMs] = bar.at;
    events.push({ ...common, type: "invoke", value: input, timeMs: calledMs, error: null });
    if (returnedMs === undefined) continue;
    events.push(
      fails === undefined
        ? { ...common, type: "ok", value: output, timeMs: returnedMs, error: null }
        : {
          ...common,
          type: "fail",
          value: null,
          timeMs: returnedMs,
          error: fails === true ? null : fails,
        },
    );
  }
  return events.sort((left, right) => left.timeMs! - right.timeMs!);
}

export function historyOf(bars: readonly Bar[]): Operation[] {
  return operationsOf(eventsOf(bars));
}
