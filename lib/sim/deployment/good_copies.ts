/**
 * The rule that a good copy of everything stays: of each group's replicas only so many may be
 * damaged at a time as the group can lose. A damaged replica counts as good again when it began
 * anew after the damage and has, as a voter, everything that is committed.
 *
 * Damage that no process has noticed yet stays damage: its other copies are spared until the end.
 */

import { limits } from "../../base/limits.ts";
import { raftGroup } from "../../broker/hosting_notes.ts";
import type { MetadataView } from "../../manager/state.ts";
import type { Deployment } from "./deployment.ts";
import type { Machine } from "./machine.ts";
import { METADATA_GROUP } from "./servers.ts";

interface Damage {
  readonly machine: Machine;
  readonly group: string;
  /** Lives of the replica, and the identity of its machine, before the damage. */
  readonly lives: number;
  readonly replicaId: string | null;
}

export class GoodCopies {
  private damage: Damage[] = [];

  constructor(private readonly deployment: Deployment) {}

  /** Notes damage of some groups of a machine, or of all for null; false: it must not happen. */
  mayDamage(machine: Machine, groups: readonly string[] | null): boolean {
    this.damage = this.damage.filter((one) => !this.isRepaired(one));
    const { metadata } = this.deployment;
    // Without a manager that runs, it cannot be told what a machine was chosen for.
    if (metadata === null) return false;
    if (groups === null && unregistered(machine, this.deployment, metadata)) return false;
    const hurt = groups ?? [...new Set([...machine.lives.keys(), ...chosenFor(machine, metadata)])];
    const spared = hurt.every((group) =>
      this.others(machine, group) + this.lostMembers(group) < this.mayLose(group)
    );
    if (!spared) return false;
    for (const group of hurt) this.note(machine, group);
    if (groups === null) machine.damaged.add("*");
    return true;
  }

  /** A machine's replica of a group is damaged, whatever the rule says. */
  note(machine: Machine, group: string): void {
    const lives = machine.lives.get(group) ?? 0;
    this.damage.push({ machine, group, lives, replicaId: machine.lastReplicaId });
    machine.damaged.add(group);
  }

  /** Whether any replica of a group may be damaged. */
  isHurt(group: string): boolean {
    this.damage = this.damage.filter((one) => !this.isRepaired(one));
    return this.damage.some((one) => one.group === group);
  }

  /** How many other machines have a damaged replica of a group. */
  private others(machine: Machine, group: string): number {
    const machines = this.damage.filter((one) => one.group === group).map(({ machine }) => machine);
    return new Set(machines.filter((other) => other !== machine)).size;
  }

  /**
   * Members of a partition whose disks are gone: managers may have chosen a broker as a founder
   * before its new identity was registered.
   */
  private lostMembers(group: string): number {
    const { metadata, machines } = this.deployment;
    const placed = metadata?.partitionOf(group.slice(0, group.lastIndexOf("@")));
    if (placed === undefined) return 0;
    const { voters, founders } = placed.topic.partitions[placed.partition];
    const members = voters.length > 0 ? voters : founders;
    const there = new Set(machines.map(({ lastReplicaId }) => lastReplicaId));
    return members.filter((id) => !there.has(id)).length;
  }

  private mayLose(group: string): number {
    return Math.floor((this.voters(group) - 1) / 2);
  }

  /** How many replicas of a group vote, as far as that is certain: of a recovered one, at first one. */
  private voters(group: string): number {
    const { options, metadata } = this.deployment;
    if (group === METADATA_GROUP) return options.managers;
    const placed = metadata?.partitionOf(group.slice(0, group.lastIndexOf("@")));
    const partition = placed?.topic.partitions[placed.partition];
    const led = this.deployment.leader(group)?.replica.raft.membership.voters;
    const recorded = partition === undefined || partition.voters.length === 0
      ? partition?.founders
      : partition.voters;
    const counts = [recorded, led].flatMap((voters) => voters === undefined ? [] : voters.length);
    return Math.min(limits.partitionReplicas, ...counts);
  }

  private isRepaired({ machine, group, lives, replicaId }: Damage): boolean {
    const leader = this.deployment.leader(group)?.replica;
    const id = machine.replicaId;
    if (leader === undefined || id === null) return false;
    const { voters, outgoing } = leader.raft.membership;
    if (outgoing.length > 0) return false;
    const replica = machine.host?.replica(group);
    const anew = id !== replicaId || (machine.lives.get(group) ?? 0) > lives;
    if (!anew || replica === undefined || !voters.includes(id)) return false;
    return replica.appliedIndex >= leader.raft.commitIndex;
  }
}

/** Groups that a broker is to be a member of, whether or not it has made its replica yet. */
function chosenFor({ lastReplicaId }: Machine, metadata: MetadataView): string[] {
  if (lastReplicaId === null) return [];
  return metadata.sortedTopics().flatMap(({ partitions }) => partitions)
    .filter(({ voters, founders, replicas }) =>
      [...voters, ...founders, ...replicas].includes(lastReplicaId)
    ).map(raftGroup);
}

/** Whether another broker has a disk that the managers do not know yet: they may choose its old one. */
function unregistered(machine: Machine, { machines }: Deployment, metadata: MetadataView): boolean {
  return machines.some(({ name, lastReplicaId }) => {
    const known = metadata.brokers.get(name);
    return name !== machine.name && known !== undefined && known.replicaId !== lastReplicaId;
  });
}
