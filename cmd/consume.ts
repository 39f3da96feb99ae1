/** `trilog consume`: the messages of a topic as lines on stdout. */

import { TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { Progress } from "../lib/cli/progress.ts";
import type { Client } from "../lib/client/client.ts";
import type { Fetched, PartitionReader } from "../lib/client/partition_reader.ts";
import { consumeInGroup } from "./consume_group.ts";
import { MessagePrinter } from "./message_printer.ts";
import { withClient } from "./queue_client.ts";

export const command = defineCommand({
  name: "consume",
  summary: "print the messages of a topic",
  details:
    "Stops at the end there was when it started; --follow goes on. One message a line, as\n" +
    "the bytes that were produced; --json and --with-metadata show where each one stands.\n" +
    "With --group it shares the topic with the group's other members, goes on where the\n" +
    "group has come to, and commits what it has printed; Ctrl-C commits and leaves.",
  examples: [
    "trilog consume logs",
    "trilog consume logs --from latest --follow --with-metadata",
    "trilog consume logs --group billing --follow",
  ],
  positionals: { topic: { help: "the topic" } },
  interruption: "graceful",
  flags: {
    partition: { type: "integer", min: 0, help: "only this partition" },
    from: {
      type: "string",
      default: "earliest",
      placeholder: "POSITION",
      help: "earliest, latest, an offset, or a time such as 2026-11-21T08:00:00Z",
    },
    group: { type: "name", help: "take part in this consumer group" },
    sessionTimeout: {
      type: "duration",
      default: "10s",
      help: "with --group: after this long without a sign of life others take over",
    },
    onOutOfRange: {
      type: "choice",
      choices: ["error", "earliest", "latest"],
      default: "error",
      help: "with --group: what to do where retention dropped the group's next message",
    },
    max: { type: "integer", min: 1, help: "stop after this many messages" },
    follow: { type: "boolean", help: "wait for more messages at the end" },
    withMetadata: { type: "boolean", help: "print partition, offset, time and key as well" },
    ...bootstrapFlags,
    ...securityFlags,
  },
  run: ({ flags, args, json, terminal, signal }) =>
    withClient(flags, async (client) => {
      const position = parsePosition(flags.from);
      const progress = new Progress({
        terminal,
        clock: systemClock,
        noun: "messages",
        verb: "consumed",
        silent: json,
      });
      const form = json ? "json" : flags.withMetadata ? "metadata" : "value";
      const printer = new MessagePrinter(terminal, form, flags.max ?? Infinity, progress);
      const { follow } = flags;
      try {
        if (flags.group === undefined) {
          const partitions = await chosenPartitions(client, args.topic, flags.partition);
          await Promise.all(partitions.map((partition) =>
            consumePartition(client, args.topic, partition, position, { follow, printer, signal })
          ));
        } else {
          const from = groupPosition(position, flags.partition);
          const { group, sessionTimeout: sessionTimeoutMs, onOutOfRange } = flags;
          await consumeInGroup(client, args.topic, group, {
            from,
            onOutOfRange,
            sessionTimeoutMs,
            follow,
            printer,
            terminal,
            signal,
          });
        }
      } finally {
        progress.finish();
      }
      return signal.aborted ? 130 : 0;
    }),
});

type Position =
  | { readonly kind: "earliest" | "latest" }
  | { readonly kind: "offset"; readonly offset: number }
  | { readonly kind: "time"; readonly timeMs: number };

function parsePosition(text: string): Position {
  if (text === "earliest" || text === "latest") return { kind: text };
  if (/^\d{1,15}$/.test(text)) return { kind: "offset", offset: Number(text) };
  const timeMs = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN;
  if (Number.isFinite(timeMs) && timeMs >= 0) return { kind: "time", timeMs };
  throw new TrilogError(
    "usage",
    `Cannot start at ${JSON.stringify(text)}: expected earliest, latest, an offset or a time`,
  );
}

/** A group decides who reads what from where; `--from` only says where a new one begins. */
function groupPosition(
  position: Position,
  partition: number | undefined,
): "earliest" | "latest" {
  if (partition !== undefined) {
    throw new TrilogError("usage", "Cannot consume in a group: --partition is the group's choice");
  }
  if (position.kind === "earliest" || position.kind === "latest") return position.kind;
  throw new TrilogError(
    "usage",
    "Cannot consume in a group: --from is earliest or latest; see trilog group reset",
  );
}

async function chosenPartitions(
  client: Client,
  topic: string,
  only: number | undefined,
): Promise<readonly number[]> {
  const { partitions } = await client.topic(topic);
  if (only === undefined) return partitions.map(({ partition }) => partition);
  await client.route(topic, only);
  return [only];
}

interface ConsumeOptions {
  readonly follow: boolean;
  readonly printer: MessagePrinter;
  readonly signal: AbortSignal;
}

/** Prints one partition until its end at the start, for ever, or until enough was printed. */
async function consumePartition(
  client: Client,
  topic: string,
  partition: number,
  position: Position,
  { follow, printer, signal }: ConsumeOptions,
): Promise<void> {
  const end = follow ? Infinity : await client.offset(topic, partition, "latest");
  const from = await startOffset(client, topic, partition, position);
  const reader = client.reader(topic, partition, { from });
  while (reader.offset < end && !printer.full && !signal.aborted) {
    const fetched = await nextUnlessAborted(reader, signal);
    if (fetched === null) return;
    await printer.print(partition, fetched.records.filter(({ offset }) => offset < end));
  }
}

async function startOffset(
  client: Client,
  topic: string,
  partition: number,
  position: Position,
): Promise<number> {
  if (position.kind === "offset") return position.offset;
  const timeMs = position.kind === "time" ? position.timeMs : 0;
  return await client.offset(topic, partition, position.kind, timeMs);
}

/** Null when the command was interrupted first. */
function nextUnlessAborted(reader: PartitionReader, signal: AbortSignal): Promise<Fetched | null> {
  const aborted = new Promise<null>((resolve) => {
    signal.addEventListener("abort", () => resolve(null), { once: true });
  });
  return Promise.race([reader.next(), aborted]);
}
