/**
 * The faults of real processes. Each begins, lasts, and ends; whether it was felt is measured, not
 * assumed: bytes that a cut link held, syncs that were slow, writes that found no room.
 */

import { eventually, sleep } from "../e2e/harness.ts";
import type { Dice } from "./dice.ts";
import { ended, type Fleet, type Server } from "./fleet.ts";
import type { FaultName } from "./settings.ts";
import type { ShimControl, Word } from "./shim.ts";

/** A fault that lasts. */
export interface Lasting {
  /** What was done to whom, for the story of a run. */
  readonly what: string;
  /** The servers in its hands; links that are cut have nobody in theirs. */
  readonly servers: readonly Server[];
  /**
   * A replica may be lost by it and has to be rebuilt from the others: until that is done no
   * second one may be lost.
   */
  readonly costsCopy?: boolean;
  /** Ends it, sees everything whole again, and tells whether it was felt. */
  end(): Promise<boolean>;
}

/** Begins a fault; `victim` is a server that no other fault has in hand. */
type Begin = (fleet: Fleet, dice: Dice, victim: Server) => Promise<Lasting> | Lasting;

export const FAULTS: Readonly<Record<FaultName, Begin>> = {
  "kill": kill,
  "power": power,
  "pause": pause,
  "partition": partition,
  "one-way": oneWay,
  "slow-disk": slowDisk,
  "disk-full": diskFull,
  "io-error": ioError,
  "clock": clock,
};

/** A whole cluster goes down at once this often. */
const KILL_ALL = 0.15;

async function kill(fleet: Fleet, dice: Dice, victim: Server): Promise<Lasting> {
  const idle = fleet.servers.filter(({ busy }) => !busy);
  const servers = dice.chance(KILL_ALL) ? idle : [victim];
  await Promise.all(servers.map((server) => fleet.kill(server)));
  return {
    what: `kill -9 of ${namesOf(servers)}`,
    servers,
    async end() {
      for (const server of servers) fleet.restart(server);
      await Promise.all(servers.map((server) => fleet.listening(server)));
      return true;
    },
  };
}

/** So much longer a sync takes before the power goes: there is always something not synced. */
const SYNC_BEFORE_POWER_LOSS_MS = 300;

/**
 * The disks become slow, and then the power of all servers goes at one moment, with everything that
 * they have not synced.
 */
function power(fleet: Fleet, _: Dice, __: Server): Lasting {
  const servers = fleet.servers.filter(({ busy }) => !busy);
  for (const server of servers) shimOf(server).set("syncDelayMs", SYNC_BEFORE_POWER_LOSS_MS);
  return {
    what: `the power of ${namesOf(servers)} is about to go`,
    servers,
    async end() {
      await Promise.all(servers.map((server) => fleet.kill(server)));
      let lost = 0;
      for (const server of servers) {
        const shim = shimOf(server);
        shim.set("syncDelayMs", 0);
        lost += shim.losePower();
        fleet.restart(server);
      }
      await Promise.all(servers.map((server) => fleet.listening(server)));
      return lost > 0;
    },
  };
}

async function pause(_: Fleet, __: Dice, victim: Server): Promise<Lasting> {
  victim.process.signal("SIGSTOP");
  await eventually(`the stop of ${victim.name}`, () => isStopped(victim.process.pid) || null);
  return {
    what: `SIGSTOP of ${victim.name}`,
    servers: [victim],
    end() {
      victim.process.signal("SIGCONT");
      return Promise.resolve(true);
    },
  };
}

/** Where the system tells it; elsewhere the signal is believed. */
function isStopped(pid: number): boolean {
  if (Deno.build.os !== "linux") return true;
  const status = Deno.readTextFileSync(`/proc/${pid}/stat`);
  return status.slice(status.lastIndexOf(")") + 2)[0] === "T";
}

/** Both ways: one alone, two halves, or halves that share one server (a bridge). */
function partition(fleet: Fleet, dice: Dice, victim: Server): Lasting {
  const others = dice.shuffled(fleet.names.filter((name) => name !== victim.name));
  const half = Math.floor(others.length / 2);
  const shape = dice.pick(["alone", "halves", "bridge"]);
  const one = shape === "alone"
    ? [victim.name]
    : shape === "halves"
    ? [victim.name, ...others.slice(0, half)]
    : others.slice(0, half);
  const other = shape === "alone" ? others : others.slice(half);
  fleet.links.separate(one, other);
  return cutLinks(fleet, `${shape}: ${one} | ${other}`);
}

/** One way only: nobody hears it, it hears nobody, or some links are deaf at random. */
function oneWay(fleet: Fleet, dice: Dice, victim: Server): Lasting {
  const others = fleet.names.filter((name) => name !== victim.name);
  const shape = dice.pick(["mute", "deaf", "some"]);
  const cuts: [string, string][] = [];
  for (const other of others) {
    if (shape === "mute") cuts.push([victim.name, other]);
    else if (shape === "deaf") cuts.push([other, victim.name]);
    else cuts.push(dice.chance(0.5) ? [victim.name, other] : [other, victim.name]);
  }
  for (const [from, to] of cuts) fleet.links.cut(from, to);
  return cutLinks(fleet, `${shape}: ${cuts.map(([from, to]) => `${from}>${to}`)}`);
}

function cutLinks(fleet: Fleet, what: string): Lasting {
  const before = fleet.links.held;
  return {
    what: `cut ${what}`,
    servers: [],
    end() {
      const felt = fleet.links.held > before;
      fleet.links.heal();
      return Promise.resolve(felt);
    },
  };
}

function slowDisk(_: Fleet, dice: Dice, victim: Server): Lasting {
  const shim = shimOf(victim);
  const delayMs = dice.pick([20, 100, 400, 1_500]);
  const slow = countOf(shim, "syncsDelayed");
  shim.set("syncDelayMs", delayMs);
  return {
    what: `each sync of ${victim.name} takes ${delayMs} ms more`,
    servers: [victim],
    end() {
      shim.set("syncDelayMs", 0);
      return Promise.resolve(slow() > 0);
    },
  };
}

function diskFull(_: Fleet, __: Dice, victim: Server): Lasting {
  const { disk, shim } = victim;
  const refused = shim === null ? null : countOf(shim, "writesWithoutSpace");
  disk!.fill();
  return {
    what: `the disk of ${victim.name} is full`,
    servers: [victim],
    end() {
      disk!.free();
      return Promise.resolve(refused === null || refused() > 0);
    },
  };
}

/** How long a process may take to end after an error of its disk. */
const END_MS = 15_000;
/** How often the error is one of a read, and how many reads of a start may go well before it. */
const READ_ERROR = 0.34;
const SPARED_READS = 12;
/** More than a fault's time has room for. */
const MANY = 1_000_000;

function ioError(fleet: Fleet, dice: Dice, victim: Server): Lasting | Promise<Lasting> {
  const shim = shimOf(victim);
  if (dice.chance(READ_ERROR)) return readError(fleet, dice, victim, shim);
  const [word, counter, call] = dice.chance(0.5)
    ? ["syncsToFail", "syncsFailed", "sync"] as const
    : ["writesToFail", "writesFailed", "write"] as const;
  const failed = countOf(shim, counter);
  // Writes that take only half of their bytes ask for nothing but a loop.
  const halves = dice.chance(0.5);
  if (halves) shim.set("writesToShorten", MANY);
  victim.wanted = false;
  shim.set(word, 1);
  const what = `EIO from a ${call} of ${victim.name}${halves ? ", whose writes take half" : ""}`;
  return {
    what,
    servers: [victim],
    async end() {
      shim.set(word, 0);
      shim.set("writesToShorten", 0);
      // The library takes an error first and counts it then.
      await sleep(20);
      // A server that had nothing to write has met no error, and goes on.
      victim.wanted = failed() === 0;
      if (victim.wanted) return false;
      await ended(victim, what, END_MS);
      fleet.restart(victim);
      await fleet.listening(victim);
      return true;
    },
  };
}

/** A read of a server's start fails: what cannot be read counts as rot. */
async function readError(
  fleet: Fleet,
  dice: Dice,
  victim: Server,
  shim: ShimControl,
): Promise<Lasting> {
  const failed = countOf(shim, "readsFailed");
  const spared = dice.between(0, SPARED_READS);
  await fleet.kill(victim);
  shim.set("readsToSpare", spared);
  shim.set("readsToFail", 1);
  fleet.restart(victim);
  victim.wanted = false;
  return {
    what: `EIO from read ${spared + 1} of ${victim.name} when it starts`,
    servers: [victim],
    costsCopy: true,
    async end() {
      shim.set("readsToFail", 0);
      shim.set("readsToSpare", 0);
      await sleep(20);
      // Whether it can go on depends on what it was about to read.
      if (failed() > 0 && victim.process.exited) fleet.restart(victim);
      victim.wanted = true;
      await fleet.listening(victim);
      return failed() > 0;
    },
  };
}

/**
 * The time of day jumps, far, either way; the monotonic clock jumps forward, as after a pause that
 * nobody noticed. What waits inside the process for a moment of that clock then waits longer by
 * the jump, so it stays short.
 */
function clock(_: Fleet, dice: Dice, victim: Server): Lasting {
  const shim = shimOf(victim);
  const moved = countOf(shim, "clockReadingsMoved");
  const wallMs = dice.pick([-1, 1]) * dice.pick([300, 5_000, 3_600_000, 864_000_000]);
  const monotonicMs = dice.pick([0, 0, 200, 1_000]);
  shim.set("wallOffsetMs", wallMs);
  shim.set("monotonicOffsetMs", shim.get("monotonicOffsetMs") + monotonicMs);
  return {
    what: `the clock of ${victim.name} jumps by ${wallMs} ms, the monotonic by ${monotonicMs} ms`,
    servers: [victim],
    end() {
      shim.set("wallOffsetMs", 0);
      return Promise.resolve(moved() > 0);
    },
  };
}

/** What a counter of the library gained since now. */
function countOf(shim: ShimControl, word: Word): () => number {
  const before = shim.get(word);
  return () => shim.get(word) - before;
}

function shimOf({ name, shim }: Server): ShimControl {
  if (shim === null) throw new Error(`${name} runs without the preloaded library`);
  return shim;
}

function namesOf(servers: readonly Server[]): string {
  return servers.map(({ name }) => name).join(",");
}
