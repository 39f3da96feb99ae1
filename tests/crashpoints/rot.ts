/**
 * A byte of one of three nodes' directories changes while all are down. What must follow: `verify`
 * names the file, unless the file holds nothing that counts; and when the nodes run again, all that
 * was acknowledged is on all three, and `verify` finds nothing more.
 */

import { assert, assertEquals } from "@std/assert";
import type { DiskState } from "../../lib/sim/disk.ts";
import { Rejections } from "../../lib/sim/rejections.ts";
import { type Fault, verifyDirectory } from "../../lib/storage/inspect.ts";
import { CrashWorld } from "./world.ts";

const VICTIM = "k2";
const NO_CRASH = { victim: VICTIM, after: null, how: "kill" } as const;

/** Files whose content nothing reads: the lock, and space that is held for a full disk. */
const WITHOUT_CONTENT = ["lock", "reserve"];

const UNREAD_STEP = 1_009;

export const ROT_OUTCOMES = [
  "nothing reads it",
  "the file is made anew",
  "repaired from the others, or replaced by a newer file",
  "rebuilt under a new identity",
  "refused at the start; rebuilt on an empty disk",
] as const;
export type RotOutcome = typeof ROT_OUTCOMES[number];

/** Three small directories whose processes have ended in order. */
export interface Prepared {
  readonly states: ReadonlyMap<string, DiskState>;
  readonly acknowledged: readonly string[];
  readonly replicaId: string;
  /** The victim's files. */
  readonly files: readonly { readonly path: string; readonly sizeBytes: number }[];
}

export async function prepare(): Promise<Prepared> {
  const world = new CrashWorld(NO_CRASH);
  world.startAll();
  await world.until("a leader", () => world.leader !== undefined);
  await world.lead("k1");
  await world.send(9, "k1");
  await world.lead(VICTIM);
  await world.send(3, VICTIM);
  await world.level();
  const machine = world.machine(VICTIM);
  const replicaId = machine.replicaId!;
  for (const member of world.members) await world.settle("stopped", member.stopGracefully());
  for (const { disk } of world.members) disk.flush();
  const files = machine.disk.durableFiles().filter(({ sizeBytes }) => sizeBytes > 0);
  assertEquals(verifyDirectory(machine.disk), []);
  for (const part of [".segment", ".index", ".snapshot", "identity", "synced"]) {
    assert(files.some(({ path }) => path.endsWith(part)), `there is a ${part}`);
  }
  return { states: world.states(), acknowledged: world.acknowledged, replicaId, files };
}

/** Bytes of a file that are flipped one after the other: all, where anything reads it. */
export function positionsOf({ path, sizeBytes }: Prepared["files"][number]): number[] {
  const step = WITHOUT_CONTENT.some((name) => path.endsWith(name)) ? UNREAD_STEP : 1;
  return Array.from({ length: Math.ceil(sizeBytes / step) }, (_, at) => at * step);
}

/** Flips one bit and says what became of it; throws where it was not detected or not repaired. */
export async function rotOne(
  prepared: Prepared,
  path: string,
  position: number,
): Promise<RotOutcome> {
  const rejections = new Rejections();
  try {
    return await flip(prepared, path, position);
  } catch (thrown) {
    throw new Error(`byte ${position} of ${path} flipped`, { cause: thrown });
  } finally {
    assertEquals(await rejections.end(), undefined, "no promise is left rejected");
  }
}

async function flip(prepared: Prepared, path: string, position: number): Promise<RotOutcome> {
  // Another seed: a new identity must not be the old one again.
  const world = new CrashWorld(NO_CRASH, 8);
  world.restore(prepared.states, prepared.acknowledged);
  const machine = world.machine(VICTIM);
  machine.rotted.add("*");
  machine.disk.rot(path, position, 1 << (position % 8));
  const faults = verifyDirectory(machine.disk);
  const read = !WITHOUT_CONTENT.some((name) => path.endsWith(name));
  assertEquals(faults.some(({ file }) => file === path), read, `verify: ${JSON.stringify(faults)}`);
  world.startAll();
  await world.level();
  // A checkpoint that no start needed is found by verify, and goes when newer ones have come.
  for (let more = 0; more < 20 && harmful(machine).length > 0; more += 1) {
    await world.send(1, "k1");
    await world.level();
  }
  const { replicaId } = machine;
  await world.proveWhole();
  assertEquals(harmful(machine), [], "nothing is left of the damage");
  if (world.replaced.has(VICTIM)) return "refused at the start; rebuilt on an empty disk";
  if (replicaId !== prepared.replicaId) return "rebuilt under a new identity";
  if (!read) return "nothing reads it";
  return faults.every(({ harmless }) => harmless)
    ? "the file is made anew"
    : "repaired from the others, or replaced by a newer file";
}

function harmful({ disk }: { readonly disk: Parameters<typeof verifyDirectory>[0] }): Fault[] {
  return verifyDirectory(disk).filter(({ harmless }) => !harmless);
}
