/**
 * Routes of consumers. A consumer's position lives in each partition; one request visits the
 * partitions in turn until one has a message. With a request id the order is a pure function of
 * consumer and id, so that a repeat walks the same way and meets the answers that the partitions
 * remember: an empty one first, then the message.
 */

import { displayText, textOf } from "../base/bytes.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import {
  consumerPositionMethod,
  deleteConsumerMethod,
  type DequeueAnswer,
  dequeueMethod,
  forgetMethod,
  type Method,
  registerMethod,
  retireConsumerMethod,
} from "../client/protocol.ts";
import type { PartitionRequest } from "../client/access.ts";
import {
  type Exchange,
  type Queue,
  type Registered,
  registeredOf,
  type Route,
  topicOf,
} from "./exchange.ts";
import { RequestHash } from "./identities.ts";
import { type HttpAnswer, type JsonFields, success } from "./message.ts";
import { RecentMap } from "./recent.ts";
import { Turns } from "./turns.ts";

/** One request on its way through the partitions. */
interface Visit {
  readonly consumer: Registered;
  readonly requestId: string;
  /** Whether the client may repeat it. */
  readonly repeatable: boolean;
  readonly exchange: Exchange;
}

export class Consuming {
  /** Partition of each consumer's last message that was asked for without a request id. */
  private readonly lastPartitions = new RecentMap<number, number>(limits.registeredConsumers);
  private readonly turns = new Turns(limits.httpConsumerWaiting);

  constructor(private readonly queue: Queue) {}

  routes(): Route[] {
    return [
      { method: "POST", path: "/consumer/register", run: (exchange) => this.register(exchange) },
      { method: "GET", path: "/consumer/consume", run: (exchange) => this.consume(exchange) },
      { method: "GET", path: "/size", run: (exchange) => this.size(exchange) },
      { method: "DELETE", path: "/consumer", run: (exchange) => this.delete(exchange) },
    ];
  }

  private async register(exchange: Exchange): Promise<HttpAnswer> {
    const { parameters, leftMs } = exchange;
    const topic = topicOf(exchange);
    const partition = parameters.optionalWhole("partition");
    const given = parameters.requestId();
    const requestId = given === null
      ? this.queue.newRequestId()
      : new RequestHash("register consumer", topic, partition, given).id;
    const request = { requestId, kind: "consumer", topic, partition } as const;
    const { id, partitions } = await this.queue.managers.request(registerMethod, request, leftMs());
    return success({ consumer_id: id, partition_count: partitions });
  }

  private consume(exchange: Exchange): Promise<HttpAnswer> {
    const id = exchange.parameters.whole("consumer_id");
    const given = exchange.parameters.requestId();
    return this.turns.run(id, async () => {
      refuseGone(exchange);
      const consumer = await registeredOf(this.queue, exchange, "consumer");
      // Without an id of the client's only our own repeats are recognised.
      const hash = new RequestHash(given === null ? "own" : "consume", id, given ?? this.newId());
      const wanted = wantedPartition(consumer, exchange);
      const order = wanted !== null
        ? [wanted]
        : given === null
        ? rotation((this.lastPartitions.get(id) ?? -1) + 1, consumer.partitions)
        : visitingOrder(consumer, hash);
      const visit = { consumer, requestId: hash.id, repeatable: given !== null, exchange };
      return await this.firstMessage(visit, order);
    });
  }

  private async firstMessage(visit: Visit, order: readonly number[]): Promise<HttpAnswer> {
    let skipped = 0;
    for (const partition of order) {
      const answer = await this.dequeue(visit, partition);
      skipped += answer.skipped;
      if (answer.offset === null) continue;
      this.lastPartitions.set(visit.consumer.id, partition);
      const message = messageFields(answer.value);
      return success({ ...message, partition, offset: answer.offset, ...skippedFields(skipped) });
    }
    return success({ message: null, partition: null, offset: null, ...skippedFields(skipped) });
  }

  /**
   * Takes a message at the consumer's present turn. An attempt that is held up on its way, while
   * the client goes on at another manager, finds the turn over and takes nothing. Emptiness is
   * worth a replicated step only where a repeat has to find it again.
   */
  private async dequeue(visit: Visit, partition: number): Promise<DequeueAnswer> {
    const { consumer: { id, topic }, requestId, repeatable, exchange } = visit;
    const { leftMs, signal } = exchange;
    const ask = <Request extends PartitionRequest, Answer>(
      method: Method<Request, Answer>,
      request: Omit<Request, keyof PartitionRequest>,
    ) => this.queue.partitionRequest(topic, partition, method, request, leftMs(), signal);
    const { turn, size } = await ask(consumerPositionMethod, { consumer: id });
    if (size === 0 && !repeatable) return { offset: null, value: null, skipped: 0 };
    refuseGone(exchange);
    try {
      return await ask(dequeueMethod, { consumer: id, requestId, turn });
    } catch (thrown) {
      const error = toTrilogError(thrown);
      throw error.code === "stale_sequence" ? overtaken(id, error) : error;
    }
  }

  private async size(exchange: Exchange): Promise<HttpAnswer> {
    const consumer = await registeredOf(this.queue, exchange, "consumer");
    const wanted = wantedPartition(consumer, exchange);
    const partitions = wanted === null ? rotation(0, consumer.partitions) : [wanted];
    const sizes = await Promise.all(partitions.map(async (partition) => {
      const { size } = await this.queue.partitionRequest(
        consumer.topic,
        partition,
        consumerPositionMethod,
        { consumer: consumer.id },
        exchange.leftMs(),
        exchange.signal,
      );
      return [String(partition), size] as const;
    }));
    const size = sizes.reduce((sum, [, size]) => sum + size, 0);
    return success({ size, partitions: Object.fromEntries(sizes) });
  }

  /** Can be repeated after any failure: see `RetireRequest`. */
  private delete(exchange: Exchange): Promise<HttpAnswer> {
    const { parameters, leftMs, signal } = exchange;
    const id = parameters.whole("consumer_id", "id");
    return this.turns.run(id, async () => {
      const { topic } = await this.queue.managers.request(retireConsumerMethod, { id }, leftMs());
      await orGone(async () => {
        // There may be more partitions by now than are known here.
        await this.queue.refresh(leftMs());
        const { partitions } = await this.queue.topic(topic);
        await Promise.all(partitions.map(({ partition }) => {
          const request = { consumer: id };
          const method = deleteConsumerMethod;
          return this.queue.partitionRequest(topic, partition, method, request, leftMs(), signal);
        }));
        const request = { requestId: this.newId(), kind: "consumer", id } as const;
        await this.queue.managers.request(forgetMethod, request, leftMs());
      });
      return success({ message: `Consumer ${id} deleted` });
    });
  }

  private newId(): string {
    return this.queue.newRequestId();
  }
}

/** Those of the registration's time in an order made from the request, later ones behind them. */
export function visitingOrder(
  { partitions, registeredPartitions }: Pick<Registered, "partitions" | "registeredPartitions">,
  hash: RequestHash,
): number[] {
  const old = rotation(hash.below(registeredPartitions), registeredPartitions);
  return [...old, ...rotation(0, partitions).slice(registeredPartitions)];
}

/** All numbers below `count`, from `first` on and round. */
function rotation(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => (first + at) % count);
}

function wantedPartition(consumer: Registered, { parameters }: Exchange): number | null {
  const given = parameters.optionalWhole("partition");
  if (given !== null && consumer.partition !== null && given !== consumer.partition) {
    throw new TrilogError(
      "invalid_argument",
      `Cannot use partition ${given} as consumer ${consumer.id}: it is registered for partition ` +
        consumer.partition,
    );
  }
  return given ?? consumer.partition;
}

/** Nobody would see the message: none is taken. */
function refuseGone({ signal }: Exchange): void {
  if (signal.aborted) throw new TrilogError("cancelled", "Cannot consume: the client has gone");
}

function overtaken(consumer: number, cause: TrilogError): TrilogError {
  return new TrilogError(
    "unavailable",
    `Cannot consume as consumer ${consumer}: another request of it came first`,
    { cause },
  );
}

/** A topic that was deleted meanwhile has taken its consumers with it. */
async function orGone(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (thrown) {
    const error = toTrilogError(thrown);
    if (error.code !== "no_such_topic" && error.code !== "no_such_consumer") throw error;
  }
}

/** Messages are bytes: what is no text is given in base64 as well, exactly. */
function messageFields(value: Uint8Array | null): JsonFields {
  if (value === null) return { message: "" };
  try {
    return { message: textOf(value) };
  } catch {
    return { message: displayText(value), message_base64: value.toBase64() };
  }
}

function skippedFields(skipped: number): JsonFields {
  return skipped === 0 ? {} : { skipped };
}
