/**
 * `deno task sim:night [--seeds N] [--from N] [--cores N] [--systems atm,kv,queue,cluster]
 * [--minutes N]`: many seeds of every system, divided among processes; then the table of
 * tests/README.md is written anew. A seed that fails is printed at once, and with `--minutes` a run
 * ends early. The table is left alone when not all of it was run.
 */

import { parseArgs } from "@std/cli/parse-args";
import { join } from "@std/path";
import { type SystemName, SYSTEMS } from "../../lib/sim/options.ts";
import type { SimResult } from "../../lib/sim/simulate.ts";
import { writeReadmeTable } from "../readme_table.ts";

const MAIN = join(import.meta.dirname!, "..", "..", "main.ts");
const MARK = "simulations of the night";
/** Seeds that one process runs before another takes over, with a fresh heap. */
const BATCH = 50;

interface Row {
  readonly system: SystemName;
  seeds: number;
  failed: number[];
  steps: number;
  virtualMs: number;
  acknowledged: number;
  reads: number;
  faults: number;
  tookMs: number;
}

interface Batch {
  readonly system: SystemName;
  readonly from: number;
  readonly count: number;
}

/** Runs a batch in a process of its own; seeds after one that fails are run by another. */
async function run(batch: Batch, rows: Map<SystemName, Row>): Promise<void> {
  const { system, from, count } = batch;
  const startMs = performance.now();
  const words = ["sim", "--json", "--system", system, "--seed", `${from}`, "--runs", `${count}`];
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", "--no-check", MAIN, ...words],
    stdout: "piped",
    stderr: "inherit",
  }).output();
  const lines = new TextDecoder().decode(stdout).trim().split("\n").filter((line) => line !== "");
  const results = lines.map((line) => JSON.parse(line) as SimResult);
  const row = rows.get(system)!;
  row.tookMs += performance.now() - startMs;
  for (const result of results) add(row, result);
  const next = from + Math.max(1, results.length);
  if (results.length === 0) fail(row, from, "the process ended without a result");
  if (next < from + count) await run({ system, from: next, count: from + count - next }, rows);
}

function add(row: Row, result: SimResult): void {
  const sum = Object.values(result.faultsFired).reduce((total, count) => total + count, 0);
  row.seeds += 1;
  row.steps += result.steps;
  row.virtualMs += result.virtualMs;
  row.acknowledged += result.operations.acknowledged;
  row.reads += result.operations.reads;
  row.faults += sum;
  if (result.outcome !== "ok") fail(row, result.seed, `${result.outcome}: ${result.detail}`);
}

function fail(row: Row, seed: number, detail: string): void {
  row.failed.push(seed);
  console.error(`FAILED  trilog sim --system ${row.system} --seed ${seed}\n${detail}`);
}

function* batches(systems: readonly SystemName[], from: number, seeds: number): Generator<Batch> {
  // Systems take turns, so that a run that ends early has seen all of them.
  for (let at = from; at < from + seeds; at += BATCH) {
    const count = Math.min(BATCH, from + seeds - at);
    for (const system of systems) yield { system, from: at, count };
  }
}

function thousands(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function tableOf(rows: readonly Row[], from: number): string {
  const lines = rows.map((row) => {
    const verdict = row.failed.length === 0 ? "none" : row.failed.join(" ");
    const hours = (row.virtualMs / 3_600_000).toFixed(1);
    const each = (row.tookMs / row.seeds / 1000).toFixed(2);
    const counts = [row.steps, row.faults, row.acknowledged, row.reads].map(thousands);
    return `| ${row.system} | ${from}-${from + row.seeds - 1} | ${verdict} | ${hours} h | ` +
      `${counts.join(" | ")} | ${each} s |`;
  });
  return [
    "| system | seeds | failed | virtual time | events | faults | writes acknowledged | reads | run time a seed |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ...lines,
  ].join("\n");
}

const args = parseArgs(Deno.args, {
  string: ["seeds", "from", "cores", "systems", "minutes"],
  unknown: (name) => {
    console.error(`Cannot run simulations: ${name} is unknown`);
    Deno.exit(2);
  },
});
const seeds = Number(args.seeds ?? 2_000);
const from = Number(args.from ?? 10_001);
const cores = Number(args.cores ?? navigator.hardwareConcurrency);
const untilMs = performance.now() + Number(args.minutes ?? Infinity) * 60_000;
const wanted = (args.systems as string | undefined)?.split(",");
const systems = SYSTEMS.filter((system) => wanted === undefined || wanted.includes(system));
if (!(seeds > 0 && from >= 0 && cores > 0) || systems.length === 0) {
  console.error("Cannot run simulations: a flag has no sensible value");
  Deno.exit(2);
}
const rows = new Map(systems.map((system): [SystemName, Row] => [system, {
  system,
  seeds: 0,
  failed: [],
  steps: 0,
  virtualMs: 0,
  acknowledged: 0,
  reads: 0,
  faults: 0,
  tookMs: 0,
}]));
const todo = batches(systems, from, seeds);
await Promise.all(Array.from({ length: cores }, async () => {
  for (const batch of todo) {
    if (performance.now() > untilMs) return;
    await run(batch, rows);
  }
}));
const all = [...rows.values()].filter((row) => row.seeds > 0);
console.log(tableOf(all, from));
if (all.some(({ failed }) => failed.length > 0)) Deno.exit(1);
const whole = systems.length === SYSTEMS.length && args.minutes === undefined;
if (whole) await writeReadmeTable(MARK, tableOf(all, from));
