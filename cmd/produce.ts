/** `trilog produce`: the lines of stdin as messages of a topic. */

import { utf8 } from "../lib/base/bytes.ts";
import { TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { compressions } from "../lib/batch/compression.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { hasNewline, lineContent, readLineBatches } from "../lib/cli/lines.ts";
import { Progress } from "../lib/cli/progress.ts";
import { OPEN_LINE } from "../lib/client/lines.ts";
import type { OutgoingMessage } from "../lib/client/outgoing.ts";
import type { DeliveryCallback, Producer } from "../lib/client/producer.ts";
import { withClient } from "./queue_client.ts";

export const command = defineCommand({
  name: "produce",
  summary: "send the lines of stdin to a topic",
  details:
    "Messages are bytes: every line comes out of `consume` as it went in. An acknowledged\n" +
    "message is on the disks of a majority of its replicas, exactly once.",
  examples: [
    "cat access.log | trilog produce logs",
    "trilog produce orders --key-separator : --compression gzip < orders.txt",
  ],
  positionals: { topic: { help: "the topic" } },
  flags: {
    partition: { type: "integer", min: 0, help: "send all to this partition" },
    keySeparator: { type: "string", help: "the key is what stands before this text in a line" },
    linger: { type: "duration", default: "5ms", help: "longest wait for a fuller batch" },
    batchSize: { type: "size", default: "64KiB", help: "bytes of a full batch" },
    compression: {
      type: "choice",
      choices: compressions,
      default: "none",
      help: "how batches are compressed",
    },
    acks: {
      type: "choice",
      choices: ["quorum", "leader"],
      default: "quorum",
      help: "leader: acknowledged before it is durable, and may be lost",
    },
    ...bootstrapFlags,
    ...securityFlags,
  },
  run: ({ flags, args, json, terminal }) =>
    withClient(flags, async (client) => {
      const producer = client.producer({
        lingerMs: flags.linger,
        batchBytes: flags.batchSize,
        compression: flags.compression,
        acks: flags.acks,
      });
      await producer.prepare(args.topic);
      const progress = new Progress({
        terminal,
        clock: systemClock,
        noun: "messages",
        verb: "produced",
        silent: json,
      });
      const toMessage = messageReader(flags.keySeparator, flags.partition);
      const deliveries = new Deliveries(producer, progress, (line) => {
        if (json) void terminal.write(utf8(`${line}\n`));
      });
      try {
        for await (const lines of readLineBatches(terminal.stdin)) {
          for (const line of lines) deliveries.send(args.topic, toMessage(line));
          if (deliveries.failure !== null) break;
          await producer.ready();
        }
      } finally {
        await producer.stop();
        progress.finish();
      }
      if (deliveries.failure !== null) throw deliveries.failure;
      return 0;
    }),
});

/** Sends messages and counts them as they are acknowledged; keeps the first failure. */
class Deliveries {
  failure: TrilogError | null = null;

  constructor(
    private readonly producer: Producer,
    private readonly progress: Progress,
    private readonly print: (line: string) => void,
  ) {}

  send(topic: string, message: OutgoingMessage): void {
    const sizeBytes = (message.key?.length ?? 0) + (message.value?.length ?? 0);
    const delivered: DeliveryCallback = (error, where) => {
      if (where === null) {
        this.failure ??= error;
        return;
      }
      this.progress.add(1, sizeBytes);
      this.print(JSON.stringify(where));
    };
    this.producer.enqueue(topic, message, delivered);
  }
}

/** What a line means: its key and value, and whether it ended in a newline. */
function messageReader(
  separator: string | undefined,
  partition: number | undefined,
): (line: Uint8Array) => OutgoingMessage {
  const divider = separator === undefined ? null : utf8(separator);
  const where = partition === undefined ? {} : { partition };
  return (line) => {
    const content = lineContent(line);
    const headers = hasNewline(line) ? {} : { headers: [OPEN_LINE] };
    const at = divider === null ? -1 : indexOf(content, divider);
    if (divider === null || at < 0) return { value: content, ...headers, ...where };
    const key = content.subarray(0, at);
    return { key, value: content.subarray(at + divider.length), ...headers, ...where };
  };
}

/** Position of `part` in `bytes`, or -1. */
function indexOf(bytes: Uint8Array, part: Uint8Array): number {
  for (let at = bytes.indexOf(part[0]); at >= 0; at = bytes.indexOf(part[0], at + 1)) {
    if (part.every((byte, offset) => bytes[at + offset] === byte)) return at;
  }
  return -1;
}
