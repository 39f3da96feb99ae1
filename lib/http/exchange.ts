/** What the handlers of the HTTP API work with: one request, and the queue that it is about. */

import type { Clock } from "../base/clock.ts";
import type { Managers } from "../client/managers.ts";
import type {
  ClusterMetadata,
  Method,
  RegistrationAnswer,
  RegistrationKind,
  TopicMetadata,
} from "../client/protocol.ts";
import { registrationMethod } from "../client/protocol.ts";
import type { PartitionRequest } from "../client/access.ts";
import type { HttpAnswer } from "./message.ts";
import type { Parameters } from "./parameters.ts";

/** The part of a `Client` that the API needs; tests put a queue of their own in its place. */
export interface Queue {
  readonly clock: Clock;
  readonly managers: Pick<Managers, "request">;
  /** The topic's partitions as they are known here; asks the managers where they are not. */
  topic(name: string): Promise<TopicMetadata>;
  refresh(deadlineMs?: number): Promise<ClusterMetadata>;
  /** Asks a partition's leader, repeatedly; see `Client`. */
  partitionRequest<Request extends PartitionRequest, Answer>(
    topic: string,
    partition: number,
    method: Method<Request, Answer>,
    request: Omit<Request, keyof PartitionRequest>,
    deadlineMs: number,
    signal?: AbortSignal,
  ): Promise<Answer>;
  /** An identity that nobody else has. */
  newRequestId(): string;
}

/** One request under way. */
export interface Exchange {
  readonly parameters: Parameters;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** Milliseconds left for the answer, at least 1. */
  leftMs(): number;
}

export interface Route {
  readonly method: string;
  readonly path: string;
  readonly run: (exchange: Exchange) => Promise<HttpAnswer>;
}

/** The topic that a request names. */
export function topicOf({ parameters }: Exchange): string {
  return parameters.text("topic", "topic_name");
}

/** A registration, and what the request says beside it. */
export interface Registered extends RegistrationAnswer {
  readonly id: number;
  readonly topic: string;
}

/**
 * The producer or consumer that a request names, for the topic that it names. Rejects with
 * `no_such_topic`, `no_such_producer`, `no_such_consumer` or `wrong_topic`.
 */
export async function registeredOf(
  queue: Queue,
  exchange: Exchange,
  kind: RegistrationKind,
): Promise<Registered> {
  const topic = topicOf(exchange);
  const id = exchange.parameters.whole(`${kind}_id`);
  const request = { kind, id, topic };
  const answer = await queue.managers.request(registrationMethod, request, exchange.leftMs());
  // What is known here may be a deleted topic of the same name, or one with fewer partitions.
  const known = await queue.topic(topic);
  const namesake = known.partitions[0].groupId !== answer.firstGroupId;
  if (namesake || known.partitions.length < answer.partitions) {
    await queue.refresh(exchange.leftMs());
  }
  return { ...answer, id, topic };
}
