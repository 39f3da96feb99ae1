/**
 * PURE. The HTTP API's reference: what each route takes and answers. `GET /` serves it, and the
 * README's table is compared with it.
 */

/** A type, not an interface, so that it counts as JSON. */
export type RouteReference = {
  readonly does: string;
  /** Names of parameters; `name = 1` has a default, `[name]` may be left out. */
  readonly takes: readonly string[];
  /** Fields of the answer beside `status`. */
  readonly answers: readonly string[];
};

const consumer = ["topic", "consumer_id"];

/** By method and path. */
export const REFERENCE: Readonly<Record<string, RouteReference>> = {
  "GET /": { does: "this list", takes: [], answers: ["routes"] },
  "POST /topics": {
    does: "create a topic",
    takes: ["name (or topic_name)", "number_of_partitions = 1"],
    answers: ["message"],
  },
  "GET /topics": { does: "list the topics", takes: ["[stale]"], answers: ["topics"] },
  "DELETE /topics": {
    does: "delete a topic with all its messages",
    takes: ["name (or topic_name)"],
    answers: ["message"],
  },
  "POST /producer/register": {
    does: "register a producer; makes a missing topic",
    takes: ["topic", "[request_id]"],
    answers: ["producer_id", "partition_count"],
  },
  "POST /producer/produce": {
    does: "append a message; the partitions take turns where none is named",
    takes: ["topic", "producer_id", "message", "[partition]", "[request_id]"],
    answers: ["partition", "offset"],
  },
  "DELETE /producer": {
    does: "delete a registration",
    takes: ["producer_id (or id)"],
    answers: ["message"],
  },
  "POST /consumer/register": {
    does: "register a consumer, which starts at the first message",
    takes: ["topic", "[partition]", "[request_id]"],
    answers: ["consumer_id", "partition_count"],
  },
  "GET /consumer/consume": {
    does: "take the consumer's next message; null where there is none",
    takes: [...consumer, "[partition]", "[request_id]"],
    answers: ["message", "partition", "offset", "[skipped]"],
  },
  "DELETE /consumer": {
    does: "delete a registration and its positions",
    takes: ["consumer_id (or id)"],
    answers: ["message"],
  },
  "GET /size": {
    does: "count the messages that are left for a consumer",
    takes: [...consumer, "[partition]"],
    answers: ["size", "partitions"],
  },
  "GET /brokers": {
    does: "addresses, liveness, last heartbeat, partitions led and hosted",
    takes: ["[stale]"],
    answers: ["brokers"],
  },
  "GET /managers": {
    does: "addresses and liveness, and which one is the writer",
    takes: ["[stale]"],
    answers: ["writer", "managers"],
  },
  "POST /brokers/drain": {
    does: "empty a broker, or end that",
    takes: ["broker", "[cancel]"],
    answers: ["message"],
  },
  "POST /brokers/remove": {
    does: "delete the registration of a broker that holds nothing",
    takes: ["broker"],
    answers: ["message"],
  },
  "GET /health": {
    does: "whether this manager reaches a quorum",
    takes: [],
    answers: ["manager", "live", "ready"],
  },
  "GET /health/live": {
    does: "whether this process runs",
    takes: [],
    answers: ["manager", "live"],
  },
  "GET /health/ready": { does: "as /health", takes: [], answers: ["manager", "live", "ready"] },
  "GET /metrics": {
    does: "counters and gauges of all servers, as Prometheus text",
    takes: [],
    answers: [],
  },
};
