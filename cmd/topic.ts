/** `trilog topic`: create, list, describe, alter and delete topics. */

import { TrilogError } from "../lib/base/errors.ts";
import { limits } from "../lib/base/limits.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { tableLines } from "../lib/cli/table.ts";
import {
  counted,
  formatDuration,
  formatSize,
  groupedNumber,
  roundedSize,
} from "../lib/cli/units.ts";
import {
  alterTopicMethod,
  clusterStatusMethod,
  createTopicMethod,
  deleteTopicMethod,
  metadataMethod,
  type TopicMetadata,
  type TopicSettings,
} from "../lib/client/protocol.ts";
import { partitionRows } from "./cluster_view.ts";
import { type Ask, newRequestId, withManagers } from "./managers_client.ts";
import { withClient } from "./queue_client.ts";

const commonFlags = { ...bootstrapFlags, ...securityFlags } as const;
const topicName = { name: { help: "the topic", completion: "topic" } } as const;

const create = defineCommand({
  name: "create",
  summary: "create a topic",
  details: "Each partition has three replicas; three brokers are needed, two of them alive.",
  examples: [
    "trilog topic create logs",
    "trilog topic create orders --partitions 12 --retention-time 7d --retention-bytes 10GiB",
  ],
  positionals: { name: { help: "the new topic" } },
  flags: {
    partitions: {
      type: "integer",
      min: 1,
      max: limits.topicPartitions,
      default: "1",
      help: "how many partitions it has",
    },
    retentionBytes: { type: "size", default: "0", help: "how much is kept of each; 0: all" },
    retentionTime: {
      type: "duration",
      default: "0",
      help: "how long it is kept, an eighth and 10s longer at most; 0: no limit",
    },
    ...commonFlags,
  },
  run: ({ flags, args: { name }, json, terminal }) =>
    withManagers(flags, async (ask) => {
      const { partitions } = flags;
      const settings = { retentionBytes: flags.retentionBytes, retentionMs: flags.retentionTime };
      const requestId = newRequestId();
      await ask(createTopicMethod, { requestId, name, partitions, settings });
      await terminal.print(
        json
          ? JSON.stringify({ topic: name, partitions, ...settings })
          : `created topic ${name} with ${counted(partitions, "partition")}`,
      );
      return 0;
    }),
});

const list = defineCommand({
  name: "list",
  summary: "list the topics",
  examples: ["trilog topic list", "trilog topic list --json"],
  flags: commonFlags,
  run: ({ flags, json, terminal }) =>
    withManagers(flags, async (ask) => {
      for (const topic of await readTopics(ask, null)) {
        await terminal.print(json ? JSON.stringify(topicObject(topic)) : topic.name);
      }
      return 0;
    }),
});

const describe = defineCommand({
  name: "describe",
  summary: "show a topic's settings and partitions",
  examples: ["trilog topic describe logs", "trilog topic describe logs --json"],
  positionals: topicName,
  flags: commonFlags,
  run: ({ flags, args: { name }, json, terminal }) =>
    withManagers(flags, async (ask) => {
      const topic = await readTopic(ask, "describe", name);
      const status = await ask(clusterStatusMethod, { consistency: "linearizable" });
      const partitions = await withOffsets(flags, name, partitionRows(status, name));
      if (json) {
        const own = partitions.map(({ topic: _, ...row }) => row);
        await terminal.print(JSON.stringify({ ...topicObject(topic), partitions: own }));
        return 0;
      }
      await terminal.print(
        `topic ${name}: ${counted(partitions.length, "partition")}, ${kept(topic.settings)}`,
      );
      for (const line of partitionTable(partitions)) await terminal.print(line);
      return 0;
    }),
});

const alter = defineCommand({
  name: "alter",
  summary: "add partitions to a topic or change what it keeps",
  details: "Keys go to other partitions once there are more of them.",
  examples: [
    "trilog topic alter logs --partitions 6",
    "trilog topic alter logs --retention-time 2d --retention-bytes 0",
  ],
  positionals: topicName,
  flags: {
    partitions: {
      type: "integer",
      min: 1,
      max: limits.topicPartitions,
      help: "new number of partitions; never fewer than there are",
    },
    retentionBytes: { type: "size", help: "how much is kept of each partition; 0: all" },
    retentionTime: {
      type: "duration",
      help: "how long it is kept, an eighth and 10s longer at most; 0: no limit",
    },
    ...commonFlags,
  },
  run: ({ flags, args: { name }, json, terminal }) =>
    withManagers(flags, async (ask) => {
      const partitions = flags.partitions ?? null;
      const retentionBytes = flags.retentionBytes ?? null;
      const retentionMs = flags.retentionTime ?? null;
      if (partitions === null && retentionBytes === null && retentionMs === null) {
        throw new TrilogError("usage", `Cannot alter topic ${name}: say what is to change`);
      }
      const requestId = newRequestId();
      await ask(alterTopicMethod, { requestId, name, partitions, retentionBytes, retentionMs });
      const topic = await readTopic(ask, "alter", name);
      await terminal.print(
        json
          ? JSON.stringify(topicObject(topic))
          : `topic ${name} now has ${counted(topic.partitions.length, "partition")}, ${
            kept(topic.settings)
          }`,
      );
      return 0;
    }),
});

const remove = defineCommand({
  name: "delete",
  summary: "delete a topic and everything in it",
  examples: ["trilog topic delete logs", "trilog topic delete logs --json"],
  positionals: topicName,
  flags: commonFlags,
  run: ({ flags, args: { name }, json, terminal }) =>
    withManagers(flags, async (ask) => {
      await ask(deleteTopicMethod, { requestId: newRequestId(), name });
      await terminal.print(json ? JSON.stringify({ topic: name }) : `deleted topic ${name}`);
      return 0;
    }),
});

export const command = defineCommand({
  name: "topic",
  summary: "create, list, describe, alter and delete topics",
  examples: ["trilog topic create logs --partitions 3", "trilog topic list"],
  subcommands: [create, list, describe, alter, remove],
});

async function readTopics(ask: Ask, names: readonly string[] | null) {
  const request = { topics: names, consistency: "linearizable" } as const;
  return (await ask(metadataMethod, request)).topics;
}

async function readTopic(ask: Ask, act: string, name: string): Promise<TopicMetadata> {
  const topic = (await readTopics(ask, null)).find((topic) => topic.name === name);
  if (topic !== undefined) return topic;
  throw new TrilogError("no_such_topic", `Cannot ${act} topic ${name}: there is no such topic`);
}

type Row = ReturnType<typeof partitionRows>[number];

/** The managers know offsets of the last heartbeat; the leaders know those of now. */
function withOffsets(
  flags: Parameters<typeof withClient>[0],
  topic: string,
  rows: readonly Row[],
): Promise<Row[]> {
  return withClient(flags, (client) =>
    Promise.all(rows.map(async (row) => {
      const ask = (at: "earliest" | "latest") => client.offset(topic, row.partition, at);
      try {
        const [startOffset, endOffset] = await Promise.all([ask("earliest"), ask("latest")]);
        return { ...row, startOffset, endOffset };
      } catch {
        return row;
      }
    })));
}

function topicObject({ name, partitions, settings }: TopicMetadata) {
  return { topic: name, partitions: partitions.length, ...settings };
}

function partitionTable(partitions: ReturnType<typeof partitionRows>): string[] {
  const right = (title: string) => ({ title, align: "right" }) as const;
  return tableLines(
    [right("PARTITION"), "STATE", "LEADER", "REPLICAS", "OFFSETS", right("SIZE")],
    partitions.map((row) => [
      row.partition,
      row.state,
      row.leader ?? "-",
      row.replicas.join(" "),
      `${groupedNumber(row.startOffset)} to ${groupedNumber(row.endOffset)}`,
      roundedSize(row.sizeBytes),
    ]),
  );
}

function kept({ retentionBytes, retentionMs }: TopicSettings): string {
  const bounds = [
    ...(retentionBytes > 0 ? [`${formatSize(retentionBytes)} of each`] : []),
    ...(retentionMs > 0 ? [`for ${formatDuration(retentionMs)}`] : []),
  ];
  return bounds.length === 0 ? "all is kept" : `kept: ${bounds.join(", ")}`;
}
