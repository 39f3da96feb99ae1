/**
 * PURE. A queue's partition, which is a log: `append MESSAGE` puts a message at the end and answers
 * its offset (the first is 0, and none is left out), `read OFFSET` answers the message there, or
 * null where the log has not come so far, and `end` answers the offset that the next message will
 * get. Every key, such as "topic/0", is a partition of its own. An append of unknown outcome that
 * the client repeats under the same sequence number is one operation.
 */

import type { Operation } from "../history.ts";
import { canonicalText, type Value } from "../values.ts";
import {
  type Action,
  change,
  keyOf,
  type Model,
  observation,
  senseless,
  shortened,
  unknownFunction,
} from "./model.ts";

/**
 * A log as its last message and the log before it, so that logs share their beginnings. `jump`
 * leads further back, in steps that make any place reachable in logarithmic time (Myers 1983, "An
 * applicative random-access stack"). Both lead from the empty log to itself.
 */
interface Log {
  /** Tells this object from all others of the same model. */
  readonly number: number;
  readonly length: number;
  /** Canonical text of the last message; "" for the empty log. */
  readonly last: string;
  readonly before: Log;
  readonly jump: Log;
}

/** A model of its own for each check: it numbers the logs that it makes. */
export function queueModel(): Model<Log> {
  let made = 0;
  const after = (log: Log, message: string): Log => {
    made += 1;
    const { jump, length } = log;
    const equalSteps = length - jump.length === jump.length - jump.jump.length;
    const further = equalSteps && length > 0 ? jump.jump : log;
    return { number: made, length: length + 1, last: message, before: log, jump: further };
  };
  return {
    name: "queue",
    initial: emptyLog(),
    partOf: keyOf,
    actionOf: (operation) => actionOf(operation, after),
    narrow: (operations) => narrowing(operations, after),
    // `before` is the first object made with its text, so its number stands for what it holds.
    textOf: ({ length, last, before }) => length === 0 ? "" : `${before.number} ${last}`,
    describe: ({ length, last }) =>
      length === 0 ? "empty" : `end ${length}, last ${shortened(last)}`,
  };
}

function emptyLog(): Log {
  const links: { before?: Log; jump?: Log } = {};
  const empty = Object.assign(links, { number: 0, length: 0, last: "" }) as Log;
  links.before = empty;
  links.jump = empty;
  return empty;
}

type Append = (log: Log, message: string) => Log;

function actionOf(operation: Operation, after: Append): Action<Log> | null {
  const { f, input, outcome, output } = operation;
  switch (f) {
    case "append": {
      if (outcome === "fail") return null;
      const message = canonicalText(input);
      if (outcome === "unknown") return change((log) => after(log, message));
      const offset = wholeNumber(operation, output);
      return change((log) => log.length === offset ? after(log, message) : null);
    }
    case "read": {
      const offset = wholeNumber(operation, input);
      if (outcome !== "ok") return null;
      if (output === null) return observation((log) => log.length <= offset);
      const message = canonicalText(output);
      return observation((log) => log.length > offset && messageAt(log, offset) === message);
    }
    case "end": {
      if (outcome !== "ok") return null;
      const end = wholeNumber(operation, output);
      return observation((log) => log.length === end);
    }
    default:
      throw unknownFunction(operation, "queue", "append, read and end");
  }
}

/** Stands for any message of unknown outcome that no answer shows: the text of no value. */
const UNSEEN = "unseen";

/**
 * A log never changes behind its end, so every answer about an offset holds for ever: an append of
 * unknown outcome has not taken an offset where others are seen, nor one elsewhere when it was seen
 * already. Those that nobody saw are all alike.
 */
function narrowing(operations: readonly Operation[], after: Append) {
  const seenAt = new Map<number, Set<string>>();
  const offsetsOf = new Map<string, Set<number>>();
  const appends = new Map<string, number>();
  for (const { f, input, output, outcome } of operations) {
    const message = canonicalText(f === "append" ? input : output);
    if (f === "append") appends.set(message, (appends.get(message) ?? 0) + 1);
    const offset = f === "append" ? output : input;
    if (outcome !== "ok" || f === "end" || output === null) continue;
    entryOf(seenAt, offset as number).add(message);
    entryOf(offsetsOf, message).add(offset as number);
  }
  return (operation: Operation, action: Action<Log>): Action<Log> => {
    if (operation.f !== "append" || operation.outcome !== "unknown") return action;
    const message = canonicalText(operation.input);
    const offsets = offsetsOf.get(message);
    const isElsewhere = offsets !== undefined && offsets.size >= appends.get(message)!;
    const step = (log: Log) => {
      const seen = seenAt.get(log.length);
      const fits = seen === undefined ? !isElsewhere : seen.has(message);
      return fits ? after(log, offsets === undefined ? UNSEEN : message) : null;
    };
    return { readOnly: false, step, ...(offsets === undefined ? { kind: UNSEEN } : {}) };
  };
}

function entryOf<Key, Item>(sets: Map<Key, Set<Item>>, key: Key): Set<Item> {
  const known = sets.get(key);
  if (known !== undefined) return known;
  const made = new Set<Item>();
  sets.set(key, made);
  return made;
}

/** The message at an offset below the log's length. */
function messageAt(log: Log, offset: number): string {
  let at = log;
  while (at.length > offset + 1) at = at.jump.length > offset ? at.jump : at.before;
  return at.last;
}

function wholeNumber(operation: Operation, value: Value): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw senseless(operation, `${canonicalText(value)} is no offset`);
}
