/** The search against histories that are right, that were made wrong, and against every order. */

import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { type HistoryEvent, type Operation, operationsOf } from "../../lib/check/history.ts";
import { checkHistory, type CheckReport, type Violation } from "../../lib/check/linearizability.ts";
import { MODEL_NAMES, type ModelName, modelNamed } from "../../lib/check/models/models.ts";
import { type Bar, historyOf } from "./bars.ts";
import { hasAnOrder } from "./every_order.ts";
import { simulatedHistory } from "./simulated.ts";

const SIZES = [
  { clients: 3, operations: 40, keys: 1, unknown: 0 },
  { clients: 5, operations: 100, keys: 2, unknown: 0.05 },
  { clients: 8, operations: 300, keys: 5, unknown: 0.02 },
] as const;

for (const model of MODEL_NAMES) {
  Deno.test(`${model}: what simulated clients saw is always linearizable`, () => {
    for (const [size, options] of SIZES.entries()) {
      for (let seed = 1; seed <= 20; seed += 1) {
        const operations = operationsOf(simulatedHistory(model, new Prng(seed), options));
        const report = checkHistory(operations, model, { maxSteps: 5_000_000 });
        assertEquals(report.verdict, "linearizable", `seed ${seed}, size ${size}`);
        assertOrdersAreRight(report);
      }
    }
  });

  Deno.test(`${model}: one impossible answer among many makes it not linearizable`, () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      const random = new Prng(seed);
      const events = withImpossibleAnswer(simulatedHistory(model, random, SIZES[1]), random);
      const report = checkHistory(operationsOf(events), model, { maxSteps: 5_000_000 });
      assertEquals(report.verdict, "not_linearizable", `seed ${seed}`);
    }
  });

  Deno.test(`${model}: the search agrees with trying every order`, () => {
    const verdicts = { linearizable: 0, not_linearizable: 0, unknown: 0 };
    for (let seed = 1; seed <= 400; seed += 1) {
      const random = new Prng(seed);
      const options = { clients: 4, operations: 8, keys: 1, unknown: 0.15 };
      const events = simulatedHistory(model, random, options);
      const operations = operationsOf(withSwappedAnswers(events, random));
      const expected = hasAnOrder(operations, model) ? "linearizable" : "not_linearizable";
      const report = checkHistory(operations, model);
      assertEquals(report.verdict, expected, `seed ${seed}`);
      assertOrdersAreRight(report);
      if (report.violation !== null) assertWindowHolds(operations, report.violation, model);
      verdicts[report.verdict] += 1;
    }
    const { linearizable, not_linearizable } = verdicts;
    assert(linearizable > 40 && not_linearizable > 40, `both are met: ${JSON.stringify(verdicts)}`);
  });
}

/** Every operation lies in its time: none comes after one that was invoked after its return. */
function assertOrdersAreRight({ parts }: CheckReport): void {
  for (const { order, operations, verdict } of parts) {
    assertEquals(new Set(order).size, order.length);
    let latestCall = -1;
    for (const { calledAt, returnedAt } of order) {
      assert((returnedAt ?? Infinity) > latestCall, "the order keeps to real time");
      latestCall = Math.max(latestCall, calledAt);
    }
    const missing = operations.filter((operation) =>
      operation.outcome === "ok" && !order.includes(operation)
    );
    if (verdict === "linearizable") assertEquals(missing, []);
  }
}

/**
 * What overlaps the window or follows it may come at any time or never, and what it only observed
 * is left out: there is still no order.
 */
function assertWindowHolds(
  operations: readonly Operation[],
  { window, isSmallest }: Violation,
  modelName: ModelName,
): void {
  assertEquals(isSmallest, true);
  const model = modelNamed(modelName);
  const begin = Math.min(...window.map(({ calledAt }) => calledAt));
  const relaxed = operations.flatMap((operation) => {
    const isBefore = operation.returnedAt !== null && operation.returnedAt < begin;
    if (isBefore || window.includes(operation)) return [operation];
    const observes = model.actionOf(operation)?.readOnly ?? true;
    return observes ? [] : [{ ...operation, returnedAt: null }];
  });
  assertEquals(hasAnOrder(relaxed, modelName), false);
}

/** Nothing ever wrote such a value, or so much, or so far. */
const IMPOSSIBLE: Readonly<Record<string, HistoryEvent["value"]>> = {
  read: "never written",
  get: "never written",
  end: 1_000_000,
  balance: 1_000_000,
  accounts: { nobody: 1 },
};

function withImpossibleAnswer(events: readonly HistoryEvent[], random: Prng): HistoryEvent[] {
  const answers = events.filter(({ type, f }) => type === "ok" && f in IMPOSSIBLE);
  const chosen = random.pick(answers);
  return events.map((event) => event === chosen ? { ...event, value: IMPOSSIBLE[event.f] } : event);
}

/** Gives answers to others who asked the same: often, but not always, that is impossible. */
function withSwappedAnswers(events: readonly HistoryEvent[], random: Prng): HistoryEvent[] {
  const swapped = [...events];
  const answers = [...events.keys()].filter((at) => events[at].type === "ok");
  for (let count = 0; count < 4 && answers.length > 0; count += 1) {
    const one = random.pick(answers);
    const other = random.pick(answers.filter((at) => events[at].f === events[one].f));
    const [first, second] = [swapped[one], swapped[other]];
    swapped[one] = { ...first, value: second.value };
    swapped[other] = { ...second, value: first.value };
  }
  return swapped;
}

/** So many orders of appends that no budget is enough, and none that explains the last answer. */
function hopeless(key: string, from: number): Bar[] {
  const appends = Array.from({ length: 40 }, (_, n): Bar => ({
    process: `${key} ${n}`,
    f: "append",
    key,
    input: `${n},`,
    at: [from + n / 100],
  }));
  const wrong: Bar = { process: key, f: "get", key, output: "x", at: [from + 0.5, from + 0.6] };
  return [...appends, wrong];
}

Deno.test("a check that takes more steps than it may says unknown", () => {
  const report = checkHistory(historyOf(hopeless("a", 1)), "kv", { maxSteps: 10_000 });
  assertEquals([report.verdict, report.exhausted], ["unknown", "steps"]);
  assertEquals(report.violation, null);
});

Deno.test("a check that needs more memory than it may have says unknown", () => {
  const memoryBytes = 1024 * 1024;
  const report = checkHistory(historyOf(hopeless("a", 1)), "kv", { memoryBytes });
  assertEquals([report.verdict, report.exhausted], ["unknown", "memory"]);
  assert(report.peakMemoryBytes <= memoryBytes);
});

Deno.test("a check that takes longer than it may says unknown", () => {
  let asked = 0;
  const isOutOfTime = () => (asked += 1) > 10;
  const report = checkHistory(historyOf(hopeless("a", 1)), "kv", { isOutOfTime });
  assertEquals([report.verdict, report.exhausted], ["unknown", "time"]);
});

Deno.test("a hopeless object hides neither a wrong one behind it nor one before it", () => {
  const wrong: Bar = { process: "w", f: "get", key: "w", output: "x", at: [50, 51] };
  for (const bars of [[...hopeless("a", 1), wrong], [wrong, ...hopeless("a", 60)]]) {
    const report = checkHistory(historyOf(bars), "kv", { maxSteps: 100_000 });
    assertEquals(report.verdict, "not_linearizable");
    assertEquals(report.violation?.part.name, "w");
  }
});

Deno.test("a hopeless object that used up the memory gives it back to the others", () => {
  const puts = Array.from({ length: 8_000 }, (_, n): Bar => {
    return { f: "put", key: "w", input: String(n), at: [n + 100, n + 100.5] };
  });
  const memoryBytes = 4 * 1024 * 1024;
  const report = checkHistory(historyOf([...hopeless("a", 1), ...puts]), "kv", { memoryBytes });
  assertEquals(report.parts.map(({ verdict }) => verdict), ["unknown", "linearizable"]);
  assertEquals([report.verdict, report.exhausted], ["unknown", "memory"]);
});

Deno.test("the same history gives the same report", () => {
  const events = simulatedHistory("bank", new Prng(7), SIZES[1]);
  const operations = operationsOf(withImpossibleAnswer(events, new Prng(8)));
  assertEquals(checkHistory(operations, "bank"), checkHistory(operations, "bank"));
});

Deno.test("many equal operations of unknown outcome do not multiply the work", () => {
  const bars: Bar[] = Array.from({ length: 60 }, (_, n) => ({
    f: "write",
    input: n % 2,
    at: [n + 1],
  }));
  bars.push({ f: "read", output: 7, at: [100, 101] });
  const report = checkHistory(historyOf(bars), "register", { maxSteps: 100_000 });
  assertEquals(report.verdict, "not_linearizable");
});

Deno.test("operations that observe do not multiply the work", () => {
  const bars = Array.from({ length: 40 }, (_, n): Bar => {
    return { f: "read", output: null, at: [n + 1, n + 100] };
  });
  bars.push({ f: "read", output: 7, at: [200, 201] });
  const { verdict, configurations } = checkHistory(historyOf(bars), "register");
  assertEquals([verdict, configurations], ["not_linearizable", 40]);
});

Deno.test("operations of unknown outcome that change nothing do not multiply the work", () => {
  const names = ["a", "b", "c", "d", "e", "f"];
  const bars = names.map((key, n): Bar => ({ f: "deposit", key, input: 1, at: [n, n + 0.5] }));
  for (const from of names) {
    for (const to of names) {
      bars.push({ f: "transfer", input: { from, to, amount: 0 }, at: [bars.length + 10] });
    }
  }
  bars.push({ f: "balance", key: "a", output: 7, at: [200, 201] });
  const report = checkHistory(historyOf(bars), "bank", { maxSteps: 10_000 });
  assertEquals(report.verdict, "not_linearizable");
});

Deno.test("appends of unknown outcome, seen or not, do not multiply the work", () => {
  const options = { clients: 10, operations: 5_000, keys: 1, unknown: 0.03 };
  const events = simulatedHistory("queue", new Prng(5), options);
  const right = checkHistory(operationsOf(events), "queue", { maxSteps: 50_000 });
  assertEquals(right.verdict, "linearizable");
  const reads = events.filter(({ type, f, value }) =>
    type === "ok" && f === "read" && value !== null
  );
  const lost = reads[reads.length >> 1];
  const changed = events.map((event) => event === lost ? { ...event, value: null } : event);
  const wrong = checkHistory(operationsOf(changed), "queue", { maxSteps: 50_000 });
  assertEquals(wrong.verdict, "not_linearizable");
  assert(wrong.violation!.window.length <= 3, "and the window is small");
});

Deno.test("a history of 20,000 operations of one object is read in one pass", () => {
  const options = { clients: 10, operations: 20_000, keys: 1, unknown: 0 };
  const operations = operationsOf(simulatedHistory("queue", new Prng(3), options));
  const report = checkHistory(operations, "queue", { maxSteps: 200_000 });
  assertEquals(report.verdict, "linearizable");
});
