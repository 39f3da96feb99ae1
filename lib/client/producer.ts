/**
 * Sends messages: batches them per partition, keeps their order, and repeats what was not
 * acknowledged. Every batch carries the producer's id and a sequence number, so that a repeat is
 * recognised by the partition and an acknowledged message stands in the log exactly once.
 */

import { deferred } from "../base/deferred.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type Compression, compressions } from "../batch/compression.ts";
import type { PartitionAccess } from "./access.ts";
import { choiceOption, durationOption, numberOption } from "./options.ts";
import { encodeMessage, type OutgoingMessage } from "./outgoing.ts";
import { Partitioner } from "./partitioner.ts";
import { ProducerLane } from "./producer_lane.ts";
import type { Acks } from "./protocol.ts";

/** How messages are sent; all have defaults. */
export interface ProducerOptions {
  /**
   * How long a message may wait for others while a batch is under way, in milliseconds. With
   * nothing under way a batch leaves at the end of the event loop's turn. Default 5.
   */
  readonly lingerMs?: number;
  /** A batch leaves when it has this many bytes. Default 64 KiB. */
  readonly batchBytes?: number;
  /** Of each batch as a whole. Default none. */
  readonly compression?: Compression;
  /**
   * `quorum` (default): acknowledged means durable on a majority of replicas, once. `leader`: one
   * broker has it; it may be lost or, where it had to be repeated, stand there twice.
   */
  readonly acks?: Acks;
  /** Messages not acknowledged after this long fail, in milliseconds. Default two minutes. */
  readonly deliveryMs?: number;
  /** Bytes taken and not acknowledged before `ready` makes callers wait. Default 32 MiB. */
  readonly bufferBytes?: number;
}

/** Where a message stands. */
export interface Delivered {
  /** Number of its partition, from 0. */
  readonly partition: number;
  /** `UNKNOWN_OFFSET` (-1) with `acks` `leader`. */
  readonly offset: number;
}

/** Called once per message, in the order of the partition. */
export type DeliveryCallback = (error: TrilogError | null, delivered: Delivered | null) => void;

/** Sends messages, each exactly once; made by `client.producer`. */
export class Producer {
  /** The options, with their defaults. */
  readonly settings: Required<ProducerOptions>;
  private readonly partitioner: Partitioner;
  private readonly lanes = new Map<string, Map<number, ProducerLane>>();
  private bufferedBytes = 0;
  private waiting: (() => void)[] = [];
  private stopping = false;
  /** Messages that wait until their topic is known. */
  private readonly preparing = new Set<Promise<void>>();

  /** @internal */
  constructor(private readonly client: PartitionAccess, options: ProducerOptions) {
    const batchBytes = numberOption("batchBytes", options.batchBytes ?? 64 * 1024, 1);
    this.settings = {
      lingerMs: durationOption("lingerMs", options.lingerMs ?? 5, 0),
      batchBytes: Math.min(batchBytes, limits.batchBytes),
      compression: choiceOption("compression", options.compression ?? "none", compressions),
      acks: choiceOption("acks", options.acks ?? "quorum", ["quorum", "leader"]),
      deliveryMs: numberOption("deliveryMs", options.deliveryMs ?? 120_000, 1),
      bufferBytes: numberOption("bufferBytes", options.bufferBytes ?? 32 * 1024 * 1024, 1),
    };
    this.partitioner = new Partitioner(client.random);
  }

  /** Whether `send` would take a message without growing the buffer beyond its limit. */
  get canSend(): boolean {
    return !this.stopping && this.bufferedBytes < this.settings.bufferBytes;
  }

  /** Resolves when {@link canSend} holds: await it before each `send` to bound the memory. */
  ready(): Promise<void> {
    if (this.canSend || this.stopping) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /**
   * Sends one message; resolves when it is acknowledged. Rejects with `no_such_topic`,
   * `no_such_partition`, `message_too_large`, `invalid_argument` or `invalid_batch` (certainly not
   * sent), or with `unavailable` or `outcome_unknown` after the delivery time.
   */
  async send(topic: string, message: OutgoingMessage): Promise<Delivered> {
    this.refuseWhenStopping();
    const { promise, resolve, reject } = deferred<Delivered>();
    const add = () =>
      this.add(topic, message, (error, delivered) => {
        if (delivered !== null) resolve(delivered);
        else reject(error);
      });
    if (this.hasLane(topic, message.partition ?? 0)) add();
    else await this.addWhenPrepared(topic, message.partition ?? 0, add);
    return await promise;
  }

  /** Learns a topic's partitions, so that {@link enqueue} can be used for it. */
  async prepare(topic: string): Promise<void> {
    if (this.lanes.has(topic)) return;
    const { partitions } = await this.client.topic(topic);
    if (this.lanes.has(topic)) return;
    const lanes = new Map<number, ProducerLane>();
    for (const { partition } of partitions) lanes.set(partition, this.newLane(topic, partition));
    this.lanes.set(topic, lanes);
  }

  /**
   * The same as `send` without a promise, for many messages a second; the topic must be prepared.
   * Throws where `send` would reject before anything is sent: `delivered` is not called then.
   */
  enqueue(topic: string, message: OutgoingMessage, delivered: DeliveryCallback): void {
    this.refuseWhenStopping();
    this.add(topic, message, delivered);
  }

  /**
   * Sends what waits without lingering. Resolves when every message that was given to `send` or
   * `enqueue` before is settled, whether it was acknowledged or failed; never rejects. Messages
   * that are sent meanwhile are not waited for.
   */
  async flush(): Promise<void> {
    await Promise.allSettled([...this.preparing]);
    const lanes = [...this.lanes.values()].flatMap((byPartition) => [...byPartition.values()]);
    await Promise.all(lanes.map((lane) => lane.flush()));
  }

  /** Takes no more messages and resolves when all that were taken are settled. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.wakeWaiting();
    await this.flush();
  }

  /** Adds a message once its topic is known; {@link flush} waits for that. */
  private async addWhenPrepared(
    topic: string,
    partition: number,
    add: () => void,
  ): Promise<void> {
    // A partition that is not known may have been added lately: the managers are asked.
    const known = async () => {
      await this.prepare(topic);
      if (!this.hasLane(topic, partition)) await this.client.route(topic, partition);
    };
    const added = known().then(add);
    this.preparing.add(added);
    try {
      await added;
    } finally {
      this.preparing.delete(added);
    }
  }

  /** Whether messages for the partition can be added. */
  private hasLane(topic: string, partition: number): boolean {
    return this.lanes.get(topic)?.has(partition) ?? false;
  }

  /** Hands a message to its partition's lane. */
  private add(topic: string, message: OutgoingMessage, delivered: DeliveryCallback): void {
    const lanes = this.lanes.get(topic);
    if (lanes === undefined) {
      throw new TrilogError("invalid_argument", `Cannot send to ${topic}: it is not prepared`);
    }
    const count = this.client.partitionCount(topic) ?? lanes.size;
    for (let added = lanes.size; added < count; added += 1) {
      lanes.set(added, this.newLane(topic, added));
    }
    const encoded = encodeMessage(message);
    const partition = message.partition ?? this.partitioner.choose(topic, count, encoded.key);
    const lane = lanes.get(partition);
    if (lane === undefined || partition >= count) {
      throw new TrilogError(
        "no_such_partition",
        `Cannot use partition ${partition} of ${topic}: there are ${count}`,
      );
    }
    lane.add(encoded, delivered);
  }

  /** Refuses what comes after {@link stop}. */
  private refuseWhenStopping(): void {
    if (!this.stopping) return;
    throw new TrilogError("shutting_down", "Cannot send message: the producer is stopping");
  }

  /** What sends to one partition. */
  private newLane(topic: string, partition: number): ProducerLane {
    return new ProducerLane(this.client, topic, partition, this.settings, {
      buffered: (bytes) => {
        this.bufferedBytes += bytes;
        if (bytes < 0 && this.canSend) this.wakeWaiting();
      },
      batchClosed: () => {
        const partitions = this.client.partitionCount(topic) ?? this.lanes.get(topic)?.size ?? 1;
        this.partitioner.batchClosed(topic, partition, partitions);
      },
    });
  }

  /** Lets those who wait for room look again. */
  private wakeWaiting(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
  }
}
