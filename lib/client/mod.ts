/**
 * The client library of trilog's queue: send messages to topics, consume them alone or in groups.
 *
 * Every example connects to a cluster; `trilog up` starts one on this machine.
 *
 * ```ts
 * import { Client } from "trilog/client";
 *
 * const client = await Client.connect({ bootstrap: ["127.0.0.1:9001"] });
 *
 * // Send: batched, in order, and exactly once whatever is repeated behind the scenes.
 * const producer = client.producer();
 * const text = new TextEncoder();
 * await producer.send("orders", { key: text.encode("alice"), value: text.encode("1 apple") });
 * await producer.stop(); // waits until all is delivered
 *
 * // Consume: the members of a group share the topic's partitions.
 * const consumer = client.consumer("billing", ["orders"]);
 * for await (const message of consumer) {
 *   console.log(message.partition, message.offset, new TextDecoder().decode(message.value!));
 *   break;
 * }
 * await consumer.stop(); // commits what was handed out and leaves the group
 * client.close();
 * ```
 *
 * @module
 */

export type { Clock, Timer } from "../base/clock.ts";
export { type ErrorCode, errorCodes, type ErrorDetails, TrilogError } from "../base/errors.ts";
export type { Random } from "../base/prng.ts";
export type { BatchRecord } from "../batch/batch_reader.ts";
export type { RecordHeader } from "../batch/batch_writer.ts";
export { type Compression, compressionCodes } from "../batch/compression.ts";
export { Client, type ClientOptions } from "./client.ts";
export { Consumer, type ConsumerOptions, type StopOptions } from "./consumer.ts";
export type { Message, MessageBatch } from "./message.ts";
export { type Fetched, PartitionReader, type ReaderOptions } from "./partition_reader.ts";
export {
  type Delivered,
  type DeliveryCallback,
  type OutgoingMessage,
  Producer,
  type ProducerOptions,
} from "./producer.ts";
export type { Acks, AssignmentStrategy } from "./protocol.ts";
