/** Prints messages on stdout in the forms that `trilog consume` offers. */

import { concatBytes, displayText, utf8 } from "../lib/base/bytes.ts";
import type { BatchRecord } from "../lib/batch/batch_reader.ts";
import type { Progress } from "../lib/cli/progress.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import { isOpenLine } from "../lib/client/lines.ts";

const NEWLINE = utf8("\n");

/** Prints messages in one of three forms, up to a number of them. */
export class MessagePrinter {
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

  /** How many messages may still be printed. */
  get room(): number {
    return this.max - this.printed;
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
