/**
 * PURE. The client's picture of the cluster: which broker to ask for a partition, and what to do
 * when it was the wrong one. Somebody else fetches the metadata and sends the requests.
 */

import type { TrilogError } from "../base/errors.ts";
import type { Random } from "../base/prng.ts";
import { type Advice, defaultRetry, LeaderTracker, type RetrySettings } from "./leader_tracker.ts";
import type {
  ClusterMetadata,
  ManagerMetadata,
  PartitionMetadata,
  TopicMetadata,
} from "./protocol_metadata.ts";

/** Where a request for a partition goes. */
export interface Route {
  readonly groupId: string;
  readonly epoch: number;
  readonly address: string;
}

interface TrackedPartition {
  /** `TOPIC/PARTITION`. */
  readonly label: string;
  readonly tracker: LeaderTracker;
  /** Term of the newest leader that the metadata named. */
  term: number;
}

export class Routing {
  private metadata: ClusterMetadata | null = null;
  private readonly topics = new Map<string, TopicMetadata>();
  private addresses = new Map<string, string>();
  private readonly partitions = new Map<string, TrackedPartition>();

  constructor(
    private readonly random: Random,
    private readonly retry: RetrySettings = defaultRetry,
  ) {}

  /** Version of the metadata, 0 before the first. */
  get version(): number {
    return this.metadata?.version ?? 0;
  }

  /** All managers, the leading one first; empty before the first metadata. */
  get managers(): readonly ManagerMetadata[] {
    const managers = this.metadata?.managers ?? [];
    return [...managers].sort((left, right) => Number(right.leader) - Number(left.leader));
  }

  /**
   * Takes in metadata of `topics`, or of all. Older versions are passed over, since a stale manager may
   * answer after a fresh one. Returns whether it was taken.
   */
  update(metadata: ClusterMetadata, topics: readonly string[] | null = null): boolean {
    if (metadata.version < this.version) return false;
    this.metadata = metadata;
    if (topics === null) this.topics.clear();
    else for (const name of topics) this.topics.delete(name);
    for (const topic of metadata.topics) this.topics.set(topic.name, topic);
    this.addresses = new Map(metadata.brokers.map((broker) => [broker.replicaId, broker.address]));
    const dead = new Set(
      metadata.brokers.filter(({ alive }) => !alive).map(({ replicaId }) => replicaId),
    );
    for (const topic of metadata.topics) {
      for (const partition of topic.partitions) this.updatePartition(topic.name, partition, dead);
    }
    const known = new Set(
      [...this.topics.values()].flatMap(({ partitions }) =>
        partitions.map(({ groupId }) => groupId)
      ),
    );
    for (const groupId of this.partitions.keys()) {
      if (!known.has(groupId)) this.partitions.delete(groupId);
    }
    return true;
  }

  /** Undefined for a topic that does not exist, or that appeared after the last update. */
  topic(name: string): TopicMetadata | undefined {
    return this.topics.get(name);
  }

  /** Whom to ask for a partition; null where it is not known (or none of its brokers is). */
  route(topic: string, partition: number): Route | null {
    const found = this.topics.get(topic)?.partitions[partition];
    const tracked = found && this.partitions.get(found.groupId);
    if (found === undefined || tracked === undefined) return null;
    return { groupId: found.groupId, epoch: found.epoch, address: tracked.tracker.current };
  }

  /** `TOPIC/PARTITION` of a group, for people. */
  labelOf(groupId: string): string {
    return this.partitions.get(groupId)?.label ?? groupId;
  }

  /** Addresses of the other brokers with a replica of a partition. */
  othersOf({ groupId, address }: Route): readonly string[] {
    const tracked = this.partitions.get(groupId);
    return tracked?.tracker.all.filter((candidate) => candidate !== address) ?? [];
  }

  /** A replica names a leader; returns false where that is old news. */
  moved(groupId: string, address: string, term: number): boolean {
    const tracked = this.partitions.get(groupId);
    if (tracked === undefined || term < tracked.term) return false;
    if (tracked.tracker.current !== address) tracked.tracker.succeeded(address);
    tracked.term = term;
    return true;
  }

  /** The broker's name, for people. */
  brokerAt(address: string): string | undefined {
    return this.metadata?.brokers.find((broker) => broker.address === address)?.id;
  }

  /** The route led to an answer: that broker leads. */
  succeeded(route: Route): void {
    this.partitions.get(route.groupId)?.tracker.succeeded(route.address);
  }

  /** What to do about a failed request; ask `route` again before the retry. */
  failed(route: Route, error: TrilogError): Advice {
    const tracked = this.partitions.get(route.groupId);
    if (tracked !== undefined) return tracked.tracker.failed(route.address, error);
    // The partition is gone from the metadata: the caller finds out by asking for a route.
    return error.retryable ? { kind: "retry", delayMs: 0, refresh: true } : { kind: "give_up" };
  }

  private updatePartition(
    topic: string,
    partition: PartitionMetadata,
    dead: ReadonlySet<string>,
  ): void {
    const candidates = this.candidates(partition, dead);
    if (candidates.length === 0) {
      this.partitions.delete(partition.groupId);
      return;
    }
    const tracked = this.partitions.get(partition.groupId);
    if (tracked === undefined) {
      const tracker = new LeaderTracker(candidates, this.random, this.retry);
      const label = `${topic}/${partition.partition}`;
      this.partitions.set(partition.groupId, { label, tracker, term: partition.leaderTerm });
      return;
    }
    // What a broker answered is fresher than metadata, unless that names a later term's leader.
    const leader = partition.leader === null ? undefined : this.addresses.get(partition.leader);
    const news = partition.leaderTerm > tracked.term;
    tracked.tracker.update(candidates, news ? leader ?? null : null);
    tracked.term = partition.leaderTerm;
  }

  /** Addresses of a partition's brokers: its leader first, the dead ones last. */
  private candidates(partition: PartitionMetadata, dead: ReadonlySet<string>): string[] {
    const rank = (id: string) => Number(dead.has(id)) * 2 + Number(id !== partition.leader);
    const ids = new Set([...partition.replicas, ...(partition.leader ? [partition.leader] : [])]);
    return [...ids].sort((left, right) => rank(left) - rank(right))
      .map((id) => this.addresses.get(id)).filter((address) => address !== undefined);
  }
}
