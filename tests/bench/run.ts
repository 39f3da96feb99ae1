/**
 * `deno task bench`: the figures of the README, measured here and now on the single file. Every
 * figure is the median of several rounds; what is compared comes from the same run.
 */

import { parseArgs } from "@std/cli/parse-args";
import { QueueCluster } from "../e2e/queue_cluster.ts";
import { withHarness } from "../e2e/harness.ts";

interface Row {
  readonly name: string;
  readonly args: readonly string[];
  /** Field of the result, and how it reads. */
  readonly field: string;
  readonly unit: string;
}

const ROWS: readonly Row[] = [
  row("produce, 100 B, 1,000 in flight, 1 partition", ["produce"], "messagesPerSecond", "/s"),
  row(
    "produce, 100 B, 10,000 in flight, 1 partition",
    [
      "produce",
      "--in-flight",
      "10000",
    ],
    "messagesPerSecond",
    "/s",
  ),
  row(
    "produce, 100 B, 1,000 in flight, 8 partitions",
    [
      "produce",
      "--partitions",
      "8",
    ],
    "messagesPerSecond",
    "/s",
  ),
  row(
    "produce, 1 KiB, 1,000 in flight, 1 partition",
    [
      "produce",
      "--size",
      "1KiB",
      "--messages",
      "200000",
    ],
    "messagesPerSecond",
    "/s",
  ),
  row("one at a time, 100 B, median", ["latency"], "p50Ms", "ms"),
  row("one at a time, 100 B, 99 %", ["latency"], "p99Ms", "ms"),
  row("consume, 100 B, 1 partition", ["consume"], "messagesPerSecond", "/s"),
];

function row(name: string, args: readonly string[], field: string, unit: string): Row {
  return { name, args, field, unit };
}

function median(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)];
}

if (import.meta.main) {
  const { rounds } = parseArgs(Deno.args, { string: ["rounds"], default: { rounds: "3" } });
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    const results = new Map<string, Record<string, number>[]>();
    for (let round = 0; round < Number(rounds); round += 1) {
      for (const key of new Set(ROWS.map(({ args }) => args.join(" ")))) {
        const result = JSON.parse(await cluster.done(["bench", ...key.split(" "), "--json"]));
        results.set(key, [...results.get(key) ?? [], result]);
      }
    }
    console.log(`| measured here, median of ${rounds} rounds | |`);
    console.log("|---|---|");
    for (const { name, args, field, unit } of ROWS) {
      const value = median(results.get(args.join(" "))!.map((result) => result[field]));
      const shown = unit === "/s" ? `${Math.round(value).toLocaleString("en")}/s` : `${value} ms`;
      console.log(`| ${name} | ${shown} |`);
    }
  });
}
