/**
 * PURE. Histories: what clients asked of a system, what they were told, and in which order. The
 * order of the events is the order of real time; times are only shown.
 */

import { TrilogError } from "../base/errors.ts";
import { detectForm, type HistoryForm, lineReaders } from "./history_forms.ts";
import type { Value } from "./values.ts";

export interface HistoryEvent {
  /** One client; it does one thing at a time. */
  readonly process: string;
  /**
   * `invoke` begins an operation. `ok`: it took effect. `fail`: it certainly did not, and never
   * will. `info`: nobody knows; it may take effect at any later time, or never.
   */
  readonly type: "invoke" | "ok" | "fail" | "info";
  /** What is asked for, such as `read`; each model has its own. */
  readonly f: string;
  /** Which of many independent objects is meant; null where there is only one. */
  readonly key: string | null;
  /** Of an `invoke` the argument, of an `ok` the answer. */
  readonly value: Value;
  /** Milliseconds since an arbitrary start, or null. */
  readonly timeMs: number | null;
  /** Of a `fail` or `info`: why, or null. */
  readonly error: string | null;
}

/** An invocation with what came of it. */
export interface Operation {
  /** From 0, in the order of invocation. */
  readonly number: number;
  readonly process: string;
  readonly f: string;
  readonly key: string | null;
  readonly input: Value;
  /** `unknown` also for what never got an answer. */
  readonly outcome: "ok" | "fail" | "unknown";
  /** The answer of an `ok`, else null. */
  readonly output: Value;
  readonly error: string | null;
  /** Positions among all events, from 0. */
  readonly calledAt: number;
  /** Null for an unknown outcome: it never has to have happened. */
  readonly returnedAt: number | null;
  readonly calledMs: number | null;
  readonly returnedMs: number | null;
}

export interface History {
  readonly form: HistoryForm;
  readonly operations: readonly Operation[];
}

/**
 * Reads a history in any of the three forms, which the first line tells apart. Throws `malformed`
 * with the number of the line that cannot be read or that contradicts those before it.
 */
export function readHistory(text: string): History {
  const lines = text.split("\n");
  const form = detectForm(lines.find((line) => line.trim() !== "") ?? "");
  const read = lineReaders[form];
  const builder = new OperationBuilder();
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at].trim();
    if (line === "") continue;
    try {
      const event = read(line);
      if (event !== null) builder.add(event);
    } catch (thrown) {
      if (!(thrown instanceof TrilogError)) throw thrown;
      const state = thrown.message.replace(/^Cannot [^:]*: /, "");
      throw new TrilogError("malformed", `Cannot read the history: line ${at + 1}: ${state}`);
    }
  }
  return { form, operations: builder.finish() };
}

/** The operations of events that are in memory; throws `malformed` where they contradict. */
export function operationsOf(events: readonly HistoryEvent[]): Operation[] {
  const builder = new OperationBuilder();
  for (const event of events) builder.add(event);
  return builder.finish();
}

/** Joins each answer to its invocation. */
class OperationBuilder {
  private readonly operations: Operation[] = [];
  /** Numbers of the operations that wait for their answers, by process. */
  private readonly open = new Map<string, number>();
  private position = 0;
  private latestMs = -Infinity;

  add(event: HistoryEvent): void {
    if (event.timeMs !== null) {
      if (event.timeMs < this.latestMs) {
        throw contradiction(`time goes back from ${this.latestMs} ms to ${event.timeMs} ms`);
      }
      this.latestMs = event.timeMs;
    }
    if (event.type === "invoke") this.invoke(event);
    else this.complete(event);
    this.position += 1;
  }

  finish(): Operation[] {
    return this.operations;
  }

  private invoke(event: HistoryEvent): void {
    const { process, f, key, value, timeMs } = event;
    const waiting = this.open.get(process);
    if (waiting !== undefined) {
      const other = this.operations[waiting].f;
      throw contradiction(`process ${process} invokes ${f} before its ${other} is answered`);
    }
    this.open.set(process, this.operations.length);
    this.operations.push({
      number: this.operations.length,
      process,
      f,
      key,
      input: value,
      outcome: "unknown",
      output: null,
      error: null,
      calledAt: this.position,
      returnedAt: null,
      calledMs: timeMs,
      returnedMs: null,
    });
  }

  private complete({ process, type, f, key, value, timeMs, error }: HistoryEvent): void {
    const number = this.open.get(process);
    if (number === undefined) {
      throw contradiction(`process ${process} has an answer to ${f} that it did not invoke`);
    }
    const operation = this.operations[number];
    if (operation.f !== f) {
      throw contradiction(`process ${process} invoked ${operation.f}, the answer is to ${f}`);
    }
    if (key !== null && operation.key !== key) {
      throw contradiction(`process ${process} invoked key ${operation.key}, answered is ${key}`);
    }
    this.open.delete(process);
    const known = type === "ok" || type === "fail";
    this.operations[number] = {
      ...operation,
      outcome: known ? type : "unknown",
      output: type === "ok" ? value : null,
      error,
      returnedAt: known ? this.position : null,
      returnedMs: known ? timeMs : null,
    };
  }
}

function contradiction(state: string): TrilogError {
  return new TrilogError("malformed", `Cannot read the history: ${state}`);
}
