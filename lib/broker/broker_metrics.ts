/** What a broker counts. Per request or batch, never per message; the rest is looked up when asked. */

import type { Clock } from "../base/clock.ts";
import {
  Histogram,
  histogramSamples,
  type MetricFamily,
  type MetricType,
  type Sample,
  single,
} from "../base/metrics.ts";
import { readBatchHeader } from "../batch/batch_header.ts";
import type {
  DequeueAnswer,
  FetchAnswer,
  ProduceAnswer,
  ProduceRequest,
} from "../client/protocol.ts";
import type { ServedPartition } from "./served_partition.ts";

/** Series of consumer groups' lag that one broker shows; groups may be many. */
const MOST_GROUP_SERIES = 1_000;

export class BrokerMetrics {
  private readonly commitTimes = new Histogram();
  private readonly produced = { batches: 0, messages: 0, bytes: 0, duplicates: 0, refused: 0 };
  private readonly fetched = { requests: 0, batches: 0, bytes: 0 };
  private dequeued = 0;
  /** When each batch that is not committed yet arrived; a set keeps the order of arrival. */
  private readonly underWay = new Set<{ readonly sinceMs: number }>();
  private slowestMs: number | null = null;

  constructor(private readonly clock: Pick<Clock, "monotonicMs">) {}

  /** Counts a batch that is being produced. */
  async producing(
    { batch }: ProduceRequest,
    answer: Promise<ProduceAnswer>,
  ): Promise<ProduceAnswer> {
    const startMs = this.clock.monotonicMs();
    const batchUnderWay = { sinceMs: startMs };
    this.underWay.add(batchUnderWay);
    try {
      const { duplicate } = await answer;
      this.commitTimes.observeMs(this.clock.monotonicMs() - startMs);
      this.produced.batches += 1;
      this.produced.messages += readBatchHeader(batch).count;
      this.produced.bytes += batch.length;
      this.produced.duplicates += Number(duplicate);
    } catch {
      this.produced.refused += 1;
    } finally {
      this.underWay.delete(batchUnderWay);
      this.slowestMs = Math.max(this.slowestMs ?? 0, this.clock.monotonicMs() - startMs);
    }
    return answer;
  }

  /**
   * The slowest answer to a batch since the last call, or the age of the oldest batch that waits,
   * in whole milliseconds; null where there was none.
   */
  takeCommitMs(): number | null {
    const [oldest] = this.underWay;
    const waitingMs = oldest === undefined ? 0 : this.clock.monotonicMs() - oldest.sinceMs;
    const slowestMs = this.slowestMs;
    this.slowestMs = null;
    if (slowestMs === null && oldest === undefined) return null;
    return Math.round(Math.max(slowestMs ?? 0, waitingMs));
  }

  async fetching(answer: Promise<FetchAnswer>): Promise<FetchAnswer> {
    const { batches } = await answer;
    this.fetched.requests += 1;
    this.fetched.batches += batches.length;
    for (const batch of batches) this.fetched.bytes += batch.length;
    return answer;
  }

  async dequeuing(answer: Promise<DequeueAnswer>): Promise<DequeueAnswer> {
    this.dequeued += Number((await answer).offset !== null);
    return answer;
  }

  /** All families; `waiting`: fetches that wait for messages, `leaderships`: elections won. */
  families(
    partitions: Iterable<ServedPartition>,
    present: { readonly waiting: number; readonly leaderships: number },
  ): MetricFamily[] {
    const { produced, fetched } = this;
    const count = (name: string, help: string, value: number) =>
      single("counter", `trilog_${name}_total`, help, value);
    return [
      {
        name: "trilog_commit_seconds",
        type: "histogram",
        help: "Time from a request's arrival to its durable commit.",
        samples: histogramSamples(this.commitTimes),
      },
      count("produced_messages", "Messages acknowledged.", produced.messages),
      count("produced_batches", "Batches acknowledged.", produced.batches),
      count("produced_bytes", "Bytes of batches acknowledged, as stored.", produced.bytes),
      count("duplicate_batches", "Batches that were in the log already.", produced.duplicates),
      count("refused_batches", "Batches refused or not committed.", produced.refused),
      count("fetch_requests", "Fetches answered.", fetched.requests),
      count("fetched_batches", "Batches handed out.", fetched.batches),
      count("fetched_bytes", "Bytes of batches handed out.", fetched.bytes),
      count("dequeued_messages", "Messages handed to consumers of the HTTP API.", this.dequeued),
      count("leader_changes", "Elections that replicas here have won.", present.leaderships),
      single("gauge", "trilog_waiting_fetches", "Fetches that wait.", present.waiting),
      ...partitionFamilies(partitions),
    ];
  }
}

/** Of the partitions that are led here, so that the cluster's sum counts each once. */
function partitionFamilies(partitions: Iterable<ServedPartition>): MetricFamily[] {
  const families = new Map<string, { type: MetricType; help: string; samples: Sample[] }>();
  const add = (name: string, help: string, labels: readonly string[], value: number) => {
    const family = families.get(name) ?? { type: "gauge", help, samples: [] };
    families.set(name, family);
    family.samples.push({ suffix: "", labels, value });
  };
  let groupSeries = 0;
  for (const { replica, machine, topic, partition } of partitions) {
    if (!replica.isLeader) continue;
    const labels = ["topic", topic, "partition", String(partition)];
    const { startOffset, endOffset, groups, consumers } = machine.describe();
    add("partition_start_offset", "First offset kept.", labels, startOffset);
    add("partition_end_offset", "Offset after the last message.", labels, endOffset);
    add("partition_bytes", "Bytes on the leader's disk.", labels, replica.store.bytes());
    add("partition_term", "Raft term of the leader.", labels, replica.raft.term);
    const lags = consumers.map(({ nextOffset }) => machine.messagesFrom(nextOffset));
    const lag = lags.reduce((sum, each) => sum + each, 0);
    add("http_consumers", "Consumers of the HTTP API that read here.", labels, lags.length);
    add("http_consumers_lag", "Messages that these have left, in sum.", labels, lag);
    for (const { group, offset } of groups.slice(0, MOST_GROUP_SERIES - groupSeries)) {
      groupSeries += 1;
      const left = machine.messagesFrom(offset ?? startOffset);
      add("group_lag", "Messages behind the group's offset.", ["group", group, ...labels], left);
    }
  }
  return [...families].map(([name, family]) => ({ name: `trilog_${name}`, ...family }));
}
