/** A partition's replica that takes part in its group, and what waits for its messages. */

import type { Clock, Timer } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Replica } from "../replica/replica.ts";
import type { PartitionMachine } from "./partition.ts";

/** Somebody who waits for the partition to go beyond an offset. */
interface Waiter {
  readonly offset: number;
  readonly wake: () => void;
}

export interface PartitionIdentity {
  readonly groupId: string;
  readonly epoch: number;
  readonly topic: string;
  readonly partition: number;
}

export class ServedPartition implements PartitionIdentity {
  readonly groupId: string;
  readonly epoch: number;
  readonly topic: string;
  readonly partition: number;
  /** Somebody here has asked Raft for another membership and waits for it. */
  changingMembers = false;
  private readonly waiters = new Set<Waiter>();

  constructor(
    identity: PartitionIdentity,
    readonly machine: PartitionMachine,
    readonly replica: Replica,
    private readonly clock: Clock,
  ) {
    this.groupId = identity.groupId;
    this.epoch = identity.epoch;
    this.topic = identity.topic;
    this.partition = identity.partition;
    replica.onApplied(() => this.wakeReached());
  }

  /** `TOPIC/PARTITION`, for people. */
  get label(): string {
    return `${this.topic}/${this.partition}`;
  }

  /**
   * Offset of the first message that can be read here: that of the machine, unless this replica had
   * to drop more on a full disk than the group has agreed on yet (`Retention`).
   */
  get startOffset(): number {
    const { machine, replica } = this;
    return Math.max(machine.startOffset, machine.offsetFrom(replica.store.firstIndex()));
  }

  /** Throws `not_leader`, with the leader's address where it is known. */
  requireLeader(act: string): void {
    if (this.replica.isLeader) return;
    const leader = this.replica.leaderAddress();
    throw new TrilogError("not_leader", `Cannot ${act} ${this.label}: ${this.whyNot(leader)}`, {
      leader,
    });
  }

  private whyNot(leader: string | undefined): string {
    if (leader !== undefined) return "another broker leads it";
    const missing = this.replica.missingQuorum();
    return missing === null
      ? `${this.label} has no leader just now`
      : `${this.label} has no majority: ${missing}`;
  }

  /** Resolves when the partition goes beyond `offset`, at {@link wakeAll}, or after `longestMs`. */
  waitBeyond(offset: number, longestMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        timer.cancel();
        signal.removeEventListener("abort", wake);
        this.waiters.delete(waiter);
        resolve();
      };
      const waiter: Waiter = { offset, wake };
      const timer: Timer = this.clock.after(longestMs, wake);
      signal.addEventListener("abort", wake, { once: true });
      this.waiters.add(waiter);
    });
  }

  /** Whoever waits looks again: leadership has changed, or the replica closes. */
  wakeAll(): void {
    for (const { wake } of [...this.waiters]) wake();
  }

  private wakeReached(): void {
    if (this.waiters.size === 0) return;
    const { endOffset } = this.machine;
    for (const { offset, wake } of [...this.waiters]) if (offset < endOffset) wake();
  }
}
