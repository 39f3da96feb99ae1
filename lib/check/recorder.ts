/**
 * Records what clients do to a running system, as a history for the checker. The order of the
 * events is the order of real time that the checker assumes, so `invoke` comes before the request
 * is sent and the outcome after the answer has come.
 */

import type { Clock } from "../base/clock.ts";
import { toTrilogError } from "../base/errors.ts";
import type { HistoryEvent } from "./history.ts";
import type { Value } from "./values.ts";

/** What a client asks for. */
export interface Invocation {
  /** Name or number of the client; it must not have another operation under way. */
  readonly process: string | number;
  readonly f: string;
  readonly key?: string;
  readonly value?: Value;
}

/** An operation under way: exactly one of these ends it, none if the client is never answered. */
export interface OpenOperation {
  /** It took effect, with this answer. */
  ok(value?: Value): void;
  /** It certainly took no effect and never will; without `error`, a comparison failed. */
  fail(error?: string): void;
  /** Nobody knows. */
  info(error?: string): void;
}

/** Records operations as events, each handed to `add` at once: it puts the time on it. */
export class Recorder {
  constructor(private readonly add: (event: Omit<HistoryEvent, "timeMs">) => void) {}

  invoke({ process, f, key, value }: Invocation): OpenOperation {
    const operation = { process: String(process), f, key: key ?? null };
    const note = (type: HistoryEvent["type"], value: Value, error: string | null) =>
      this.add({ ...operation, type, value, error });
    note("invoke", value ?? null, null);
    return {
      ok: (answer = null) => note("ok", answer, null),
      fail: (error) => note("fail", null, error ?? null),
      info: (error) => note("info", null, error ?? null),
    };
  }

  /**
   * Records a whole operation: `run`'s answer is its `ok`; an error is its `fail` or `info`, as the
   * error's code says, and is thrown again.
   */
  async record<T extends Value>(invocation: Invocation, run: () => Promise<T>): Promise<T> {
    const operation = this.invoke(invocation);
    let answer: T;
    try {
      answer = await run();
    } catch (thrown) {
      const error = toTrilogError(thrown);
      if (error.outcomeUnknown) operation.info(error.code);
      else operation.fail(error.code);
      throw thrown;
    }
    operation.ok(answer);
    return answer;
  }
}

/** A recorder that keeps the history in memory, for all clients of one process. */
export class HistoryRecorder extends Recorder {
  private readonly recorded: HistoryEvent[] = [];

  constructor(clock: Pick<Clock, "monotonicMs">) {
    super((event) => this.recorded.push({ ...event, timeMs: clock.monotonicMs() }));
  }

  get events(): readonly HistoryEvent[] {
    return this.recorded;
  }

  /** The history as JSON lines, each with its newline: what `trilog check` reads. */
  jsonLines(): string {
    return this.recorded.map((event) => `${jsonLine(event)}\n`).join("");
  }
}

/** One event as `{"process","type","f","key","value","time","error"}`; what is null is left out. */
export function jsonLine({ process, type, f, key, value, timeMs, error }: HistoryEvent): string {
  return JSON.stringify({
    process,
    type,
    f,
    ...(key === null ? {} : { key }),
    value,
    ...(timeMs === null ? {} : { time: timeMs }),
    ...(error === null ? {} : { error }),
  });
}
