/**
 * PURE. Where new replicas go: a pure function of the brokers and of what they already carry, so
 * that every manager decides alike when it applies the command.
 *
 * Leaders are spread first, since a leader costs several times what a follower costs; the other
 * replicas go to the racks that the partition does not use yet, and among those to the brokers
 * that carry least. Racks come before load: a rack with few brokers carries more.
 */

import { assert } from "../base/assert.ts";

export interface PlacementBroker {
  readonly replicaId: string;
  /** Failure domain; brokers without one count as a domain each. */
  readonly rack: string;
  readonly alive: boolean;
  /** Being emptied: it gets nothing new. */
  readonly draining: boolean;
  /** Replicas placed on it, and partitions whose preferred leader it is. */
  readonly replicas: number;
  readonly leaders: number;
}

/** Alive, and not being emptied. */
export function isUsable({ alive, draining }: PlacementBroker): boolean {
  return alive && !draining;
}

/**
 * Replica ids for each of `partitions` new partitions, the preferred leader first. Brokers that
 * are being emptied are not used; dead ones only as far as there are not enough others. Needs at
 * least `replicas` brokers that are not being emptied.
 */
export function placePartitions(
  brokers: readonly PlacementBroker[],
  partitions: number,
  replicas: number,
): string[][] {
  const loads = brokers.filter(({ draining }) => !draining).map((broker) => ({ ...broker }));
  assert(loads.length >= replicas, "each replica has a broker of its own");
  loads.sort((left, right) => left.replicaId < right.replicaId ? -1 : 1);
  return Array.from({ length: partitions }, () => placeOne(loads, replicas));
}

export type Load = { -readonly [Field in keyof PlacementBroker]: PlacementBroker[Field] };

function placeOne(loads: readonly Load[], replicas: number): string[] {
  const leader = least(loads, (load) => [Number(!load.alive), load.leaders, load.replicas]);
  leader.leaders += 1;
  const chosen = [leader];
  while (chosen.length < replicas) {
    const rest = loads.filter((load) => !chosen.includes(load));
    chosen.push(least(rest, (load) => [
      Number(!load.alive),
      sharedRacks(load, chosen),
      load.replicas,
      load.leaders,
    ]));
  }
  for (const load of chosen) load.replicas += 1;
  return chosen.map((load) => load.replicaId);
}

export function sharedRacks(load: Load, chosen: readonly Load[]): number {
  if (load.rack === "") return 0;
  return chosen.filter((other) => other.rack === load.rack).length;
}

/** The first load whose costs are lowest, compared from left to right. */
export function least(loads: readonly Load[], costsOf: (load: Load) => readonly number[]): Load {
  let best = loads[0];
  let bestCosts = costsOf(best);
  for (const load of loads.slice(1)) {
    const costs = costsOf(load);
    const at = costs.findIndex((cost, index) => cost !== bestCosts[index]);
    if (at >= 0 && costs[at] < bestCosts[at]) [best, bestCosts] = [load, costs];
  }
  return best;
}
