/** That the chaos runs can fail: a short real one, and everything that a check has to refuse. */

import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type Harness, withHarness } from "../e2e/harness.ts";
import { auditMoney, TOTAL_CENTS } from "./bank.ts";
import { controlBuild } from "./control.ts";
import { Dice } from "./dice.ts";
import { checkLinearizable, type Event, textOf } from "./history.ts";
import { auditLog, type Message } from "./queue_audit.ts";
import { demandEnough, runWorkload } from "./run.ts";
import { type FaultName, readSettings, type Settings, wordsOf } from "./settings.ts";

// With words of its own a run is the user's: only `chaos_test.ts` plays then.
const ignore = Deno.args.length > 0;

const SHORT: Settings = {
  faults: ["kill", "one-way", "io-error", "power"],
  seed: 1,
  durationMs: 6_000,
  nodes: 3,
  workloads: ["bank"],
};

Deno.test({
  name: "a short run of the bank counts, and its history does not pass once it is tampered with",
  ignore,
  async fn() {
    await withHarness(async (harness) => {
      const { history } = await runWorkload(harness, "bank", SHORT, (line) => console.log(line));
      const { events } = history;
      await refuses(harness, withAnswer(events, "transfer", { fromBalance: "1.23" }));
      await refuses(harness, withAnswer(events, "balance", "1.23"));
      const looted = withAnswer(events, "accounts", { p1: "1.23" });
      assertThrows(() => auditMoney(looted, TOTAL_CENTS), Error, "123 cents in all");
      const inDebt = withAnswer(events, "accounts", { p1: "-1.00", p2: "5001.00" });
      assertThrows(() => auditMoney(inDebt, TOTAL_CENTS), Error, "or a debt");
    });
  },
});

const POWER: Settings = { ...SHORT, faults: ["power"], durationMs: 2_500 };

Deno.test({
  name: "a build that acknowledges before its sync is caught by a power loss",
  ignore,
  async fn() {
    const directory = Deno.makeTempDirSync({ prefix: "trilog-control-" });
    const told: string[] = [];
    try {
      const control = controlBuild(directory, "lib/storage/segment_log.ts", {
        line: "    this.orPoison(() => active.segment.file.syncNow());",
        becomes: "    active.segment.file.sync().catch(() => {});",
      });
      const run = (harness: Harness) =>
        runWorkload(harness, "bank", POWER, (line) => told.push(line)).then(() => {});
      const { message } = await assertRejects(() => withHarness(run, control), Error);
      if (told.some((line) => line.startsWith("power is SKIPPED"))) return;
      assertMatch(message, /not linearizable|cents in all/);
    } finally {
      for (const line of told) console.log(line);
      const kept = told.map((line) => / kept in (.+)$/.exec(line)?.[1]).filter((path) => path);
      for (const path of [directory, ...kept]) Deno.removeSync(path!, { recursive: true });
    }
  },
});

/** The events with another answer to the middle one of the operations `f` that succeeded. */
function withAnswer(events: readonly Event[], f: string, value: unknown): Event[] {
  const answered = events.filter((event) => event.f === f && event.type === "ok");
  const chosen = answered[Math.floor(answered.length / 2)];
  return events.map((event) => event === chosen ? { ...event, value } : event);
}

async function refuses(harness: Harness, events: readonly Event[]): Promise<void> {
  const check = () => checkLinearizable(harness, events, "bank");
  const refusal = await assertRejects(check, Error, "trilog check ended with 1");
  assertStringIncludes(refusal.message, "not linearizable");
}

const SENT = new Map([["a", ["a1", "a2", "a3"]], ["b", ["b1"]]]);
const ACKNOWLEDGED = new Map([["a1", 0], ["b1", 1], ["a2", 2]]);

function logOf(...values: string[]): Message[] {
  return values.map((value, offset) => ({ offset, value }));
}

function problemsOf(log: readonly Message[]): string[] {
  return auditLog(log, { sent: SENT, acknowledged: ACKNOWLEDGED });
}

Deno.test("a log that holds what was acknowledged, and perhaps more that was sent, is right", () => {
  assertEquals(problemsOf(logOf("a1", "b1", "a2")), []);
  assertEquals(problemsOf(logOf("a1", "b1", "a2", "a3")), []);
});

Deno.test("a lost, doubled, moved, strange or overtaking message is found", () => {
  assertEquals(problemsOf(logOf("a1", "b1")), [
    "a2 was acknowledged at 2, where nothing is",
  ]);
  assertEquals(problemsOf(logOf("a1", "b1", "a2", "a2")), [
    "a2 is there twice, again at 3",
  ]);
  assertEquals(problemsOf(logOf("a1", "b1", "a2", "c1")), ["nobody sent c1"]);
  const gap = [...logOf("a1", "b1", "a2"), { offset: 4, value: "a3" }];
  assertEquals(problemsOf(gap), ["offset 3 is missing: 4 stands there"]);
  assertEquals(problemsOf(logOf("a2", "b1", "a1")), [
    "a1 was acknowledged at 0, where a2 is",
    "a2 was acknowledged at 2, where a1 is",
    "a2 overtook a message of its producer before it",
  ]);
});

Deno.test("a run in which a fault was never felt, or hardly anything succeeded, does not count", () => {
  const available: readonly FaultName[] = ["kill", "pause"];
  const fired = new Map<FaultName, number>([["kill", 1]]);
  const unfelt = () => demandEnough({ available, fired }, 1_000, 10);
  assertThrows(unfelt, Error, "never felt: pause");
  fired.set("pause", 1);
  demandEnough({ available, fired }, 20, 10);
  const idle = () => demandEnough({ available, fired }, 19, 10);
  assertThrows(idle, Error, "19 operations succeeded, not 20");
});

Deno.test("a run's words are read, and what makes no sense is refused by name", () => {
  const words = "--chaos=kill,clock --seed=7 --duration=60s --nodes=5 --workload=bank,queue";
  assertEquals(wordsOf(readSettings(words.split(" "))), words);
  const refused = (word: string, message: string) =>
    assertThrows(() => readSettings([word]), Error, message);
  refused("--chaos=flood", "--chaos: flood is none of kill,power,pause");
  refused("--nodes=2", "--nodes needs a whole number from 3 to 9, not 2");
  refused("--duration=long", "--duration needs a time such as 60s, not long");
  refused("--sede=7", "--sede=7 is unknown");
  refused("kill", "kill is unknown");
});

Deno.test("the same seed gives the same choices, another seed or purpose others", () => {
  const drawn = (dice: Dice) => Array.from({ length: 20 }, () => dice.between(0, 99));
  const first = drawn(new Dice(7, "trouble"));
  assertEquals(drawn(new Dice(7, "trouble")), first);
  for (const other of [new Dice(8, "trouble"), new Dice(7, "clients")]) {
    assertEquals(drawn(other).join() === first.join(), false);
  }
});

Deno.test("a history is one JSON object a line", () => {
  const event: Event = {
    process: "a",
    type: "ok",
    f: "read",
    key: "k",
    value: [1],
    error: null,
    time: 2,
  };
  assertEquals(textOf([event, event]).split("\n").map((line) => line && JSON.parse(line)), [
    event,
    event,
    "",
  ]);
});
