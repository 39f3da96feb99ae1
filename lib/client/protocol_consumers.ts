/** Methods of brokers for the consumers of the HTTP API, whose positions the partitions keep. */

import { binary, flag, nullable, record, token, whole } from "../base/codec.ts";
import { method } from "./protocol_method.ts";

export interface DequeueRequest {
  readonly groupId: string;
  readonly epoch: number;
  readonly consumer: number;
  /** The consumer's last request sent again to this partition gets the same message. */
  readonly requestId: string;
  /**
   * From `consumer_position`: where other requests of the consumer were answered since, and this
   * is no repeat, it is refused as `stale_sequence` and takes nothing.
   */
  readonly turn: number;
}

export interface DequeueAnswer {
  /** The message that is now this consumer's; null: none was left. */
  readonly offset: number | null;
  /** Null with `offset`, and for a message without a value. */
  readonly value: Uint8Array | null;
  /** Messages that retention took away before this consumer came to them. */
  readonly skipped: number;
}

/**
 * Reads a message and moves the consumer on in one replicated step. Rejects with
 * `offset_out_of_range` where a repeat comes after retention has taken the message away.
 */
export const dequeueMethod = method<DequeueRequest, DequeueAnswer>(
  "broker.dequeue",
  record<DequeueRequest>({
    groupId: token,
    epoch: whole,
    consumer: whole,
    requestId: token,
    turn: whole,
  }),
  record<DequeueAnswer>({ offset: nullable(whole), value: nullable(binary), skipped: whole }),
);

export interface ConsumerRequest {
  readonly groupId: string;
  readonly epoch: number;
  readonly consumer: number;
}
const consumerRequest = record<ConsumerRequest>({ groupId: token, epoch: whole, consumer: whole });

export interface ConsumerPositionAnswer {
  /** Messages left for the consumer; all there are where it never came here. */
  readonly size: number;
  /** Requests of the consumer that were answered here, repeats not counted. */
  readonly turn: number;
}

/** Where a consumer stands in one partition, linearizably. */
export const consumerPositionMethod = method<ConsumerRequest, ConsumerPositionAnswer>(
  "broker.consumer_position",
  consumerRequest,
  record<ConsumerPositionAnswer>({ size: whole, turn: whole }),
);

export interface DeleteConsumerAnswer {
  readonly existed: boolean;
}

/** Forgets a consumer's position in one partition. */
export const deleteConsumerMethod = method<ConsumerRequest, DeleteConsumerAnswer>(
  "broker.delete_consumer",
  consumerRequest,
  record<DeleteConsumerAnswer>({ existed: flag }),
);
