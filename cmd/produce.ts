/** `trilog produce`: the lines of stdin as messages of a topic. */

import { unlessAborted } from "../lib/base/abort.ts";
import { utf8 } from "../lib/base/bytes.ts";
import { sleep } from "../lib/base/clock.ts";
import { toTrilogError, TrilogError } from "../lib/base/errors.ts";
import { limits } from "../lib/base/limits.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { compressions } from "../lib/batch/compression.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { hasNewline, lineContent, readLineBatches } from "../lib/cli/lines.ts";
import { Progress } from "../lib/cli/progress.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import { OPEN_LINE } from "../lib/client/lines.ts";
import type { OutgoingHeader, OutgoingMessage } from "../lib/client/outgoing.ts";
import type { DeliveryCallback, Producer } from "../lib/client/producer.ts";
import { withClient } from "./queue_client.ts";

/** After a failure the messages that are under way get this long, in milliseconds. */
const LAST_ANSWERS_MS = 5_000;

export const command = defineCommand({
  name: "produce",
  summary: "send the lines of stdin to a topic",
  details:
    "Messages are bytes: every line comes out of `consume` as it went in. An acknowledged\n" +
    "message is on the disks of a majority of its replicas, exactly once. A message that is\n" +
    "refused ends the command at once. Ctrl-C sends what was read, then ends it.",
  examples: [
    "cat access.log | trilog produce logs",
    "trilog produce orders --key-separator : --compression gzip < orders.txt",
    "trilog produce orders --header source=web --header trace=4bf92f < orders.txt",
  ],
  positionals: { topic: { help: "the topic", completion: "topic" } },
  interruption: "graceful",
  flags: {
    partition: { type: "integer", min: 0, help: "send all to this partition" },
    keySeparator: { type: "string", help: "the key is the part of a line before this text" },
    header: {
      type: "texts",
      placeholder: "NAME=VALUE",
      help: "a header of every message; may be given many times",
    },
    linger: { type: "duration", default: "5ms", help: "longest wait for a fuller batch" },
    batchSize: { type: "size", default: "64KiB", help: "bytes of a full batch" },
    compression: {
      type: "choice",
      choices: compressions,
      default: "none",
      help: "how batches are compressed",
    },
    timeout: {
      type: "duration",
      default: "30s",
      help: "a message that is not acknowledged after this long fails",
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
  run: ({ flags, args, json, terminal, signal }) => {
    const toMessage = messageReader(
      flags.keySeparator,
      flags.partition,
      flags.header.map(parseHeader),
    );
    return withClient(flags, async (client) => {
      const producer = client.producer({
        lingerMs: flags.linger,
        batchBytes: flags.batchSize,
        compression: flags.compression,
        acks: flags.acks,
        deliveryMs: flags.timeout,
      });
      await producer.prepare(args.topic);
      const progress = new Progress({
        terminal,
        clock: systemClock,
        noun: "message",
        verb: "produced",
        silent: json,
        summaryOnly: terminal.stdinIsTerminal,
        trouble: () => client.trouble,
      });
      const deliveries = new Deliveries(producer, progress, json ? terminal : null);
      // A key stands in front of its value, which is judged by itself.
      const lineBytes = flags.keySeparator === undefined ? limits.messageBytes : limits.recordBytes;
      try {
        const batches = readLineBatches(terminal.stdin, lineBytes);
        await sendAll(batches, args.topic, toMessage, deliveries, signal);
      } finally {
        await deliveries.finish();
        progress.finish();
      }
      deliveries.throwFailure();
      return 0;
    }, flags.timeout);
  },
});

/** Until the lines end, a message fails or the signal is aborted. */
async function sendAll(
  batches: AsyncGenerator<Uint8Array[], void, void>,
  topic: string,
  toMessage: (line: Uint8Array) => OutgoingMessage,
  deliveries: Deliveries,
  signal: AbortSignal,
): Promise<void> {
  const ending = AbortSignal.any([signal, deliveries.failed]);
  for (;;) {
    const next = await unlessAborted(batches.next(), ending);
    if (next === null || next.done) return;
    for (const line of next.value) deliveries.send(topic, toMessage(line));
    await unlessAborted(deliveries.ready(), ending);
  }
}

/** Sends messages and counts them as they are acknowledged; keeps the first failure. */
class Deliveries {
  private readonly ended = new AbortController();
  private failure: TrilogError | null = null;
  private lines = 0;
  /** The last write to `output`. */
  private writing: Promise<void> = Promise.resolve();

  /** `output`: where a line of JSON for each message goes. */
  constructor(
    private readonly producer: Producer,
    private readonly progress: Progress,
    private readonly output: Terminal | null,
  ) {}

  /** Aborts when a message has failed, or the output. */
  get failed(): AbortSignal {
    return this.ended.signal;
  }

  send(topic: string, message: OutgoingMessage): void {
    if (this.failure !== null) return;
    this.lines += 1;
    const sizeBytes = (message.key?.length ?? 0) + (message.value?.length ?? 0);
    const delivered: DeliveryCallback = (error, where) => {
      if (where === null) return this.fail(error!);
      this.progress.add(1, sizeBytes);
      if (this.output !== null) this.print(this.output, JSON.stringify(where));
    };
    try {
      this.producer.enqueue(topic, message, delivered);
    } catch (thrown) {
      const { code, message: text } = toTrilogError(thrown);
      this.fail(new TrilogError(code, `${text} (line ${this.lines})`, { cause: thrown }));
    }
  }

  /** Resolves when there is room for more. */
  async ready(): Promise<void> {
    await this.producer.ready();
    await this.writing;
  }

  /** Waits for the answers of what is under way. */
  async finish(): Promise<void> {
    const stopped = this.producer.stop();
    if (this.failure === null) await stopped;
    else await Promise.race([stopped, sleep(systemClock, LAST_ANSWERS_MS)]);
    await this.writing;
  }

  throwFailure(): void {
    if (this.failure !== null) throw this.failure;
  }

  private print(output: Terminal, line: string): void {
    const written = output.write(utf8(`${line}\n`));
    if (!written) return;
    this.writing = written.catch((thrown) => this.fail(toTrilogError(thrown)));
  }

  private fail(error: TrilogError): void {
    this.failure ??= error;
    this.ended.abort();
  }
}

/** `name=value`; the value may hold more of these signs. */
function parseHeader(text: string): OutgoingHeader {
  const at = text.indexOf("=");
  if (at > 0) return { key: text.slice(0, at), value: utf8(text.slice(at + 1)) };
  const state = `${JSON.stringify(text)} is not NAME=VALUE`;
  throw new TrilogError("usage", `Cannot use --header: ${state}`);
}

/** What a line means: its key and value, and whether it ended in a newline. */
function messageReader(
  separator: string | undefined,
  partition: number | undefined,
  headers: readonly OutgoingHeader[],
): (line: Uint8Array) => OutgoingMessage {
  const divider = separator === undefined ? null : utf8(separator);
  const where = partition === undefined ? {} : { partition };
  const openHeaders = [...headers, OPEN_LINE];
  return (line) => {
    const content = lineContent(line);
    const rest = { headers: hasNewline(line) ? headers : openHeaders, ...where };
    const at = divider === null ? -1 : indexOf(content, divider);
    if (divider === null || at < 0) return { value: content, ...rest };
    return { key: content.subarray(0, at), value: content.subarray(at + divider.length), ...rest };
  };
}

/** Position of `part` in `bytes`, or -1. */
function indexOf(bytes: Uint8Array, part: Uint8Array): number {
  for (let at = bytes.indexOf(part[0]); at >= 0; at = bytes.indexOf(part[0], at + 1)) {
    if (part.every((byte, offset) => bytes[at + offset] === byte)) return at;
  }
  return -1;
}
