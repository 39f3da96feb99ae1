import { assert, assertEquals, assertLessOrEqual, assertStringIncludes } from "@std/assert";
import { sleep } from "../../lib/base/clock.ts";
import { type ErrorCode, TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { AtmClient, SHORTEST_TIMEOUT_MS } from "../../lib/atm/client.ts";
import { AtmDesk } from "../../lib/atm/desk.ts";
import { decodeCommand, decodeQuestion, encodeAnswer } from "../../lib/atm/codec.ts";
import { REQUEST_WINDOW } from "../../lib/replica/requests.ts";
import type { Outcome } from "../../lib/atm/results.ts";
import type { MemberChange, MemberState, NodeStatus } from "../../lib/replica/node_protocol.ts";
import { serveDesk } from "../../lib/cli/desk.ts";
import type { Backend } from "../../lib/replica/backends.ts";
import { Bank } from "./bank.ts";
import { STATUS } from "../replica/node_status.ts";
import { VirtualClock } from "./virtual_clock.ts";

/**
 * What happens to one call: nothing bad, an error before or after the bank took it, or silence
 * until the time is up ("slow") and beyond ("hangs").
 */
type Fate =
  | "ok"
  | { readonly before: ErrorCode; readonly slow?: true }
  | { readonly after: ErrorCode }
  | "hangs before"
  | "hangs after";

/** A bank behind a line that fails as it is told; calls beyond the list go well. */
class Line implements Backend {
  readonly bank = new Bank();
  readonly commands: string[] = [];
  stale = 0;
  readonly removed = new Set<string>();
  /** The nearest replica knows of no request at all. */
  lags = false;
  calls = 0;
  constructor(
    readonly clock: VirtualClock,
    readonly commandFates: Fate[] = [],
    readonly queryFates: Fate[] = [],
  ) {}

  command(command: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const decoded = decodeCommand(command)!;
    this.commands.push(decoded.requestId);
    const fate = this.commandFates.shift() ?? "ok";
    return this.suffer(fate, timeoutMs, () => this.bank.applyBytes(command));
  }

  query(question: Uint8Array, stale: boolean, timeoutMs: number): Promise<Uint8Array> {
    if (stale) this.stale += 1;
    const fate = stale ? "ok" : this.queryFates.shift() ?? "ok";
    if (decodeQuestion(question)!.op !== "requests") assert(!stale, "only counts may be old");
    if (stale && this.lags) return Promise.resolve(encodeAnswer({ kind: "requests", requests: 0 }));
    return this.suffer(fate, timeoutMs, () => this.bank.machine.query(question));
  }

  status(timeoutMs: number): Promise<NodeStatus> {
    return this.suffer(this.queryFates.shift() ?? "ok", timeoutMs, () => STATUS);
  }

  changeMember(change: MemberChange, timeoutMs: number): Promise<MemberState> {
    if (change.action === "remove" && this.removed.has(change.name)) {
      const error = new TrilogError("invalid_membership", "Cannot remove: no member has that name");
      return Promise.reject(error);
    }
    const fate = this.commandFates.shift() ?? "ok";
    return this.suffer(fate, timeoutMs, () => {
      if (change.action === "add") return "invited";
      this.removed.add(change.name);
      return "removed";
    });
  }

  private async suffer<T>(fate: Fate, timeoutMs: number, run: () => T): Promise<T> {
    this.calls += 1;
    await sleep(this.clock, 1);
    if (fate === "ok") return run();
    if (fate === "hangs after") run();
    if (typeof fate === "string") return await new Promise(() => {});
    if ("after" in fate) run();
    if ("slow" in fate) await sleep(this.clock, timeoutMs - 1);
    throw new TrilogError("after" in fate ? fate.after : fate.before, "Cannot do it: told so");
  }
}

class Atm {
  readonly clock = new VirtualClock();
  readonly line: Line;
  readonly client: AtmClient;
  private made = 0;

  constructor(commandFates: Fate[] = [], queryFates: Fate[] = []) {
    this.line = new Line(this.clock, commandFates, queryFates);
    const unique = () => `u${this.made += 1}`;
    this.client = new AtmClient({ backend: this.line, clock: this.clock, unique });
  }

  async type(line: string): Promise<Outcome | null> {
    const startMs = this.clock.monotonicMs();
    const outcome = await this.clock.settle(this.client.line(line));
    assertLessOrEqual(this.clock.monotonicMs() - startMs, limits.answerMs);
    return outcome;
  }
}

function codeOf(outcome: Outcome | null): string {
  assert(outcome !== null);
  return outcome.ok ? "ok" : outcome.failure.code;
}

/** A fate for every try that fits into the promised time. */
function always(fate: Fate): Fate[] {
  return Array.from({ length: 1_000 }, () => fate);
}

Deno.test("commands and questions reach the bank and come back as results", async () => {
  const atm = new Atm();
  assertEquals(await atm.type("deposit alice 100"), {
    ok: true,
    result: { op: "deposit", account: "alice", balanceCents: 10_000 },
  });
  assertEquals(await atm.type("deposit bob 1"), {
    ok: true,
    result: { op: "deposit", account: "bob", balanceCents: 100 },
  });
  assertEquals(await atm.type("transfer alice bob 60.50"), {
    ok: true,
    result: { op: "transfer", from: "alice", to: "bob", fromCents: 3_950, toCents: 6_150 },
  });
  assertEquals(await atm.type("withdraw bob 1.50"), {
    ok: true,
    result: { op: "withdraw", account: "bob", balanceCents: 6_000 },
  });
  assertEquals(await atm.type("balance bob"), {
    ok: true,
    result: { op: "balance", account: "bob", balanceCents: 6_000 },
  });
  assertEquals(await atm.type("accounts"), {
    ok: true,
    result: { op: "accounts", accounts: [["alice", 3_950], ["bob", 6_000]] },
  });
  const history = await atm.type("history bob");
  assert(history !== null && history.ok && history.result.op === "history");
  assertEquals(history.result.entries.length, 3);
  assertEquals(await atm.type("status"), { ok: true, result: { op: "status", status: STATUS } });
  assertEquals(await atm.type("help"), { ok: true, result: { op: "help" } });
  assertEquals(await atm.type(" "), null);
});

Deno.test("refusals of the bank say why in words", async () => {
  const atm = new Atm();
  await atm.type("deposit alice 3");
  await atm.type("deposit full 90000000000000");
  const cases = [
    ["withdraw alice 5", "insufficient_funds", "Cannot withdraw 5.00 from alice: alice has 3.00"],
    ["balance bob", "no_such_account", "Cannot read the balance of bob: there is no account bob"],
    ["history bob", "no_such_account", "there is no account bob"],
    ["transfer bob alice 1", "no_such_account", "there is no account bob"],
    ["transfer alice bob 1", "no_such_account", "there is no account bob"],
    ["deposit full 0.01", "balance_limit", "no balance goes above 90000000000000.00"],
    ["transfer alice full 1", "balance_limit", "full has 90000000000000.00"],
  ];
  for (const [line, code, text] of cases) {
    const outcome = await atm.type(line);
    assert(outcome !== null && !outcome.ok);
    assertEquals([outcome.failure.op, outcome.failure.code], [line.split(" ")[0], code]);
    assertStringIncludes(outcome.failure.message, text);
  }
});

Deno.test("nonsense never reaches the bank", async () => {
  const atm = new Atm();
  for (const line of ["deposit a -5", "deposit a/b 5", "transfer a a 5", "depose a 5", "deposit"]) {
    assert(codeOf(await atm.type(line)) !== "ok");
  }
  assertEquals(atm.line.calls, 0);
});

for (const fate of [{ before: "not_leader" }, { before: "unavailable" }] as const) {
  Deno.test(`${fate.before} is tried again and then done once`, async () => {
    const atm = new Atm([fate, fate, fate]);
    assertEquals(codeOf(await atm.type("deposit alice 1")), "ok");
    assertEquals(atm.line.commands, ["t0.u1", "t0.u1", "t0.u1", "t0.u1"]);
    assertEquals(atm.line.bank.balance("alice"), 100);
  });
}

const UNKNOWN: Fate[] = [
  { before: "connection_closed" },
  { after: "connection_closed" },
  { before: "deadline_exceeded" },
  { after: "deadline_exceeded" },
  { before: "outcome_unknown" },
  { after: "outcome_unknown" },
  { before: "cancelled" },
];
/** Backends that break their promise to answer in time. */
const SILENT: Fate[] = ["hangs before", "hangs after"];

for (const fate of UNKNOWN) {
  Deno.test(`a try of unknown outcome (${JSON.stringify(fate)}) is repeated and moves money once`, async () => {
    const atm = new Atm([fate]);
    assertEquals(await atm.type("deposit alice 1"), {
      ok: true,
      result: { op: "deposit", account: "alice", balanceCents: 100 },
    });
    assertEquals(atm.line.commands.length, 2);
    assertEquals(atm.line.bank.balance("alice"), 100);
  });
}

for (const fate of [...UNKNOWN, ...SILENT]) {
  Deno.test(`for ever ${JSON.stringify(fate)} is outcome_unknown with an id that repeats safely`, async () => {
    const atm = new Atm(always(fate));
    const outcome = await atm.type("deposit alice 1");
    assert(outcome !== null && !outcome.ok);
    assertEquals(outcome.failure.code, "outcome_unknown");
    const id = outcome.failure.requestId!;
    atm.line.commandFates.length = 0;
    for (let times = 0; times < 3; times += 1) {
      assertEquals(codeOf(await atm.type(`deposit alice 1 --request-id ${id}`)), "ok");
      assertEquals(atm.line.bank.balance("alice"), 100);
    }
  });

  Deno.test(`unavailable after ${JSON.stringify(fate)} stays outcome_unknown`, async () => {
    const atm = new Atm([fate, ...always({ before: "unavailable" })]);
    assertEquals(codeOf(await atm.type("deposit alice 1")), "outcome_unknown");
  });
}

Deno.test("certain failures until the time is up are unavailable, and nothing moved", async () => {
  for (const code of ["unavailable", "not_leader", "overloaded", "disk_full"] as const) {
    const atm = new Atm(always({ before: code }));
    const outcome = await atm.type("deposit alice 1");
    assert(outcome !== null && !outcome.ok);
    assertEquals(outcome.failure.code, "unavailable");
    assertEquals(outcome.failure.requestId, undefined);
    assertStringIncludes(outcome.failure.message, "nothing moved; Cannot do it: told so");
    assertEquals(atm.line.bank.balance("alice"), null);
  }
});

Deno.test("a backend that takes all its time and then knows that nothing happened is believed", async () => {
  const atm = new Atm(always({ before: "unavailable", slow: true }));
  assertEquals(codeOf(await atm.type("deposit alice 1")), "unavailable");
  assertEquals(atm.line.commands.length, 1);
});

Deno.test("under an id of the user's own a certain failure is outcome_unknown: an earlier call may have moved it", async () => {
  const atm = new Atm([{ after: "cancelled" }, ...always({ before: "unavailable" })]);
  assertEquals(codeOf(await atm.type("deposit alice 1 --request-id mine")), "outcome_unknown");
  const again = await atm.type("deposit alice 1 --request-id mine");
  assert(again !== null && !again.ok);
  assertEquals([again.failure.code, again.failure.requestId], ["outcome_unknown", "mine"]);
  atm.line.commandFates.length = 0;
  assertEquals(codeOf(await atm.type("deposit alice 1 --request-id mine")), "ok");
  assertEquals(atm.line.bank.balance("alice"), 100);
});

Deno.test("a failure that no repeat mends ends at once", async () => {
  const certain = new Atm(always({ before: "unauthorized" }));
  assertEquals(codeOf(await certain.type("deposit alice 1")), "unavailable");
  assertEquals(certain.line.commands.length, 1);
  const unknown = new Atm(always({ before: "disk_failed" }));
  assertEquals(codeOf(await unknown.type("deposit alice 1")), "outcome_unknown");
  assertEquals(unknown.line.commands.length, 1);
});

Deno.test("a question is asked again, and is unavailable when nobody ever answers", async () => {
  for (const line of ["balance alice", "accounts", "history alice", "status"]) {
    for (const fate of [{ before: "not_leader" }, { after: "cancelled" }] as const) {
      const mended = new Atm([], [fate]);
      await mended.type("deposit alice 1");
      assertEquals(codeOf(await mended.type(line)), "ok");
    }
    const fates = [{ before: "not_leader" }, { after: "cancelled" }, "hangs before"] as const;
    for (const fate of fates) {
      const broken = new Atm([], always(fate));
      await broken.type("deposit alice 1");
      assertEquals(codeOf(await broken.type(line)), "unavailable");
    }
  }
});

Deno.test("an id reused for another command is refused, and a forgotten one is outcome_unknown", async () => {
  const atm = new Atm();
  await atm.type("deposit alice 1 --request-id x");
  const other = await atm.type("deposit alice 2 --request-id x");
  assert(other !== null && !other.ok);
  assertEquals(other.failure.code, "invalid_argument");
  assertStringIncludes(other.failure.message, "its request id was used for another command");
  for (let done = 0; done <= REQUEST_WINDOW; done += 1) atm.line.bank.deposit("bob", 1);
  assertEquals(
    codeOf(await atm.type("deposit alice 1 --request-id t0.old")),
    "outcome_unknown",
  );
  assertEquals(atm.line.bank.balance("alice"), 100);
});

Deno.test("at a replica that lags far behind, the bank itself is asked for the count", async () => {
  const atm = new Atm();
  atm.line.lags = true;
  for (let done = 0; done <= REQUEST_WINDOW; done += 1) atm.line.bank.deposit("bob", 1);
  assertEquals(codeOf(await atm.type("deposit alice 1")), "ok");
  assertEquals(atm.line.commands, ["t0.u1", `t${REQUEST_WINDOW + 1}.u2`]);
  assertEquals(atm.line.bank.balance("alice"), 100);
});

Deno.test("an id refused as forgotten after a try of unknown outcome stays outcome_unknown", async () => {
  const atm = new Atm([{ after: "cancelled" }]);
  atm.line.lags = true;
  const pending = atm.client.line("deposit alice 1");
  for (let done = 0; done <= REQUEST_WINDOW; done += 1) atm.line.bank.deposit("bob", 1);
  assertEquals(codeOf(await atm.clock.settle(pending)), "outcome_unknown");
});

Deno.test("every command gets an id of its own that carries the count of requests so far", async () => {
  const atm = new Atm();
  await atm.type("deposit alice 1");
  await atm.type("deposit alice 1");
  await atm.type("withdraw alice 1");
  assertEquals(atm.line.commands, ["t0.u1", "t1.u2", "t2.u3"]);
  assertEquals(atm.line.stale, 3);
  assertEquals(atm.line.bank.balance("alice"), 100);
});

Deno.test("accounts are listed over all pages", async () => {
  const atm = new Atm();
  const long = "x".repeat(240);
  for (let at = 0; at < 5_000; at += 1) {
    atm.line.bank.deposit(`${long}${String(at).padStart(5, "0")}`, 1);
  }
  const outcome = await atm.type("accounts");
  assert(outcome !== null && outcome.ok && outcome.result.op === "accounts");
  assertEquals(outcome.result.accounts.length, 5_000);
});

Deno.test("no timer is left behind", async () => {
  const atm = new Atm([{ before: "not_leader" }, "hangs after"], [
    { after: "cancelled" },
    "hangs before",
  ]);
  await atm.type("deposit alice 1");
  await atm.type("balance alice");
  assertEquals(atm.clock.pendingTimers, 0);
});

async function serve(lines: readonly string[], atm = new Atm()): Promise<[boolean, string[]]> {
  const printed: string[] = [];
  const served = serveDesk(new AtmDesk(atm.client), {
    lines: (async function* () {
      for (const line of lines) yield await Promise.resolve(line);
    })(),
    print: (text) => {
      printed.push(text as string);
    },
    layout: "json",
  });
  return [await atm.clock.settle(served), printed];
}

Deno.test("a pipe gets one line per command, in order, and whether all succeeded", async () => {
  const [ok, printed] = await serve(["deposit alice 1", "", "balance alice", "withdraw alice 1"]);
  assertEquals(ok, true);
  assertEquals(printed, [
    '{"ok":true,"op":"deposit","account":"alice","balance":"1.00"}',
    '{"ok":true,"op":"balance","account":"alice","balance":"1.00"}',
    '{"ok":true,"op":"withdraw","account":"alice","balance":"0.00"}',
  ]);
});

Deno.test("one failed command in a pipe fails the whole, and the commands after it still run", async () => {
  for (const bad of ["deposit alice -5", "nonsense", "withdraw alice 9"]) {
    const [ok, printed] = await serve(["deposit alice 1", bad, "balance alice"]);
    assertEquals(ok, false);
    assertEquals(printed.length, 3);
    assertStringIncludes(printed[1], '"ok":false');
    assertStringIncludes(printed[2], '"balance":"1.00"');
  }
});

Deno.test("an empty pipe succeeds, and quit ends the reading", async () => {
  assertEquals(await serve([]), [true, []]);
  const [ok, printed] = await serve(["quit", "deposit alice 1"]);
  assertEquals([ok, printed], [true, ['{"ok":true,"op":"quit"}']]);
});

Deno.test("an ATM is added and removed by a command; a removal whose answer was lost is told as done", async () => {
  const atm = new Atm([{ after: "connection_closed" }]);
  const removed = { action: "remove", name: "a3", address: null, replaces: null } as const;
  assertEquals(await atm.type("member remove a3"), {
    ok: true,
    result: { op: "member", change: removed, state: "removed" },
  });
  const added = { action: "add", name: "a4", address: "127.0.0.1:7004", replaces: null } as const;
  assertEquals(await atm.type("member add a4=127.0.0.1:7004"), {
    ok: true,
    result: { op: "member", change: added, state: "invited" },
  });
  assertEquals(codeOf(await atm.type("member remove a3")), "invalid_membership");
  assertEquals(await atm.type("members"), {
    ok: true,
    result: { op: "members", status: STATUS },
  });
  for (
    const bad of [
      "member",
      "member add a4",
      "member add a/4=h:1",
      "member add a=h:0",
      "member remove",
    ]
  ) {
    assertEquals(codeOf(await atm.type(bad)), "unknown_command", bad);
  }
});

Deno.test("the time for an answer is what the client was given, shorter or longer", async () => {
  for (const timeoutMs of [SHORTEST_TIMEOUT_MS, 12_000]) {
    const clock = new VirtualClock();
    const line = new Line(clock, always("hangs before"));
    const client = new AtmClient({ backend: line, clock, unique: () => "u1", timeoutMs });
    const startMs = clock.monotonicMs();
    assertEquals(codeOf(await clock.settle(client.line("deposit alice 1"))), "outcome_unknown");
    const tookMs = clock.monotonicMs() - startMs;
    assert(tookMs > timeoutMs / 4 && tookMs <= timeoutMs, `${tookMs} of ${timeoutMs} ms`);
  }
});
