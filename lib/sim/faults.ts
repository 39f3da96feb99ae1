/**
 * The faults of a simulation as plain data, drawn before it begins: a run is its seed, and a
 * failing one is made smaller by leaving faults out.
 *
 * One good copy always stays: what damages durable data (rot, misdirected writes, wiped disks,
 * failing reads and syncs) befalls one node only, the victim, in clusters where the others form a
 * quorum without it; see {@link mayLoseOne}.
 */

import { Prng } from "../base/prng.ts";
import {
  type FaultKind,
  HANDS_SALT,
  ONE_BY_ONE,
  READS_SALT,
  type ScheduledApart,
  type SimOptions,
  STARVE_SALT,
  VICTIMS_SALT,
} from "./options.ts";

/** How many there are of what a fault may name, and what makes it long or short. */
type Sizes = Pick<SimOptions, "nodes" | "groups" | "electionTimeoutMs" | "victims">;

/** Nodes are numbered from 0, groups too. All times are virtual milliseconds. */
export type Fault =
  /**
   * A process ends, by SIGKILL or together with its machine's power, and starts again. `leaderOf`:
   * not that node but the leader of a group. `promised`: not now but just after it next sent a vote
   * or an acknowledgement, when whatever it should have synced before is missing most; or just after
   * it stored a snapshot that its log has not adopted.
   */
  | {
    readonly kind: "crash" | "power";
    atMs: number;
    node: number;
    leaderOf: number | null;
    promised: boolean;
    forMs: number;
  }
  | { readonly kind: "pause"; atMs: number; node: number; leaderOf: number | null; forMs: number }
  /** Processors that are short: processes run for `onMs` and stand still for `offMs`, in turns. */
  | {
    readonly kind: "starve";
    atMs: number;
    nodes: number[];
    forMs: number;
    onMs: number;
    offMs: number;
  }
  /** Directed links, `[from, to]`, that carry nothing. */
  | { readonly kind: "partition"; atMs: number; forMs: number; links: Link[]; shape: Shape }
  /** Directed links that deliver late. */
  | { readonly kind: "clog"; atMs: number; forMs: number; links: Link[]; extraMs: number }
  | { readonly kind: "clock"; atMs: number; node: number; byMs: number }
  | { readonly kind: "slow_disk"; atMs: number; node: number; forMs: number; extraMs: number }
  | { readonly kind: "disk_full"; atMs: number; node: number; forMs: number; freeBytes: number }
  | { readonly kind: "sync_error" | "read_error"; atMs: number; node: number }
  /** `place` from 0 to 1 chooses among all durable bytes of the node. */
  | { readonly kind: "rot"; atMs: number; node: number; place: number; mask: number }
  | { readonly kind: "misdirected_write"; atMs: number; node: number; how: "lost" | "elsewhere" }
  /** The node loses its disk and comes back as somebody else. */
  | { readonly kind: "wipe"; atMs: number; node: number; forMs: number }
  /** The directory of a group is removed while the node is down. */
  | { readonly kind: "delete_group"; atMs: number; node: number; group: number; forMs: number }
  /** The disk is copied while the node runs, and the copy is put back some time later. */
  | { readonly kind: "put_back"; atMs: number; node: number; afterMs: number; forMs: number }
  /** A server is restarted, and its reads are answered under a lease from then on, or not. */
  | {
    readonly kind: "reads";
    readonly atMs: number;
    readonly node: number;
    readonly leases: boolean;
    readonly forMs: number;
  }
  /** A group's membership is asked to be these nodes. */
  | { readonly kind: "membership"; atMs: number; group: number; voters: number[] }
  | { readonly kind: "transfer"; atMs: number; group: number; to: number };

export type Link = readonly [from: number, to: number];

export const SHAPES = ["split", "one_way", "bridge", "ring", "isolate", "deaf", "mute"] as const;
export type Shape = typeof SHAPES[number];

/** Whether a cluster of `nodes` goes on when one of them is lost. */
export function mayLoseOne(nodes: number): boolean {
  return nodes >= 3;
}

/** The faults of a seed, in the order of their times. */
export function scheduleOf(seed: number, options: SimOptions): Fault[] {
  const random = new Prng(seed ^ 0x5eed);
  const victim = random.below(options.nodes);
  const kinds = ONE_BY_ONE.filter((kind): kind is Drawn => options.kinds.includes(kind))
    .filter((kind) => mayLoseOne(options.nodes) || !DAMAGING.includes(kind));
  const victims = victimsOf(seed, victim, options);
  const faults: Fault[] = [
    ...starvations(seed, options),
    ...handmade(seed, options, victim),
    ...rollingRestarts(seed, options),
  ];
  const inOrder = () => faults.sort((left, right) => left.atMs - right.atMs);
  if (options.faultEveryMs === null || kinds.length === 0) return inOrder();
  let atMs = options.electionTimeoutMs;
  for (;;) {
    atMs += Math.ceil(random.next() * 2 * options.faultEveryMs);
    if (atMs >= options.faultsMs) return inOrder();
    faults.push(drawFault(random, random.pick(kinds), atMs, victims(), options));
  }
}

/** Gives the node that the next damage befalls. */
function victimsOf(
  seed: number,
  first: number,
  { nodes, victims }: Pick<SimOptions, "nodes" | "victims">,
): () => number {
  if (victims === 1) return () => first;
  const random = new Prng(seed ^ VICTIMS_SALT);
  const second = (first + random.between(1, nodes - 1)) % nodes;
  return () => random.chance(0.5) ? first : second;
}

/** The servers of a store are restarted one after the other with another setting of its reads. */
function rollingRestarts(seed: number, options: SimOptions): Fault[] {
  if (!options.kinds.includes("reads") || options.faultEveryMs === null) return [];
  const random = new Prng(seed ^ READS_SALT);
  const { nodes, faultsMs, electionTimeoutMs } = options;
  const faults: Fault[] = [];
  let { leases } = options;
  for (let atMs = random.below(faultsMs); atMs < faultsMs;) {
    leases = !leases;
    for (let node = 0; node < nodes; node += 1) {
      const forMs = random.between(1, electionTimeoutMs);
      faults.push({ kind: "reads", atMs, node, leases, forMs });
      atMs += random.between(1, 2 * electionTimeoutMs);
    }
  }
  return faults.filter((fault) => fault.atMs < faultsMs);
}

/** A few times in which some or all nodes get only a part of their processors. */
export function starvations(
  seed: number,
  options: Pick<SimOptions, "faultEveryMs" | "electionTimeoutMs" | "faultsMs" | "nodes"> & {
    readonly kinds: readonly string[];
  },
): Extract<Fault, { kind: "starve" }>[] {
  if (!options.kinds.includes("starve") || options.faultEveryMs === null) return [];
  const random = new Prng(seed ^ STARVE_SALT);
  const { electionTimeoutMs, faultsMs, nodes } = options;
  const all = [...Array(nodes).keys()];
  return Array.from({ length: random.between(1, 3) }, () => ({
    kind: "starve",
    atMs: Math.floor(random.next() * faultsMs),
    nodes: random.chance(0.5) ? all : random.shuffled(all).slice(0, random.between(1, nodes)),
    forMs: random.between(electionTimeoutMs, 8 * electionTimeoutMs),
    onMs: random.between(5, 50),
    offMs: random.between(20, electionTimeoutMs),
  }));
}

/** One or two times in which files of the victim are removed, or old ones put back. */
function handmade(seed: number, options: SimOptions, node: number): Fault[] {
  const { electionTimeoutMs, faultsMs, groups, nodes } = options;
  if (options.faultEveryMs === null || !mayLoseOne(nodes)) return [];
  const random = new Prng(seed ^ HANDS_SALT);
  const faults: Fault[] = [];
  for (const kind of ["delete_group", "put_back"] as const) {
    for (let count = random.between(1, 2); count > 0; count -= 1) {
      const atMs = Math.floor(random.next() * faultsMs);
      const forMs = random.between(10, 4 * electionTimeoutMs);
      const group = random.below(groups);
      const afterMs = random.between(1, 8 * electionTimeoutMs);
      if (!options.kinds.includes(kind)) continue;
      faults.push(
        kind === "put_back"
          ? { kind, atMs, node, afterMs, forMs }
          : { kind, atMs, node, group, forMs },
      );
    }
  }
  return faults;
}

type Drawn = Exclude<FaultKind, ScheduledApart>;

const DAMAGING: readonly FaultKind[] = [
  "sync_error",
  "read_error",
  "rot",
  "misdirected_write",
  "wipe",
];

/** Draws what a fault of a kind does; damaging ones befall the `victim`. */
export function drawFault(
  random: Prng,
  kind: Drawn,
  atMs: number,
  victim: number,
  { nodes, groups, electionTimeoutMs, victims }: Sizes,
): Fault {
  const node = DAMAGING.includes(kind) ? victim : random.below(nodes);
  const forMs = random.between(10, 4 * electionTimeoutMs);
  const leaderOf = () => random.chance(0.5) ? random.below(groups) : null;
  switch (kind) {
    case "crash":
    case "power":
      return { kind, atMs, node, leaderOf: leaderOf(), promised: random.chance(0.3), forMs };
    case "pause":
      return { kind, atMs, node, leaderOf: leaderOf(), forMs };
    case "wipe":
      return { kind, atMs, node, forMs };
    case "partition": {
      const shape = random.pick(SHAPES);
      return { kind, atMs, forMs, shape, links: linksOf(random, shape, nodes) };
    }
    case "clog": {
      const links = everyLink(nodes).filter(() => random.chance(0.3));
      return { kind, atMs, forMs, links, extraMs: random.between(1, electionTimeoutMs) };
    }
    case "clock":
      return { kind, atMs, node, byMs: random.between(-100_000, 100_000) };
    case "slow_disk":
      return { kind, atMs, node, forMs, extraMs: random.pick([5, 50, electionTimeoutMs]) };
    case "disk_full":
      return { kind, atMs, node, forMs, freeBytes: random.pick([0, 100, 3_000]) };
    case "sync_error":
    case "read_error":
      return { kind, atMs, node };
    case "rot":
      return { kind, atMs, node, place: random.next(), mask: 1 << random.below(8) };
    case "misdirected_write":
      return { kind, atMs, node, how: random.pick(["lost", "elsewhere"]) };
    case "membership": {
      const voters = random.shuffled([...Array(nodes).keys()]);
      return { kind, atMs, group: random.below(groups), voters: keepSome(random, voters, victims) };
    }
    case "transfer":
      return { kind, atMs, group: random.below(groups), to: node };
  }
}

/** So many that those damaged are a minority of them. */
function keepSome(random: Prng, nodes: number[], victims: number): number[] {
  const least = Math.min(nodes.length, 2 * victims + 1);
  return nodes.slice(0, random.between(least, nodes.length)).sort((left, right) => left - right);
}

function everyLink(nodes: number): Link[] {
  const all = [...Array(nodes).keys()];
  return all.flatMap((from) => all.filter((to) => to !== from).map((to) => [from, to] as const));
}

/** The directed links that a partition of some shape cuts. */
export function linksOf(random: Prng, shape: Shape, nodes: number): Link[] {
  const links = everyLink(nodes);
  const order = random.shuffled([...Array(nodes).keys()]);
  /** Position of a node in a random order: which side it is on. */
  const rank = new Map(order.map((node, position) => [node, position]));
  const position = (node: number) => rank.get(node) as number;
  const border = random.between(1, Math.max(1, nodes - 1));
  const side = (node: number) => position(node) < border;
  switch (shape) {
    case "split":
      return links.filter(([from, to]) => side(from) !== side(to));
    case "one_way":
      return links.filter(([from, to]) => side(from) && !side(to));
    case "bridge": {
      const middle = order[0];
      const half = Math.ceil(nodes / 2);
      const left = (node: number) => position(node) <= half;
      return links.filter(([from, to]) =>
        from !== middle && to !== middle && left(from) !== left(to)
      );
    }
    case "ring":
      return links.filter(([from, to]) => {
        const distance = Math.abs(position(from) - position(to));
        return distance !== 1 && distance !== nodes - 1;
      });
    case "isolate":
      return links.filter(([from, to]) => from === order[0] || to === order[0]);
    case "deaf":
      return links.filter(([, to]) => to === order[0]);
    case "mute":
      return links.filter(([from]) => from === order[0]);
  }
}
