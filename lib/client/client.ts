/**
 * A client of the queue: it knows the managers, keeps a picture of topics and partition leaders,
 * and sends requests to where they belong until they are answered.
 */

import { type Clock, sleep } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Random } from "../base/prng.ts";
import { systemClock } from "../base/system_clock.ts";
import { randomIdentity, systemRandom } from "../base/system_random.ts";
import { newCounters } from "../net/counters.ts";
import { clientPolicy } from "../net/handshake.ts";
import { RpcClient } from "../net/rpc_client.ts";
import type { Sockets } from "../net/tcp.ts";
import type { PartitionRequest } from "./access.ts";
import { Consumer } from "./consumer.ts";
import type { ConsumerOptions } from "./consumer_options.ts";
import { gaveUp, Managers } from "./managers.ts";
import { addressesOption } from "./options.ts";
import { Producer, type ProducerOptions } from "./producer.ts";
import { PartitionReader, type ReaderOptions } from "./partition_reader.ts";
import {
  type ClusterMetadata,
  listOffsetsMethod,
  metadataMethod,
  type TopicMetadata,
} from "./protocol.ts";
import type { Method } from "./protocol_method.ts";
import { type Route, Routing } from "./routing.ts";
import { Troubles } from "./troubles.ts";

/** How to reach a cluster; all but `bootstrap` have defaults. */
export interface ClientOptions {
  /** Addresses (`host:port`) of some managers. */
  readonly bootstrap: readonly string[];
  /** Shared secret of the cluster, where it has one. */
  readonly token?: string;
  /** Name for the servers' logs. */
  readonly name?: string;
  /** The system's clock, where it is not given. */
  readonly clock?: Clock;
  /** The system's randomness, where it is not given. */
  readonly random?: Random;
  /** Makes the ids by which repeated changes are recognised, where the system's do not serve. */
  readonly newRequestId?: () => string;
  /** The machine's network, where it is not given. */
  readonly sockets?: Sockets;
}

/** Time for a request that a person waits for, in milliseconds. */
export const REQUEST_MS = 5_000;
/** Longest time one attempt at a broker may take before another is tried. */
const ATTEMPT_MS = 3_000;
/** Metadata is not fetched more often than this, however many requests fail. */
const REFRESH_PAUSE_MS = 20;

/** A connection to a cluster: the way to its producers and consumers. */
export class Client {
  /** @internal */
  readonly clock: Clock;
  /** @internal */
  readonly random: Random;
  /** @internal */
  readonly managers: Managers;
  /**
   * Makes a new identity for a request that is to be recognised when it is repeated.
   *
   * @internal
   */
  readonly newRequestId: () => string;
  private readonly rpc: RpcClient;
  private readonly routing: Routing;
  private readonly troubles = new Troubles();
  private refreshing: Promise<ClusterMetadata> | null = null;
  private refreshedAtMs = -Infinity;

  private constructor(options: ClientOptions) {
    this.clock = options.clock ?? systemClock;
    this.random = options.random ?? systemRandom;
    this.newRequestId = options.newRequestId ?? randomIdentity;
    this.rpc = new RpcClient({
      policy: clientPolicy(options.name ?? "client", options.token),
      role: "client",
      clock: this.clock,
      random: this.random,
      counters: newCounters(),
      sockets: options.sockets,
    });
    const bootstrap = addressesOption("bootstrap", options.bootstrap);
    this.managers = new Managers(this.rpc, this.clock, this.random, bootstrap);
    this.routing = new Routing(this.random);
  }

  /** A client that connects when it is first used. Throws `invalid_argument` as `connect` rejects. */
  static unconnected(options: ClientOptions): Client {
    return new Client(options);
  }

  /**
   * Connects and learns what topics there are. Rejects with `unavailable` when no manager answers
   * within `deadlineMs`, `unauthorized` when the token is wrong, or `invalid_argument` for options
   * that cannot be used.
   */
  static async connect(options: ClientOptions, deadlineMs = REQUEST_MS): Promise<Client> {
    const client = new Client(options);
    try {
      await client.refresh(deadlineMs);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** Why some partition that was asked for cannot be used just now, for people; null: all can. */
  get trouble(): string | null {
    return this.troubles.current;
  }

  /** Ends all requests and connections. */
  close(): void {
    this.rpc.close();
  }

  /** Sends messages to any topics; stop it before the client is closed. */
  producer(options: ProducerOptions = {}): Producer {
    return new Producer(this, options);
  }

  /** Consumes topics as a member of a group, which is made when its first member joins. */
  consumer(group: string, topics: readonly string[], options: ConsumerOptions = {}): Consumer {
    return new Consumer(this, group, topics, options);
  }

  /** Reads one partition from an offset on. */
  reader(topic: string, partition: number, options: ReaderOptions): PartitionReader {
    return new PartitionReader(this, topic, partition, options);
  }

  /**
   * Fresh, linearizable metadata of all topics, brokers and managers.
   *
   * @internal
   */
  refresh(deadlineMs = REQUEST_MS): Promise<ClusterMetadata> {
    this.refreshing ??= this.fetchMetadata(deadlineMs).finally(() => {
      this.refreshing = null;
    });
    return this.refreshing;
  }

  /**
   * The topic's partitions; asks the managers where it is not known here.
   *
   * @internal
   */
  async topic(name: string): Promise<TopicMetadata> {
    const known = this.routing.topic(name);
    if (known !== undefined) return known;
    // A refresh that was under way may have begun before the topic was made.
    if (this.refreshing !== null) await this.refresh();
    if (this.routing.topic(name) === undefined) await this.refresh();
    const found = this.routing.topic(name);
    if (found !== undefined) return found;
    throw new TrilogError("no_such_topic", `Cannot use topic ${name}: there is no such topic`);
  }

  /** The partition's first offset, its end, or the first message at or after a time. */
  async offset(
    topic: string,
    partition: number,
    at: "earliest" | "latest" | "time",
    timeMs = 0,
  ): Promise<number> {
    const { offset } = await this.partitionRequest(topic, partition, listOffsetsMethod, {
      at,
      timeMs,
    }, REQUEST_MS);
    return offset;
  }

  /**
   * The answer of a partition's leader to a request that may be repeated without harm. Rejects with
   * the refusal, or after `deadlineMs` with `unavailable` or `outcome_unknown`. Where `signal` is
   * aborted, a failed attempt is the last.
   *
   * @internal
   */
  async partitionRequest<Request extends PartitionRequest, Answer>(
    topic: string,
    partition: number,
    method: Method<Request, Answer>,
    request: Omit<Request, keyof PartitionRequest>,
    deadlineMs: number,
    signal?: AbortSignal,
  ): Promise<Answer> {
    const endMs = this.clock.monotonicMs() + deadlineMs;
    let mayHaveHappened = false;
    for (;;) {
      const route = await this.route(topic, partition);
      try {
        const leftMs = endMs - this.clock.monotonicMs();
        return await this.askLeader(route, method, request, Math.min(leftMs, ATTEMPT_MS));
      } catch (thrown) {
        const error = toTrilogError(thrown);
        mayHaveHappened ||= error.outcomeUnknown;
        const pauseMs = this.noteFailure(route, error);
        if (pauseMs === null) throw error;
        const noTime = this.clock.monotonicMs() + pauseMs >= endMs;
        if (noTime || signal?.aborted) throw gaveUp(error, mayHaveHappened);
        await sleep(this.clock, pauseMs);
      }
    }
  }

  /** @internal */
  async route(topic: string, partition: number): Promise<Route> {
    const route = this.routing.route(topic, partition);
    if (route !== null) return route;
    let found = await this.topic(topic);
    if (partition >= found.partitions.length) {
      await this.refresh();
      found = await this.topic(topic);
    }
    const fresh = this.routing.route(topic, partition);
    if (fresh !== null) return fresh;
    throw new TrilogError(
      "no_such_partition",
      `Cannot use partition ${partition} of ${topic}: there are ${found.partitions.length}`,
    );
  }

  /** @internal */
  async askLeader<Request extends PartitionRequest, Answer>(
    route: Route,
    method: Method<Request, Answer>,
    request: Omit<Request, keyof PartitionRequest>,
    deadlineMs: number,
  ): Promise<Answer> {
    const { groupId, epoch } = route;
    const full = { ...request, groupId, epoch } as unknown as Request;
    const params = method.request.encode(full);
    const options = { deadlineMs: Math.max(1, Math.ceil(deadlineMs)) };
    try {
      const answer = await this.rpc.call(route.address, method.name, params, options);
      this.routing.succeeded(route);
      this.troubles.succeeded(groupId);
      return method.answer.decode(answer, method.name);
    } catch (thrown) {
      const { address } = route;
      const broker = { address, name: this.routing.brokerAt(address) };
      throw this.troubles.note(
        groupId,
        this.routing.labelOf(groupId),
        broker,
        toTrilogError(thrown),
      );
    }
  }

  /**
   * One attempt at a server, whoever it is.
   *
   * @internal
   */
  async askServer<Request, Answer>(
    address: string,
    method: Method<Request, Answer>,
    request: Request,
    deadlineMs: number,
  ): Promise<Answer> {
    const params = method.request.encode(request);
    const answer = await this.rpc.call(address, method.name, params, { deadlineMs });
    return method.answer.decode(answer, method.name);
  }

  /** @internal */
  noteFailure(route: Route, error: TrilogError): number | null {
    const advice = this.routing.failed(route, error);
    if (advice.kind === "give_up") return null;
    // The next attempt must not wait for managers that may be away themselves.
    const due = this.clock.monotonicMs() - this.refreshedAtMs > REFRESH_PAUSE_MS;
    if (advice.refresh && due) void this.refresh(REFRESH_DEADLINE_MS).catch(() => {});
    return advice.delayMs;
  }

  /** Asks the managers, and takes in what they say. */
  private async fetchMetadata(deadlineMs: number): Promise<ClusterMetadata> {
    const request = { topics: null, consistency: "linearizable" } as const;
    const metadata = await this.managers.request(metadataMethod, request, deadlineMs);
    this.routing.update(metadata);
    this.managers.update(this.routing.managers);
    this.refreshedAtMs = this.clock.monotonicMs();
    return metadata;
  }
}

const REFRESH_DEADLINE_MS = 3_000;
