/**
 * Every limit in one place, with the relations between them asserted. Sizes are bytes, durations
 * milliseconds, counts plain numbers.
 */

import { assert } from "./assert.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

export const limits = {
  /** Frames before a connection's handshake is done. */
  handshakeFrameBytes: 4 * KIB,
  /** Frames of clients. */
  clientFrameBytes: 2 * MIB,
  /** Frames between peers. */
  peerFrameBytes: 8 * MIB,
  /** Values in one frame of a client, each costing up to some fifty bytes of memory. */
  clientFrameValues: 64 * KIB,
  /** Nesting of arrays and maps in any frame. */
  nestingDepth: 16,
  /** A connection that has not finished its handshake after this long is closed. */
  handshakeMs: 5_000,
  /** Open connections of one process. */
  connections: 4_096,
  /** Of those, kept free of clients so that peers always get in. */
  reservedConnections: 64,
  /** Calls of one connection that run at the same time; more are refused. */
  connectionCalls: 16_384,
  /** Bytes queued for one connection before its newest messages are dropped (peers) or refused. */
  connectionQueueBytes: 32 * MIB,

  /** The value of one message of the queue. */
  messageBytes: 1 * MIB,
  /** Its key, value and headers (as encoded) together. */
  recordBytes: 1 * MIB + 32 * KIB,
  /** One record batch, compressed or not, as stored. */
  batchBytes: 1 * MIB + 64 * KIB,
  /** One entry's data in any Raft log. */
  entryBytes: 1 * MIB + 128 * KIB,
  /** Entries of one AppendEntries message, all together (one entry always fits). */
  appendBytes: 1 * MIB,
  /** Entries sent to one follower and not yet answered. */
  inflightBytes: 8 * MIB,
  inflightMessages: 64,
  /** Entries kept in memory per group, beyond those not yet synced or applied. */
  entryCacheBytes: 8 * MIB,
  /** Proposals of one group that are not yet committed. */
  uncommittedBytes: 32 * MIB,
  /** A segment of a log is closed when it has grown to this; a stored position has 32 bits. */
  segmentBytes: 1024 * MIB,
  leastSegmentBytes: 4 * KIB,
  snapshotChunkBytes: 256 * KIB,
  /** A snapshot that is sent as one message: those of Raft as a module. */
  wholeSnapshotBytes: 256 * MIB,
  /** Bytes of a checkpoint that are written before other work goes on. */
  checkpointSliceBytes: 256 * KIB,

  /** Names of topics, groups, nodes. */
  nameCharacters: 249,
  /** Client sessions a group remembers; the least recently used one is evicted first. */
  sessions: 4_096,
  /** Answers kept per session for requests not yet acknowledged. */
  sessionAnswers: 256,
  /** Batches in flight per producer and partition. */
  producerInflight: 5,
  /**
   * Producers whose sequences a partition remembers: for this long after the last batch; where
   * they need more than so many bytes, those that are silent for longest go, yet none before the
   * least time. A retry that may be of a first batch must not come later than that.
   */
  producerMemoryMs: 24 * 3_600_000,
  producerLeastMemoryMs: 10 * 60_000,
  partitionProducersBytes: 16 * MIB,
  /** The same for requests of one message, such as those of the HTTP API. */
  requestMemoryMs: 10 * 60_000,
  requestLeastMemoryMs: 60_000,
  partitionRequestsBytes: 8 * MIB,
  /** Consumer groups with an offset in one partition, deleted ones that still have one included. */
  partitionGroups: 8_192,
  /** Consumer groups of a cluster; more are refused. */
  groups: 4_096,
  /** Members of one consumer group. */
  groupMembers: 512,
  /** Topics that one member subscribes to. */
  memberTopics: 64,
  /** Partitions that one group divides among its members. */
  groupPartitions: 4_096,
  /** A member not heard for its session timeout is expelled. */
  shortestSessionMs: 1_000,
  longestSessionMs: 300_000,
  /** Consumers of the HTTP API with a position in one partition. */
  partitionConsumers: 16_384,
  /** Producers registered over the HTTP API, and consumers: of all topics together. */
  registeredProducers: 16_384,
  registeredConsumers: 16_384,
  /** Partitions of one topic. */
  topicPartitions: 1_024,
  /** Replicas of each partition, on as many brokers. */
  partitionReplicas: 3,
  /**
   * Requests whose answers the managers remember, for those that are repeated: for
   * `requestMemoryMs`, or for `requestLeastMemoryMs` where there are more.
   */
  requestAnswers: 32_768,

  /** Body of one HTTP request: the largest message, with room for JSON's escapes. */
  httpBodyBytes: 2 * MIB,
  /** Bodies of all HTTP requests that are being received or answered. */
  httpBodiesBytes: 64 * MIB,
  /** Line and headers of an HTTP request. */
  httpHeaderBytes: 16 * KIB,
  httpConnections: 1_024,
  /** An HTTP request that has not arrived whole after this long is refused. */
  httpArrivalMs: 10_000,
  /** An HTTP connection without a request is closed after this long. */
  httpIdleMs: 30_000,
  /** Requests of one HTTP consumer that wait for the one that runs. */
  httpConsumerWaiting: 64,

  /** Largest amount and largest balance, in cents: 90,000,000,000,000.00. */
  balanceCents: 9_000_000_000_000_000,
  /** Entries of an account's history that are kept. */
  historyEntries: 1_000,

  /** A key of the key-value store, from 1 byte on. */
  keyBytes: 4 * KIB,
  /** A value of the key-value store; of a compare-and-set the old and the new one together. */
  valueBytes: 1 * MIB,
  /** Longest time to live of a key: ten years. */
  timeToLiveMs: 3_652 * 24 * 3_600_000,
  /**
   * State of one replicated machine: of the key-value store its keys and values and 64 bytes for
   * each key. What would make it larger is refused (`storage_full`).
   */
  stateBytes: 1024 * MIB,
  /** Changes of the key-value store that can still be watched; the oldest go first. */
  watchedChanges: 10_000,
  /** Their keys and values together. */
  watchedBytes: 8 * MIB,

  /** An answer promised to a person at a terminal, whatever happened. */
  answerMs: 5_000,
} as const;

assert(limits.messageBytes < limits.recordBytes, "a key and headers fit beside the largest value");
assert(limits.recordBytes + KIB < limits.batchBytes, "a batch holds the largest message");
assert(limits.batchBytes < limits.entryBytes, "an entry holds the largest batch");
assert(limits.entryBytes < limits.clientFrameBytes, "a client frame holds the largest entry");
assert(
  limits.appendBytes + limits.entryBytes < limits.peerFrameBytes,
  "a peer frame holds the largest AppendEntries",
);
assert(
  limits.keyBytes + limits.valueBytes + KIB < limits.entryBytes,
  "an entry holds the largest key and value with their envelope",
);
assert(
  limits.keyBytes + limits.valueBytes < limits.watchedBytes,
  "the largest change can be watched",
);
assert(
  limits.segmentBytes + limits.uncommittedBytes + limits.entryBytes < 2 ** 31,
  "positions in a segment stay below 2 GiB, whatever is appended at its end",
);
assert(limits.balanceCents < Number.MAX_SAFE_INTEGER, "cents are exact numbers");

assert(limits.messageBytes < limits.httpBodyBytes, "an HTTP body holds the largest message");
assert(
  limits.registeredConsumers <= limits.partitionConsumers,
  "every registered consumer finds room in every partition",
);

assert(limits.answerMs < limits.requestLeastMemoryMs, "an HTTP request is over before its memory");

assert(limits.groups < limits.partitionGroups, "every group finds room in every partition");

assert(limits.reservedConnections < limits.connections, "clients get in too");

const NAME = /^[a-zA-Z0-9._-]{1,249}$/;

/** Whether `name` may name a topic, group or node. Names never become paths. */
export function isValidName(name: unknown): name is string {
  return typeof name === "string" && NAME.test(name) && name !== "." && name !== "..";
}
