/**
 * PURE. What the leading manager moves by itself: replicas of brokers that are being emptied or
 * have been dead for too long, and then what evens out the load. A pure function of the metadata
 * that returns a few moves; it is asked again and again, so nothing depends on a plan being
 * finished.
 *
 * Replicas are moved a few partitions at a time, since each move copies a log: first those that
 * share a rack although another one is free, then those that even out the load. The second kind
 * never shares a rack more than before, so the two come to an end. Leaderships are evened out when
 * no replica is on its way; that copies nothing.
 */

import type { Rearrangement } from "./moves.ts";
import { mayHold } from "./moves.ts";
import { isUsable, least, type Load, sharedRacks } from "./placement.ts";
import { lostMajority } from "./recoveries.ts";
import type { MetadataView, Partition } from "./state.ts";
import { placementBrokers } from "./topics.ts";

/**
 * `off`: nothing is moved to even out the load. `auto`: what nobody placed by hand is, while every
 * broker that holds something is alive. `all`: everything is.
 */
export type Rebalancing = "off" | "auto" | "all";

export interface UpkeepWish {
  /** Whether a dead broker has been so for so long that its replicas belong elsewhere. */
  readonly givenUp: (replicaId: string) => boolean;
  readonly rebalancing: Rebalancing;
  /** Partitions that may be on their way at the same time. */
  readonly atOnce: number;
}

/** Partitions whose voters are not the wanted ones yet, although nothing dead is in the way. */
export function onTheirWay(state: MetadataView): Partition[] {
  return allPartitions(state).filter((partition) =>
    !isSettled(partition) && !lostMajority(state, partition) &&
    partition.replicas.every((id) => state.brokerOf(id)?.alive === true)
  );
}

/** The moves to make now. */
export function planUpkeep(state: MetadataView, wish: UpkeepWish): Rearrangement[] {
  return new Planner(state, wish).plan();
}

function allPartitions(state: MetadataView): Partition[] {
  return state.sortedTopics().flatMap((topic) => topic.partitions);
}

function isSettled({ membershipIndex, voters, replicas }: Partition): boolean {
  return membershipIndex > 0 && voters.length === replicas.length &&
    replicas.every((id) => voters.includes(id));
}

class Planner {
  /** Brokers that may be given something, with what they will carry. */
  private readonly loads: Load[];
  private readonly moved = new Map<string, readonly string[]>();
  private readonly partitions: readonly Partition[];
  private readonly busy: number;
  private slots: number;

  constructor(private readonly state: MetadataView, private readonly wish: UpkeepWish) {
    this.loads = placementBrokers(state).filter(isUsable).map((load) => ({ ...load }));
    this.partitions = allPartitions(state);
    this.busy = onTheirWay(state).length;
    this.slots = Math.max(0, wish.atOnce - this.busy);
  }

  plan(): Rearrangement[] {
    for (const partition of this.partitions) this.replaceLost(partition);
    if (this.mayRebalance()) {
      while (this.slots > 0 && this.spreadOneOverRacks()) this.slots -= 1;
      this.evenOutReplicas();
      const still = this.busy === 0 && this.moved.size === 0;
      if (still || this.wish.atOnce === Infinity) this.evenOutLeaders();
    }
    return this.partitions.filter(({ groupId }) => this.moved.has(groupId)).map((partition) => ({
      groupId: partition.groupId,
      placedVersion: partition.placedVersion,
      replicas: this.replicasOf(partition),
    }));
  }

  private replicasOf(partition: Partition): readonly string[] {
    return this.moved.get(partition.groupId) ?? partition.replicas;
  }

  private isLost(replicaId: string): boolean {
    const broker = this.state.brokerOf(replicaId);
    if (broker === undefined || this.state.draining.has(broker.id)) return true;
    return !broker.alive && this.wish.givenUp(replicaId);
  }

  /** A partition that is on its way already takes no further slot. */
  private replaceLost(partition: Partition): void {
    const lost = partition.replicas.filter((id) => this.isLost(id));
    if (lost.length === 0 || lostMajority(this.state, partition)) return;
    const settled = isSettled(partition);
    if (settled && this.slots === 0) return;
    let replicas = partition.replicas;
    for (const id of lost) {
      const target = this.targetFor(partition, replicas, id);
      // What stays is better placed to lead than what has yet to be copied.
      if (target !== null) replicas = [...replicas.filter((other) => other !== id), target];
    }
    if (replicas === partition.replicas) return;
    if (settled) this.slots -= 1;
    this.move(partition, this.leadByLiving(replicas));
  }

  private leadByLiving(replicas: readonly string[]): readonly string[] {
    const first = replicas.find((id) => this.state.brokerOf(id)?.alive && !this.isLost(id));
    if (first === undefined) return replicas;
    return [first, ...replicas.filter((id) => id !== first)];
  }

  private targetFor(
    partition: Partition,
    replicas: readonly string[],
    leaving: string,
  ): string | null {
    const candidates = this.loads.filter(({ replicaId }) =>
      !replicas.includes(replicaId) && mayHold(this.state, replicaId, partition.groupId)
    );
    if (candidates.length === 0) return null;
    const staying = this.loads.filter(({ replicaId }) =>
      replicaId !== leaving && replicas.includes(replicaId)
    );
    const target = least(candidates, (load) => [sharedRacks(load, staying), load.replicas]);
    return target.replicaId;
  }

  private move(partition: Partition, replicas: readonly string[]): void {
    const before = this.replicasOf(partition);
    for (const load of this.loads) {
      const { replicaId } = load;
      load.replicas += Number(replicas.includes(replicaId)) - Number(before.includes(replicaId));
      load.leaders += Number(replicas[0] === replicaId) - Number(before[0] === replicaId);
    }
    this.moved.set(partition.groupId, replicas);
  }

  private mayRebalance(): boolean {
    if (this.wish.rebalancing === "all") return true;
    if (this.wish.rebalancing === "off") return false;
    return this.partitions.every(({ replicas }) =>
      replicas.every((id) => this.state.brokerOf(id)?.alive === true)
    );
  }

  private mayEvenOut(partition: Partition): boolean {
    return isSettled(partition) &&
      (this.wish.rebalancing === "all" || !this.state.pinned.has(partition.groupId)) &&
      partition.replicas.every((id) => this.state.brokerOf(id)?.alive === true && !this.isLost(id));
  }

  /** Moves one replica that shares its rack to a broker in a rack that is shared less. */
  private spreadOneOverRacks(): boolean {
    for (const partition of this.partitions) {
      if (!this.mayEvenOut(partition) || this.moved.has(partition.groupId)) continue;
      // The preferred leader stays where it can.
      for (const leaving of partition.replicas.toReversed()) {
        const target = this.freerRack(partition, leaving);
        if (target === null) continue;
        this.move(partition, partition.replicas.map((id) => id === leaving ? target : id));
        return true;
      }
    }
    return false;
  }

  private freerRack({ groupId, replicas }: Partition, leaving: string): string | null {
    const giver = this.loads.find(({ replicaId }) => replicaId === leaving)!;
    const staying = this.loads.filter(({ replicaId }) =>
      replicaId !== leaving && replicas.includes(replicaId)
    );
    const shared = sharedRacks(giver, staying);
    const freer = this.loads.filter((load) =>
      !replicas.includes(load.replicaId) && sharedRacks(load, staying) < shared &&
      mayHold(this.state, load.replicaId, groupId)
    );
    if (freer.length === 0) return null;
    return least(freer, (load) => [sharedRacks(load, staying), load.replicas]).replicaId;
  }

  private evenOutReplicas(): void {
    while (this.slots > 0 && this.evenOutOneReplica()) this.slots -= 1;
  }

  /** Moves one replica from a broker with at least two more to the one with fewer. */
  private evenOutOneReplica(): boolean {
    const byLoad = this.loads.toSorted((left, right) => right.replicas - left.replicas);
    for (const giver of byLoad) {
      for (const taker of byLoad.toReversed()) {
        if (giver.replicas - taker.replicas < 2) break;
        const partition = this.movable(giver, taker);
        if (partition === undefined) continue;
        const replicas = this.replicasOf(partition)
          .map((id) => id === giver.replicaId ? taker.replicaId : id);
        this.move(partition, replicas);
        return true;
      }
    }
    return false;
  }

  /** A partition whose replica may go from one broker to another; rather one that it follows. */
  private movable(giver: Load, taker: Load): Partition | undefined {
    const fitting = this.partitions.filter((partition) => {
      const replicas = this.replicasOf(partition);
      if (!replicas.includes(giver.replicaId) || replicas.includes(taker.replicaId)) return false;
      if (!this.mayEvenOut(partition) || this.moved.has(partition.groupId)) return false;
      const staying = this.loads.filter(({ replicaId }) =>
        replicaId !== giver.replicaId && replicas.includes(replicaId)
      );
      return sharedRacks(taker, staying) <= sharedRacks(giver, staying) &&
        mayHold(this.state, taker.replicaId, partition.groupId);
    });
    return fitting.find((partition) => partition.replicas[0] !== giver.replicaId) ?? fitting[0];
  }

  private evenOutLeaders(): void {
    let limit = this.partitions.length;
    while (limit > 0 && this.evenOutOneLeader()) limit -= 1;
  }

  private evenOutOneLeader(): boolean {
    for (const partition of this.partitions) {
      if (!this.mayEvenOut(partition)) continue;
      const replicas = this.replicasOf(partition);
      const members = this.loads.filter(({ replicaId }) => replicas.includes(replicaId));
      const first = members.find(({ replicaId }) => replicaId === replicas[0]);
      if (first === undefined || members.length < 2) continue;
      const better = least(members, (load) => [load.leaders]);
      if (first.leaders - better.leaders < 2) continue;
      const rest = replicas.filter((id) => id !== better.replicaId);
      this.move(partition, [better.replicaId, ...rest]);
      return true;
    }
    return false;
  }
}
