/**
 * The scripted run of a broker: a manager, three brokers, a partition that is written to under
 * retention, a producer and a consumer of the client library. The simulation's own proof follows
 * each crash: health, progress, and every partition read through and held against the books.
 */

import { assert, assertEquals } from "@std/assert";
import type { CrashKind } from "../../lib/sim/disk.ts";
import { deploymentOptionsOf } from "../../lib/sim/deployment/options.ts";
import { DeploymentSimulation, MICROTASK_TURNS } from "../../lib/sim/deployment/simulation.ts";
import { goodLinks } from "../../lib/sim/links.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";
import { verifyDirectory } from "../../lib/storage/inspect.ts";
import type { Operation, Script } from "./sweep.ts";

const VICTIM = 1;
const SEED = 1;
const RESTART_MS = 50;

const OPTIONS = deploymentOptionsOf(SEED, {
  managers: 1,
  brokers: 3,
  spares: 0,
  racks: 0,
  topics: [{ name: "t1", partitions: 1, retentionBytes: 1_500 }],
  producers: 1,
  consumers: 1,
  heartbeatMs: 50,
  electionTimeoutMs: 300,
  liveness: { intervalMs: 300, timeToDeadMs: 2_000 },
  upkeep: { replaceAfterMs: 600_000, rebalancing: "off" },
  links: goodLinks,
  clockError: 0,
  turnMs: 0.1,
  syncMs: [0.2, 0.8],
  segmentBytes: 1_024,
  managerSegmentBytes: 65_536,
  retentionEveryMs: 200,
  messageEveryMs: 60,
  burstMs: 5_000,
  lullMs: 0,
  faultsMs: 1_450,
  faultEveryMs: null,
  kinds: [],
});

const STAGES = [
  "broker: registration",
  "broker: a replica is made",
  "broker: append, roll, checkpoint and retention",
] as const;

/** Plays the script; the operations that the victim made before the proof began. */
async function play(after: number | null, how: CrashKind): Promise<Operation[]> {
  const scheduler = new Scheduler(MICROTASK_TURNS);
  const simulation = new DeploymentSimulation(SEED, OPTIONS, [], scheduler);
  const { deployment } = simulation;
  const victim = deployment.brokers[VICTIM];
  const operations: Operation[] = [];
  let stage = 0;
  let count = 0;
  victim.onOperation = (operation, path) => {
    if (stage === 0 && path.startsWith("groups/")) stage = 1;
    if (scheduler.nowMs < OPTIONS.faultsMs) {
      operations.push({ stage: STAGES[stage], operation, path });
    }
    // The identity names the replica last.
    if (stage === 1 && operation === "rename" && path === "identity") stage = 2;
    count += 1;
    if (count === after) deployment.crash(victim, how, RESTART_MS);
  };
  await simulation.run();
  assert(after === null || count > after, `the crash after operation ${after} happened`);
  for (const { name, disk } of deployment.machines) {
    const faults = verifyDirectory(disk).filter(({ harmless }) => !harmless);
    assertEquals(faults, [], `what verify finds at ${name}`);
  }
  return operations;
}

export const brokerScript: Script = {
  stages: STAGES,
  async record() {
    const operations = await play(null, "kill");
    const shows = (stage: number, operation: string, part: string) =>
      operations.some((made) =>
        made.stage === STAGES[stage] && made.operation === operation && made.path.includes(part)
      );
    assert(shows(0, "rename", "identity"), "the identity is stored");
    assert(shows(1, "rename", "hosting"), "a replica's notes are stored");
    assert(shows(2, "rename", ".snapshot.tmp"), "retention retires a checkpoint");
    assert(shows(2, "remove", ".segment"), "retention drops a segment");
    return operations;
  },
  async crashAfter(count, how) {
    await play(count, how);
  },
};
