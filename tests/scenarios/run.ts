/**
 * `deno task scenarios [--real] [--seeds N] [--seed N] [--only TEXT]`: every scenario with 20
 * seeds on virtual time, or with one seed on the real clock; then the table of tests/README.md is
 * written anew. `--seed` plays one seed only, `--only` the scenarios whose names contain a text;
 * neither touches the table.
 */

import { parseArgs } from "@std/cli/parse-args";
import { writeReadmeTable } from "../readme_table.ts";
import { scenarios } from "./scenarios.ts";
import { play, type Scenario } from "./world.ts";

const VIRTUAL_SEEDS = 20;
/** Scenarios that share the real clock: they mostly wait. */
const REAL_LANES = 6;

interface Row {
  readonly name: string;
  seeds: number;
  failures: number;
  /** By the scenarios' clock. */
  meanMs: number;
  longestMs: number;
  /** By the clock on the wall, all seeds together. */
  tookMs: number;
}

async function playSeeds(scenario: Scenario, seeds: readonly number[], real: boolean) {
  const row: Row = {
    name: scenario.name,
    seeds: seeds.length,
    failures: 0,
    meanMs: 0,
    longestMs: 0,
    tookMs: 0,
  };
  const startMs = performance.now();
  for (const seed of seeds) {
    try {
      const durationMs = await play(scenario, seed, real);
      row.meanMs += durationMs / seeds.length;
      row.longestMs = Math.max(row.longestMs, durationMs);
    } catch (thrown) {
      row.failures += 1;
      console.error(`FAILED  ${(thrown as Error).message}`);
    }
  }
  row.tookMs = performance.now() - startMs;
  console.log(lineOf(row));
  return row;
}

/** Plays the scenarios, `lanes` at a time, and returns their rows in the given order. */
async function playAll(
  chosen: readonly Scenario[],
  seeds: readonly number[],
  real: boolean,
): Promise<Row[]> {
  const rows: Row[] = [];
  let next = 0;
  const lane = async () => {
    while (next < chosen.length) {
      const at = next;
      next += 1;
      rows[at] = await playSeeds(chosen[at], seeds, real);
    }
  };
  await Promise.all(Array.from({ length: real ? REAL_LANES : 1 }, lane));
  return rows;
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`;
}

function lineOf({ name, seeds, failures, meanMs, longestMs, tookMs }: Row): string {
  const verdict = failures === 0 ? `${seeds}` : `${seeds - failures} of ${seeds}`;
  return `| ${name} | ${verdict} | ${seconds(meanMs)} | ${seconds(longestMs)} | ${
    seconds(tookMs)
  } |`;
}

function tableOf(rows: readonly Row[]): string {
  const tookMs = rows.reduce((sum, row) => sum + row.tookMs, 0);
  return [
    "| scenario | seeds passed | mean of its own time | longest | run time of all seeds |",
    "| --- | --- | --- | --- | --- |",
    ...rows.map(lineOf),
    `| all ${rows.length} |  |  |  | ${seconds(tookMs)} |`,
  ].join("\n");
}

const args = parseArgs(Deno.args, {
  boolean: ["real"],
  string: ["seeds", "seed", "only"],
  unknown: (name) => {
    console.error(`Cannot run scenarios: ${name} is unknown`);
    Deno.exit(2);
  },
});
const real = args.real === true;
const count = Number(args.seeds ?? (real ? 1 : VIRTUAL_SEEDS));
const seeds = args.seed === undefined
  ? Array.from({ length: count }, (_, at) => at + 1)
  : [Number(args.seed)];
const only = args.only as string | undefined;
const chosen = scenarios.filter(({ name }) => only === undefined || name.includes(only));
const rows = await playAll(chosen, seeds, real);
if (rows.some(({ failures }) => failures > 0)) Deno.exit(1);
if (args.seed === undefined && only === undefined) {
  await writeReadmeTable(
    `scenarios ${real ? "on the real clock" : "on virtual time"}`,
    tableOf(rows),
  );
}
