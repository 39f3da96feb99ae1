/** Recording what clients do, and reading it back. */

import { assertEquals, assertRejects } from "@std/assert";
import type { Clock } from "../../lib/base/clock.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { operationsOf, readHistory } from "../../lib/check/history.ts";
import { checkHistory } from "../../lib/check/linearizability.ts";
import { HistoryRecorder } from "../../lib/check/recorder.ts";

/** Every look at it is a millisecond later. */
function tickingClock(): Clock {
  let nowMs = 0;
  const never = () => {
    throw new Error("a recorder sets no timers");
  };
  return { monotonicMs: () => nowMs += 1, wallMs: never, after: never, nextTurn: never };
}

Deno.test("a recorder writes JSON lines with process, type, f, key, value, time and error", () => {
  const recorder = new HistoryRecorder(tickingClock());
  const first = recorder.invoke({ process: 1, f: "set", key: "k", value: "v" });
  const second = recorder.invoke({ process: "b", f: "get", key: "k" });
  first.ok();
  second.ok("v");
  recorder.invoke({ process: 1, f: "cas", key: "k", value: ["x", "y"] }).fail();
  recorder.invoke({ process: 1, f: "set", key: "k", value: "w" }).info("connection_closed");
  assertEquals(recorder.jsonLines().trimEnd().split("\n"), [
    '{"process":"1","type":"invoke","f":"set","key":"k","value":"v","time":1}',
    '{"process":"b","type":"invoke","f":"get","key":"k","value":null,"time":2}',
    '{"process":"1","type":"ok","f":"set","key":"k","value":null,"time":3}',
    '{"process":"b","type":"ok","f":"get","key":"k","value":"v","time":4}',
    '{"process":"1","type":"invoke","f":"cas","key":"k","value":["x","y"],"time":5}',
    '{"process":"1","type":"fail","f":"cas","key":"k","value":null,"time":6}',
    '{"process":"1","type":"invoke","f":"set","key":"k","value":"w","time":7}',
    '{"process":"1","type":"info","f":"set","key":"k","value":null,"time":8,' +
    '"error":"connection_closed"}',
  ]);
});

Deno.test("what was recorded reads back as it was, and can be checked", () => {
  const recorder = new HistoryRecorder(tickingClock());
  recorder.invoke({ process: 1, f: "set", key: "k", value: "v" }).ok();
  recorder.invoke({ process: 2, f: "get", key: "k" }).ok("v");
  recorder.invoke({ process: 1, f: "set", key: "k", value: "w" }).fail("unavailable");
  const operations = operationsOf(recorder.events);
  assertEquals(readHistory(recorder.jsonLines()).operations, operations);
  assertEquals(checkHistory(operations, "kv").verdict, "linearizable");
});

Deno.test("a recorded call ends as its error says: failed, or unknown", async () => {
  const recorder = new HistoryRecorder(tickingClock());
  const call = (process: string, run: () => Promise<string>) =>
    recorder.record({ process, f: "get", key: "k" }, run);
  const failing = (error: Error) => () => Promise.reject(error);
  assertEquals(await call("a", () => Promise.resolve("v")), "v");
  const unavailable = new TrilogError("unavailable", "Cannot get k: no leader");
  const unknown = new TrilogError("deadline_exceeded", "Cannot get k: no answer in time");
  await assertRejects(() => call("b", failing(unavailable)), TrilogError, "no leader");
  await assertRejects(() => call("c", failing(unknown)), TrilogError, "in time");
  await assertRejects(() => call("d", failing(new Error("a bug"))), Error, "a bug");
  const outcomes = operationsOf(recorder.events).map(({ outcome, error }) => [outcome, error]);
  assertEquals(outcomes, [
    ["ok", null],
    ["fail", "unavailable"],
    ["unknown", "deadline_exceeded"],
    ["unknown", "internal"],
  ]);
});
