/** What a seed decides about a simulation before it begins: its size and how bad its world is. */

import { limits } from "../base/limits.ts";
import { Prng } from "../base/prng.ts";
import { type LinkOptions, perfectLink } from "./network.ts";

/** What may run on a cluster of hosts that the simulator puts together. */
export const GROUP_SYSTEMS = ["atm", "kv", "queue"] as const;
export type GroupSystemName = typeof GROUP_SYSTEMS[number];

/** `cluster`: whole servers with managers and brokers, see `deployment/`. */
export const SYSTEMS = [...GROUP_SYSTEMS, "cluster"] as const;
export type SystemName = typeof SYSTEMS[number];

export interface SimOptions {
  readonly system: GroupSystemName;
  /** From 1 to 7. */
  readonly nodes: number;
  /** From 1 to 16. */
  readonly groups: number;
  readonly clients: number;
  readonly heartbeatMs: number;
  readonly electionTimeoutMs: number;
  readonly link: LinkOptions;
  /** Largest error of a monotonic clock's rate, such as 0.01. */
  readonly clockError: number;
  /** Length of an event-loop turn. */
  readonly turnMs: number;
  readonly syncMs: readonly [number, number];
  readonly segmentBytes: number;
  /** Bytes of entries in one message; small ones leave followers between an old term and a new. */
  readonly appendBytes: number;
  /** Messages with entries that may be under way to one follower. */
  readonly inflightMessages: number;
  /** Bytes of old entries that a core keeps in memory; without them it reads its log. */
  readonly cacheBytes: number;
  /** Nodes whose durable data may be damaged: 2 only of 5 nodes and more. */
  readonly victims: number;
  /** Whether the store's reads are answered under leases, at first. */
  readonly leases: boolean;
  /** Bytes of a checkpoint that are written at a time. */
  readonly sliceBytes: number;
  /** Virtual time under faults. */
  readonly faultsMs: number;
  /** Mean virtual time from one fault to the next; null for none. */
  readonly faultEveryMs: number | null;
  /** Kinds of faults that may happen. */
  readonly kinds: readonly FaultKind[];
}

export const FAULT_KINDS = [
  "crash",
  "power",
  "pause",
  "partition",
  "clog",
  "clock",
  "slow_disk",
  "disk_full",
  "sync_error",
  "read_error",
  "rot",
  "misdirected_write",
  "wipe",
  "membership",
  "transfer",
  "starve",
  "delete_group",
  "put_back",
  "reads",
] as const;

export type FaultKind = typeof FAULT_KINDS[number];

/** Kinds of which each fault is drawn by itself; the others have a schedule of their own. */
export type ScheduledApart = "starve" | "delete_group" | "put_back" | "reads";
const APART: readonly FaultKind[] = ["starve", "delete_group", "put_back", "reads"];
export const ONE_BY_ONE: readonly FaultKind[] = FAULT_KINDS.filter((kind) => !APART.includes(kind));
/** Tells the source of randomness for starvation from that for the rest. */
export const STARVE_SALT = 0x57a12e;
/** The same for files that a person removes or puts back. */
export const HANDS_SALT = 0x4a2d5;
/** The same for restarts with another setting of reads, and for how many nodes are damaged. */
export const READS_SALT = 0x4ead5;
export const VICTIMS_SALT = 0x71c71;

/** The options of a seed; `overrides` replace single ones. */
export function optionsOf(seed: number, overrides: Partial<SimOptions> = {}): SimOptions {
  const { system = "atm" } = overrides;
  const random = new Prng(seed);
  const nodes = random.pick([1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7]);
  const groups = random.chance(0.6) ? random.between(1, 3) : random.between(4, 16);
  const calm = random.chance(0.1);
  const heartbeatMs = random.pick([30, 50, 100]);
  const drawn: Omit<SimOptions, "leases" | "sliceBytes" | "victims"> = {
    system,
    nodes,
    groups,
    clients: random.between(1, 4),
    heartbeatMs,
    electionTimeoutMs: heartbeatMs * random.between(4, 8),
    link: linkOf(random, heartbeatMs),
    clockError: random.pick([0, 0.001, 0.01]),
    turnMs: random.pick([0.01, 0.1, 1]),
    syncMs: random.pick([[0.1, 0.5], [0.5, 3], [1, 20]] as const),
    segmentBytes: random.pick([2_048, 8_192, 65_536]),
    appendBytes: random.pick([1, 300, limits.appendBytes]),
    inflightMessages: random.pick([1, 4, limits.inflightMessages]),
    cacheBytes: random.pick([0, 1_000, limits.entryCacheBytes]),
    faultsMs: 6_000,
    faultEveryMs: calm ? null : random.pick([200, 500, 1_500]),
    kinds: random.chance(0.3) ? ONE_BY_ONE : ONE_BY_ONE.filter(() => random.chance(0.5)),
  };
  // Drawn last: what a seed means to the other systems stays as it is.
  const leases = system === "kv" && random.chance(0.5);
  // From a source of its own, for the same reason.
  const starves = new Prng(seed ^ STARVE_SALT).chance(0.3);
  const kinds: FaultKind[] = starves ? [...drawn.kinds, "starve"] : [...drawn.kinds];
  const hands = new Prng(seed ^ HANDS_SALT);
  for (const kind of ["delete_group", "put_back"] as const) {
    if (hands.chance(0.2)) kinds.push(kind);
  }
  const sliceBytes = random.pick([100, 1_000, limits.checkpointSliceBytes]);
  if (system === "kv" && new Prng(seed ^ READS_SALT).chance(0.3)) kinds.push("reads");
  const victims = nodes >= 5 && new Prng(seed ^ VICTIMS_SALT).chance(0.5) ? 2 : 1;
  return { ...drawn, kinds, leases, sliceBytes, victims, ...overrides };
}

function linkOf(random: Prng, heartbeatMs: number): LinkOptions {
  if (random.chance(0.3)) return perfectLink;
  return {
    loss: random.chance(0.5) ? random.next() * 0.05 : random.next() * 0.3,
    replay: random.chance(0.5) ? 0 : random.next() * 0.5,
    replayDelayMs: random.pick([10, 100, 2_000]),
    delayMs: random.pick([[0.1, 0.5], [1, 5], [1, heartbeatMs]] as const),
    reorder: random.chance(0.5),
  };
}
