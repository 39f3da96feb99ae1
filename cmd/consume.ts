/** `trilog consume`: the messages of a topic as lines on stdout. */

import { concatBytes, displayText, utf8 } from "../lib/base/bytes.ts";
import { TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import type { BatchRecord } from "../lib/batch/batch_reader.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { Progress } from "../lib/cli/progress.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import type { Client } from "../lib/client/client.ts";
import { isOpenLine } from "../lib/client/lines.ts";
import type { Fetched, PartitionReader } from "../lib/client/partition_reader.ts";
import { withClient } from "./queue_client.ts";

export const command = defineCommand({
  name: "consume",
  summary: "print the messages of a topic",
  details:
    "Stops at the end there was when it started; --follow goes on. One message a line, as\n" +
    "the bytes that were produced; --json and --with-metadata show where each one stands.",
  examples: ["trilog consume logs", "trilog consume logs --from latest --follow --with-metadata"],
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
    max: { type: "integer", min: 1, help: "stop after this many messages" },
    follow: { type: "boolean", help: "wait for more messages at the end" },
    withMetadata: { type: "boolean", help: "print partition, offset, time and key as well" },
    ...bootstrapFlags,
    ...securityFlags,
  },
  run: ({ flags, args, json, terminal, signal }) =>
    withClient(flags, async (client) => {
      const position = parsePosition(flags.from);
      const partitions = await chosenPartitions(client, args.topic, flags.partition);
      const progress = new Progress({
        terminal,
        clock: systemClock,
        noun: "messages",
        verb: "consumed",
        silent: json,
      });
      const form = json ? "json" : flags.withMetadata ? "metadata" : "value";
      const printer = new Printer(terminal, form, flags.max ?? Infinity, progress);
      try {
        await Promise.all(partitions.map((partition) =>
          consumePartition(client, args.topic, partition, position, {
            follow: flags.follow,
            printer,
            signal,
          })
        ));
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
  readonly printer: Printer;
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

const NEWLINE = utf8("\n");

/** Prints messages in one of three forms, up to a number of them. */
class Printer {
  private printed = 0;
  /** The last line had no newline of its own: one is due before the next. */
  private lineIsOpen = false;

  constructor(
    private readonly terminal: Terminal,
    private readonly form: "value" | "metadata" | "json",
    private readonly max: number,
    private readonly progress: Progress,
  ) {}

  get full(): boolean {
    return this.printed >= this.max;
  }

  async print(partition: number, records: readonly BatchRecord[]): Promise<void> {
    const parts: Uint8Array[] = [];
    let sizeBytes = 0;
    let count = 0;
    for (const record of records) {
      if (this.full) break;
      this.printed += 1;
      count += 1;
      sizeBytes += (record.key?.length ?? 0) + (record.value?.length ?? 0);
      if (this.form === "value") this.addLine(parts, record);
      else parts.push(this.describe(partition, record), NEWLINE);
    }
    this.progress.add(count, sizeBytes);
    const wait = this.terminal.write(concatBytes(parts));
    if (wait) await wait;
  }

  private addLine(parts: Uint8Array[], record: BatchRecord): void {
    if (this.lineIsOpen) parts.push(NEWLINE);
    if (record.value !== null) parts.push(record.value);
    this.lineIsOpen = isOpenLine(record.headers);
    if (!this.lineIsOpen) parts.push(NEWLINE);
  }

  private describe(partition: number, record: BatchRecord): Uint8Array {
    const { offset, timestampMs } = record;
    const time = new Date(timestampMs).toISOString();
    const key = record.key === null ? null : displayText(record.key);
    if (this.form === "metadata") {
      const start = utf8(`${partition}\t${offset}\t${time}\t${key ?? "-"}\t`);
      return concatBytes([start, record.value ?? new Uint8Array(0)]);
    }
    const value = record.value === null ? null : displayText(record.value);
    return utf8(JSON.stringify({ partition, offset, time, key, value }));
  }
}
