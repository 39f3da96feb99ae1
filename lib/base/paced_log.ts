/**
 * Log lines of things that happen often. Each kind is written at info at most once a second: the
 * first event at once, those that follow as one line with their number and the last one's fields.
 * At debug every event is a line of its own.
 */

import type { Clock } from "./clock.ts";
import type { LogFields, Logger } from "./logger.ts";

/** Shortest time between two lines of one kind, in milliseconds. */
export const LINE_PERIOD_MS = 1_000;

interface Kind {
  readonly message: string;
  /** Events since the last line. */
  count: number;
  newest: () => LogFields;
}

export class PacedLog {
  private readonly kinds = new Map<string, Kind>();

  constructor(private readonly logger: Logger, private readonly clock: Clock) {}

  /**
   * Notes an event. `fields` is called only when a line is written, at most a second later.
   * `subject` separates events of one message that must not hide each other, such as peers.
   */
  write(message: string, fields: () => LogFields, subject = ""): void {
    if (this.logger.enabled("debug")) return this.logger.debug(message, fields());
    if (!this.logger.enabled("info")) return;
    const key = `${message}\n${subject}`;
    const kind = this.kinds.get(key);
    if (kind !== undefined) {
      kind.count += 1;
      kind.newest = fields;
      return;
    }
    this.logger.info(message, fields());
    this.kinds.set(key, { message, count: 0, newest: fields });
    this.clock.after(LINE_PERIOD_MS, () => this.look(key));
  }

  /** Writes the line of the events since the last one; a kind without any is forgotten. */
  private look(key: string): void {
    const kind = this.kinds.get(key)!;
    const { message, count, newest } = kind;
    if (count === 0) {
      this.kinds.delete(key);
      return;
    }
    this.logger.info(message, count === 1 ? newest() : { ...newest(), count });
    kind.count = 0;
    this.clock.after(LINE_PERIOD_MS, () => this.look(key));
  }
}
