/**
 * One partition that was granted to a member of a consumer group: claims it, fetches, keeps count
 * of what was handed out and committed, and gives it up when it is to go to another member.
 *
 *     committed <= done <= handed out <= fetched
 */

import { Backoff } from "../base/backoff.ts";
import { sleep, type Timer } from "../base/clock.ts";
import { type ErrorCode, toTrilogError, TrilogError } from "../base/errors.ts";
import type { BatchRecord } from "../batch/batch_reader.ts";
import type { PartitionRequest } from "./access.ts";
import type { Client } from "./client.ts";
import { PartitionReader } from "./partition_reader.ts";
import {
  type AssignedPartition,
  claimMethod,
  commitMethod,
  listOffsetsMethod,
  type Method,
} from "./protocol.ts";

export type PartitionRequests = Pick<Client, "clock" | "random" | "partitionRequest">;

export interface ConsumedOptions {
  readonly group: string;
  /** Name of the member that the partition is granted to. */
  readonly member: string;
  /** Where to begin when the group has committed nothing. */
  readonly from: "earliest" | "latest";
  /** What to do when retention has dropped the next message. */
  readonly onOutOfRange: "error" | "earliest" | "latest";
  readonly maxBytes: number;
  readonly patienceMs: number;
  /** How long a partition that moves waits for what was handed out to be committed. */
  readonly revokeMs: number;
  /** Messages from this offset on are not handed out. */
  readonly until: (topic: string, partition: number) => number;
  /** Aborts when the consumer has stopped. */
  readonly signal: AbortSignal;
}

export interface ConsumedEvents {
  /** There are messages to hand out, or there will be no more. */
  readonly onNews: (partition: ConsumedPartition) => void;
  /** It is not consumed here any more: given up, or lost to another member. */
  readonly onEnded: (partition: ConsumedPartition) => void;
  /** The iteration has to end with this. */
  readonly onFailed: (error: TrilogError) => void;
}

/** Time for one request; it is repeated until the consumer's patience is over. */
const REQUEST_MS = 5_000;
/** The partition is another member's, or was deleted; the managers will say so, too. */
const GONE: ReadonlySet<ErrorCode> = new Set(["fenced", "no_such_topic", "no_such_partition"]);
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

export class ConsumedPartition {
  readonly topic: string;
  readonly partition: number;
  readonly groupId: string;
  readonly generation: number;
  private readonly born: number;
  private readonly member: string;
  private readonly signal: AbortSignal;
  private readonly ending = new AbortController();
  private readonly backoff: Backoff;
  /** Fetched and not handed out. */
  private records: readonly BatchRecord[] = [];
  private nextRecord = 0;
  private handed = 0;
  private started = false;
  private done = 0;
  private committed = 0;
  /** What is to be committed, and the work on it. */
  private wanted = 0;
  private committing: Promise<void> | null = null;
  private revoked = false;
  private revokeTimer: Timer | null = null;
  private finished = false;
  private resume: (() => void) | null = null;
  private answeredMs: number;

  constructor(
    private readonly access: PartitionRequests,
    grant: AssignedPartition,
    private readonly options: ConsumedOptions,
    private readonly events: ConsumedEvents,
  ) {
    this.topic = grant.topic;
    this.partition = grant.partition;
    this.groupId = grant.groupId;
    this.generation = grant.generation;
    this.born = grant.born;
    this.member = options.member;
    this.signal = AbortSignal.any([options.signal, this.ending.signal]);
    this.backoff = new Backoff(access.random, FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
    this.answeredMs = access.clock.monotonicMs();
  }

  get ended(): boolean {
    return this.signal.aborted;
  }

  /** Whether it is to go to another member. */
  get isRevoked(): boolean {
    return this.revoked;
  }

  /** Whether everything up to where it should be consumed was handed out. */
  get atEnd(): boolean {
    return this.finished && !this.hasMessages;
  }

  /** Whether {@link take} has something. */
  get hasMessages(): boolean {
    return !this.ended && !this.revoked && this.nextRecord < this.records.length;
  }

  /** Whether something that was handed out is not committed. */
  get uncommitted(): boolean {
    return this.committed < this.handed;
  }

  start(): void {
    void this.run();
  }

  /** Up to `count` messages; they count as handed out from now on. */
  take(count: number): readonly BatchRecord[] {
    if (!this.hasMessages) return [];
    const taken = this.records.slice(this.nextRecord, this.nextRecord + count);
    this.nextRecord += taken.length;
    this.handed = taken[taken.length - 1].offset + 1;
    if (this.nextRecord >= this.records.length) this.goOn();
    return taken;
  }

  /** Whoever got the messages is done with all of them. */
  settle(): void {
    this.done = this.handed;
  }

  /** Commits what is done. Rejects with `fenced` where another member has the partition. */
  async commit(): Promise<void> {
    await this.commitUpTo(this.done);
  }

  /**
   * The partition is to go to another member (or is not any more): what was handed out may still
   * be committed for a while, nothing else is handed out.
   */
  setRevoked(revoked: boolean): void {
    if (this.revoked === revoked || this.ended) return;
    this.revoked = revoked;
    this.revokeTimer?.cancel();
    if (!revoked) {
      if (this.hasMessages) this.events.onNews(this);
      return;
    }
    this.revokeTimer = this.access.clock.after(this.options.revokeMs, () => this.end());
    this.giveUpWhenClean();
    this.events.onNews(this);
  }

  /** Stops consuming it at once. */
  end(): void {
    if (this.ended) return;
    this.revokeTimer?.cancel();
    this.ending.abort();
    this.goOn();
    this.events.onEnded(this);
  }

  private giveUpWhenClean(): void {
    if (this.revoked && !this.uncommitted && this.committing === null) this.end();
  }

  private async commitUpTo(offset: number): Promise<void> {
    this.wanted = Math.max(this.wanted, offset);
    if (this.wanted <= this.committed) return;
    await (this.committing ??= this.commitWanted());
    this.giveUpWhenClean();
  }

  private async commitWanted(): Promise<void> {
    try {
      while (this.committed < this.wanted) {
        const offset = this.wanted;
        await this.request(commitMethod, { ...this.claimant(), offset });
        this.committed = offset;
      }
    } catch (thrown) {
      const error = toTrilogError(thrown);
      if (error.code === "fenced") this.end();
      throw error;
    } finally {
      this.committing = null;
    }
  }

  private async run(): Promise<void> {
    while (!this.ended) {
      try {
        await this.begin();
        return;
      } catch (thrown) {
        if (this.ended) return;
        const error = toTrilogError(thrown);
        if (GONE.has(error.code)) return this.end();
        const silentMs = this.access.clock.monotonicMs() - this.answeredMs;
        if (!error.retryable || silentMs > this.options.patienceMs) {
          return this.events.onFailed(error);
        }
        await sleep(this.access.clock, this.backoff.next());
      }
    }
  }

  /** Claims the partition and consumes it until it is given up. */
  private async begin(): Promise<void> {
    const { offset } = await this.request(claimMethod, { ...this.claimant(), born: this.born });
    if (this.ended) return;
    // After an outage it goes on behind what was handed out under this claim already.
    if (!this.started) {
      if (offset === null) await this.startAtBound(this.options.from);
      else this.startAt(offset);
      this.started = true;
    }
    await this.consume();
  }

  private startAt(offset: number): void {
    this.handed =
      this.done =
      this.committed =
      this.wanted =
        offset;
  }

  /** `latest` is committed at once: else the next owner would begin at a later end. */
  private async startAtBound(at: "earliest" | "latest"): Promise<void> {
    const { offset } = await this.request(listOffsetsMethod, { at, timeMs: 0 });
    this.startAt(offset);
    if (at === "latest") {
      this.committed = -1;
      await this.commitUpTo(offset);
    }
  }

  private async consume(): Promise<void> {
    const { maxBytes, until, signal } = this.options;
    const end = until(this.topic, this.partition);
    const reader = new PartitionReader(this.access, this.topic, this.partition, {
      from: this.handed,
      maxBytes,
      patienceMs: REQUEST_MS,
      signal,
    });
    while (!this.ended && reader.offset < end) {
      const records = await this.fetch(reader);
      this.records = records.filter(({ offset }) => offset < end);
      this.nextRecord = 0;
      if (this.records.length > 0) await this.handOut();
    }
    this.finished = true;
    this.events.onNews(this);
  }

  private async fetch(reader: PartitionReader): Promise<readonly BatchRecord[]> {
    try {
      const { records } = await reader.next();
      this.answered();
      return records;
    } catch (thrown) {
      const error = toTrilogError(thrown);
      if (error.code !== "offset_out_of_range" || this.ended) throw error;
      await this.skipTo(reader, error);
      return [];
    }
  }

  /** Retention was faster than this group, or what it had committed was lost in a recovery. */
  private async skipTo(reader: PartitionReader, error: TrilogError): Promise<void> {
    const { onOutOfRange, group } = this.options;
    if (onOutOfRange === "error") {
      throw new TrilogError(
        "offset_out_of_range",
        `Cannot consume ${this.topic}/${this.partition} at offset ${reader.offset} for group ` +
          `${group}: the message is not there; go on with onOutOfRange or reset the group`,
        { cause: error },
      );
    }
    await this.startAtBound(onOutOfRange);
    reader.seek(this.handed);
  }

  /** Waits until everything that was fetched was handed out. */
  private async handOut(): Promise<void> {
    const taken = new Promise<void>((resolve) => {
      this.resume = resolve;
    });
    this.events.onNews(this);
    await taken;
  }

  private goOn(): void {
    this.resume?.();
    this.resume = null;
  }

  private claimant() {
    const { generation, member } = this;
    return { group: this.options.group, generation, member };
  }

  private answered(): void {
    this.answeredMs = this.access.clock.monotonicMs();
    this.backoff.reset();
  }

  private async request<Request extends PartitionRequest, Answer>(
    method: Method<Request, Answer>,
    request: Omit<Request, keyof PartitionRequest>,
  ): Promise<Answer> {
    const { topic, partition, signal } = this;
    const answer = await this.access.partitionRequest(
      topic,
      partition,
      method,
      request,
      REQUEST_MS,
      signal,
    );
    this.answered();
    return answer;
  }
}
