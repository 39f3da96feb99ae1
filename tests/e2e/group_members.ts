/** Members of a consumer group as real processes, and what they printed. */

import { eventually, type Running } from "./harness.ts";
import type { QueueCluster } from "./queue_cluster.ts";

export interface Printed {
  readonly partition: number;
  readonly offset: number;
  readonly value: string;
}

/** A `trilog consume --group` that goes on. */
export class GroupMember {
  readonly process: Running;
  private readonly parsed: Printed[] = [];

  constructor(cluster: QueueCluster, topic: string, group: string, ...flags: string[]) {
    const args = ["consume", topic, "--group", group, "--follow", "--json", ...flags];
    this.process = cluster.start(...args);
  }

  get printed(): readonly Printed[] {
    const lines = this.process.lines("stdout");
    for (let at = this.parsed.length; at < lines.length; at += 1) {
      this.parsed.push(JSON.parse(lines[at]));
    }
    return this.parsed;
  }

  get count(): number {
    return this.process.lines("stdout").length;
  }

  /** Ctrl-C: it commits what it has printed and leaves. */
  async leave(): Promise<void> {
    this.process.signal("SIGINT");
    const status = await this.process.status();
    if (status !== 130) throw new Error(`consume ended with ${status}: ${this.errors}`);
  }

  private get errors(): string {
    return this.process.text("stderr");
  }
}

/** The part of `group describe --json` that tests look at. */
export interface GroupView {
  readonly state: string;
  readonly members: readonly { readonly id: string; readonly client: string }[];
  readonly partitions: readonly {
    readonly partition: number;
    readonly committed: number | null;
    readonly end: number;
    readonly lag: number;
    readonly owner: string | null;
  }[];
}

export async function describeGroup(cluster: QueueCluster, group: string): Promise<GroupView> {
  return JSON.parse(await cluster.done(["group", "describe", group, "--json"]));
}

/** Waits until the group has that many members and every partition its owner. */
export async function settled(
  cluster: QueueCluster,
  group: string,
  members: number,
): Promise<GroupView> {
  return await eventually(`${members} members of ${group} to share its partitions`, async () => {
    const view = await describeGroup(cluster, group);
    const owners = new Set(view.partitions.map(({ owner }) => owner));
    const shared = view.partitions.every(({ owner }) => owner !== null);
    const done = view.state === "stable" && view.members.length === members && shared;
    return done && owners.size === Math.min(members, view.partitions.length) ? view : null;
  });
}

/** What was printed by all of them together. */
export class Tally {
  private readonly times = new Map<string, number>();

  constructor(members: readonly { readonly printed: readonly Printed[] }[]) {
    for (const { partition, offset } of members.flatMap(({ printed }) => printed)) {
      const key = `${partition}/${offset}`;
      this.times.set(key, (this.times.get(key) ?? 0) + 1);
    }
  }

  /** Different messages. */
  get distinct(): number {
    return this.times.size;
  }

  /** `partition/offset` of those that came more than once. */
  get repeated(): string[] {
    return [...this.times].filter(([, times]) => times > 1).map(([key]) => key);
  }

  /** How often one message came. */
  timesOf(partition: number, offset: number): number {
    return this.times.get(`${partition}/${offset}`) ?? 0;
  }
}

/** Places where a member printed a partition's messages out of order. */
export function disorder({ printed }: { readonly printed: readonly Printed[] }): Printed[] {
  const last = new Map<number, number>();
  return printed.filter(({ partition, offset }) => {
    const before = last.get(partition) ?? -1;
    last.set(partition, offset);
    return offset <= before;
  });
}
