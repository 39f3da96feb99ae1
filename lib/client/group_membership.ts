/**
 * A consumer's place in its group: joins, beats, hears what it may consume, gives partitions up,
 * leaves. A member that was expelled comes back by itself under a new name.
 */

import { Backoff } from "../base/backoff.ts";
import { type Clock, sleep, type Timer } from "../base/clock.ts";
import { toTrilogError, type TrilogError } from "../base/errors.ts";
import type { Random } from "../base/prng.ts";
import type { Managers } from "./managers.ts";
import {
  type AssignmentStrategy,
  type GrantedPartition,
  type GroupAssignment,
  groupHeartbeatMethod,
  joinGroupMethod,
  leaveGroupMethod,
} from "./protocol.ts";

/** What a membership needs of its client. */
export interface ManagersAccess {
  readonly clock: Clock;
  readonly random: Random;
  readonly managers: Pick<Managers, "request">;
  /** A name that nobody had before. */
  newRequestId(): string;
}

export interface MembershipOptions {
  readonly group: string;
  readonly topics: readonly string[];
  readonly strategy: AssignmentStrategy;
  readonly sessionTimeoutMs: number;
  /** For people: which program this is. */
  readonly client: string;
  /** Name of its place in the group; null for none. */
  readonly instance: string | null;
  /** Time without any answer from the managers after which it fails, in milliseconds. */
  readonly patienceMs: number;
  /** A newer assignment of the member of that name: called in order of generation. */
  readonly onAssigned: (assignment: GroupAssignment, member: string) => void;
  /** Nothing that was assigned is this consumer's any more. */
  readonly onExpelled: () => void;
  /** It is a member beyond doubt again; see {@link GroupMembership.isSure}. */
  readonly onSure: () => void;
  /** It will not go on by itself. */
  readonly onFailed: (error: TrilogError) => void;
}

/** Heartbeats in a session timeout: so many may be lost, less one. */
const BEATS_IN_SESSION = 4;
const JOIN_MS = 5_000;
const LEAVE_MS = 3_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

export class GroupMembership {
  /** This member's name, null while it is none. */
  private member: string | null = null;
  /** The name it asked to join under: kept until it is certain whether it did. */
  private joining: string | null = null;
  /** Whether it was a member before. */
  private returning = false;
  private assignment: GroupAssignment | null = null;
  private readonly released = new Map<string, GrantedPartition>();
  private readonly beatMs: number;
  private readonly backoff: Backoff;
  /** Whether something was released since releases were last sent, and whether they are now. */
  private untold = false;
  private telling: Promise<void> | null = null;
  private stopped = false;
  private departs = true;
  private heardMs: number;
  /** When this process was last seen awake, and when it last found that it had been asleep. */
  private awakeMs: number;
  private doubtMs = -Infinity;
  private timer: Timer | null = null;

  constructor(
    private readonly access: ManagersAccess,
    private readonly options: MembershipOptions,
  ) {
    this.beatMs = Math.floor(options.sessionTimeoutMs / BEATS_IN_SESSION);
    this.backoff = new Backoff(access.random, FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
    this.heardMs = this.awakeMs = access.clock.monotonicMs();
  }

  /** The newest assignment; null before the first. */
  get current(): GroupAssignment | null {
    return this.assignment;
  }

  start(): void {
    void this.run();
    this.watchLater();
  }

  /**
   * False when this process was asleep (paused, or busy without a break) for half a session and
   * has not heard the managers since: it may have been expelled, and should hand nothing out until
   * it knows. A mere lack of managers is no reason, since nobody is expelled then.
   */
  isSure(): boolean {
    this.noticeSleep();
    return this.doubtMs === -Infinity;
  }

  /** Tells the managers that a partition is not consumed here any more. */
  release(partition: GrantedPartition): void {
    void this.releaseAll([partition]);
  }

  /** The same for some; resolves when the managers know, or could not be asked. */
  async releaseAll(partitions: readonly GrantedPartition[]): Promise<void> {
    for (const { groupId, generation } of partitions) {
      this.released.set(groupId, { groupId, generation });
    }
    this.untold ||= partitions.length > 0;
    await this.tellReleases();
  }

  /** Whether a partition was given up under this generation. */
  hasReleased({ groupId, generation }: GrantedPartition): boolean {
    return this.released.get(groupId)?.generation === generation;
  }

  /**
   * Ends the membership here. With `depart` the group hears of it at once (what fails is left to
   * the session timeout); without, the partitions wait for the next member of the same instance.
   */
  async leave(depart: boolean): Promise<void> {
    this.stopped = true;
    this.departs = depart;
    this.timer?.cancel();
    const member = this.member ?? this.joining;
    this.member = null;
    if (member !== null && depart) await this.depart(member);
  }

  private async run(): Promise<void> {
    while (!this.stopped) {
      try {
        if (this.member === null) await this.join();
        else await this.beat(this.member, this.beatMs);
        this.heardMs = this.access.clock.monotonicMs();
        this.backoff.reset();
      } catch (thrown) {
        if (!await this.recover(toTrilogError(thrown))) return;
      }
    }
  }

  private async join(): Promise<void> {
    const { group, topics, strategy, sessionTimeoutMs, client, instance } = this.options;
    const member = this.joining ??= this.access.newRequestId();
    const session = { strategy, sessionTimeoutMs, instance, returning: this.returning };
    const request = { group, member, client, topics, ...session };
    await this.access.managers.request(joinGroupMethod, request, JOIN_MS);
    if (this.stopped) return this.departs ? await this.depart(member) : undefined;
    this.joining = null;
    this.returning = true;
    this.member = member;
  }

  private watchLater(): void {
    this.timer = this.access.clock.after(this.beatMs, () => {
      this.noticeSleep();
      if (!this.stopped) this.watchLater();
    });
  }

  private noticeSleep(): void {
    const nowMs = this.access.clock.monotonicMs();
    const asleepMs = nowMs - this.awakeMs;
    this.awakeMs = nowMs;
    if (2 * asleepMs < this.options.sessionTimeoutMs || this.member === null) return;
    this.doubtMs = nowMs;
    // The heartbeat that waits for news at a manager may wait for a while yet.
    this.beat(this.member, 0).catch(() => {});
  }

  private async depart(member: string): Promise<void> {
    const { group } = this.options;
    await this.access.managers.request(leaveGroupMethod, { group, member }, LEAVE_MS)
      .catch(() => {});
  }

  private async beat(member: string, maxWaitMs: number): Promise<void> {
    const { group, instance } = this.options;
    const request = {
      group,
      member,
      instance,
      generation: this.assignment?.generation ?? 0,
      released: [...this.released.values()],
      maxWaitMs,
    };
    // A manager that is asked to wait is given that time again to answer.
    const attemptMs = 2 * this.beatMs;
    const askedMs = this.access.clock.monotonicMs();
    const answer = await this.access.managers.request(
      groupHeartbeatMethod,
      request,
      attemptMs,
      attemptMs,
    );
    if (member !== this.member) return;
    this.take(answer, member);
    if (askedMs >= this.doubtMs) this.endDoubt();
  }

  private endDoubt(): void {
    if (this.doubtMs === -Infinity) return;
    this.doubtMs = -Infinity;
    this.options.onSure();
  }

  private take(assignment: GroupAssignment, member: string): void {
    if (assignment.generation <= (this.assignment?.generation ?? 0)) return;
    this.assignment = assignment;
    const listed = new Map(assignment.partitions.map((one) => [one.groupId, one.generation]));
    for (const { groupId, generation } of [...this.released.values()]) {
      if (listed.get(groupId) !== generation) this.released.delete(groupId);
    }
    this.options.onAssigned(assignment, member);
  }

  /** Sends what was released at once, beside the heartbeat that waits for news. */
  private tellReleases(): Promise<void> {
    if (this.telling !== null) return this.telling;
    if (!this.untold || this.member === null) return Promise.resolve();
    return this.telling = this.sendReleases();
  }

  private async sendReleases(): Promise<void> {
    try {
      while (this.untold && this.member !== null) {
        this.untold = false;
        await this.beat(this.member, 0);
      }
    } catch {
      // The next heartbeat says it again.
    } finally {
      this.telling = null;
    }
  }

  /** False where it is over. */
  private async recover(error: TrilogError): Promise<boolean> {
    if (this.stopped) return false;
    if (error.code === "no_such_member" || error.code === "no_such_group") {
      this.loseAll();
      return true;
    }
    const silentMs = this.access.clock.monotonicMs() - this.heardMs;
    if (!error.retryable || silentMs > this.options.patienceMs) {
      this.stopped = true;
      this.timer?.cancel();
      // Another process has its place: it must not go on beside it, nor come back.
      if (error.code === "fenced") this.loseAll();
      this.options.onFailed(error);
      return false;
    }
    await sleep(this.access.clock, this.backoff.next());
    return true;
  }

  private loseAll(): void {
    this.member = null;
    this.assignment = null;
    this.options.onExpelled();
    this.released.clear();
    this.endDoubt();
  }
}
