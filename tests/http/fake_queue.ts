/** A queue of real machines without processes: what one applies is durable at once. */

import type { Clock } from "../../lib/base/clock.ts";
import { systemClock } from "../../lib/base/system_clock.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { pack, unpack } from "../../lib/base/msgpack.ts";
import { consumerPosition, deleteConsumer, dequeue } from "../../lib/broker/consuming.ts";
import { PartitionMachine } from "../../lib/broker/partition.ts";
import { encodeCommand, produceAnswer } from "../../lib/broker/partition_commands.ts";
import type { ServedPartition } from "../../lib/broker/served_partition.ts";
import type { PartitionRequest } from "../../lib/client/access.ts";
import {
  type ClusterMetadata,
  clusterStatusMethod,
  consumerPositionMethod,
  createTopicMethod,
  deleteConsumerMethod,
  deleteTopicMethod,
  dequeueMethod,
  drainBrokerMethod,
  metadataMethod,
  type Method,
  produceMethod,
  removeBrokerMethod,
  type TopicMetadata,
} from "../../lib/client/protocol.ts";
import type { Queue } from "../../lib/http/exchange.ts";
import { drain, removeBroker } from "../../lib/manager/drains.ts";
import { serveRegistrations } from "../../lib/manager/registration_desk.ts";
import { createTopic, deleteTopic } from "../../lib/manager/topics.ts";
import { brokerStatuses, partitionStatuses, topicsView } from "../../lib/manager/views.ts";
import { type Entry, EntryKind } from "../../lib/raft/types.ts";
import { type Cluster, clusterOf } from "../manager/fixture.ts";

// deno-lint-ignore no-explicit-any
type Serve = (request: any) => Promise<any>;

/** A partition that is its own leader and majority. */
class FakePartition {
  readonly machine = new PartitionMachine();
  private readonly log: Entry[] = [];

  propose(data: Uint8Array): { answer: Uint8Array } {
    const index = this.log.length + 1;
    const timeMs = 1_000 * index;
    this.log.push({ index, term: 1, timeMs, kind: EntryKind.command, data });
    return { answer: this.machine.apply(data, { index, term: 1, timeMs }) };
  }

  /** As retention does it. */
  trimBefore(offset: number): void {
    const { index } = this.machine.locate(offset)!;
    this.propose(encodeCommand({ kind: "trim", index }));
  }

  served(label: string): ServedPartition {
    const replica = {
      propose: (data: Uint8Array) => Promise.resolve(this.propose(data)),
      readBarrier: () => Promise.resolve(this.log.length),
      stampMs: () => 1_000 * (this.log.length + 1),
      readCommitted: (from: number) => this.log.slice(from - 1, from),
    };
    const { machine } = this;
    const partition = {
      label,
      replica,
      machine,
      requireLeader: () => {},
      get startOffset() {
        return machine.startOffset;
      },
    };
    return partition as unknown as ServedPartition;
  }
}

export class FakeQueue implements Queue {
  readonly cluster: Cluster = clusterOf(3);
  readonly managers: Queue["managers"];
  /** Thrown by everything while it is set. */
  failure: TrilogError | null = null;
  /** Partition requests that are applied twice, as when an answer is lost and the client repeats. */
  repeated = 0;
  /** Partition requests that are applied and then fail, from the first on. */
  lostAnswers = 0;
  /** What this client takes for the topics until it refreshes; null: what they are. */
  pictured: ReadonlyMap<string, TopicMetadata> | null = null;
  refreshes = 0;
  /** What the next dequeue waits for on its way to the partition. */
  held: Promise<void> | null = null;
  /** Partition requests made, as `METHOD TOPIC/PARTITION`. */
  readonly asked: string[] = [];
  private readonly methods = new Map<string, Serve>();
  private readonly partitions = new Map<string, FakePartition>();
  private lastId = 0;

  constructor(readonly clock: Clock = systemClock) {
    this.managers = {
      request: async (method, request) => {
        await Promise.resolve();
        this.refuse();
        // Through the bytes that would travel.
        const sent = method.request.decode(unpack(pack(method.request.encode(request))), "test");
        const answer = await this.methods.get(method.name)!(sent);
        return method.answer.decode(unpack(pack(method.answer.encode(answer))), "test");
      },
    };
    this.serveManagers();
  }

  partition(topic: string, partition: number): FakePartition {
    const { groupId } = this.cluster.partition(topic, partition);
    const found = this.partitions.get(groupId) ?? new FakePartition();
    this.partitions.set(groupId, found);
    return found;
  }

  topic(name: string): Promise<TopicMetadata> {
    const [present] = topicsView(this.cluster.machine.state, [name]);
    const topic = this.pictured?.get(name) ?? present;
    if (topic !== undefined) return Promise.resolve(topic);
    return Promise.reject(new TrilogError("no_such_topic", "Cannot use topic: there is none"));
  }

  refresh(): Promise<ClusterMetadata> {
    this.refreshes += 1;
    this.pictured = null;
    return Promise.resolve(this.metadata());
  }

  newRequestId(): string {
    this.lastId += 1;
    return `id-${this.lastId}`;
  }

  async partitionRequest<Request extends PartitionRequest, Answer>(
    topic: string,
    partition: number,
    method: Method<Request, Answer>,
    request: Omit<Request, keyof PartitionRequest>,
  ): Promise<Answer> {
    await Promise.resolve();
    this.refuse();
    const count = (await this.topic(topic)).partitions.length;
    if (partition >= count) throw new TrilogError("no_such_partition", "Cannot use partition: no");
    this.asked.push(`${method.name} ${topic}/${partition}`);
    if (this.held !== null && method.name === dequeueMethod.name) {
      const { held } = this;
      this.held = null;
      await held;
    }
    let answer = await this.ask(topic, partition, method.name, request);
    if (this.repeated > 0) {
      this.repeated -= 1;
      answer = await this.ask(topic, partition, method.name, request);
    }
    if (this.lostAnswers > 0) {
      this.lostAnswers -= 1;
      throw new TrilogError("outcome_unknown", "Cannot determine the outcome of request: test");
    }
    return answer as Answer;
  }

  private async ask(
    topic: string,
    partition: number,
    method: string,
    request: unknown,
  ): Promise<unknown> {
    const fake = this.partition(topic, partition);
    const served = fake.served(`${topic}/${partition}`);
    // deno-lint-ignore no-explicit-any
    const full = request as any;
    switch (method) {
      case produceMethod.name:
        return produceAnswer.decode(fake.propose(full.batch).answer);
      case dequeueMethod.name:
        return await dequeue(served, full);
      case consumerPositionMethod.name:
        return await consumerPosition(served, full);
      case deleteConsumerMethod.name:
        return await deleteConsumer(served, full);
    }
    throw new Error(`${method} is not asked of partitions`);
  }

  private refuse(): void {
    if (this.failure !== null) throw this.failure;
  }

  private metadata(): ClusterMetadata {
    const { state } = this.cluster.machine;
    const topics = topicsView(state, null);
    return { clusterId: "c1", version: state.version, topics, brokers: [], managers: [] };
  }

  private serveManagers(): void {
    const { cluster, methods } = this;
    const serve = (name: string, run: Serve) => void methods.set(name, run);
    serveRegistrations({
      machine: cluster.machine,
      serve: (method, run) => serve(method.name, (request) => run(request, null!)),
      run: (command, fields, requestId) => Promise.resolve(cluster.run(command, fields, requestId)),
      barrier: () => Promise.resolve(),
    });
    serve(
      createTopicMethod.name,
      ({ requestId, ...fields }) => Promise.resolve(cluster.run(createTopic, fields, requestId)),
    );
    serve(
      deleteTopicMethod.name,
      ({ requestId, ...fields }) => Promise.resolve(cluster.run(deleteTopic, fields, requestId)),
    );
    serve(
      drainBrokerMethod.name,
      ({ requestId: _, ...fields }) => Promise.resolve(cluster.run(drain, fields)),
    );
    serve(
      removeBrokerMethod.name,
      ({ requestId: _, ...fields }) => Promise.resolve(cluster.run(removeBroker, fields)),
    );
    serve(metadataMethod.name, () => Promise.resolve(this.metadata()));
    serve(clusterStatusMethod.name, () => {
      const { state } = cluster.machine;
      const memory = {
        silentMs: () => 250,
        commitMs: () => null,
        led: () => undefined,
        repairing: () => new Map(),
      };
      const manager = { replicaId: "r", address: "h:1", behind: 3, lastHeardMs: 20 };
      return Promise.resolve({
        clusterId: "c1",
        version: state.version,
        term: 1,
        managers: [
          { ...manager, id: "m1", role: "leader", behind: null, lastHeardMs: null },
          { ...manager, id: "m2", role: "follower" },
        ],
        brokers: brokerStatuses(state, memory),
        partitions: partitionStatuses(state, memory),
        tombstones: 0,
        heartbeatIntervalMs: 1_000,
      });
    });
  }
}
