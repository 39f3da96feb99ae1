/** One run: servers, clients, trouble, and the judgement. */

import { type Harness, nowMs } from "../e2e/harness.ts";
import { startBank } from "./bank.ts";
import { Dice } from "./dice.ts";
import { Fleet } from "./fleet.ts";
import { textOf } from "./history.ts";
import { Nemesis } from "./nemesis.ts";
import { startQueue } from "./queue.ts";
import { startRegister } from "./register.ts";
import type { Settings, WorkloadName } from "./settings.ts";
import type { Scene, Workload } from "./workload.ts";

const WORKLOADS: Readonly<Record<WorkloadName, (scene: Scene) => Promise<Workload>>> = {
  bank: startBank,
  register: startRegister,
  queue: startQueue,
};

/** A run with fewer successes has shown nothing. */
const LEAST_SUCCESSES_PER_SECOND = 2;

export type Tell = (line: string) => void;

/**
 * Runs one workload under the faults of the settings; throws what is wrong. On a failure the
 * history and the servers' logs are kept, and it says where.
 */
export async function runWorkload(
  harness: Harness,
  name: WorkloadName,
  settings: Settings,
  tell: Tell,
): Promise<Workload> {
  const { faults, seed, nodes } = settings;
  const fleet = await Fleet.prepare(harness, faults);
  const scene = { harness, fleet, dice: new Dice(seed, `clients of ${name}`), nodes };
  const workload = await WORKLOADS[name](scene);
  for (const [fault, why] of fleet.skipped) tell(`${fault} is SKIPPED: ${why}`);
  try {
    await judge(fleet, workload, name, settings, tell);
    return workload;
  } catch (thrown) {
    const kept = Deno.makeTempDirSync({ prefix: `trilog-chaos-${name}-${seed}-` });
    Deno.writeTextFileSync(`${kept}/history.jsonl`, textOf(workload.history.events));
    fleet.keepLogs(kept);
    tell(`history and logs are kept in ${kept}`);
    throw thrown;
  }
}

async function judge(
  fleet: Fleet,
  workload: Workload,
  name: WorkloadName,
  { seed, durationMs }: Settings,
  tell: Tell,
): Promise<void> {
  const startMs = nowMs();
  const nemesis = new Nemesis({
    fleet,
    dice: new Dice(seed, `trouble of ${name}`),
    durationMs,
    leader: () => workload.leader(),
    whole: () => workload.whole(),
    tell,
    check: () => workload.check(),
  });
  if (fleet.available.length === 0) throw new Error("no fault can be had on this machine");
  await nemesis.run();
  const seconds = (nowMs() - startMs) / 1_000;
  const { ok, fail, info } = workload.history.counts;
  const shown = await workload.finish();
  fleet.checkRunning();
  await fleet.closeAndVerify();
  tell(
    `${name}: in ${seconds.toFixed(1)} s ${ok} operations succeeded, ${fail} were refused or ` +
      `unavailable, ${info} have an unknown outcome`,
  );
  for (const line of shown) tell(`${name}: ${line}`);
  tell(`${name}: faults that fired: ${fleet.available.map((fault) => firedText(fleet, fault))}`);
  demandEnough(fleet, ok, seconds);
}

/** A run counts only if the clients got something done and every fault was felt. */
export function demandEnough(
  fleet: Pick<Fleet, "available" | "fired">,
  successes: number,
  seconds: number,
): void {
  const least = Math.ceil(seconds * LEAST_SUCCESSES_PER_SECOND);
  if (successes < least) {
    throw new Error(`the run does not count: ${successes} operations succeeded, not ${least}`);
  }
  const missing = fleet.available.filter((fault) => !fleet.fired.has(fault));
  if (missing.length > 0) throw new Error(`the run does not count: never felt: ${missing}`);
}

function firedText(fleet: Fleet, fault: (typeof fleet.available)[number]): string {
  return ` ${fault} ${fleet.fired.get(fault) ?? 0}`;
}
