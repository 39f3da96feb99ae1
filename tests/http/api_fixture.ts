/** The API over a fake queue, asked as a client would ask it. */

import { assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { silentLogger } from "../../lib/base/logger.ts";
import { HttpApi } from "../../lib/http/api.ts";
import type { Observation } from "../../lib/http/observation.ts";
import { FakeQueue } from "./fake_queue.ts";

export interface Answered {
  readonly http: number;
  readonly headers: Readonly<Record<string, string>>;
  // deno-lint-ignore no-explicit-any
  readonly [field: string]: any;
}

export interface Asked {
  readonly body?: string | Uint8Array;
  readonly authorization?: string;
  readonly signal?: AbortSignal;
}

const observation: Observation = {
  name: "m1",
  ready: () => Promise.resolve(),
  metrics: () => Promise.resolve([]),
};

export class Api {
  readonly api: HttpApi;

  /** Two with the same queue are two managers of one cluster. */
  constructor(
    options: { readonly token?: string; readonly observation?: Observation } = {},
    readonly queue: FakeQueue = new FakeQueue(),
  ) {
    this.api = new HttpApi({
      queue: this.queue,
      observation: options.observation ?? observation,
      logger: silentLogger,
      token: options.token ?? "",
    });
  }

  /** `GET /path?query` and the like. */
  async raw(line: string, { body = "", authorization = "", signal }: Asked = {}) {
    const [method, url] = line.split(" ");
    const [path, query = ""] = url.split("?");
    return await this.api.handle({
      method,
      path,
      query,
      authorization,
      body: typeof body === "string" ? utf8(body) : body,
      signal: signal ?? new AbortController().signal,
    });
  }

  /** The same with parameters as JSON. */
  async ask(line: string, parameters?: object, asked: Asked = {}): Promise<Answered> {
    const body = parameters === undefined ? "" : JSON.stringify(parameters);
    const { status, headers, body: text } = await this.raw(line, { body, ...asked });
    assertEquals(headers["content-type"], "application/json");
    return { http: status, headers, ...JSON.parse(text) };
  }

  /** The answer without its form, which must be a success. */
  async done(line: string, parameters: object): Promise<Answered> {
    const answer = await this.ask(line, parameters);
    assertEquals([answer.http, answer.status], [200, "success"], JSON.stringify(answer));
    return answer;
  }

  /** HTTP status and code of a request that must fail. */
  async refused(line: string, parameters?: object, asked?: Asked): Promise<[number, string]> {
    const { http, status, code, message } = await this.ask(line, parameters, asked);
    assertEquals([status, typeof message], ["failure", "string"]);
    return [http, code];
  }

  async topic(name: string, partitions = 1): Promise<void> {
    await this.done("POST /topics", { name, number_of_partitions: partitions });
  }

  async producer(topic: string): Promise<number> {
    return (await this.done("POST /producer/register", { topic })).producer_id;
  }

  async consumer(topic: string, partition?: number): Promise<number> {
    return (await this.done("POST /consumer/register", { topic, partition })).consumer_id;
  }

  /** Produces; gives `PARTITION@OFFSET`. */
  async produce(topic: string, id: number, message: string, more: object = {}): Promise<string> {
    const parameters = { topic, producer_id: id, message, ...more };
    const { partition, offset } = await this.done("POST /producer/produce", parameters);
    return `${partition}@${offset}`;
  }

  /** Consumes; gives `MESSAGE PARTITION@OFFSET`, or null. */
  async consume(topic: string, id: number, more: object = {}): Promise<string | null> {
    const parameters = { topic, consumer_id: id, ...more };
    const { message, partition, offset } = await this.done("GET /consumer/consume", parameters);
    return message === null ? null : `${message} ${partition}@${offset}`;
  }

  /** Consumes until nothing is left; the messages. */
  async drain(topic: string, id: number): Promise<string[]> {
    const messages: string[] = [];
    for (let next = await this.consume(topic, id); next !== null;) {
      messages.push(next.split(" ")[0]);
      next = await this.consume(topic, id);
    }
    return messages;
  }
}
