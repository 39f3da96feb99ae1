/** What all measurements of `trilog bench` have in common: keeping work under way, and printing. */

import { systemClock } from "../lib/base/system_clock.ts";
import { Samples } from "../lib/cli/samples.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import { groupedNumber } from "../lib/cli/units.ts";

/** Runs `operation` for each number from 0, `inFlight` at a time, and times every one. */
export async function measured(
  { messages, inFlight }: { readonly messages: number; readonly inFlight: number },
  operation: (number: number) => Promise<void>,
): Promise<Record<string, number>> {
  const samples = new Samples(messages);
  let next = 0;
  const work = async () => {
    while (next < messages) {
      const number = next++;
      const startMs = systemClock.monotonicMs();
      await operation(number);
      samples.add(systemClock.monotonicMs() - startMs);
    }
  };
  const startMs = systemClock.monotonicMs();
  await Promise.all(Array.from({ length: inFlight }, work));
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
