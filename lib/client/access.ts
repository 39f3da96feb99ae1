/** What producers and readers need of their client; tests put a cluster of their own behind it. */

import type { Clock } from "../base/clock.ts";
import type { TrilogError } from "../base/errors.ts";
import type { Random } from "../base/prng.ts";
import type { TopicMetadata } from "./protocol_metadata.ts";
import type { Method } from "./protocol_method.ts";
import type { Route } from "./routing.ts";

/** Requests to a partition name its group and epoch; whoever sends them fills these in. */
export interface PartitionRequest {
  readonly groupId: string;
  readonly epoch: number;
}

/**
 * The partition that a reader means, whatever is made under the topic's name later: the group that
 * its first request went to; null before.
 */
export interface PartitionPin {
  groupId: string | null;
}

export interface PartitionAccess {
  readonly clock: Clock;
  readonly random: Random;
  /** The topic's partitions; rejects with `no_such_topic`. */
  topic(name: string): Promise<TopicMetadata>;
  /** How many partitions a topic in use has now, as far as is known; null where it is not. */
  partitionCount(topic: string): number | null;
  /** Where requests for a partition go; rejects with `no_such_topic` or `no_such_partition`. */
  route(topic: string, partition: number): Promise<Route>;
  /** One attempt at the broker that a route names. */
  askLeader<Request extends PartitionRequest, Answer>(
    route: Route,
    method: Method<Request, Answer>,
    request: Omit<Request, keyof PartitionRequest>,
    deadlineMs: number,
  ): Promise<Answer>;
  /** Learns from a failed attempt: milliseconds to wait before the next, or null to give up. */
  noteFailure(route: Route, error: TrilogError): number | null;
}
