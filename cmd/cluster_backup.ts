/** `trilog cluster backup` and `restore`: topics, their settings and, by flag, their messages. */

import { unlessAborted } from "../lib/base/abort.ts";
import { toTrilogError, TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { readBatchHeader } from "../lib/batch/batch_header.ts";
import { recordsOf } from "../lib/batch/batch_reader.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { Progress } from "../lib/cli/progress.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { counted } from "../lib/cli/units.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import type { Client } from "../lib/client/client.ts";
import type { Producer } from "../lib/client/producer.ts";
import { groupPositions, setPositions } from "../lib/client/group_offsets.ts";
import {
  advanceMethod,
  createTopicMethod,
  describeGroupMethod,
  fetchMethod,
  listGroupsMethod,
} from "../lib/client/protocol.ts";
import { type BackedUpTopic, BackupWriter, type Part, readBackup } from "./backup_file.ts";
import { newRequestId } from "./managers_client.ts";
import { withClient } from "./queue_client.ts";

const REQUEST_MS = 10_000;
const FETCH_MS = 30_000;
const FETCH_BYTES = 1024 * 1024;

const commonFlags = { ...bootstrapFlags, ...securityFlags } as const;
const fileArgument = { file: { help: "the backup's file", completion: "file" } } as const;

export const backup = defineCommand({
  name: "backup",
  summary: "write topics and settings, and with --with-data all messages, to a file",
  details: "Each partition is taken up to the end it has when its turn comes, while everything\n" +
    "runs. The file gets its name when it is whole; one of that name is kept, and the backup\n" +
    "refused, unless --overwrite is given. With messages come the positions of consumer groups.",
  examples: [
    "trilog cluster backup topics.backup",
    "trilog cluster backup everything.backup --with-data",
  ],
  positionals: fileArgument,
  // A backup that is ended leaves no unfinished file behind.
  interruption: "server",
  flags: {
    withData: { type: "boolean", help: "messages, too" },
    overwrite: { type: "boolean", help: "replace the file where it exists" },
    ...commonFlags,
  },
  run: ({ flags, args, json, terminal, signal }) =>
    withClient(flags, async (client) => {
      const { withData, overwrite } = flags;
      const writer = new BackupWriter(args.file, overwrite);
      const progress = newProgress(terminal, json || !withData, "backed up");
      try {
        const counts = await unlessAborted(backUp(client, writer, progress, withData), signal);
        if (counts === null) {
          writer.abandon();
          return exitStatus.interrupted;
        }
        await tell(terminal, json, "backed up", { file: args.file, ...counts });
        return exitStatus.done;
      } catch (thrown) {
        writer.abandon();
        throw thrown;
      } finally {
        progress.finish();
      }
    }),
});

async function backUp(
  client: Client,
  writer: BackupWriter,
  progress: Progress,
  withData: boolean,
): Promise<{ readonly topics: number; readonly messages: number }> {
  // Before the data: a group never stands beyond what is backed up of a partition.
  const positions = withData ? await allPositions(client) : [];
  const { clusterId, topics, brokers } = await client.refresh();
  writer.add({
    kind: "cluster",
    clusterId,
    takenAtMs: systemClock.wallMs(),
    withData,
    brokers: brokers.map(({ id }) => id),
  });
  let messages = 0;
  for (const { name: topic, settings, partitions } of topics) {
    writer.add({ kind: "topic", topic, partitions: partitions.length, ...settings });
    if (!withData) continue;
    for (const { partition } of partitions) {
      messages += await copyPartition(client, writer, progress, topic, partition);
    }
  }
  const copied = new Set(topics.map(({ name }) => name));
  for (const position of positions) {
    if (copied.has(position.topic)) writer.add({ kind: "position", ...position });
  }
  const counts = { topics: topics.length, messages };
  writer.add({ kind: "end", ...counts });
  writer.finish();
  return counts;
}

export const restore = defineCommand({
  name: "restore",
  summary: "create the topics of a backup, with the messages that are in it",
  details: "None of the topics may exist. Keys, values, headers, times and offsets become what\n" +
    "they were; no other producer may write to them meanwhile. To repeat a restore that\n" +
    "was interrupted, delete its topics first.",
  examples: ["trilog cluster restore topics.backup", "trilog cluster restore all.backup --json"],
  positionals: fileArgument,
  flags: commonFlags,
  run: ({ flags, args, json, terminal }) =>
    withClient(flags, async (client) => {
      // All of it is read before anything is done: half a backup is none.
      const topics = checkWhole(args.file);
      await refuseExisting(client, topics);
      const progress = newProgress(terminal, json, "restored");
      const restoring = new Restoring(client, progress);
      try {
        for (const part of readBackup(args.file)) await restoring.take(part);
      } finally {
        await restoring.stop();
        progress.finish();
      }
      const { messages } = restoring;
      await tell(terminal, json, "restored", { file: args.file, topics: topics.length, messages });
      return exitStatus.done;
    }),
});

function newProgress(terminal: Terminal, silent: boolean, verb: string): Progress {
  return new Progress({ terminal, clock: systemClock, noun: "message", verb, silent });
}

async function tell(
  terminal: Terminal,
  json: boolean,
  verb: string,
  counts: { readonly file: string; readonly topics: number; readonly messages: number },
): Promise<void> {
  const { topics, messages } = counts;
  const text = `${counted(topics, "topic")} and ${counted(messages, "message")} ${verb}`;
  await terminal.print(json ? JSON.stringify(counts) : text);
}

interface Position {
  readonly group: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

/** Where every consumer group stands that has committed something. */
async function allPositions(client: Client): Promise<Position[]> {
  const request = { consistency: "linearizable" } as const;
  const { groups } = await client.managers.request(listGroupsMethod, request, REQUEST_MS);
  const present = new Set((await client.refresh()).topics.map((topic) => topic.name));
  const positions: Position[] = [];
  for (const { name: group } of groups) {
    const described = await client.managers.request(describeGroupMethod, { group }, REQUEST_MS);
    // A group may still name a topic that was deleted.
    const topics = described.group.topics.filter((topic) => present.has(topic));
    const standing = { ...described, group: { ...described.group, topics } };
    for (const { topic, partition, committed } of await groupPositions(client, standing)) {
      if (committed !== null) positions.push({ group, topic, partition, offset: committed });
    }
  }
  return positions;
}

/** Copies what a partition holds now; returns the number of messages. */
async function copyPartition(
  client: Client,
  writer: BackupWriter,
  progress: Progress,
  topic: string,
  partition: number,
): Promise<number> {
  const endOffset = await client.offset(topic, partition, "latest");
  const startOffset = await client.offset(topic, partition, "earliest");
  let messages = 0;
  for (let next = startOffset; next < endOffset;) {
    const batches = await fetchFrom(client, topic, partition, next);
    if (batches === null) next = await client.offset(topic, partition, "earliest");
    else if (batches.length === 0) break;
    for (const bytes of batches ?? []) {
      const { baseOffset, count } = readBatchHeader(bytes);
      if (baseOffset >= endOffset) return finish(messages);
      writer.add({ kind: "batch", topic, partition, bytes });
      progress.add(count, bytes.length);
      messages += count;
      next = baseOffset + count;
    }
  }
  return finish(messages);

  function finish(count: number): number {
    writer.add({ kind: "partition", topic, partition, startOffset, endOffset });
    return count;
  }
}

/** Stored batches from `offset` on; null where retention has just dropped them. */
async function fetchFrom(
  client: Client,
  topic: string,
  partition: number,
  offset: number,
): Promise<readonly Uint8Array[] | null> {
  const isolation = "linearizable" as const;
  const request = { offset, maxBytes: FETCH_BYTES, minBytes: 1, maxWaitMs: 0, isolation };
  try {
    const answer = await client.partitionRequest(topic, partition, fetchMethod, request, FETCH_MS);
    return answer.batches;
  } catch (thrown) {
    const error = toTrilogError(thrown);
    if (error.code === "offset_out_of_range") return null;
    throw error;
  }
}

/** The topics of a backup; throws `corrupt` unless every part of it is there. */
function checkWhole(file: string): BackedUpTopic[] {
  const topics: BackedUpTopic[] = [];
  let messages = 0;
  for (const part of readBackup(file)) {
    if (part.kind === "topic") topics.push(part);
    if (part.kind === "batch") messages += readBatchHeader(part.bytes).count;
    if (part.kind !== "end") continue;
    if (part.topics === topics.length && part.messages === messages) continue;
    throw new TrilogError("corrupt", `Cannot read backup ${file}: its counts do not match`);
  }
  return topics;
}

async function refuseExisting(client: Client, topics: readonly BackedUpTopic[]): Promise<void> {
  const present = new Set((await client.refresh()).topics.map((topic) => topic.name));
  const both = topics.filter(({ topic }) => present.has(topic)).map(({ topic }) => topic);
  if (both.length === 0) return;
  const state = `the cluster has ${both.join(", ")} already`;
  throw new TrilogError("topic_exists", `Cannot restore: ${state}`);
}

/** Makes topics and produces messages again, offset by offset. */
class Restoring {
  messages = 0;
  private readonly producer: Producer;
  /** Offset of the next message of each partition. */
  private readonly next = new Map<string, number>();
  private readonly positions: Position[] = [];
  private failure: TrilogError | null = null;

  constructor(private readonly client: Client, private readonly progress: Progress) {
    this.producer = client.producer();
  }

  async take(part: Part): Promise<void> {
    if (part.kind === "topic") await this.makeTopic(part);
    if (part.kind === "partition") await this.advanceTo(part, part.endOffset);
    if (part.kind === "batch") await this.produce(part, part.bytes);
    if (part.kind === "position") this.positions.push(part);
    if (part.kind === "end") await this.settle();
    if (part.kind === "end") await this.setPositions();
  }

  async stop(): Promise<void> {
    await this.producer.stop();
  }

  private async makeTopic(topic: BackedUpTopic): Promise<void> {
    const { topic: name, partitions, retentionBytes, retentionMs } = topic;
    const settings = { retentionBytes, retentionMs };
    const request = { requestId: newRequestId(), name, partitions, settings };
    await this.client.managers.request(createTopicMethod, request, REQUEST_MS);
    await this.producer.prepare(name);
  }

  private async produce(at: Place, batch: Uint8Array): Promise<void> {
    for (const record of recordsOf(batch)) {
      const { key, value, headers, timestampMs, offset } = record;
      if (offset < this.nextOf(at)) continue;
      await this.advanceTo(at, offset);
      await this.producer.ready();
      const message = { key, value, headers, timestampMs, partition: at.partition };
      this.producer.enqueue(at.topic, message, (error, delivered) => {
        this.delivered(at, offset, error, delivered?.offset);
      });
      this.next.set(keyOf(at), offset + 1);
      this.messages += 1;
    }
    this.progress.add(readBatchHeader(batch).count, batch.length);
    if (this.failure !== null) throw this.failure;
  }

  private delivered(at: Place, wanted: number, error: TrilogError | null, offset?: number): void {
    if (error === null && offset === wanted) return;
    const state = `the message of offset ${wanted} got ${offset}: another producer writes to it`;
    this.failure ??= error ??
      new TrilogError("invalid_argument", `Cannot restore ${at.topic}/${at.partition}: ${state}`);
  }

  /** Leaves out the offsets that no message has. */
  private async advanceTo(at: Place, offset: number): Promise<void> {
    if (offset <= this.nextOf(at)) return;
    await this.settle();
    const { topic, partition } = at;
    const request = { offset };
    await this.client.partitionRequest(topic, partition, advanceMethod, request, FETCH_MS);
    this.next.set(keyOf(at), offset);
  }

  private async settle(): Promise<void> {
    await this.producer.flush();
    if (this.failure !== null) throw this.failure;
  }

  private async setPositions(): Promise<void> {
    const groups = Map.groupBy(this.positions, ({ group, topic }) => `${group} ${topic}`);
    for (const [first, ...others] of groups.values()) {
      await setPositions(this.client, first.group, first.topic, [first, ...others]);
    }
  }

  private nextOf(at: Place): number {
    return this.next.get(keyOf(at)) ?? 0;
  }
}

interface Place {
  readonly topic: string;
  readonly partition: number;
}

function keyOf({ topic, partition }: Place): string {
  return `${topic}/${partition}`;
}
