/** Routes of producers. */

import { utf8 } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { sendOneMessage } from "../client/one_message.ts";
import { forgetMethod, registerMethod } from "../client/protocol.ts";
import {
  type Exchange,
  type Queue,
  type Registered,
  registeredOf,
  type Route,
  topicOf,
} from "./exchange.ts";
import { RequestHash } from "./identities.ts";
import { type HttpAnswer, success } from "./message.ts";
import { RecentMap } from "./recent.ts";

export class Producing {
  /** Partition of each producer's last message without a request id. */
  private readonly lastPartitions = new RecentMap<number, number>(limits.registeredProducers);

  constructor(private readonly queue: Queue) {}

  routes(): Route[] {
    return [
      { method: "POST", path: "/producer/register", run: (exchange) => this.register(exchange) },
      { method: "POST", path: "/producer/produce", run: (exchange) => this.produce(exchange) },
      { method: "DELETE", path: "/producer", run: (exchange) => this.delete(exchange) },
    ];
  }

  private async register(exchange: Exchange): Promise<HttpAnswer> {
    const topic = topicOf(exchange);
    const given = exchange.parameters.requestId();
    const requestId = given === null
      ? this.queue.newRequestId()
      : new RequestHash("register producer", topic, given).id;
    const request = { requestId, kind: "producer", topic, partition: null } as const;
    const { id, partitions } = await this.queue.managers.request(
      registerMethod,
      request,
      exchange.leftMs(),
    );
    return success({ producer_id: id, partition_count: partitions });
  }

  private async produce(exchange: Exchange): Promise<HttpAnswer> {
    const { parameters, leftMs } = exchange;
    const value = utf8(parameters.text("message"));
    const wanted = parameters.optionalWhole("partition");
    const requestId = parameters.requestId();
    if (value.length > limits.messageBytes) throw tooLarge(value.length);
    const producer = await registeredOf(this.queue, exchange, "producer");
    // A repeat of our own making is recognised in any case, one of the client's only by its id.
    const unique = requestId ?? `own ${this.queue.newRequestId()}`;
    const hash = new RequestHash("produce", producer.id, requestId === null ? 0 : 1, unique);
    const partition = wanted ?? this.choose(producer, requestId === null ? null : hash);
    const { offset } = await sendOneMessage(
      this.queue,
      producer.topic,
      partition,
      value,
      hash.number52,
      leftMs(),
    );
    return success({ partition, offset });
  }

  /**
   * With a request id a pure function of it, so that its repeat meets the partition that remembers
   * it, even if the topic has got more partitions in between; else one after the other.
   */
  private choose({ id, partitions, registeredPartitions }: Registered, hash: RequestHash | null) {
    if (hash !== null) return hash.below(registeredPartitions);
    const partition = ((this.lastPartitions.get(id) ?? -1) + 1) % partitions;
    this.lastPartitions.set(id, partition);
    return partition;
  }

  private async delete(exchange: Exchange): Promise<HttpAnswer> {
    const id = exchange.parameters.whole("producer_id", "id");
    const request = { requestId: this.queue.newRequestId(), kind: "producer", id } as const;
    await this.queue.managers.request(forgetMethod, request, exchange.leftMs());
    return success({ message: `Producer ${id} deleted` });
  }
}

function tooLarge(sizeBytes: number): TrilogError {
  return new TrilogError(
    "message_too_large",
    `Cannot produce message: ${sizeBytes} bytes exceed the limit of ${limits.messageBytes}`,
  );
}
