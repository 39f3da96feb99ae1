/** What clients asked and were told, in the notation that `trilog check` reads. */

import { join } from "@std/path";
import { type Harness, nowMs } from "../e2e/harness.ts";

// deno-lint-ignore no-explicit-any
export type Value = any;

export type Model = "bank" | "register" | "queue";

export interface Event {
  readonly process: string;
  readonly type: "invoke" | "ok" | "fail" | "info";
  readonly f: string;
  readonly key: string | null;
  readonly value: Value;
  readonly error: string | null;
  /** Milliseconds since the history began. */
  readonly time: number;
}

/** An operation that was begun and has not ended. */
export interface Open {
  /** It took effect, and this was the answer. */
  ok(value: Value): void;
  /** It certainly did nothing; some codes say something about the state. */
  fail(code: string): void;
  /** Nobody knows; whoever asked goes on as another process. */
  info(code: string): void;
}

export class History {
  readonly events: Event[] = [];
  readonly counts = { ok: 0, fail: 0, info: 0 };
  private readonly startMs = nowMs();

  begin(process: string, f: string, key: string | null, value: Value): Open {
    this.add(process, "invoke", f, key, value, null);
    const end = (type: "ok" | "fail" | "info", answer: Value, error: string | null) => {
      this.counts[type] += 1;
      this.add(process, type, f, key, answer, error);
    };
    return {
      ok: (answer) => end("ok", answer, null),
      fail: (code) => end("fail", null, code),
      info: (code) => end("info", null, code),
    };
  }

  private add(
    process: string,
    type: Event["type"],
    f: string,
    key: string | null,
    value: Value,
    error: string | null,
  ): void {
    this.events.push({ process, type, f, key, value, error, time: nowMs() - this.startMs });
  }
}

/** The file form: one JSON object a line. */
export function textOf(events: readonly Event[]): string {
  return events.map((event) => `${JSON.stringify(event)}\n`).join("");
}

/** Has the binary judge a history; throws what it says unless that is "linearizable". */
export async function checkLinearizable(
  harness: Harness,
  events: readonly Event[],
  model: Model,
): Promise<string> {
  const path = join(harness.temporaryDirectory(), `${model}.jsonl`);
  Deno.writeTextFileSync(path, textOf(events));
  const { code, stdout, stderr } = await harness.run(["check", path, "--model", model]);
  if (code !== 0) throw new Error(`trilog check ended with ${code}:\n${stdout}${stderr}`);
  return stdout.trim();
}
