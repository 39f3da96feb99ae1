/**
 * What an operator, or a manager, does for a simulated cluster: moves leadership, changes the
 * members of groups, and brings a node that lost its disk back in under its new identity. Names
 * are unique among members, so the old identity goes in the same change: in some groups the new
 * one takes its vote at once, in others it is a learner until it has the log.
 */

import type { MembershipTarget, ReplicaId } from "../raft/types.ts";
import { settledOf } from "../broker/leading.ts";
import type { Replica } from "../replica/replica.ts";
import type { Cluster } from "./cluster.ts";
import type { SimNode } from "./node.ts";

/** How often the operator looks after the cluster. */
const ROUND_MS = 200;
/** A learner that lacks no more entries than this may vote. */
const LEARNER_LAG = 50;

export class Operator {
  /** Nodes that are to be the voters of a group, by number. */
  private readonly wanted: number[][];

  constructor(private readonly cluster: Cluster) {
    const everybody = cluster.nodes.map(({ number }) => number);
    this.wanted = cluster.groups.map(() => everybody);
  }

  start(): void {
    this.cluster.scheduler.after(ROUND_MS, "operator", () => {
      this.cluster.groups.forEach((_, group) => this.care(group));
      this.start();
    });
  }

  /** From now on these nodes are to be a group's voters. */
  want(group: number, voters: readonly number[]): void {
    this.wanted[group] = [...voters];
  }

  transfer(group: number, to: number): void {
    this.cluster.leader(group)?.transferLeadership(this.cluster.nodes[to].id);
  }

  /** Whether every group has the members it is to have. */
  get settled(): boolean {
    return this.cluster.groups.every((_, group) => {
      if (this.quarantined(group).length > 0) return false;
      const leader = this.cluster.leader(group);
      return leader !== null && this.nextOf(leader, group) === null;
    });
  }

  private care(group: number): void {
    const leader = this.cluster.leader(group);
    if (leader === null || this.release(leader, group)) return;
    const next = this.nextOf(leader, group);
    // A refusal (another change under way, leadership lost) is tried again in the next round.
    if (next !== null) leader.changeMembers(next).catch(() => {});
  }

  /** Nodes whose replica of a group is quarantined. */
  private quarantined(group: number): SimNode[] {
    const { name } = this.cluster.groups[group];
    return this.cluster.nodes.filter(({ hosted }) => hosted.quarantined.has(name));
  }

  /**
   * As `lib/broker/rebuilding.ts`: the group lets a quarantined replica go, and it begins anew.
   * Returns whether that is under way.
   */
  private release(leader: Replica, group: number): boolean {
    const [node] = this.quarantined(group).filter(({ running, process }) =>
      running && !process.paused
    );
    if (node === undefined) return false;
    const status = leader.status();
    const settled = settledOf(status);
    if (!status.readReady || settled === null) return true;
    const { membership, term } = status;
    if (membership.nodes[node.id] === undefined) {
      node.beginAgain(group, { index: settled.index, term });
      return true;
    }
    const known = Object.entries(membership.nodes).map(([id, info]) => ({ id, ...info }));
    const without = (ids: readonly ReplicaId[]) => ids.filter((id) => id !== node.id);
    const next = target(known, without(membership.voters), without(membership.learners));
    leader.changeMembers(next).catch(() => {});
    return true;
  }

  /** The next membership on the way to the wanted one; null: it is reached. */
  private nextOf(leader: Replica, group: number): MembershipTarget | null {
    const { membership, progress, last } = leader.status();
    if (membership.outgoing.length > 0) return null;
    const lost = this.quarantined(group);
    const wanted = this.wanted[group].map((number) => this.cluster.nodes[number])
      .filter((node) => !lost.includes(node));
    const ids = wanted.map(({ id }) => id);
    const isVoter = (id: ReplicaId) => membership.voters.includes(id);
    const missing = ids.filter((id) => !isVoter(id));
    const superfluous = membership.voters.filter((id) => !ids.includes(id));
    if (missing.length === 0 && superfluous.length === 0) {
      return membership.learners.length === 0 ? null : target(wanted, ids, []);
    }
    const behind = missing.filter((id) => {
      const match = progress.find((one) => one.id === id)?.match ?? 0;
      return !membership.learners.includes(id) || last.index - match > LEARNER_LAG;
    });
    if (behind.length === 0 || group % 2 === 0) return target(wanted, ids, []);
    if (behind.every((id) => membership.learners.includes(id))) return null;
    const newNames = this.namesOf(missing);
    const known = Object.entries(membership.nodes).map(([id, node]) => ({ id, ...node }));
    const staying = known.filter(({ id, name }) => isVoter(id) && !newNames.includes(name));
    return target([...staying, ...wanted], staying.map(({ id }) => id), missing);
  }

  private namesOf(ids: readonly ReplicaId[]): string[] {
    return this.cluster.nodes.filter(({ id }) => ids.includes(id)).map(({ name }) => name);
  }
}

type Member = Pick<SimNode, "id" | "name" | "address">;

function target(
  known: readonly Member[],
  voters: readonly ReplicaId[],
  learners: readonly ReplicaId[],
): MembershipTarget {
  const members = [...voters, ...learners];
  const nodes = known.filter(({ id }) => members.includes(id));
  return {
    voters: [...voters].sort(),
    learners: [...learners].sort(),
    nodes: Object.fromEntries(nodes.map(({ id, name, address }) => [id, { name, address }])),
  };
}
