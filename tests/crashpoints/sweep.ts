/** What both scripted runs have in common: numbered disk operations, and ways to crash after one. */

import { Rejections } from "../../lib/sim/rejections.ts";
import type { CrashKind } from "../../lib/sim/disk.ts";
import type { DiskOperation } from "../../lib/sim/process_disk.ts";

/** One disk operation of the watched process. */
export interface Operation {
  readonly stage: string;
  readonly operation: DiskOperation;
  readonly path: string;
}

/** Everything survives, nothing unsynced survives, or any part of it: sectors and names at random. */
export const WAYS: Readonly<Record<CrashKind, string>> = {
  kill: "kept",
  lost: "lost",
  power: "torn",
};
export const CRASH_KINDS = Object.keys(WAYS) as readonly CrashKind[];

export interface Script {
  readonly stages: readonly string[];
  /** The run without a crash; throws where a stage does not do to the disk what it is there for. */
  record(): Promise<readonly Operation[]>;
  /** The run with a crash after so many operations, and the proof that nothing was lost by it. */
  crashAfter(count: number, how: CrashKind): Promise<void>;
}

/** Runs one crash; what it throws names the operation. */
export async function sweepOne(
  script: Script,
  operations: readonly Operation[],
  count: number,
  how: CrashKind,
): Promise<void> {
  const rejections = new Rejections();
  try {
    await script.crashAfter(count, how);
  } catch (thrown) {
    await rejections.end();
    const { stage, operation, path } = operations[count - 1];
    const where = `${stage}: crash after operation ${count} (${operation} ${path}), ${WAYS[how]}`;
    throw new Error(where, { cause: thrown });
  }
  const rejection = await rejections.end();
  if (rejection !== undefined) throw rejection;
}
