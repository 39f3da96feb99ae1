/** What the faults of one machine do to it. */

import { unreachable } from "../base/assert.ts";
import type { SimDisk } from "./disk.ts";
import type { Fault } from "./faults.ts";
import type { SimProcess } from "./process.ts";

/** A fault that befalls one machine. */
export type MachineFault = Exclude<
  Fault,
  {
    kind:
      | "partition"
      | "clog"
      | "starve"
      | "reads"
      | "membership"
      | "transfer"
      | "delete_group"
      | "put_back";
  }
>;

/** A machine as faults see it. */
export interface Victim {
  readonly process: SimProcess;
  readonly disk: SimDisk;
  /** Ends the process now and starts it again later. */
  crash(kind: "kill" | "power", forMs: number): void;
  /** The disk is replaced by an empty one while the process is down. */
  wipe(forMs: number): void;
  /**
   * Durable bytes of a file (or, for null, any) are about to change: whether one good copy stays
   * of everything that they belong to.
   */
  damage(path: string | null): boolean;
  /** Runs the fault a moment after the process next promised something. */
  afterPromise(fault: () => void): void;
  jumpClock(byMs: number): void;
}

/** Whether the fault found something to befall; `later` ends one that lasts. */
export function befall(
  victim: Victim,
  fault: MachineFault,
  later: (afterMs: number, end: () => void) => void,
): boolean {
  const { process, disk } = victim;
  switch (fault.kind) {
    case "crash":
    case "power": {
      const crash = () => victim.crash(fault.kind === "power" ? "power" : "kill", fault.forMs);
      if (fault.promised) victim.afterPromise(crash);
      else crash();
      return true;
    }
    case "pause":
      process.pause();
      later(fault.forMs, () => process.resume());
      return true;
    case "clock":
      victim.jumpClock(fault.byMs);
      return true;
    case "slow_disk":
      disk.setSlow(fault.extraMs);
      later(fault.forMs, () => disk.setSlow(0));
      return true;
    case "disk_full":
      disk.fill(fault.freeBytes);
      later(fault.forMs, () => disk.setCapacity(null));
      return true;
    case "sync_error":
      disk.failSyncs(1);
      return true;
    case "read_error":
      if (!victim.damage(null)) return false;
      disk.failReads(1);
      return true;
    case "rot":
      return rot(victim, fault.place, fault.mask);
    case "misdirected_write":
      if (!victim.damage(null)) return false;
      disk.misdirectWrite(fault.how);
      return true;
    case "wipe":
      if (!victim.damage(null)) return false;
      victim.wipe(fault.forMs);
      return true;
    default:
      return unreachable(fault);
  }
}

/** Stops and continues a process, whichever runs on the machine, until the time is over. */
export function starve(
  process: () => SimProcess,
  { forMs, onMs, offMs }: Extract<Fault, { kind: "starve" }>,
  later: (afterMs: number, end: () => void) => void,
): void {
  const { scheduler } = process();
  const untilMs = scheduler.nowMs + forMs;
  const stop = () => {
    const stopped = process();
    stopped.pause();
    later(offMs, () => {
      stopped.resume();
      if (scheduler.nowMs < untilMs) later(onMs, stop);
    });
  };
  stop();
}

function rot(victim: Victim, place: number, mask: number): boolean {
  const files = victim.disk.durableFiles();
  let at = Math.floor(place * files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
  for (const { path, sizeBytes } of files) {
    if (at >= sizeBytes) at -= sizeBytes;
    else {
      if (!victim.damage(path)) return false;
      victim.disk.rot(path, at, mask);
      return true;
    }
  }
  return false;
}
