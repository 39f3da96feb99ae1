/**
 * Reads one partition in order of offset. The next part is fetched while the caller works on the
 * one it has; a change of leader or a lost connection is not seen, only waited for.
 */

import { type ErrorCode, toTrilogError, TrilogError } from "../base/errors.ts";
import { type BatchRecord, recordsOf } from "../batch/batch_reader.ts";
import type { PartitionPin, PartitionRequest } from "./access.ts";
import type { Client } from "./client.ts";
import { type Message, messageOf } from "./message.ts";
import { choiceOption, wholeOption } from "./options.ts";
import { type FetchAnswer, fetchMethod, listOffsetsMethod, type Method } from "./protocol.ts";

/** Where and how to read; all but `from` have defaults. */
export interface ReaderOptions {
  /** Offset of the first message wanted. */
  readonly from: number;
  /**
   * What to do where the next message is not there any more (retention dropped it, or it was lost
   * in a recovery): reject with `offset_out_of_range` (`fail`, the default), or go on at the
   * partition's `earliest` or `latest` message.
   */
  readonly onBehind?: "earliest" | "latest" | "fail";
  /** Bytes asked for at once. Default 1 MiB. */
  readonly maxBytes?: number;
  /** Longest time the broker may wait for a message, in milliseconds. Default 500. */
  readonly maxWaitMs?: number;
  /** Time without any answer after which `next` fails, in milliseconds. Default 30 s. */
  readonly patienceMs?: number;
  /** Once it is aborted, a failed attempt is the last. */
  readonly signal?: AbortSignal;
  /**
   * What to do where the topic was deleted and another of its name was made: `fail` with
   * `topic_replaced` (the default), or `restart` at the new topic's first message.
   */
  readonly onReplaced?: "restart" | "fail";
  /**
   * The group that the partition is, where the caller knows it.
   *
   * @internal
   */
  readonly groupId?: string;
}

/** Messages that follow each other, and where their partition stood when they were read. */
export interface Fetched {
  /** Possibly none, when nothing came in time. */
  readonly records: readonly BatchRecord[];
  /** Number of the partition. */
  readonly partition: number;
  /** Offset of the first message that is kept. */
  readonly startOffset: number;
  /** Offset that the next message will get. */
  readonly endOffset: number;
}

const MAX_BYTES = 1024 * 1024;
const MAX_WAIT_MS = 500;
const PATIENCE_MS = 30_000;

/** One partition, front to back; made by `client.reader`. */
export class PartitionReader implements AsyncIterable<Message> {
  private position: number;
  private ahead: Promise<FetchAnswer> | null = null;
  private readonly pin: PartitionPin;

  /** @internal */
  constructor(
    private readonly client: Pick<Client, "partitionRequest">,
    readonly topic: string,
    readonly partition: number,
    private readonly options: ReaderOptions,
  ) {
    this.position = wholeOption("from", options.from, 0);
    choiceOption("onBehind", options.onBehind ?? "fail", ["earliest", "latest", "fail"]);
    choiceOption("onReplaced", options.onReplaced ?? "fail", ["restart", "fail"]);
    this.pin = { groupId: options.groupId ?? null };
  }

  /** Offset of the next message that {@link next} gives. */
  get offset(): number {
    return this.position;
  }

  /** Goes on at another offset. */
  seek(offset: number): void {
    this.position = wholeOption("offset", offset, 0);
    this.drop();
  }

  /**
   * The next messages. Rejects with `offset_out_of_range` (see `onBehind`; `seek` goes on), with
   * `no_such_topic`, with `topic_replaced` (see `onReplaced`), or with `unavailable` when no broker
   * answered for the reader's patience; the next call asks again. One call at a time.
   */
  async next(): Promise<Fetched> {
    const asked = this.position;
    const answer = await this.answerAt(asked);
    const records: BatchRecord[] = [];
    // A seek came meanwhile: what was asked for is not wanted any more.
    if (this.position !== asked) return this.fetched(records, answer);
    for (const batch of answer.batches) {
      for (const record of recordsOf(batch)) {
        if (record.offset >= asked) records.push(record);
      }
    }
    if (records.length > 0) this.position = records[records.length - 1].offset + 1;
    if (this.position < answer.endOffset) this.fetchAhead();
    return this.fetched(records, answer);
  }

  /** What a call of {@link next} gives. */
  private fetched(
    records: readonly BatchRecord[],
    { startOffset, endOffset }: FetchAnswer,
  ): Fetched {
    return { records, partition: this.partition, startOffset, endOffset };
  }

  /** What was fetched ahead or is fetched now; elsewhere where the option says so. */
  private async answerAt(asked: number): Promise<FetchAnswer> {
    const { ahead } = this;
    this.ahead = null;
    try {
      return await (ahead ?? this.fetch(asked));
    } catch (thrown) {
      const at = this.goesOnAt(toTrilogError(thrown).code);
      if (at === null) throw thrown;
      const { offset } = await this.request(listOffsetsMethod, { at, timeMs: 0 });
      if (this.position === asked) this.position = offset;
      return { batches: [], startOffset: offset, endOffset: offset };
    }
  }

  /** Where reading goes on after a failure; null: it does not. */
  private goesOnAt(code: ErrorCode): "earliest" | "latest" | null {
    const { onBehind = "fail", onReplaced = "fail" } = this.options;
    if (code === "offset_out_of_range" && onBehind !== "fail") return onBehind;
    if (code !== "topic_replaced" || onReplaced === "fail") return null;
    this.pin.groupId = null;
    return "earliest";
  }

  /** The messages one by one, without an end; rejects where {@link next} does. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined> {
    for (;;) {
      const { records } = await this.next();
      for (const record of records) yield messageOf(this.topic, this.partition, record);
    }
  }

  /** Asks for what the next call will want. */
  private fetchAhead(): void {
    this.ahead = this.fetch(this.position);
    // It is looked at when the caller comes for it, or never.
    this.ahead.catch(() => {});
  }

  /** Forgets what was asked for ahead. */
  private drop(): void {
    this.ahead = null;
  }

  /** One request, repeated until somebody answered. */
  private async fetch(offset: number): Promise<FetchAnswer> {
    const { maxBytes = MAX_BYTES, maxWaitMs = MAX_WAIT_MS } = this.options;
    const request = { offset, maxBytes, minBytes: 1, maxWaitMs, isolation: "committed" as const };
    return await this.request(fetchMethod, request, maxWaitMs);
  }

  /** One request, repeated until a broker has answered or the patience is over. */
  private async request<Request extends PartitionRequest, Answer>(
    method: Method<Request, Answer>,
    request: Omit<Request, keyof PartitionRequest>,
    extraMs = 0,
  ): Promise<Answer> {
    const { patienceMs = PATIENCE_MS, signal } = this.options;
    const deadlineMs = patienceMs + extraMs;
    const { topic, partition, pin } = this;
    try {
      return await this.client.partitionRequest(
        topic,
        partition,
        method,
        request,
        deadlineMs,
        signal,
        pin,
      );
    } catch (thrown) {
      const error = toTrilogError(thrown);
      // Reading changes nothing: there is no unknown outcome.
      throw error.code === "outcome_unknown"
        ? new TrilogError("unavailable", `Cannot read ${this.topic}: no server answered in time`, {
          cause: error,
        })
        : error;
    }
  }
}
