/** `trilog consume`: the messages of a topic as lines on stdout. */

import { TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import type { FlagValues } from "../lib/cli/flags.ts";
import { Progress } from "../lib/cli/progress.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import type { Client } from "../lib/client/client.ts";
import { consumeInGroup } from "./consume_group.ts";
import { consumeLast, consumePartitions, type Position } from "./consume_partitions.ts";
import { type MessageForm, MessagePrinter } from "./message_printer.ts";
import { parsePosition } from "./log_position.ts";
import { parseTemplate } from "./message_template.ts";
import { withClient } from "./queue_client.ts";

/** Messages that `--last` keeps in memory at most. */
const MOST_LAST = 100_000;

const flags = {
  partition: { type: "integer", min: 0, help: "only this partition" },
  from: {
    type: "string",
    default: "earliest",
    placeholder: "POSITION",
    help:
      "earliest, latest, an offset, -N for N before the end, or a time such as 2026-11-21T08:00Z",
  },
  last: {
    type: "integer",
    min: 1,
    max: MOST_LAST,
    help: "the last N messages of all partitions together, by time",
  },
  group: { type: "name", help: "take part in this consumer group", completion: "group" },
  sessionTimeout: {
    type: "duration",
    default: "10s",
    help: "with --group: after this long without a heartbeat other members take over",
  },
  instance: {
    type: "name",
    help: "with --group and --follow: started again under this name it gets its partitions back",
  },
  onBehind: {
    type: "choice",
    choices: ["fail", "earliest", "latest"],
    default: "fail",
    help: "what to do where retention dropped the next message",
  },
  max: { type: "integer", min: 1, help: "stop after this many messages" },
  follow: { type: "boolean", help: "wait for more messages at the end" },
  withMetadata: { type: "boolean", help: "print partition, offset, time and key as well" },
  format: { type: "string", placeholder: "TEMPLATE", help: "print by a template; see above" },
  ...bootstrapFlags,
  ...securityFlags,
} as const;

type ConsumeFlags = FlagValues<typeof flags>;

export const command = defineCommand({
  name: "consume",
  summary: "print the messages of a topic",
  details:
    "Stops at the end there was when it started; --follow goes on. One message a line, as\n" +
    "the bytes that were produced; --json and --with-metadata show the place of each.\n" +
    'With --json a message that is not UTF-8 is shown in base64, with "encoding":"base64".\n' +
    "With --group it shares the topic with the group's other members, goes on where the\n" +
    "group has come to, and commits what it has printed; Ctrl-C commits and leaves.\n" +
    "A template may hold: %s value, %S its length, %R the same as 4 bytes, %k key, %K its\n" +
    "length (-1: there is none), %t topic, %p partition, %o offset, %T milliseconds since\n" +
    "1970, %h headers, %% a percent sign, \\n \\r \\t \\\\ \\xHH. No newline is added.",
  examples: [
    "trilog consume logs",
    "trilog consume logs --last 20 --follow --with-metadata",
    "trilog consume logs --group billing --follow",
    "trilog consume logs --format '%p/%o %k %s %h\\n'",
  ],
  positionals: { topic: { help: "the topic", completion: "topic" } },
  interruption: "graceful",
  flags,
  run: ({ flags, given, args, json, terminal, signal }) => {
    refuseContradictions(flags, given, json);
    const form = formOf(flags, json);
    const position = startPosition(flags.from);
    return withClient(flags, async (client) => {
      const printer = printerOf(terminal, args.topic, form, flags.max, json);
      try {
        await consume(client, args.topic, position, flags, { printer, terminal, signal });
      } finally {
        await printer.finish();
      }
      return signal.aborted ? 130 : 0;
    });
  },
});

interface Output {
  readonly printer: MessagePrinter;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
}

async function consume(
  client: Client,
  topic: string,
  position: Position,
  flags: ConsumeFlags,
  { printer, terminal, signal }: Output,
): Promise<void> {
  const { follow, group, instance, last, onBehind } = flags;
  if (group !== undefined) {
    const from = groupPosition(position);
    const sessionTimeoutMs = flags.sessionTimeout;
    const settings = { from, onBehind, sessionTimeoutMs, instance, follow };
    return await consumeInGroup(client, topic, group, { ...settings, printer, terminal, signal });
  }
  const partitions = await chosenPartitions(client, topic, flags.partition);
  const count = () => client.partitionCount(topic);
  const added = flags.partition === undefined ? { added: { clock: systemClock, count } } : {};
  const fixed = { topic, partitions, position, onBehind, follow, printer, signal };
  const consumption = { ...fixed, ...added };
  if (last !== undefined) await consumeLast(client, last, consumption);
  else await consumePartitions(client, consumption);
}

function refuseContradictions(
  { group, instance, follow, last, partition, withMetadata, format }: ConsumeFlags,
  given: Readonly<Record<string, string>>,
  json: boolean,
): void {
  const refuse = (state: string) => new TrilogError("usage", `Cannot consume: ${state}`);
  if (group !== undefined && partition !== undefined) {
    throw refuse("with --group, --partition is the group's choice");
  }
  if (group !== undefined && last !== undefined) {
    throw refuse("with --group, --last has no meaning; see trilog group reset");
  }
  if (instance !== undefined && (group === undefined || !follow)) {
    throw refuse("--instance is for --group with --follow");
  }
  if (last !== undefined && given.from !== undefined) {
    throw refuse("--last and --from both say where to begin");
  }
  if (format !== undefined && (json || withMetadata)) {
    throw refuse("--format says all of how messages look; drop --json and --with-metadata");
  }
}

function formOf({ format, withMetadata }: ConsumeFlags, json: boolean): MessageForm {
  if (format !== undefined) return parseTemplate(format);
  return json ? "json" : withMetadata ? "metadata" : "value";
}

function printerOf(
  terminal: Terminal,
  topic: string,
  form: MessageForm,
  max: number | undefined,
  silent: boolean,
): MessagePrinter {
  const texts = { noun: "message", verb: "consumed" };
  const progress = new Progress({ terminal, clock: systemClock, ...texts, silent });
  return new MessagePrinter({ terminal, topic, form, max: max ?? Infinity, progress });
}

function startPosition(text: string): Position {
  if (/^-\d{1,15}$/.test(text)) return { kind: "before_end", count: -Number(text) };
  const position = parsePosition(text);
  if (position !== null) return position;
  throw new TrilogError(
    "usage",
    `Cannot start at ${JSON.stringify(text)}: expected earliest, latest, an offset, -N or a time`,
  );
}

/** A group decides who reads what from where; `--from` only says where a new one begins. */
function groupPosition(position: Position): "earliest" | "latest" {
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
