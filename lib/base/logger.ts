/** The node's own log: one line an event, text for people or JSON for machines. */

import type { Clock } from "./clock.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log with `fields` added to every line. */
  with(fields: LogFields): Logger;
  /** Whether lines of that level are written: ask before computing costly fields. */
  enabled(level: LogLevel): boolean;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: "text" | "json";
  readonly clock: Clock;
  /** Takes one finished line without its newline. */
  readonly write: (line: string) => void;
}

const rank: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export function createLogger(options: LoggerOptions, fields: LogFields = {}): Logger {
  const emit = (level: LogLevel, message: string, more: LogFields = {}) => {
    if (rank[level] < rank[options.level]) return;
    const time = new Date(options.clock.wallMs()).toISOString();
    const all = { ...fields, ...more };
    options.write(
      options.format === "json"
        ? JSON.stringify({ time, level, message, ...all })
        : `${time} ${level.padEnd(5)} ${message}${textFields(all)}`,
    );
  };
  return {
    debug: (message, more) => emit("debug", message, more),
    info: (message, more) => emit("info", message, more),
    warn: (message, more) => emit("warn", message, more),
    error: (message, more) => emit("error", message, more),
    with: (more) => createLogger(options, { ...fields, ...more }),
    enabled: (level) => rank[level] >= rank[options.level],
  };
}

/** A logger that writes nothing, for tests and tools. */
export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  with: () => silentLogger,
  enabled: () => false,
};

function textFields(fields: LogFields): string {
  let text = "";
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const shown = String(value);
    text += ` ${name}=${/[\s"=]/.test(shown) ? JSON.stringify(shown) : shown}`;
  }
  return text;
}
