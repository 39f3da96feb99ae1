/**
 * PURE. Which members of consumer groups have been silent for their session timeouts, judged by
 * the leading manager on its own monotonic clock. As with brokers (`liveness.ts`) old news never
 * counts: a new leader counts afresh, and time in which this process was itself asleep does not
 * count against anybody.
 */

import type { MemberFields } from "./groups.ts";
import type { ConsumerGroup } from "./group_records.ts";

export class GroupLiveness {
  /** When each member was last heard or, before that, first waited for; by group, by member. */
  private readonly sinceMs = new Map<string, Map<string, number>>();
  private readonly heardOnce = new Set<string>();
  private judgedMs: number | null = null;

  /** `lookEveryMs`: how often {@link judge} is called; a longer gap is sleep. */
  constructor(private readonly lookEveryMs: number) {}

  startAfresh(): void {
    this.sinceMs.clear();
    this.heardOnce.clear();
    this.judgedMs = null;
  }

  heard(group: string, member: string, nowMs: number): void {
    this.membersOf(group).set(member, nowMs);
    this.heardOnce.add(`${group} ${member}`);
  }

  /** Monotonic time at which a member was last heard in this leadership, or null. */
  lastHeardMs(group: string, member: string): number | null {
    if (!this.heardOnce.has(`${group} ${member}`)) return null;
    return this.sinceMs.get(group)?.get(member) ?? null;
  }

  /** Who is to be expelled now. Forgets who is not a member any more. */
  judge(groups: ReadonlyMap<string, ConsumerGroup>, nowMs: number): MemberFields[] {
    const gapMs = nowMs - (this.judgedMs ?? nowMs);
    const asleepMs = gapMs > 2 * this.lookEveryMs ? gapMs - this.lookEveryMs : 0;
    this.judgedMs = nowMs;
    for (const group of this.sinceMs.keys()) {
      if (!groups.has(group)) this.forget(group);
    }
    return [...groups.values()].flatMap((group) => this.judgeGroup(group, nowMs, asleepMs));
  }

  private judgeGroup(
    { name: group, members }: ConsumerGroup,
    nowMs: number,
    asleepMs: number,
  ): MemberFields[] {
    if (members.length === 0) {
      this.forget(group);
      return [];
    }
    const known = this.membersOf(group);
    const present = new Set(members.map(({ id }) => id));
    for (const member of known.keys()) if (!present.has(member)) this.forget(group, member);
    return members.flatMap(({ id: member, sessionTimeoutMs }) => {
      const sinceMs = Math.min(nowMs, (known.get(member) ?? nowMs) + asleepMs);
      known.set(member, sinceMs);
      return nowMs - sinceMs >= sessionTimeoutMs ? [{ group, member }] : [];
    });
  }

  private forget(group: string, member?: string): void {
    const known = this.sinceMs.get(group);
    for (const one of member === undefined ? known?.keys() ?? [] : [member]) {
      known?.delete(one);
      this.heardOnce.delete(`${group} ${one}`);
    }
    if (known?.size === 0) this.sinceMs.delete(group);
  }

  private membersOf(group: string): Map<string, number> {
    const known = this.sinceMs.get(group) ?? new Map<string, number>();
    this.sinceMs.set(group, known);
    return known;
  }
}
