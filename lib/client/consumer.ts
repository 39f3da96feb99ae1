/**
 * Consumes topics as a member of a group: the group's members divide the partitions, and each
 * message goes to one of them. At least once: what was handed out and not committed when a member
 * dies goes to the next owner of its partition.
 */

import type { Timer } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { BatchRecord } from "../batch/batch_reader.ts";
import { ConsumedPartition, type PartitionRequests } from "./consumed_partition.ts";
import { GroupMembership, type ManagersAccess } from "./group_membership.ts";
import { type Message, type MessageBatch, messageOf } from "./message.ts";
import type { AssignmentStrategy, GroupAssignment } from "./protocol.ts";

/** What a consumer needs of its client; tests put a cluster of their own behind it. */
export type ConsumerAccess = PartitionRequests & ManagersAccess;

/** Options of a consumer; all have defaults. */
export interface ConsumerOptions {
  /** Where to begin in partitions in which the group has committed nothing. Default `earliest`. */
  readonly from?: "earliest" | "latest";
  /**
   * What to do where retention has dropped the next message: end with `offset_out_of_range` (the
   * default), or go on at the partition's `earliest` or `latest` message.
   */
  readonly onOutOfRange?: "error" | "earliest" | "latest";
  /**
   * Commits by itself what was done, about every `autoCommitMs`, and at the end. A message is done
   * when the next one is asked for. Default true; false leaves it to {@link Consumer.commit}.
   */
  readonly autoCommit?: boolean;
  /** Milliseconds; default 1,000. */
  readonly autoCommitMs?: number;
  /** How partitions are divided; the same for all members. Default `round_robin`. */
  readonly strategy?: AssignmentStrategy;
  /**
   * A member that the managers do not hear for this long loses its partitions, in milliseconds.
   * From 1,000 to 300,000; default 10,000.
   */
  readonly sessionTimeoutMs?: number;
  /**
   * How long a partition that goes to another member waits for the messages that were handed out
   * to be committed, in milliseconds. Default 5,000.
   */
  readonly revokeMs?: number;
  /** Bytes that are fetched of a partition at once. Default 256 KiB. */
  readonly maxBytes?: number;
  /** Time without any answer after which consuming ends, in milliseconds. Default: never. */
  readonly patienceMs?: number;
  /** Name of this program, for `group describe`. Default empty. */
  readonly name?: string;
  /**
   * Offset at which a partition's messages are enough. When the consumer has handed out all there
   * are below it in all its partitions, the iteration ends. Default: it never does.
   */
  readonly until?: (topic: string, partition: number) => number;
}

/** How to stop. */
export interface StopOptions {
  /** The message or batch handed out last failed: it is not committed, and delivered again. */
  readonly failed?: boolean;
}

interface Taken {
  readonly topic: string;
  readonly partition: number;
  /** At least one. */
  readonly records: readonly BatchRecord[];
}

const COMMIT_MS = 1_000;
const SESSION_MS = 10_000;
const REVOKE_MS = 5_000;
const MAX_BYTES = 256 * 1024;

/**
 * A member of a consumer group. Iterate over it (or call {@link Consumer.next}) in one place only,
 * and {@link Consumer.stop} it in the end. Joining begins with the first message asked for.
 */
export class Consumer implements AsyncIterable<Message> {
  private readonly membership: GroupMembership;
  private readonly partitions = new Map<string, ConsumedPartition>();
  private readonly ready = new Set<ConsumedPartition>();
  private readonly stopped = new AbortController();
  private readonly autoCommit: boolean;
  private readonly hasEnd: boolean;
  private readonly settings: Required<ConsumerOptions>;
  private member = "";
  private started = false;
  private stopping: Promise<void> | null = null;
  private failure: TrilogError | null = null;
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
    this.autoCommit = options.autoCommit ?? true;
    this.hasEnd = options.until !== undefined;
    this.settings = {
      from: options.from ?? "earliest",
      onOutOfRange: options.onOutOfRange ?? "error",
      autoCommit: this.autoCommit,
      autoCommitMs: options.autoCommitMs ?? COMMIT_MS,
      strategy: options.strategy ?? "round_robin",
      sessionTimeoutMs: options.sessionTimeoutMs ?? SESSION_MS,
      revokeMs: options.revokeMs ?? REVOKE_MS,
      maxBytes: options.maxBytes ?? MAX_BYTES,
      patienceMs: options.patienceMs ?? Infinity,
      name: options.name ?? "",
      until: options.until ?? (() => Infinity),
    };
    const { strategy, sessionTimeoutMs, name: client, patienceMs } = this.settings;
    this.membership = new GroupMembership(access, {
      group,
      topics,
      strategy,
      sessionTimeoutMs,
      client,
      patienceMs,
      onAssigned: (assignment, member) => this.take(assignment, member),
      onExpelled: () => this.loseAll(),
      onSure: () => this.wakeUp(),
      onFailed: (error) => this.fail(error),
    });
  }

  /** The partitions it consumes at the moment, by topic and number. */
  get assigned(): readonly { readonly topic: string; readonly partition: number }[] {
    return [...this.partitions.values()].map(({ topic, partition }) => ({ topic, partition }))
      .sort((left, right) =>
        left.topic === right.topic
          ? left.partition - right.partition
          : left.topic < right.topic
          ? -1
          : 1
      );
  }

  /**
   * The next message; null when the consumer was stopped, or has reached its `until`. To ask for
   * it says that the one before is done. Rejects with `no_such_topic` where it cannot join,
   * `offset_out_of_range`, or `unavailable` when nobody answered for the consumer's patience; it
   * does not go on then. A topic that is deleted later just has no more messages.
   */
  async next(): Promise<Message | null> {
    const taken = await this.takeNext(1);
    return taken === null ? null : messageOf(taken.topic, taken.partition, taken.records[0]);
  }

  /** The same with all messages that were fetched of a partition, or the first `most` of them. */
  async nextBatch(most: number = Infinity): Promise<MessageBatch | null> {
    const taken = await this.takeNext(most);
    if (taken === null) return null;
    const { topic, partition, records } = taken;
    const messages = records.map((record) => messageOf(topic, partition, record));
    return { topic, partition, messages };
  }

  /** Message by message. To leave the loop does not stop the consumer. */
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
   * Ends the iteration and leaves the group, so that the others go on at once. With `autoCommit`
   * everything that was handed out counts as done and is committed before, except what has
   * `failed`. Rejects where the commit failed; it has left all the same.
   */
  stop(options: StopOptions = {}): Promise<void> {
    return this.stopping ??= this.end(options.failed ?? false);
  }

  /** Commits what is done, then leaves whatever happened. */
  private async end(failed: boolean): Promise<void> {
    this.timer?.cancel();
    this.wakeUp();
    try {
      if (!failed) this.inHand?.settle();
      if (this.autoCommit) await this.commitDone();
    } finally {
      await this.membership.leave();
      for (const partition of [...this.partitions.values()]) partition.end();
      this.stopped.abort();
    }
  }

  /** The next messages of one partition, at most `count`; settles those before. */
  private async takeNext(count: number): Promise<Taken | null> {
    this.start();
    this.inHand?.settle();
    if (this.autoCommit && this.inHand?.isRevoked) this.commitQuietly(this.inHand);
    this.inHand = null;
    for (;;) {
      if (this.stopping !== null) return null;
      const [partition] = this.ready;
      if (partition === undefined || !this.membership.isSure()) {
        if (this.failure !== null) throw this.failure;
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
    if (this.autoCommit) this.commitLater();
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
    this.member = member;
    const granted = new Map(assignment.partitions.map((grant) => [grant.groupId, grant]));
    for (const partition of [...this.partitions.values()]) {
      if (granted.get(partition.groupId)?.generation !== partition.generation) partition.end();
    }
    for (const grant of granted.values()) {
      const known = this.partitions.get(grant.groupId);
      if (known !== undefined) known.setRevoked(grant.revoked);
      else if (this.membership.hasReleased(grant)) continue;
      else if (grant.revoked) this.membership.release(grant);
      else this.consume(grant);
    }
    this.wakeUp();
  }

  /** Begins with a partition. */
  private consume(grant: GroupAssignment["partitions"][number]): void {
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
      onFailed: (error) => this.fail(error),
    });
    this.partitions.set(grant.groupId, partition);
    partition.start();
  }

  /** A partition was given up or lost. */
  private ended(partition: ConsumedPartition): void {
    this.partitions.delete(partition.groupId);
    this.ready.delete(partition);
    if (this.inHand === partition) this.inHand = null;
    if (partition.uncommitted && !this.autoCommit) {
      this.lost = new TrilogError(
        "fenced",
        `Cannot commit in ${partition.topic}/${partition.partition} for group ${this.group}: ` +
          "the partition has gone to another member",
      );
    }
    if (this.stopping === null) this.membership.release(partition);
    this.wakeUp();
  }

  /** This member was expelled. */
  private loseAll(): void {
    for (const partition of [...this.partitions.values()]) partition.end();
  }

  /** What was fetched is handed out yet, then the iteration ends with this. */
  private fail(error: TrilogError): void {
    this.failure ??= error;
    this.wakeUp();
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
