/** `trilog sim`: the deterministic simulator. */

import { TrilogError } from "../lib/base/errors.ts";
import { type Context, defineCommand } from "../lib/cli/command.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { printError } from "../lib/cli/terminal.ts";
import { DEPLOYMENT_FAULT_KINDS } from "../lib/sim/deployment/options.ts";
import { FAULT_KINDS, SYSTEMS } from "../lib/sim/options.ts";
import { shrink } from "../lib/sim/shrink.ts";
import {
  type AnyFaultKind,
  type SimOverrides,
  type SimResult,
  simulate,
} from "../lib/sim/simulate.ts";

/** All kinds of faults, in the order of their names. */
const KINDS: readonly AnyFaultKind[] = [
  ...new Set<AnyFaultKind>([...FAULT_KINDS, ...DEPLOYMENT_FAULT_KINDS]),
].sort();

const flags = {
  seed: { type: "integer", min: 0, required: true, help: "decides everything that happens" },
  runs: { type: "integer", min: 1, default: "1", help: "how many seeds, counting up from --seed" },
  faults: { type: "list", help: "only these kinds of faults" },
  system: { type: "choice", choices: SYSTEMS, default: "atm", help: "what is simulated" },
  trace: { type: "path", help: "write every event of the run to this file (one run only)" },
  tla: { type: "path", help: "write the first group as a trace of the Raft specification" },
} as const;

type SimContext = Context<typeof flags>;

/** Exit statuses of the outcomes (COMMANDS: 10 an invariant broke, 11 no progress, 12 a crash). */
const statusOf: Readonly<Record<SimResult["outcome"], number>> = {
  ok: exitStatus.done,
  invariant: 10,
  no_progress: 11,
  crash: 12,
};

export const command = defineCommand({
  name: "sim",
  summary: "run a cluster on a virtual clock, network and disk, under faults",
  details: [
    "The same seed always gives the same run and the same trace hash. A failing run is",
    "made smaller and its faults are shown. Exit status 10: an invariant broke, 11: no",
    "progress after healing, 12: a node's code failed.",
    "",
    "The systems atm, kv and queue are groups on bare hosts. The system cluster is the",
    "whole: managers, brokers, topics and clients as their commands start them. Each seed",
    "switches some kinds of faults on; the run prints which. Kinds of atm, kv and queue:",
    ...listed(FAULT_KINDS),
    "Kinds of cluster:",
    ...listed(DEPLOYMENT_FAULT_KINDS),
    "",
    "--tla writes the variables of raft.tla (currentTerm, votedFor, state, commitIndex, log)",
    "after each step, one JSON object a line; only faults that keep the members happen then.",
  ].join("\n"),
  examples: [
    "trilog sim --seed 7",
    "trilog sim --seed 1 --runs 200 --faults power,partition",
    "trilog sim --seed 3 --system queue",
    "trilog sim --seed 3 --tla raft.jsonl",
    "trilog sim --seed 1 --runs 50 --system cluster",
  ],
  flags,
  async run(context) {
    const { seed, runs, trace, tla } = context.flags;
    if ((trace !== undefined || tla !== undefined) && runs > 1) {
      throw new TrilogError("usage", "Cannot write a trace: --trace and --tla go with one run");
    }
    const overrides = overridesOf(context);
    for (let at = seed; at < seed + runs; at += 1) {
      if (!context.json) await context.terminal.print(`seed ${at}`);
      const result = await traced(at, overrides, { trace, tla });
      await print(context, result);
      if (!context.json) {
        if (result.outcome !== "ok") await explain(context, result, overrides);
        await context.terminal.print(`seed ${at}`);
      }
      if (result.outcome !== "ok") return statusOf[result.outcome];
    }
    return exitStatus.done;
  },
});

/** Words in lines that are not too long for a terminal. */
function listed(words: readonly string[]): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines[lines.length - 1];
    if (last !== undefined && last.length + word.length < 76) lines[lines.length - 1] += ` ${word}`;
    else lines.push(`  ${word}`);
  }
  return lines;
}

/**
 * Faults that never make a group change its members: the published specification of Raft has no
 * change of members.
 */
const MEMBERS_STAY: readonly AnyFaultKind[] = [
  "crash",
  "power",
  "pause",
  "partition",
  "clog",
  "clock",
  "slow_disk",
  "disk_full",
  "sync_error",
  "transfer",
  "starve",
  "reads",
];

function overridesOf({ flags }: SimContext): SimOverrides {
  const { system, faults, tla } = flags;
  if (tla !== undefined && system === "cluster") {
    throw new TrilogError(
      "usage",
      "Cannot write --tla of system cluster: its groups change members",
    );
  }
  if (faults === undefined && tla === undefined) return { options: { system } };
  const kinds = faults === undefined ? MEMBERS_STAY : faults.map(kindOf);
  const changing = kinds.find((kind) => !MEMBERS_STAY.includes(kind));
  if (tla !== undefined && changing !== undefined) {
    throw new TrilogError("usage", `Cannot write --tla: fault ${changing} may change members`);
  }
  return { options: { system, kinds } };
}

function kindOf(name: string): AnyFaultKind {
  const kind = KINDS.find((kind) => kind === name);
  if (kind !== undefined) return kind;
  throw new TrilogError("usage", `Cannot simulate fault ${name}: no such kind of fault`);
}

/** Runs a seed and writes the traces that are asked for. */
async function traced(
  seed: number,
  overrides: SimOverrides,
  { trace, tla }: { readonly trace: string | undefined; readonly tla: string | undefined },
): Promise<SimResult> {
  const events: string[] = [];
  const steps: string[] = [];
  const onEvent = (atMs: number, label: string) => events.push(`${atMs.toFixed(3)} ${label}\n`);
  const onTla = (line: string) => steps.push(`${line}\n`);
  const result = await simulate(seed, {
    ...overrides,
    ...(trace === undefined ? {} : { onEvent }),
    ...(tla === undefined ? {} : { onTla }),
  });
  if (trace !== undefined) await Deno.writeTextFile(trace, events.join(""));
  if (tla !== undefined) await Deno.writeTextFile(tla, steps.join(""));
  return result;
}

async function print({ terminal, json }: SimContext, result: SimResult): Promise<void> {
  if (json) return await terminal.print(JSON.stringify(result));
  const { outcome, steps, virtualMs, kinds, operations, faultsFired, traceHash, detail } = result;
  const faults = Object.entries(faultsFired).map(([name, count]) => `${name} ${count}`);
  await terminal.print(
    `${outcome}: ${steps} steps, ${virtualMs} ms, ${operations.acknowledged} writes, ` +
      `${operations.reads} reads`,
  );
  await terminal.print(`switched on: ${kinds.join(", ") || "none"}`);
  await terminal.print(`faults: ${faults.join(", ") || "none"}`);
  if (detail !== "") await terminal.print(detail);
  await terminal.print(`trace ${traceHash}`);
}

/** Makes the failure smaller and shows what is left of it. */
async function explain(
  { terminal }: SimContext,
  { seed }: SimResult,
  overrides: SimOverrides,
): Promise<void> {
  printError(terminal, "making the failure smaller");
  const shrunk = await shrink(seed, overrides);
  if (shrunk === null) return;
  await terminal.print(`smallest failure found in ${shrunk.runs} runs:`);
  for (const fault of shrunk.faults) await terminal.print(`  ${JSON.stringify(fault)}`);
  await terminal.print(`  faults end at ${shrunk.faultsMs} ms: ${shrunk.result.detail}`);
}
