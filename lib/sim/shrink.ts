/**
 * Makes a failing simulation smaller: it leaves faults out, first many at a time and then one by
 * one, and keeps what still fails in the same way. What remains is the shortest story found.
 */

import { type AnyFault, planOf, type SimOverrides, type SimResult, simulate } from "./simulate.ts";

export interface Shrunk {
  readonly result: SimResult;
  /** The faults that are needed for the failure. */
  readonly faults: readonly AnyFault[];
  /** Virtual time under faults that suffices. */
  readonly faultsMs: number;
  /** Simulations that were run. */
  readonly runs: number;
}

/**
 * Shrinks the failure of a seed with at most `maxRuns` simulations. Null when the seed does not
 * fail. `run` is {@link simulate}, or what a test puts in its place.
 */
export async function shrink(
  seed: number,
  overrides: SimOverrides = {},
  maxRuns: number = 200,
  run: typeof simulate = simulate,
): Promise<Shrunk | null> {
  let { faults, faultsMs } = planOf(seed, overrides);
  let runs = 0;
  const attempt = (faults: readonly AnyFault[], faultsMs: number): Promise<SimResult> => {
    runs += 1;
    return run(seed, { options: { ...overrides.options, faultsMs }, faults });
  };
  let result = await attempt(faults, faultsMs);
  if (result.outcome === "ok") return null;
  const { outcome } = result;
  for (let part = Math.ceil(faults.length / 2); part >= 1; part = Math.floor(part / 2)) {
    for (let from = 0; from < faults.length && runs < maxRuns;) {
      const fewer = [...faults.slice(0, from), ...faults.slice(from + part)];
      const again = await attempt(fewer, faultsMs);
      if (again.outcome !== outcome) from += part;
      else [faults, result] = [fewer, again];
    }
  }
  const lastMs = Math.max(1, ...faults.map(({ atMs }) => atMs + 1));
  for (const shorterMs of [lastMs, Math.ceil((lastMs + faultsMs) / 2)]) {
    if (shorterMs >= faultsMs || runs >= maxRuns) continue;
    const again = await attempt(faults, shorterMs);
    if (again.outcome === outcome) [faultsMs, result] = [shorterMs, again];
  }
  return { result, faults, faultsMs, runs };
}
