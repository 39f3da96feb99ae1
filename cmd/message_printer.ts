/** Prints messages on stdout in the forms that `trilog consume` offers. */

import { concatBytes, displayText, textOf, utf8 } from "../lib/base/bytes.ts";
import type { BatchRecord } from "../lib/batch/batch_reader.ts";
import type { Progress } from "../lib/cli/progress.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import { isOpenLine, shownHeaders } from "../lib/client/lines.ts";
import type { Render } from "./message_template.ts";

const NEWLINE = utf8("\n");
const NEWLINE_BYTE = 10;

/** `value`: the bytes as they were produced; a function: by a template. */
export type MessageForm = "value" | "metadata" | "json" | Render;

export interface PrinterOptions {
  readonly terminal: Terminal;
  readonly topic: string;
  readonly form: MessageForm;
  /** How many messages to print at most. */
  readonly max: number;
  readonly progress: Progress;
}

/** Prints messages in one form, up to a number of them. */
export class MessagePrinter {
  private printed = 0;
  /** The last line had no newline of its own: one is due before the next. */
  private lineIsOpen = false;
  /** The last byte that was written, while there is one. */
  private lastByte = NEWLINE_BYTE;
  /** Calls of {@link print} that are not done. */
  private printing = 0;

  constructor(private readonly options: PrinterOptions) {}

  get full(): boolean {
    return this.printed >= this.options.max;
  }

  /** How many messages may still be printed. */
  get room(): number {
    return this.options.max - this.printed;
  }

  async print(partition: number, records: readonly BatchRecord[]): Promise<void> {
    const { progress } = this.options;
    const parts: Uint8Array[] = [];
    let sizeBytes = 0;
    let count = 0;
    for (const record of records) {
      if (this.full) break;
      this.printed += 1;
      count += 1;
      sizeBytes += (record.key?.length ?? 0) + (record.value?.length ?? 0);
      this.add(parts, partition, record);
    }
    progress.add(count, sizeBytes);
    if (count > 0) await this.write(concatBytes(parts));
  }

  /** Lets everything out, then prints the summary on a line of its own. */
  async finish(): Promise<void> {
    const { terminal, progress } = this.options;
    try {
      progress.hide();
      await terminal.flush();
    } finally {
      if (this.isMidLine && terminal.stderrIsTerminal) terminal.writeError("\n");
      progress.finish();
    }
  }

  /** On a terminal the progress line and messages take turns. */
  private async write(bytes: Uint8Array): Promise<void> {
    const { terminal, progress } = this.options;
    if (!terminal.stdoutIsTerminal) return await terminal.write(bytes);
    progress.hide();
    this.printing += 1;
    try {
      this.lastByte = bytes.at(-1) ?? this.lastByte;
      await terminal.write(bytes);
      await terminal.flush();
    } finally {
      this.printing -= 1;
    }
    if (this.printing === 0 && !this.isMidLine) progress.show();
  }

  /** Whether a terminal's cursor is behind what a message left on its line. */
  private get isMidLine(): boolean {
    return this.options.terminal.stdoutIsTerminal && this.lastByte !== NEWLINE_BYTE;
  }

  private add(parts: Uint8Array[], partition: number, record: BatchRecord): void {
    const { topic, form } = this.options;
    if (form === "value") this.addLine(parts, record);
    else if (form === "metadata") parts.push(withMetadata(partition, record), NEWLINE);
    else if (form === "json") parts.push(utf8(jsonOf(partition, record)), NEWLINE);
    else parts.push(form(topic, partition, record));
  }

  private addLine(parts: Uint8Array[], record: BatchRecord): void {
    if (this.lineIsOpen) parts.push(NEWLINE);
    if (record.value !== null) parts.push(record.value);
    this.lineIsOpen = isOpenLine(record.headers);
    if (!this.lineIsOpen) parts.push(NEWLINE);
  }
}

function withMetadata(partition: number, record: BatchRecord): Uint8Array {
  const { offset, timestampMs } = record;
  const key = record.key === null ? "-" : displayText(record.key);
  const start = `${partition}\t${offset}\t${timeText(timestampMs)}\t${key}\t`;
  return concatBytes([utf8(start), record.value ?? new Uint8Array(0)]);
}

/**
 * One message as JSON. With a key, value or value of a header that is not UTF-8, all of them are
 * base64, and `encoding` says so; the keys of headers always are text.
 */
function jsonOf(partition: number, record: BatchRecord): string {
  const { offset, timestampMs } = record;
  const headers = shownHeaders(record.headers);
  const shape = (text: (bytes: Uint8Array) => string) => {
    const shown = (bytes: Uint8Array | null) => bytes === null ? null : text(bytes);
    return {
      partition,
      offset,
      time: timeText(timestampMs),
      key: shown(record.key),
      value: shown(record.value),
      ...(headers.length === 0
        ? {}
        : { headers: headers.map(({ key, value }) => ({ key, value: shown(value) })) }),
    };
  };
  try {
    return JSON.stringify(shape(textOf));
  } catch (thrown) {
    if (!(thrown instanceof TypeError)) throw thrown;
    return JSON.stringify({ ...shape((bytes) => bytes.toBase64()), encoding: "base64" });
  }
}

/** RFC 3339; times that no calendar holds are milliseconds since 1970. */
function timeText(timestampMs: number): string {
  const date = new Date(timestampMs);
  return Number.isNaN(date.getTime()) ? String(timestampMs) : date.toISOString();
}
