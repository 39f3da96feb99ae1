/** What a run is to do, from the words after `--`. */

import { parseArgs } from "@std/cli/parse-args";

export const FAULT_NAMES = [
  "kill",
  "power",
  "pause",
  "partition",
  "one-way",
  "slow-disk",
  "disk-full",
  "io-error",
  "clock",
] as const;
export type FaultName = (typeof FAULT_NAMES)[number];

export const WORKLOAD_NAMES = ["bank", "register", "queue"] as const;
export type WorkloadName = (typeof WORKLOAD_NAMES)[number];

export interface Settings {
  readonly faults: readonly FaultName[];
  readonly seed: number;
  readonly durationMs: number;
  /** ATMs, key-value nodes or brokers; a queue has three managers besides. */
  readonly nodes: number;
  readonly workloads: readonly WorkloadName[];
}

const DEFAULTS: Omit<Settings, "seed"> = {
  faults: ["kill", "pause", "partition", "one-way"],
  durationMs: 20_000,
  nodes: 3,
  workloads: ["bank", "queue"],
};

const FLAGS = ["chaos", "seed", "duration", "nodes", "workload"];

/** Throws a sentence about a word that makes no sense. Without `--seed` one is drawn. */
export function readSettings(words: readonly string[]): Settings {
  const given = parseArgs(words, {
    string: FLAGS,
    unknown: (word) => {
      throw new Error(`${word} is unknown; there are ${FLAGS.map((flag) => `--${flag}`)}`);
    },
  });
  const text = (flag: string) => given[flag] as string | undefined;
  return {
    faults: listOf("chaos", text("chaos"), FAULT_NAMES, DEFAULTS.faults),
    seed: wholeNumber("seed", text("seed"), 0, 2 ** 32 - 1) ?? drawnSeed(),
    durationMs: duration(text("duration")) ?? DEFAULTS.durationMs,
    nodes: wholeNumber("nodes", text("nodes"), 3, 9) ?? DEFAULTS.nodes,
    workloads: listOf("workload", text("workload"), WORKLOAD_NAMES, DEFAULTS.workloads),
  };
}

/** The words that make the same run again. */
export function wordsOf({ faults, seed, durationMs, nodes, workloads }: Settings): string {
  return `--chaos=${faults} --seed=${seed} --duration=${durationMs / 1000}s --nodes=${nodes} ` +
    `--workload=${workloads}`;
}

function drawnSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

function listOf<T extends string>(
  flag: string,
  text: string | undefined,
  known: readonly T[],
  otherwise: readonly T[],
): readonly T[] {
  if (text === undefined) return otherwise;
  const words = text.split(",");
  for (const word of words) {
    if (!known.includes(word as T)) throw new Error(`--${flag}: ${word} is none of ${known}`);
  }
  return [...new Set(words as T[])];
}

function wholeNumber(
  flag: string,
  text: string | undefined,
  least: number,
  most: number,
): number | null {
  if (text === undefined) return null;
  const number = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
  if (number >= least && number <= most) return number;
  throw new Error(`--${flag} needs a whole number from ${least} to ${most}, not ${text}`);
}

function duration(text: string | undefined): number | null {
  if (text === undefined) return null;
  const [, count, unit] = /^(\d{1,6})(ms|s|m)$/.exec(text) ?? [];
  if (count === undefined) throw new Error(`--duration needs a time such as 60s, not ${text}`);
  return Number(count) * { ms: 1, s: 1_000, m: 60_000 }[unit as "ms" | "s" | "m"];
}
