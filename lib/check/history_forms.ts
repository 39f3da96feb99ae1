/** PURE. The three notations of histories: one line of each is one event. */

import { TrilogError } from "../base/errors.ts";
import { parseEdn, parseEdnPrefix } from "./edn.ts";
import type { HistoryEvent } from "./history.ts";
import { canonicalText, isObject, type Value } from "./values.ts";

/** Our own JSON lines, Jepsen's log lines, and Jepsen's maps. */
export type HistoryForm = "json" | "jepsen-log" | "jepsen-maps";

/** Reads one line that is not empty; null: it is no event of a client. Throws `malformed`. */
type LineReader = (line: string) => HistoryEvent | null;

/** Jepsen's times are nanoseconds. */
const NANOSECONDS_PER_MS = 1e6;

const LOG_EVENT = /\bjepsen\.util - (\S+)\s+:(\S+)\s+:(\S+)\s+(\S.*)$/;
const LOG_LINE = /\b(TRACE|DEBUG|INFO|WARN|ERROR|FATAL)\s+\S+ - /;

/** Tells the notation from the first line that is not empty; throws `malformed`. */
export function detectForm(firstLine: string): HistoryForm {
  const line = firstLine.trim();
  if (line === "") throw malformed("it is empty");
  if (/^\{\s*"/.test(line)) return "json";
  if (/^(#\S*\s*)?\{\s*:/.test(line)) return "jepsen-maps";
  if (LOG_LINE.test(line)) return "jepsen-log";
  throw malformed(
    "its first line is neither a JSON object, nor a map such as {:process 0, :type :invoke, " +
      ":f :read, :value nil}, nor a log line such as INFO  jepsen.util - 0 :invoke :read nil",
  );
}

export const lineReaders: Readonly<Record<HistoryForm, LineReader>> = {
  "json": readJsonLine,
  "jepsen-maps": readMapLine,
  "jepsen-log": readLogLine,
};

function readJsonLine(line: string): HistoryEvent {
  let parsed: Value;
  try {
    parsed = JSON.parse(line);
  } catch {
    throw malformed("it is not JSON");
  }
  if (!isObject(parsed)) throw malformed("it is not a JSON object");
  const { process, type, f, key, value, time, error } = parsed;
  return eventOf({ process, type, f, key, value, error }, timeOf(time, 1));
}

function readMapLine(line: string): HistoryEvent | null {
  const parsed = parseEdn(line);
  if (!isObject(parsed)) throw malformed("it is not a map");
  const field = (name: string) => parsed[name];
  if (isKeyword(field("process"))) return null;
  const type = withoutColon(field("type"));
  const f = withoutColon(field("f"));
  const timeMs = timeOf(field("time"), NANOSECONDS_PER_MS);
  const fields = { process: field("process"), type, f, key: field("key") };
  return eventOf({ ...fields, ...valueOrError(type, field("value"), field("error")) }, timeMs);
}

function readLogLine(line: string): HistoryEvent | null {
  const match = LOG_EVENT.exec(line);
  if (match === null) {
    if (LOG_LINE.test(line) && !/\bjepsen\.util - /.test(line)) return null;
    throw malformed("it is not of the form INFO  jepsen.util - PROCESS :TYPE :F VALUE");
  }
  const [, process, type, f, rest] = match;
  if (process.startsWith(":")) return null;
  const fields = { process, type, f, key: null };
  return eventOf({ ...fields, ...valueOrError(type, parseEdnPrefix(rest), undefined) }, null);
}

/** What failed shows its reason where its value was, as in `:info :write :timed-out`. */
function valueOrError(
  type: Value | undefined,
  value: Value | undefined,
  error: Value | undefined,
): { value: Value; error: Value | undefined } {
  const reason = (type === "fail" || type === "info") && isKeyword(value);
  if (reason) return { value: null, error: withoutColon(error ?? value) };
  return { value: value ?? null, error: withoutColon(error) };
}

function eventOf(
  fields: { readonly [Name in keyof HistoryEvent]?: Value | undefined },
  timeMs: number | null,
): HistoryEvent {
  const { process, type, f, key, value, error } = fields;
  if (typeof process !== "string" && typeof process !== "number") {
    throw malformed("process is neither a number nor a name");
  }
  if (type !== "invoke" && type !== "ok" && type !== "fail" && type !== "info") {
    throw malformed(`type is ${shown(type)}, not one of invoke, ok, fail, info`);
  }
  if (typeof f !== "string" || f === "") throw malformed(`f is ${shown(f)}, not a word`);
  return {
    process: String(process),
    type,
    f,
    key: isAbsent(key) ? null : typeof key === "string" ? key : canonicalText(key),
    value: value ?? null,
    timeMs,
    error: isAbsent(error) ? null : typeof error === "string" ? error : canonicalText(error),
  };
}

function timeOf(time: Value | undefined, unitsPerMs: number): number | null {
  if (isAbsent(time)) return null;
  if (typeof time !== "number") throw malformed(`time is ${shown(time)}, not a number`);
  return time / unitsPerMs;
}

function isAbsent(value: Value | undefined): value is null | undefined {
  return value === null || value === undefined;
}

function isKeyword(value: Value | undefined): value is string {
  return typeof value === "string" && value.startsWith(":");
}

function withoutColon(value: Value | undefined): Value | undefined {
  return isKeyword(value) ? value.slice(1) : value;
}

function shown(value: Value | undefined): string {
  return value === undefined ? "missing" : canonicalText(value);
}

function malformed(state: string): TrilogError {
  return new TrilogError("malformed", `Cannot read the history: ${state}`);
}
