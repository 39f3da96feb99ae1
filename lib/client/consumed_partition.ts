/**
 * One partition that was granted to a member of a consumer group: claims it, fetches, keeps count
 * of what was handed out and committed, and gives it up when it is to go to another member.
 *
 *     committed <= done <= handed out <= fetched
 */

import { Backoff } from "../base/backoff.ts";
import { sleep, type Timer } from "../base/clock.ts";
import { deferred } from "../base/deferred.ts";
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
  /** What to do when the next message is not there any more. */
  readonly onBehind: "earliest" | "latest" | "fail";
  /** Whether to commit what is done when the partition is to go. */
  readonly autoCommit: boolean;
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
  /**
   * The program has to hear of this. Where the error is retryable it is tried again; else the
   * partition rests until a seek.
   */
  readonly onFailed: (error: TrilogError) => void;
}

/** Time for one request; it is repeated until the consumer's patience is over. */
const REQUEST_MS = 5_000;
/** The partition is another member's, or was deleted; the managers will say so, too. */
const GONE: ReadonlySet<ErrorCode> = new Set([
  "fenced",
  "no_such_topic",
  "no_such_partition",
  "topic_replaced",
]);
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
  /** Where a seek sent it before it had begun. */
  private sought: number | null = null;
  private seeks = 0;
  private paused = false;
  private done = 0;
  private committed = 0;
  /** What is to be committed, and the work on it. */
  private wanted = 0;
  private committing: Promise<void> | null = null;
  private revoked = false;
  private revokeTimer: Timer | null = null;
  /** The program's listener to the revocation, until it is done. */
  private listening: Promise<void> | null = null;
  private draining = false;
  private finished = false;
  /** It failed, and rests until a seek. */
  private resting = false;
  /** Ends what the run waits for. */
  private wake: (() => void) | null = null;
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

  /** Whether nothing more will be handed out: the end was reached, or it failed. */
  get atEnd(): boolean {
    return this.resting || (this.finished && !this.hasMessages);
  }

  /** Whether {@link take} has something. */
  get hasMessages(): boolean {
    return !this.ended && !this.revoked && !this.paused && this.nextRecord < this.records.length;
  }

  get isPaused(): boolean {
    return this.paused;
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
    if (this.nextRecord >= this.records.length) this.wakeUp();
    return taken;
  }

  /** The program is done with all that was handed out. */
  settle(): void {
    this.done = this.handed;
    if (this.revoked && this.options.autoCommit) void this.drain();
  }

  /** While it is paused nothing is handed out. */
  setPaused(paused: boolean): void {
    if (this.paused === paused || this.ended) return;
    this.paused = paused;
    this.events.onNews(this);
  }

  /** Goes on at another offset; what was fetched is dropped, what was handed out counts as done. */
  seek(offset: number): void {
    if (this.ended) return;
    this.seeks += 1;
    this.records = [];
    this.nextRecord = 0;
    this.finished = false;
    if (this.started) this.handed = this.done = offset;
    else this.sought = offset;
    this.events.onNews(this);
    this.wakeUp();
  }

  /** Commits what is done. Rejects with `fenced` where another member has the partition. */
  async commit(): Promise<void> {
    await this.commitUpTo(this.done);
  }

  /**
   * The partition is to go to another member (or is not any more): what was handed out may still
   * be committed for a while, nothing else is handed out. It stays until `listening` has resolved.
   */
  setRevoked(revoked: boolean, listening: Promise<void> | null = null): void {
    if (this.revoked === revoked || this.ended) return;
    this.revoked = revoked;
    this.revokeTimer?.cancel();
    this.listening = listening;
    listening?.then(() => {
      if (this.listening !== listening) return;
      this.listening = null;
      this.giveUpWhenClean();
    });
    if (!revoked) {
      if (this.hasMessages) this.events.onNews(this);
      return;
    }
    this.revokeTimer = this.access.clock.after(this.options.revokeMs, () => this.end());
    if (this.options.autoCommit) void this.drain();
    this.giveUpWhenClean();
    this.events.onNews(this);
  }

  /** Stops consuming it at once. */
  end(): void {
    if (this.ended) return;
    this.revokeTimer?.cancel();
    this.ending.abort();
    this.wakeUp();
    this.events.onEnded(this);
  }

  private giveUpWhenClean(): void {
    const clean = !this.uncommitted && this.committing === null;
    if (this.revoked && clean && this.listening === null) this.end();
  }

  /** Commits what is done, as often as it takes, while the partition is to go and is not gone. */
  private async drain(): Promise<void> {
    if (this.draining) return;
    this.draining = true;
    while (!this.ended && this.revoked && this.committed < this.done) {
      await this.commit().catch(() => sleep(this.access.clock, FIRST_PAUSE_MS));
    }
    this.draining = false;
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
        this.committed = Math.max(this.committed, offset);
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
      } catch (thrown) {
        if (!this.ended) await this.recover(toTrilogError(thrown));
      }
    }
  }

  private async recover(error: TrilogError): Promise<void> {
    if (GONE.has(error.code)) return this.end();
    const silentMs = this.access.clock.monotonicMs() - this.answeredMs;
    const patient = silentMs <= this.options.patienceMs;
    if (error.retryable && patient) return await sleep(this.access.clock, this.backoff.next());
    this.resting = !error.retryable;
    this.events.onFailed(error);
    if (this.resting) await this.woken();
    else await sleep(this.access.clock, this.backoff.next());
    this.resting = false;
    this.answered();
  }

  /** Claims the partition and consumes it until it is given up. */
  private async begin(): Promise<void> {
    const { offset } = await this.request(claimMethod, { ...this.claimant(), born: this.born });
    if (this.ended) return;
    // After an outage it goes on behind what was handed out under this claim already.
    if (!this.started) await this.startBehind(offset);
    while (!this.ended) await this.readOn();
  }

  /** Begins at the committed offset, or where a seek has sent it meanwhile. */
  private async startBehind(committed: number | null): Promise<void> {
    if (committed !== null) this.startAt(committed);
    else if (this.sought === null) await this.startAtBound(this.options.from);
    if (this.sought !== null) {
      this.startAt(this.sought);
      this.committed = this.wanted = committed ?? -1;
    }
    this.started = true;
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
    const { seeks } = this;
    const { offset } = await this.request(listOffsetsMethod, { at, timeMs: 0 });
    if (seeks !== this.seeks) return;
    this.startAt(offset);
    if (at === "latest") {
      this.committed = -1;
      await this.commitUpTo(offset);
    }
  }

  /** Reads from where it stands until it has ended or a seek sends it elsewhere. */
  private async readOn(): Promise<void> {
    const { seeks } = this;
    const { maxBytes, until, signal } = this.options;
    const end = until(this.topic, this.partition);
    const reader = new PartitionReader(this.access, this.topic, this.partition, {
      from: this.handed,
      maxBytes,
      patienceMs: REQUEST_MS,
      signal,
      groupId: this.groupId,
    });
    while (!this.ended && seeks === this.seeks) {
      if (reader.offset >= end) {
        this.finished = true;
        this.events.onNews(this);
        await this.woken();
        continue;
      }
      const records = await this.fetch(reader);
      if (this.ended || seeks !== this.seeks) return;
      this.records = records.filter(({ offset }) => offset < end);
      this.nextRecord = 0;
      if (this.records.length > 0) await this.handOut();
    }
  }

  private async fetch(reader: PartitionReader): Promise<readonly BatchRecord[]> {
    try {
      const fetched = await this.unlessWoken(reader.next());
      this.answered();
      return fetched?.records ?? [];
    } catch (thrown) {
      const error = toTrilogError(thrown);
      if (error.code !== "offset_out_of_range" || this.ended) throw error;
      await this.skipTo(reader, error);
      return [];
    }
  }

  /** Retention was faster than this group, or what it had committed was lost in a recovery. */
  private async skipTo(reader: PartitionReader, error: TrilogError): Promise<void> {
    const { onBehind, group } = this.options;
    if (onBehind === "fail") {
      throw new TrilogError(
        "offset_out_of_range",
        `Cannot consume ${this.topic}/${this.partition} at offset ${reader.offset} for group ` +
          `${group}: the message is not there any more; choose another onBehind, seek, or reset the group`,
        { cause: error },
      );
    }
    await this.startAtBound(onBehind);
    reader.seek(this.handed);
  }

  /** Waits until everything that was fetched was handed out. */
  private async handOut(): Promise<void> {
    const taken = this.woken();
    this.events.onNews(this);
    await taken;
  }

  /** Resolves when all messages are taken, after a seek, and at the end. */
  private woken(): Promise<void> {
    if (this.ended) return Promise.resolve();
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }

  /** What `work` comes to, or null where a seek or the end comes first. */
  private async unlessWoken<T>(work: Promise<T>): Promise<T | null> {
    const { promise, resolve, reject } = deferred<T | null>();
    this.wake = () => resolve(null);
    work.then(resolve, reject);
    try {
      return await promise;
    } finally {
      this.wake = null;
    }
  }

  private wakeUp(): void {
    this.wake?.();
    this.wake = null;
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
      { groupId: this.groupId },
    );
    this.answered();
    return answer;
  }
}
