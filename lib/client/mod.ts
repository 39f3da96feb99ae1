/**
 * The client library of trilog's queue: send messages to topics, consume them alone or in groups.
 * It needs a cluster and a topic; these make both on this machine:
 *
 * ```sh
 * trilog up
 * trilog topic create orders --partitions 3
 * ```
 *
 * Sending is exactly once: a message is in the log once, whatever had to be repeated.
 *
 * ```ts
 * import { Client } from "trilog/client";
 *
 * const bootstrap = Deno.env.get("TRILOG_BOOTSTRAP") ?? "127.0.0.1:9001";
 * const client = await Client.connect({ bootstrap: bootstrap.split(",") });
 * const producer = client.producer({ compression: "gzip" });
 *
 * // One at a time, with the place where it stands; keys and values are bytes, or text as UTF-8:
 * const { partition, offset } = await producer.send("orders", { value: "one apple" });
 * console.log(`it is message ${offset} of partition ${partition}`);
 *
 * // Many: they travel together in batches, those of one key in order.
 * for (let count = 1; count <= 1_000; count += 1) {
 *   await producer.ready(); // waits where more would be buffered than is good
 *   producer.send("orders", { key: "alice", value: `${count} pears` }).catch(console.error);
 * }
 * await producer.stop(); // waits until all is delivered
 * client.close();
 * ```
 *
 * The members of a group share a topic's partitions; each message goes to one of them, at least
 * once. What a member was handed out and had not committed when it died goes to another.
 *
 * ```ts
 * import { Client } from "trilog/client";
 *
 * const bootstrap = Deno.env.get("TRILOG_BOOTSTRAP") ?? "127.0.0.1:9001";
 * const client = await Client.connect({ bootstrap: bootstrap.split(",") });
 * const consumer = client.consumer("billing", ["orders"]);
 * let count = 0;
 * try {
 *   for await (const message of consumer) {
 *     console.log(message.partition, message.offset, new TextDecoder().decode(message.value!));
 *     count += 1;
 *     if (count === 10) break;
 *   }
 *   await consumer.stop(); // commits what was handed out, and leaves the group
 * } catch (error) {
 *   await consumer.stop({ failed: true }); // the last message will be delivered again
 *   throw error;
 * } finally {
 *   client.close();
 * }
 * ```
 *
 * By default what is done is committed about every second, and when a partition goes to another
 * member. A program that must not see a message again after a crash stores its result and commits
 * by itself. An `instanceId` gives a member that restarts its partitions back, and the listeners
 * say which partitions come and go:
 *
 * ```ts
 * import { Client } from "trilog/client";
 *
 * const bootstrap = Deno.env.get("TRILOG_BOOTSTRAP") ?? "127.0.0.1:9001";
 * const client = await Client.connect({ bootstrap: bootstrap.split(",") });
 * const consumer = client.consumer("audit", ["orders"], {
 *   autoCommit: false,
 *   onBehind: "earliest", // where retention was faster, go on with what there is
 *   instanceId: "auditor-1",
 *   onAssigned: (partitions) => console.log("reading", partitions.length, "partitions"),
 * });
 * const stored = new Map<string, Uint8Array | null>();
 * for await (const { topic, partition, messages } of consumer.batches()) {
 *   for (const { offset, value } of messages) stored.set(`${topic}/${partition}/${offset}`, value);
 *   await consumer.commit(); // rejects where another member has the partition by now
 *   if (stored.size >= 10) break;
 * }
 * await consumer.stop({ leave: true }); // without it, its partitions wait for the next auditor-1
 * client.close();
 * ```
 *
 * Without a group, a partition can be read from any offset, as often as one likes:
 *
 * ```ts
 * import { Client } from "trilog/client";
 *
 * const bootstrap = Deno.env.get("TRILOG_BOOTSTRAP") ?? "127.0.0.1:9001";
 * const client = await Client.connect({ bootstrap: bootstrap.split(",") });
 * const anHourAgo = Date.now() - 3_600_000;
 * const end = await client.offset("orders", 0, "latest");
 * const reader = client.reader("orders", 0, {
 *   from: await client.offset("orders", 0, "time", anHourAgo),
 * });
 * let read = 0;
 * while (reader.offset < end) read += (await reader.next()).records.length;
 * console.log(`${read} messages of the last hour`);
 * client.close();
 * ```
 *
 * Failures are {@link TrilogError}s with a stable `code`; those of the cluster that pass are
 * repeated inside for as long as the options say.
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
export { Consumer } from "./consumer.ts";
export type {
  ConsumerOptions,
  PartitionListener,
  StopOptions,
  TopicPartition,
} from "./consumer_options.ts";
export type { Message, MessageBatch } from "./message.ts";
export type { BytesOrText, OutgoingHeader, OutgoingMessage } from "./outgoing.ts";
export { type Fetched, PartitionReader, type ReaderOptions } from "./partition_reader.ts";
export {
  type Delivered,
  type DeliveryCallback,
  Producer,
  type ProducerOptions,
} from "./producer.ts";
export type { Acks, AssignmentStrategy } from "./protocol.ts";
