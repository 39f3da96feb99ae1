/** What all measurements of `trilog bench` have in common: keeping work under way, and printing. */

import { TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { Samples } from "../lib/cli/samples.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import { groupedNumber } from "../lib/cli/units.ts";

/** How many operations, and how many at a time. */
export interface Work {
  readonly messages: number;
  readonly inFlight: number;
}

/**
 * Runs `operation` for each number from 0, `inFlight` at a time, and times every one; `worker` is
 * below `inFlight` and does one operation at a time. After a failure, or when `signal` aborts, no
 * operation begins; it rejects when those under way have ended.
 */
export async function measured(
  { messages, inFlight }: Work,
  signal: AbortSignal,
  operation: (number: number, worker: number) => Promise<void>,
): Promise<Record<string, number>> {
  const samples = new Samples(messages);
  let next = 0;
  let failure: unknown = null;
  const work = async (worker: number) => {
    while (next < messages && failure === null && !signal.aborted) {
      const number = next++;
      const startMs = systemClock.monotonicMs();
      try {
        await operation(number, worker);
      } catch (thrown) {
        failure ??= thrown;
      }
      samples.add(systemClock.monotonicMs() - startMs);
    }
  };
  const startMs = systemClock.monotonicMs();
  await Promise.all(Array.from({ length: inFlight }, (_, worker) => work(worker)));
  if (failure !== null) throw failure;
  if (signal.aborted) throw new TrilogError("cancelled", "Cannot go on measuring: interrupted");
  const tookMs = systemClock.monotonicMs() - startMs;
  return { perSecond: Math.round(messages / tookMs * 1_000), ...latencies(samples) };
}

export function latencies(samples: Samples): Record<string, number> {
  return {
    p50Ms: rounded(samples.quantile(0.5)),
    p99Ms: rounded(samples.quantile(0.99)),
    maxMs: rounded(samples.max),
  };
}

export function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

/** One JSON object, or a line a figure. Resolves with the exit status. */
export async function printFigures(
  terminal: Terminal,
  json: boolean,
  figures: Readonly<Record<string, string | number>>,
): Promise<number> {
  const lines = json
    ? [JSON.stringify(figures)]
    : Object.entries(figures).map(([name, value]) =>
      `${name.padEnd(20)} ${typeof value === "number" ? shown(value) : value}`
    );
  for (const line of lines) await terminal.print(line);
  return 0;
}

function shown(value: number): string {
  return Number.isInteger(value) ? groupedNumber(value) : String(value);
}
