/**
 * Keeps the client's picture of the cluster fresh: only the topics in use, only what is newer, one
 * request at a time. While everything works, it asks any manager every two seconds. After failures
 * it asks sooner, with growing pauses while there is no news, so that a crowd of clients whose
 * requests fail does not become a load of its own.
 */

import { Backoff } from "../base/backoff.ts";
import type { Clock } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Random } from "../base/prng.ts";
import type { Managers } from "./managers.ts";
import {
  type ClusterMetadata,
  type Consistency,
  metadataMethod,
  metadataUpdateMethod,
  type TopicMetadata,
} from "./protocol.ts";
import type { Routing } from "./routing.ts";

/** Metadata of this age is asked for again when it is used. */
const FRESH_MS = 2_000;
/** Pauses between updates after failures, while these bring no news. */
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 1_000;
/** Updates in a row without news from whichever manager, before the leading one is asked. */
const STALE_TRIES = 2;
const UPDATE_MS = 3_000;

export class MetadataCache {
  /** Topics in use. */
  private readonly interest = new Set<string>();
  /** Whether the picture is of all topics in use, as of one version. */
  private covered = true;
  private updating: Promise<void> | null = null;
  private updatedAtMs = -Infinity;
  private pausedUntilMs = -Infinity;
  private readonly pauses: Backoff;
  private withoutNews = 0;

  constructor(
    private readonly clock: Clock,
    random: Random,
    private readonly managers: Pick<Managers, "request" | "update">,
    private readonly routing: Routing,
  ) {
    this.pauses = new Backoff(random, FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
  }

  /** Fresh, linearizable metadata of all topics, brokers and managers. */
  async all(deadlineMs: number): Promise<ClusterMetadata> {
    const request = { topics: null, consistency: "linearizable" } as const;
    const metadata = await this.managers.request(metadataMethod, request, deadlineMs);
    this.takeIn(metadata, null);
    return metadata;
  }

  /** Metadata of a topic that is in use from now on; rejects with `no_such_topic`. */
  async topic(name: string, deadlineMs: number): Promise<TopicMetadata> {
    const known = this.known(name);
    if (known !== undefined) return known;
    this.interest.add(name);
    this.covered = false;
    // One that is under way may have begun before the topic was made, or before it was in use.
    await this.updating?.catch(() => {});
    if (this.known(name) === undefined) await this.update("linearizable", deadlineMs);
    const found = this.known(name);
    if (found !== undefined) return found;
    this.interest.delete(name);
    throw new TrilogError("no_such_topic", `Cannot use topic ${name}: there is no such topic`);
  }

  /** What is known of a topic in use; looks for news behind it when that is old. */
  known(name: string): TopicMetadata | undefined {
    if (!this.interest.has(name)) return undefined;
    const topic = this.routing.topic(name);
    if (topic !== undefined) this.freshen();
    return topic;
  }

  /** Partitions of a topic in use; costs little, for every message: routes look for news. */
  partitionCount(name: string): number | null {
    return this.interest.has(name) ? this.routing.topic(name)?.partitions.length ?? null : null;
  }

  /** Newer metadata of the topics in use; shares a request that is under way. */
  update(consistency: Consistency, deadlineMs: number): Promise<void> {
    this.updating ??= this.fetchUpdate(consistency, deadlineMs).finally(() => {
      this.updating = null;
    });
    return this.updating;
  }

  /** A request failed in a way that newer metadata may mend: asks for it, though not too often. */
  failed(): void {
    if (this.updating !== null || this.clock.monotonicMs() < this.pausedUntilMs) return;
    const consistency = this.withoutNews < STALE_TRIES ? "stale" : "linearizable";
    this.update(consistency, UPDATE_MS).catch(() => {});
  }

  private freshen(): void {
    if (this.clock.monotonicMs() - this.updatedAtMs >= FRESH_MS) this.failed();
  }

  private async fetchUpdate(consistency: Consistency, deadlineMs: number): Promise<void> {
    const topics = [...this.interest];
    const knownVersion = this.covered ? this.routing.version : 0;
    const request = { topics, consistency, knownVersion };
    try {
      const { metadata } = await this.managers.request(metadataUpdateMethod, request, deadlineMs);
      this.updatedAtMs = this.clock.monotonicMs();
      const news = metadata !== null && this.takeIn(metadata, topics);
      if (news) this.covered = topics.length === this.interest.size;
      this.withoutNews = news ? 0 : this.withoutNews + 1;
      if (news) this.pauses.reset();
    } finally {
      this.pausedUntilMs = this.clock.monotonicMs() + this.pauses.next();
    }
  }

  /** Whether it was as new as what was known. */
  private takeIn(metadata: ClusterMetadata, topics: readonly string[] | null): boolean {
    const taken = this.routing.update(metadata, topics);
    this.managers.update(this.routing.managers);
    return taken;
  }
}
