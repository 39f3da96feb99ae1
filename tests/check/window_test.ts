/** The operations that are shown when there is no order: those that contradict each other. */

import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { explain } from "../../lib/check/explain.ts";
import { operationsOf } from "../../lib/check/history.ts";
import { checkHistory, type Violation } from "../../lib/check/linearizability.ts";
import { describeOperation } from "../../lib/check/models/model.ts";
import type { ModelName } from "../../lib/check/models/models.ts";
import { type Bar, historyOf } from "./bars.ts";
import { simulatedHistory } from "./simulated.ts";

function violationOf(bars: readonly Bar[], model: ModelName): Violation {
  const { violation } = checkHistory(historyOf(bars), model);
  assert(violation !== null);
  return violation;
}

const cases: readonly {
  readonly sentence: string;
  readonly model: ModelName;
  readonly bars: readonly Bar[];
  readonly window: readonly string[];
}[] = [
  {
    sentence: "a stale read and the write that it missed",
    model: "register",
    bars: [
      { f: "write", input: 1, at: [1, 2] },
      { f: "read", output: 1, at: [3, 4] },
      { f: "write", input: 2, at: [5, 6] },
      { f: "read", output: 1, at: [7, 8] },
      { f: "read", output: 2, at: [9, 10] },
      { f: "write", input: 3, at: [11, 12] },
    ],
    window: ["write 2 -> ok", "read -> 1"],
  },
  {
    sentence: "a value from nowhere by itself",
    model: "register",
    bars: [
      { f: "write", input: 1, at: [1, 2] },
      { f: "read", output: 9, at: [3, 4] },
      { f: "read", output: 1, at: [5, 6] },
    ],
    window: ["read -> 9"],
  },
  {
    sentence: "two reads that go back, without the write that both overlap",
    model: "register",
    bars: [
      { f: "write", input: 1, at: [1, 2] },
      { f: "write", input: 2, at: [3, 8] },
      { f: "read", output: 2, at: [4, 5] },
      { f: "read", output: 1, at: [6, 7] },
    ],
    window: ["read -> 2", "read -> 1"],
  },
  {
    sentence: "a lost update with both updates",
    model: "bank",
    bars: [
      { f: "deposit", key: "a", input: 1, at: [1, 4] },
      { f: "deposit", key: "b", input: 5, at: [2, 3] },
      { f: "deposit", key: "a", input: 1, at: [5, 6] },
      { f: "balance", key: "b", output: 5, at: [7, 8] },
      { f: "balance", key: "a", output: 1, at: [9, 10] },
    ],
    window: ['deposit "a" 1 -> ok', 'deposit "a" 1 -> ok', 'balance "a" -> 1'],
  },
  {
    sentence: "a message that was acknowledged and is gone",
    model: "queue",
    bars: [
      { f: "append", input: "a", output: 0, at: [1, 2] },
      { f: "append", input: "b", output: 1, at: [3, 4] },
      { f: "read", input: 0, output: "a", at: [5, 6] },
      { f: "read", input: 1, output: null, at: [7, 8] },
    ],
    window: ['append "b" -> 1', "read 1 -> null"],
  },
  {
    sentence: "a write of unknown outcome is not named where it does not matter",
    model: "register",
    bars: [
      { f: "write", input: 5, at: [1] },
      { f: "write", input: 2, at: [3, 4] },
      { f: "read", output: 2, at: [5, 6] },
      { f: "read", output: null, at: [7, 8] },
    ],
    window: ["read -> 2", "read -> null"],
  },
  {
    sentence: "nothing that is wrong by itself, later",
    model: "register",
    bars: [
      { f: "write", input: 1, at: [1, 2] },
      { f: "write", input: 2, at: [3, 4] },
      { f: "read", output: 1, at: [5, 8] },
      { f: "read", output: 77, at: [6, 10] },
    ],
    window: ["write 2 -> ok", "read -> 1"],
  },
  {
    sentence: "an answer that came after the order got stuck because of it",
    model: "queue",
    bars: [
      { f: "append", input: "m", at: [1] },
      { f: "append", input: "y", output: 1, at: [2, 3] },
      { f: "read", input: 1, output: "y", at: [4, 5] },
      { f: "read", input: 0, output: "q", at: [6, 7] },
    ],
    window: ['read 0 -> "q"'],
  },
  {
    sentence: "a message that stands further back than there are others",
    model: "queue",
    bars: [
      { f: "append", input: "m", at: [1] },
      { f: "append", input: "y", output: 1, at: [2, 3] },
      { f: "append", input: "z", output: 3, at: [4, 5] },
      { f: "read", input: 2, output: "m", at: [6, 7] },
    ],
    window: ['read 2 -> "m"'],
  },
];

for (const { sentence, model, bars, window } of cases) {
  Deno.test(`the window shows ${sentence}`, () => {
    const violation = violationOf(bars, model);
    assertEquals(violation.window.map((operation) => describeOperation(operation)), window);
    assertEquals(violation.isSmallest, true);
  });
}

Deno.test("the window of a long history is as small as that of a short one", () => {
  const options = { clients: 6, operations: 2_000, keys: 1, unknown: 0.002 };
  const events = simulatedHistory("register", new Prng(11), options);
  const reads = events.filter(({ type, f }) => type === "ok" && f === "read");
  const wrong = reads[Math.floor(reads.length * 0.9)];
  const changed = events.map((event) => event === wrong ? { ...event, value: 77 } : event);
  const { violation } = checkHistory(operationsOf(changed), "register");
  assertEquals(violation?.window.map((operation) => operation.output), [77]);
});

Deno.test("of a window that is long only the beginning is listed", () => {
  const bars = Array.from({ length: 50 }, (_, n): Bar => {
    return { f: "append", input: n, output: n, at: [n * 2, n * 2 + 1] };
  });
  bars.push({ f: "end", output: 0, at: [200, 201] });
  let asked = 0;
  const isOutOfTime = () => (asked += 1) > 1;
  const lines = explain(checkHistory(historyOf(bars), "queue", { isOutOfTime }));
  assertEquals(lines.length, 45);
  assertEquals(lines.at(-3), "  and 11 more");
});

Deno.test("without a budget for more, the window is all that was looked at", () => {
  const bars: Bar[] = [
    { f: "write", input: 1, at: [1, 2] },
    { f: "write", input: 2, at: [3, 4] },
    { f: "read", output: 1, at: [5, 6] },
  ];
  let asked = 0;
  const isOutOfTime = () => (asked += 1) > 1;
  const { violation } = checkHistory(historyOf(bars), "register", { isOutOfTime });
  assertEquals(violation?.window.length, 3);
  assertEquals(violation?.isSmallest, false);
});

Deno.test("a violation is explained in words", () => {
  const bars: Bar[] = [
    { process: "a", f: "set", key: "k", input: "1", at: [1, 2.5] },
    { process: "b", f: "set", key: "k", input: "2", at: [3, 4] },
    { process: "a", f: "get", key: "k", output: "1", at: [5, 6] },
    { process: "a", f: "get", key: "other", output: null, at: [7, 8] },
  ];
  assertEquals(explain(checkHistory(historyOf(bars), "kv")), [
    'not linearizable: key "k"',
    "These 2 operations cannot be ordered, whatever the others did and in whatever order they came:",
    '  process b  set "k" "2" -> ok  3..4 ms',
    '  process a  get "k" -> "1"     5..6 ms',
    'The longest order: key "k", 2 of 3 operations, leading to "2".',
    'No order gets past the answer to: process a, get "k" -> "1".',
  ]);
});

Deno.test("what is linearizable is said in one line, what is unknown with what ran out", () => {
  const bars: Bar[] = [{ f: "write", input: 1, at: [1, 2] }];
  assertEquals(explain(checkHistory(historyOf(bars), "register")), [
    "linearizable: 1 operation on 1 object",
  ]);
  assertEquals(explain(checkHistory(historyOf(bars), "register", { maxSteps: 0 })), [
    "unknown: the steps budget ran out before one object was decided (1 operation on 1 object)",
    "  0 of 1 operation, leading to null",
  ]);
});
