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
import type { PartitionPin, PartitionRequest } from "./access.ts";
import { Consumer } from "./consumer.ts";
import type { ConsumerOptions } from "./consumer_options.ts";
import { LeaderWatch } from "./leader_watch.ts";
import { gaveUp, Managers } from "./managers.ts";
import { MetadataCache } from "./metadata_cache.ts";
import { addressesOption } from "./options.ts";
import { Producer, type ProducerOptions } from "./producer.ts";
import { PartitionReader, type ReaderOptions } from "./partition_reader.ts";
import { type ClusterMetadata, listOffsetsMethod, type TopicMetadata } from "./protocol.ts";
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
  /**
   * The machine's network, where it is not given.
   *
   * @internal
   */
  readonly sockets?: Sockets;
}

/** Time for a request that a person waits for, in milliseconds. */
export const REQUEST_MS = 5_000;
/** Longest time one attempt at a broker may take before another is tried. */
const ATTEMPT_MS = 3_000;

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
  private readonly metadata: MetadataCache;
  private readonly leaders: LeaderWatch;

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
    this.metadata = new MetadataCache(this.clock, this.random, this.managers, this.routing);
    this.leaders = new LeaderWatch(this.clock, this.rpc, this.routing);
  }

  /** A client that connects when it is first used. Throws `invalid_argument` as `connect` rejects. */
  static unconnected(options: ClientOptions): Client {
    return new Client(options);
  }

  /**
   * Connects and learns what servers there are. Rejects with `unavailable` when no manager answers
   * within `deadlineMs`, `unauthorized` when the token is wrong, or `invalid_argument` for options
   * that cannot be used.
   */
  static async connect(options: ClientOptions, deadlineMs = REQUEST_MS): Promise<Client> {
    const client = new Client(options);
    try {
      await client.metadata.update("linearizable", deadlineMs);
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
    this.leaders.close();
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
    return this.metadata.all(deadlineMs);
  }

  /**
   * The topic's partitions; asks the managers where it is not known here.
   *
   * @internal
   */
  topic(name: string): Promise<TopicMetadata> {
    return this.metadata.topic(name, REQUEST_MS);
  }

  /**
   * How many partitions a topic in use has, as far as is known; null where it is not known.
   *
   * @internal
   */
  partitionCount(topic: string): number | null {
    return this.metadata.partitionCount(topic);
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
   * aborted, a failed attempt is the last. With `pin`, rejects with `topic_replaced` where the
   * topic was deleted and another of its name was made.
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
    pin?: PartitionPin,
  ): Promise<Answer> {
    const endMs = this.clock.monotonicMs() + deadlineMs;
    let mayHaveHappened = false;
    for (;;) {
      const route = await this.route(topic, partition);
      if (pin !== undefined) hold(pin, route, `${topic}/${partition}`);
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
    const known = this.metadata.known(topic);
    const route = known === undefined ? null : this.routing.route(topic, partition);
    if (route !== null) return route;
    let found = await this.topic(topic);
    if (partition >= found.partitions.length) {
      await this.metadata.update("linearizable", REQUEST_MS);
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
      const call = this.rpc.call(route.address, method.name, params, options);
      const answer = await this.leaders.watch(route, heldMs(request), call);
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
    if (advice.refresh) this.metadata.failed();
    return advice.delayMs;
  }
}

/** How long the leader may hold the answer to a request back, in milliseconds. */
function heldMs(request: object): number {
  return "maxWaitMs" in request && typeof request.maxWaitMs === "number" ? request.maxWaitMs : 0;
}

/** The pin's first request decides which partition is meant. */
function hold(pin: PartitionPin, { groupId }: Route, label: string): void {
  pin.groupId ??= groupId;
  if (pin.groupId === groupId) return;
  const state = "its topic was deleted and another of that name was made";
  throw new TrilogError("topic_replaced", `Cannot go on in ${label}: ${state}`);
}
