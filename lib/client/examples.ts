/**
 * Two small classes over the client library: a producer and a consumer of lines of text, for who
 * wants nothing but to send and to receive. They connect when they are first used.
 *
 * ```ts
 * import { MyConsumer, MyProducer } from "./examples.ts";
 *
 * const broker = Deno.env.get("TRILOG_BOOTSTRAP") ?? "127.0.0.1:9001";
 * const producer = new MyProducer(["orders"], broker);
 * if (producer.canSend()) producer.send("orders", "one apple");
 * await producer.stop(); // waits until all is delivered
 *
 * const consumer = new MyConsumer(["orders"], broker);
 * console.log(await consumer.getNext());
 * await consumer.stop(); // the next consumer goes on behind what this one got
 * ```
 *
 * @module
 */

import { textOf, utf8 } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import { Client } from "./client.ts";
import type { Consumer } from "./consumer.ts";
import type { Delivered, Producer } from "./producer.ts";

/** Sends texts to some topics. */
export class MyProducer {
  private readonly client: Client;
  private readonly producer: Producer;

  /** `broker`: addresses of some managers, with commas between them. */
  constructor(private readonly topics: readonly string[], broker: string) {
    this.client = Client.unconnected({ bootstrap: broker.split(",") });
    this.producer = this.client.producer();
  }

  /** Whether there is room for another message; false when too many wait to be delivered. */
  canSend(): boolean {
    return this.producer.canSend;
  }

  /**
   * Sends one message. Resolves when it is durable; nobody has to wait for that, since
   * {@link MyProducer.stop} does. Rejects for a topic that is not among the producer's own.
   */
  async send(topic: string, text: string): Promise<Delivered> {
    if (!this.topics.includes(topic)) {
      const message = `Cannot send to ${topic}: this producer sends to ${this.topics.join(", ")}`;
      throw new TrilogError("invalid_argument", message);
    }
    return await this.producer.send(topic, { value: utf8(text) });
  }

  /** Waits until everything that was sent is delivered, and disconnects. */
  async stop(): Promise<void> {
    await this.producer.stop();
    this.client.close();
  }
}

/** Receives the texts of some topics: each goes to one consumer of the group, at least once. */
export class MyConsumer {
  private readonly client: Client;
  private readonly consumer: Consumer;

  /** `broker`: addresses of some managers, with commas between them. */
  constructor(topics: readonly string[], broker: string, group = "my-consumers") {
    this.client = Client.unconnected({ bootstrap: broker.split(",") });
    this.consumer = this.client.consumer(group, topics);
  }

  /** Waits for the next message; null after {@link MyConsumer.stop}. */
  async getNext(): Promise<string | null> {
    const message = await this.consumer.next();
    return message === null ? null : textOf(message.value ?? new Uint8Array(0));
  }

  /** Remembers for the group what was received, and disconnects. */
  async stop(): Promise<void> {
    await this.consumer.stop();
    this.client.close();
  }
}
