/** `trilog bench`: how fast it is, here and now. */

import { unlessAborted } from "../lib/base/abort.ts";
import { compressions } from "../lib/batch/compression.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { Samples } from "../lib/cli/samples.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import type { Client } from "../lib/client/client.ts";
import type { Producer } from "../lib/client/producer.ts";
import { createTopicMethod, deleteTopicMethod } from "../lib/client/protocol.ts";
import { measureFailover } from "./bench_failover.ts";
import { latencies, printFigures, rounded } from "./bench_figures.ts";
import { benchAtm, benchKv } from "./bench_store.ts";
import { withClient } from "./queue_client.ts";

const loadFlags = {
  size: { type: "size", default: "100", help: "bytes of a message" },
  partitions: {
    type: "integer",
    min: 1,
    max: 1_000,
    default: "1",
    help: "partitions of the topic",
  },
  compression: {
    type: "choice",
    choices: compressions,
    default: "none",
    help: "how batches are compressed",
  },
  ...bootstrapFlags,
  ...securityFlags,
} as const;

const produce = defineCommand({
  name: "produce",
  summary: "acknowledged messages a second, many in flight",
  examples: ["trilog bench produce", "trilog bench produce --size 1KiB --in-flight 10000 --json"],
  flags: {
    messages: { type: "integer", min: 1, default: "500000", help: "messages to send" },
    inFlight: { type: "integer", min: 1, default: "1000", help: "messages not yet acknowledged" },
    ...loadFlags,
  },
  interruption: "graceful",
  run: ({ flags, json, terminal, signal }) =>
    withTopic(flags, signal, async (client, topic) => {
      const producer = client.producer({ compression: flags.compression });
      await producer.prepare(topic);
      const load = { topic, partitions: flags.partitions, size: flags.size };
      const warmUp = Math.min(flags.messages, 50_000);
      await produceMany(producer, { ...load, messages: warmUp, inFlight: flags.inFlight });
      const result = await produceMany(producer, { ...load, ...countsOf(flags) });
      await producer.stop();
      return await printFigures(terminal, json, { ...load, inFlight: flags.inFlight, ...result });
    }),
});

const latency = defineCommand({
  name: "latency",
  summary: "time of one acknowledged message, one at a time",
  examples: ["trilog bench latency", "trilog bench latency --size 1KiB --messages 10000 --json"],
  flags: {
    messages: { type: "integer", min: 1, default: "3000", help: "messages to send" },
    ...loadFlags,
  },
  interruption: "graceful",
  run: ({ flags, json, terminal, signal }) =>
    withTopic(flags, signal, async (client, topic) => {
      const producer = client.producer({ lingerMs: 0, compression: flags.compression });
      await producer.prepare(topic);
      const load = { topic, partitions: flags.partitions, size: flags.size, inFlight: 1 };
      await produceMany(producer, { ...load, messages: Math.min(flags.messages, 500) });
      const result = await produceMany(producer, { ...load, messages: flags.messages });
      await producer.stop();
      return await printFigures(terminal, json, { ...load, ...result });
    }),
});

const consume = defineCommand({
  name: "consume",
  summary: "messages a second read from the beginning",
  examples: ["trilog bench consume", "trilog bench consume --size 1KiB --partitions 4 --json"],
  flags: {
    messages: { type: "integer", min: 1, default: "500000", help: "messages to write and read" },
    ...loadFlags,
  },
  interruption: "graceful",
  run: ({ flags, json, terminal, signal }) =>
    withTopic(flags, signal, async (client, topic) => {
      const producer = client.producer({ compression: flags.compression });
      await producer.prepare(topic);
      const load = { topic, partitions: flags.partitions, size: flags.size };
      await produceMany(producer, { ...load, messages: flags.messages, inFlight: 10_000 });
      await producer.stop();
      const startMs = systemClock.monotonicMs();
      const counts = await Promise.all(
        Array.from({ length: flags.partitions }, (_, at) => readAll(client, topic, at)),
      );
      const tookMs = systemClock.monotonicMs() - startMs;
      const messages = counts.reduce((sum, count) => sum + count, 0);
      return await printFigures(terminal, json, {
        ...load,
        messages,
        ...rates(messages, flags.size, tookMs),
      });
    }),
});

const failover = defineCommand({
  name: "failover",
  summary: "gap in acknowledgements when a partition's leader is killed (-9)",
  details: "Runs a cluster of its own in a temporary directory, since it kills servers.",
  examples: ["trilog bench failover", "trilog bench failover --runs 10 --json"],
  flags: {
    runs: { type: "integer", min: 1, max: 100, default: "5", help: "leaders to kill" },
    basePort: { type: "integer", min: 1_024, max: 65_000, default: "19000", help: "as of `up`" },
  },
  interruption: "graceful",
  async run({ flags, json, terminal, signal }) {
    const gaps = await measureFailover(flags.basePort, flags.runs, terminal, signal);
    if (gaps === null) return exitStatus.interrupted;
    return await printFigures(terminal, json, {
      runs: gaps.count,
      p50Ms: rounded(gaps.quantile(0.5)),
      maxMs: rounded(gaps.max),
    });
  },
});

export const command = defineCommand({
  name: "bench",
  summary: "measure a running cluster",
  examples: ["trilog bench produce --in-flight 10000", "trilog bench latency --json"],
  subcommands: [produce, consume, latency, failover, benchKv, benchAtm],
});

interface Load {
  readonly topic: string;
  readonly partitions: number;
  /** Bytes of a message. */
  readonly size: number;
  readonly messages: number;
  readonly inFlight: number;
}

/** Keeps `inFlight` messages under way until all are acknowledged. */
async function produceMany(producer: Producer, load: Load): Promise<Record<string, number>> {
  const value = new Uint8Array(load.size).fill(97);
  const samples = new Samples(load.messages);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let sent = 0;
  const sendNext = () => {
    const sentAtMs = systemClock.monotonicMs();
    const message = { value, partition: sent % load.partitions };
    sent += 1;
    producer.enqueue(load.topic, message, (error) => {
      if (error !== null) return reject(error);
      samples.add(systemClock.monotonicMs() - sentAtMs);
      if (sent < load.messages) sendNext();
      else if (samples.count === load.messages) resolve();
    });
  };
  const startMs = systemClock.monotonicMs();
  for (let at = 0; at < Math.min(load.inFlight, load.messages); at += 1) sendNext();
  await promise;
  const tookMs = systemClock.monotonicMs() - startMs;
  return {
    messages: load.messages,
    ...rates(load.messages, load.size, tookMs),
    ...latencies(samples),
  };
}

async function readAll(client: Client, topic: string, partition: number): Promise<number> {
  const end = await client.offset(topic, partition, "latest");
  const reader = client.reader(topic, partition, { from: 0 });
  let count = 0;
  while (reader.offset < end) count += (await reader.next()).records.length;
  return count;
}

type TopicFlags = Parameters<typeof withClient>[0] & { readonly partitions: number };

/** Runs on a topic of its own, which is deleted at the end, after a failure and Ctrl-C, too. */
function withTopic(
  flags: TopicFlags,
  signal: AbortSignal,
  run: (client: Client, topic: string) => Promise<number>,
): Promise<number> {
  return withClient(flags, async (client) => {
    const name = `bench-${client.newRequestId()}`;
    const settings = { retentionBytes: 0, retentionMs: 0 };
    const { partitions } = flags;
    const create = { requestId: client.newRequestId(), name, partitions, settings };
    await client.managers.request(createTopicMethod, create, TOPIC_MS);
    try {
      return await unlessAborted(run(client, name), signal) ?? exitStatus.interrupted;
    } finally {
      const requestId = client.newRequestId();
      await client.managers.request(deleteTopicMethod, { requestId, name }, TOPIC_MS);
    }
  });
}

const TOPIC_MS = 10_000;

function countsOf({ messages, inFlight }: { messages: number; inFlight: number }) {
  return { messages, inFlight };
}

function rates(messages: number, size: number, tookMs: number): Record<string, number> {
  const messagesPerSecond = Math.round(messages / tookMs * 1_000);
  const megabytesPerSecond = rounded(messagesPerSecond * size / 1e6);
  return { messagesPerSecond, megabytesPerSecond, seconds: rounded(tookMs / 1_000) };
}
