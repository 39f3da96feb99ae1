/**
 * Consumes topics as a member of a group: the group's members divide the partitions, and each
 * message goes to one of them. At least once: what was handed out and not committed when a member
 * dies goes to the next owner of its partition.
 */

import type { Timer } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { BatchRecord } from "../batch/batch_reader.ts";
import { ConsumedPartition, type PartitionRequests } from "./consumed_partition.ts";
import {
  type ConsumerOptions,
  type ConsumerSettings,
  consumerSettings,
  type StopOptions,
  type TopicPartition,
} from "./consumer_options.ts";
import { GroupMembership, type ManagersAccess } from "./group_membership.ts";
import { type Message, type MessageBatch, messageOf } from "./message.ts";
import { nameOption, wholeOption } from "./options.ts";
import type { GroupAssignment } from "./protocol.ts";
import { RebalanceListeners } from "./rebalance_listeners.ts";

/** What a consumer needs of its client; tests put a cluster of their own behind it. */
export type ConsumerAccess = PartitionRequests & ManagersAccess;

interface Taken {
  readonly topic: string;
  readonly partition: number;
  /** At least one. */
  readonly records: readonly BatchRecord[];
}

/**
 * A member of a consumer group. Iterate over it (or call {@link Consumer.next}) in one place only,
 * and {@link Consumer.stop} it in the end. Joining begins with the first message asked for.
 */
export class Consumer implements AsyncIterable<Message> {
  private readonly membership: GroupMembership;
  private readonly partitions = new Map<string, ConsumedPartition>();
  private readonly ready = new Set<ConsumedPartition>();
  private readonly stopped = new AbortController();
  private readonly hasEnd: boolean;
  private readonly settings: ConsumerSettings;
  private readonly listeners: RebalanceListeners;
  private member = "";
  private started = false;
  private stopping: Promise<void> | null = null;
  /** Why it will not go on. */
  private failure: TrilogError | null = null;
  /** Faults of partitions and listeners that the program has not heard of. */
  private readonly faults: unknown[] = [];
  /** What was handed out and lost before it was committed, until {@link commit} says so. */
  private lost: TrilogError | null = null;
  /** Partition of the messages handed out last. */
  private inHand: ConsumedPartition | null = null;
  private wake: (() => void) | null = null;
  private timer: Timer | null = null;

  /** Made by `client.consumer`. */
  constructor(
    private readonly access: ConsumerAccess,
    readonly group: string,
    readonly topics: readonly string[],
    options: ConsumerOptions = {},
  ) {
    nameOption("group", group);
    for (const topic of topics) nameOption("topics", topic);
    this.hasEnd = options.until !== undefined;
    this.settings = consumerSettings(options);
    this.listeners = new RebalanceListeners(options, (error) => this.fault(error));
    const { strategy, sessionTimeoutMs, name: client, instanceId, patienceMs } = this.settings;
    this.membership = new GroupMembership(access, {
      group,
      topics,
      strategy,
      sessionTimeoutMs,
      client,
      instance: instanceId,
      patienceMs,
      onAssigned: (assignment, member) => this.take(assignment, member),
      onExpelled: () => this.loseAll(),
      onSure: () => this.wakeUp(),
      onFailed: (error) => this.fail(error),
    });
  }

  /** The partitions it consumes at the moment, by topic and number. */
  get assigned(): readonly TopicPartition[] {
    return placesOf(this.partitions.values());
  }

  /** Those of them that are paused. */
  get paused(): readonly TopicPartition[] {
    return placesOf([...this.partitions.values()].filter(({ isPaused }) => isPaused));
  }

  /**
   * The next message; null when the consumer was stopped, or has reached its `until`. To ask for
   * it says that the one before is done.
   *
   * Rejects once for each partition that fails, however much the others have: with
   * `offset_out_of_range` (see `onBehind`), or with `unavailable` when its brokers did not answer
   * for the consumer's patience. The next call goes on with the other partitions. Rejects each time
   * when the consumer cannot go on at all: with `no_such_topic` or `invalid_argument` where it
   * cannot join, with `fenced` when another process has its `instanceId`, with `unavailable` when
   * no manager answered for its patience. A topic that is deleted later has no more messages.
   */
  async next(): Promise<Message | null> {
    const taken = await this.takeNext(1);
    return taken === null ? null : messageOf(taken.topic, taken.partition, taken.records[0]);
  }

  /** The same with all messages that were fetched of a partition, or the first `most` of them. */
  async nextBatch(most: number = Infinity): Promise<MessageBatch | null> {
    if (most !== Infinity) wholeOption("most", most, 1);
    const taken = await this.takeNext(most);
    if (taken === null) return null;
    const { topic, partition, records } = taken;
    const messages = records.map((record) => messageOf(topic, partition, record));
    return { topic, partition, messages };
  }

  /**
   * Message by message. To leave the loop does not stop the consumer. A loop that ended with the
   * error of one partition may be begun again, for the others.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined> {
    for (;;) {
      const message = await this.next();
      if (message === null) return;
      yield message;
    }
  }

  /** Batch by batch. */
  async *batches(): AsyncGenerator<MessageBatch, void, undefined> {
    for (;;) {
      const batch = await this.nextBatch();
      if (batch === null) return;
      yield batch;
    }
  }

  /**
   * Hands out nothing more of these partitions, or of all that are assigned, until
   * {@link Consumer.resume}. They stay this member's. A partition that went away and came back is
   * not paused. Throws `invalid_argument` for one that is not assigned.
   */
  pause(partitions: readonly TopicPartition[] = this.assigned): void {
    for (const partition of this.find("pause", partitions)) partition.setPaused(true);
  }

  /** Ends {@link Consumer.pause} for these partitions, or all that are assigned. */
  resume(partitions: readonly TopicPartition[] = this.assigned): void {
    for (const partition of this.find("resume", partitions)) partition.setPaused(false);
  }

  /**
   * Goes on at another offset of an assigned partition, which what was handed out of it counts as
   * done for. It also mends a partition that failed with `offset_out_of_range`. While a member has
   * a partition its committed offset only rises: after a seek back, commits count again from where
   * they had come to. `trilog group reset` moves the group itself. Throws `invalid_argument`.
   */
  seek(topic: string, partition: number, offset: number): void {
    wholeOption("offset", offset, 0);
    const [found] = this.find("seek in", [{ topic, partition }]);
    found.seek(offset);
  }

  /**
   * Commits everything that was handed out: it counts as done. Rejects with `fenced` where some of
   * it belongs to another member by now, who will deliver it again; the rest is committed.
   */
  async commit(): Promise<void> {
    this.inHand?.settle();
    await this.commitDone();
    const { lost } = this;
    this.lost = null;
    if (lost !== null) throw lost;
  }

  /**
   * Ends the iteration and leaves the group, so that the others go on at once (but see
   * `instanceId`). With `autoCommit` everything that was handed out counts as done and is committed
   * before, except what has `failed`. Rejects where the commit failed; it has left all the same.
   */
  stop(options: StopOptions = {}): Promise<void> {
    return this.stopping ??= this.end(options);
  }

  /** Commits what is done, then leaves whatever happened. */
  private async end({ failed = false, leave }: StopOptions): Promise<void> {
    this.timer?.cancel();
    this.wakeUp();
    try {
      if (!failed) this.inHand?.settle();
      const { clock } = this.access;
      await this.listeners.revokedAtLast(this.heldPlaces(), clock, this.settings.revokeMs);
      if (this.settings.autoCommit) await this.commitDone();
    } finally {
      const departs = leave ?? this.settings.instanceId === null;
      if (!departs) await this.giveUpMoving();
      await this.membership.leave(departs);
      for (const partition of [...this.partitions.values()]) partition.end();
      this.stopped.abort();
    }
  }

  /** What was on its way to another member does not wait for this one's session to end. */
  private async giveUpMoving(): Promise<void> {
    const moving = [...this.partitions.values()].filter(({ isRevoked }) => isRevoked);
    for (const partition of moving) partition.end();
    await this.membership.releaseAll(moving);
  }

  /** The next messages of one partition, at most `count`; settles those before. */
  private async takeNext(count: number): Promise<Taken | null> {
    this.start();
    this.inHand?.settle();
    this.inHand = null;
    for (;;) {
      if (this.stopping !== null) return null;
      if (this.faults.length > 0) throw this.faults.shift();
      if (this.failure !== null) throw this.failure;
      const [partition] = this.ready;
      if (partition === undefined || !this.membership.isSure()) {
        if (this.isFinished()) return null;
        await this.news();
        continue;
      }
      const records: readonly BatchRecord[] = partition.take(count);
      if (!partition.hasMessages) this.ready.delete(partition);
      if (records.length === 0) continue;
      this.inHand = partition;
      const { topic, partition: number } = partition;
      return { topic, partition: number, records };
    }
  }

  /** Joins the group, the first time. */
  private start(): void {
    if (this.started || this.stopping !== null) return;
    this.started = true;
    this.membership.start();
    if (this.settings.autoCommit) this.commitLater();
  }

  /** Whether it has an end and has come there in everything that is its own. */
  private isFinished(): boolean {
    const { current } = this.membership;
    if (!this.hasEnd || current === null || current.pending > 0) return false;
    return [...this.partitions.values()].every((partition) =>
      partition.atEnd || partition.isRevoked
    );
  }

  /** Commits what is done, again and again. */
  private commitLater(): void {
    this.timer = this.access.clock.after(this.settings.autoCommitMs, () => {
      if (this.stopping !== null) return;
      for (const partition of this.partitions.values()) this.commitQuietly(partition);
      this.commitLater();
    });
  }

  /** What fails is tried again, or the partition is lost and its next owner delivers it again. */
  private commitQuietly(partition: ConsumedPartition): void {
    partition.commit().catch(() => {});
  }

  /** Commits what is done in all partitions; rejects with the first failure. */
  private async commitDone(): Promise<void> {
    const work = [...this.partitions.values()].map((partition) => partition.commit());
    const results = await Promise.allSettled(work);
    const failed = results.find(({ status }) => status === "rejected");
    if (failed === undefined) return;
    this.lost = null;
    throw toTrilogError((failed as PromiseRejectedResult).reason);
  }

  /** Makes what is consumed what the managers granted. */
  private take(assignment: GroupAssignment, member: string): void {
    if (this.stopping !== null) return;
    this.member = member;
    const granted = new Map(assignment.partitions.map((grant) => [grant.groupId, grant]));
    for (const partition of [...this.partitions.values()]) {
      if (granted.get(partition.groupId)?.generation !== partition.generation) partition.end();
    }
    const added: ConsumedPartition[] = [];
    const revoked: ConsumedPartition[] = [];
    for (const grant of granted.values()) {
      const known = this.partitions.get(grant.groupId);
      if (known !== undefined && grant.revoked && !known.isRevoked) revoked.push(known);
      else if (known !== undefined) known.setRevoked(grant.revoked);
      else if (this.membership.hasReleased(grant)) continue;
      else if (grant.revoked) this.membership.release(grant);
      else added.push(this.consumed(grant));
    }
    const heard = this.listeners.revoked(placesOf(revoked));
    for (const partition of revoked) partition.setRevoked(true, heard);
    const admitted = this.listeners.assigned(placesOf(added));
    if (admitted === null) { for (const partition of added) partition.start(); }
    else admitted.then(() => added.forEach((partition) => partition.start()));
    this.wakeUp();
  }

  /** A partition that is new here. */
  private consumed(grant: GroupAssignment["partitions"][number]): ConsumedPartition {
    const partition = new ConsumedPartition(this.access, grant, {
      ...this.settings,
      group: this.group,
      member: this.member,
      signal: this.stopped.signal,
    }, {
      onNews: (partition) => {
        if (partition.hasMessages) this.ready.add(partition);
        else this.ready.delete(partition);
        this.wakeUp();
      },
      onEnded: (partition) => this.ended(partition),
      onFailed: (error) => this.fault(error),
    });
    this.partitions.set(grant.groupId, partition);
    return partition;
  }

  /** A partition was given up or lost. */
  private ended(partition: ConsumedPartition): void {
    this.partitions.delete(partition.groupId);
    this.ready.delete(partition);
    if (this.inHand === partition) this.inHand = null;
    if (partition.uncommitted && !this.settings.autoCommit) {
      this.lost = new TrilogError(
        "fenced",
        `Cannot commit in ${partition.topic}/${partition.partition} for group ${this.group}: ` +
          "the partition has gone to another member",
      );
    }
    if (this.stopping === null) {
      this.membership.release(partition);
      if (!partition.isRevoked) this.listeners.lost(partition);
    }
    this.wakeUp();
  }

  /** This member was expelled. */
  private loseAll(): void {
    for (const partition of [...this.partitions.values()]) partition.end();
  }

  /** The iteration is over. */
  private fail(error: TrilogError): void {
    this.failure ??= error;
    this.wakeUp();
  }

  /** The program hears of this before the next message. */
  private fault(error: unknown): void {
    this.faults.push(error);
    this.wakeUp();
  }

  /** Places of what is not on its way to another member already. */
  private heldPlaces(): readonly TopicPartition[] {
    return placesOf([...this.partitions.values()].filter(({ isRevoked }) => !isRevoked));
  }

  /** The assigned partitions at these places. */
  private find(act: string, places: readonly TopicPartition[]): ConsumedPartition[] {
    return places.map(({ topic, partition }) => {
      const found = [...this.partitions.values()].find((one) =>
        one.topic === topic && one.partition === partition
      );
      if (found !== undefined) return found;
      const state = "it is not assigned to this consumer";
      throw new TrilogError(
        "invalid_argument",
        `Cannot ${act} ${topic}/${partition}: ${state}`,
      );
    });
  }

  /** Resolves when there may be something to hand out, or none any more. */
  private news(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }

  /** Lets the iteration look again. */
  private wakeUp(): void {
    this.wake?.();
    this.wake = null;
  }
}

/** By topic and number. */
function placesOf(partitions: Iterable<TopicPartition>): readonly TopicPartition[] {
  return [...partitions].map(({ topic, partition }) => ({ topic, partition }))
    .sort((left, right) =>
      left.topic === right.topic
        ? left.partition - right.partition
        : left.topic < right.topic
        ? -1
        : 1
    );
}
