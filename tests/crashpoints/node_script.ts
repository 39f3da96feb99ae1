/** The scripted run of a node: everything in a replica's life that writes to its disk, in stages. */

import { assert } from "@std/assert";
import type { Operation, Script } from "./sweep.ts";
import { Crashed, type CrashPlan, CrashWorld } from "./world.ts";

const VICTIM = "k2";

interface Stage {
  readonly name: string;
  play(world: CrashWorld): Promise<void>;
  /** What the stage must do to the victim's disk, so that it sweeps what it says. */
  readonly shows: (operation: Operation) => boolean;
}

const isSegment = ({ path }: Operation) => path.includes(".segment");
const isSnapshot = ({ path }: Operation) => path.endsWith(".snapshot");
const writes = (operation: Operation) => operation.operation === "write" && isSegment(operation);

const STAGES: readonly Stage[] = [
  {
    name: "identity and founding",
    async play(world) {
      world.startAll();
      await world.until("a leader", () => world.leader !== undefined);
      await world.level();
    },
    shows: ({ operation, path }) => operation === "rename" && path === "identity",
  },
  {
    name: "append and roll",
    async play(world) {
      await world.lead("k1");
      await world.send(4, "k1");
    },
    shows: (operation) => operation.operation === "rename" && isSegment(operation),
  },
  {
    name: "vote",
    async play(world) {
      await world.lead("k3");
      await world.lead(VICTIM);
    },
    shows: writes,
  },
  {
    name: "snapshot and compaction",
    async play(world) {
      await world.send(8, VICTIM);
      await world.level();
    },
    shows: (operation) => operation.operation === "remove" && isSegment(operation),
  },
  {
    name: "truncation of what was not committed",
    async play(world) {
      await world.lead(VICTIM);
      const cutOff = world.machine(VICTIM).node!.replica!;
      world.isolate(VICTIM);
      for (const word of ["lost 1", "lost 2"]) {
        cutOff.propose(new TextEncoder().encode(word)).catch(() => {});
      }
      await world.until("another leads", () => {
        const leader = world.leader?.name;
        return leader !== undefined && leader !== VICTIM;
      });
      await world.send(2, world.leader!.name);
      world.links.heal();
      await world.level();
    },
    shows: writes,
  },
  {
    name: "adoption of a snapshot",
    async play(world) {
      await world.lead("k1");
      world.isolate(VICTIM);
      await world.send(16, "k1");
      world.links.heal();
      await world.level();
    },
    shows: (operation) => operation.operation === "rename" && isSnapshot(operation),
  },
  {
    name: "membership change",
    async play(world) {
      await world.lead("k1");
      await world.addAndRemove();
      await world.level();
    },
    shows: ({ operation, path }) => operation === "rename" && path === "identity",
  },
  {
    name: "identity change after rot",
    async play(world) {
      const machine = world.machine(VICTIM);
      machine.stop("lost");
      rotNewestSegment(world);
      machine.start();
      await world.level();
    },
    shows: ({ operation, path }) => operation === "rename" && path.includes("set-aside"),
  },
];

function rotNewestSegment(world: CrashWorld): void {
  const { disk, rotted } = world.machine(VICTIM);
  const segment = disk.durableFiles().filter(({ path }) => path.endsWith(".segment")).at(-1)!;
  rotted.add("*");
  disk.rot(segment.path, 20, 0x10);
}

const STAGE_NAMES = STAGES.map(({ name }) => name);

export const nodeScript: Script = {
  stages: STAGE_NAMES,
  async record() {
    const world = await play({ victim: VICTIM, after: null, how: "kill" });
    const operations = world.operations.filter(({ stage }) => STAGE_NAMES.includes(stage));
    for (const { name, shows } of STAGES) {
      const own = operations.filter(({ stage }) => stage === name);
      assert(own.some(shows), `stage ${name} does to the disk what it is there for`);
    }
    return operations;
  },
  async crashAfter(count, how) {
    const world = await play({ victim: VICTIM, after: count, how });
    assert(world.crashed, `the crash after operation ${count} happened`);
  },
};

async function play(plan: CrashPlan): Promise<CrashWorld> {
  const world = new CrashWorld(plan);
  try {
    for (const stage of STAGES) {
      world.stage = stage.name;
      await stage.play(world);
    }
  } catch (thrown) {
    if (!(thrown instanceof Crashed)) throw thrown;
  }
  await world.proveWhole();
  assert(world.replaced.size === 0, "no start needed an operator's hand");
  return world;
}
