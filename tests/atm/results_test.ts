import { assert, assertEquals } from "@std/assert";
import { parseLine } from "../../lib/atm/language.ts";
import { formatOutcome, type Outcome, type Result } from "../../lib/atm/results.ts";
import { STATUS } from "../replica/node_status.ts";

function json(result: Result): string {
  return formatOutcome({ ok: true, result }, "json");
}

function text(result: Result): string {
  return formatOutcome({ ok: true, result }, "lines");
}

const HISTORY: Result = {
  op: "history",
  account: "alice",
  entries: [
    { index: 3, timeMs: 0, movement: "deposit", cents: 500, balanceCents: 500, other: null },
    {
      index: 7,
      timeMs: 1_767_225_600_123,
      movement: "transfer_out",
      cents: 120,
      balanceCents: 380,
      other: "bob",
    },
  ],
};

Deno.test("JSON results have the contract's shapes, field by field", () => {
  for (const op of ["deposit", "withdraw", "balance"] as const) {
    assertEquals(
      json({ op, account: "alice", balanceCents: 10_000 }),
      `{"ok":true,"op":"${op}","account":"alice","balance":"100.00"}`,
    );
  }
  assertEquals(
    json({ op: "transfer", from: "alice", to: "bob", fromCents: 1, toCents: 250 }),
    '{"ok":true,"op":"transfer","from":"alice","to":"bob","fromBalance":"0.01","toBalance":"2.50"}',
  );
  assertEquals(
    json({ op: "accounts", accounts: [["a", 1], ["b", 0]] }),
    '{"ok":true,"op":"accounts","accounts":[{"account":"a","balance":"0.01"},' +
      '{"account":"b","balance":"0.00"}]}',
  );
  assertEquals(
    json(HISTORY),
    '{"ok":true,"op":"history","account":"alice","entries":[' +
      '{"index":3,"time":"1970-01-01T00:00:00.000Z","type":"deposit","amount":"5.00","balance":"5.00"},' +
      '{"index":7,"time":"2026-01-01T00:00:00.123Z","type":"transfer_out","amount":"1.20",' +
      '"balance":"3.80","other":"bob"}]}',
  );
  const { name, ...rest } = STATUS;
  assertEquals(JSON.parse(json({ op: "status", status: STATUS })), {
    ok: true,
    op: "status",
    id: name,
    ...rest,
  });
  assertEquals(json({ op: "quit" }), '{"ok":true,"op":"quit"}');
  assertEquals(JSON.parse(json({ op: "help" })).commands.length, 11);
});

Deno.test("JSON failures have code, message and, where the outcome is unknown, the request id", () => {
  const failure = { op: "withdraw", code: "insufficient_funds", message: "m" } as const;
  assertEquals(
    formatOutcome({ ok: false, failure }, "json"),
    '{"ok":false,"op":"withdraw","code":"insufficient_funds","message":"m"}',
  );
  const unknown = { ...failure, code: "outcome_unknown", requestId: "t1.x" } as const;
  assertEquals(
    formatOutcome({ ok: false, failure: unknown }, "json"),
    '{"ok":false,"op":"withdraw","code":"outcome_unknown","message":"m","requestId":"t1.x"}',
  );
});

Deno.test("text results are for people, and say how to repeat what is not known", () => {
  assertEquals(text({ op: "deposit", account: "alice", balanceCents: 10_000 }), "alice 100.00");
  assertEquals(
    text({ op: "transfer", from: "alice", to: "bob", fromCents: 1, toCents: 250 }),
    "alice 0.01, bob 2.50",
  );
  assertEquals(text({ op: "accounts", accounts: [] }), "no accounts");
  assertEquals(text({ op: "accounts", accounts: [["a", 1], ["b", 0]] }), "a 0.01\nb 0.00");
  assertEquals(
    text(HISTORY),
    "1970-01-01T00:00:00.000Z deposit 5.00 balance 5.00\n" +
      "2026-01-01T00:00:00.123Z transfer to bob 1.20 balance 3.80",
  );
  assertEquals(
    text({ op: "status", status: STATUS }),
    "a1 127.0.0.1:7001 leader, leader a1, term 2, applied 9 of 9\n" +
      "member a1 127.0.0.1:7001 voter\n" +
      "member a2 127.0.0.1:7002 learner, 4 entries behind, heard 12 ms ago",
  );
  const failure = {
    op: "deposit",
    code: "outcome_unknown",
    message: "Cannot tell",
    requestId: "t1.x",
  } as const;
  assertEquals(
    formatOutcome({ ok: false, failure }, "lines"),
    "error outcome_unknown: Cannot tell; repeat it with --request-id t1.x to learn the outcome",
  );
});

Deno.test("in a pipe every outcome is one line, whatever it holds", () => {
  const results: Result[] = [
    HISTORY,
    { op: "help" },
    { op: "quit" },
    { op: "status", status: STATUS },
    { op: "accounts", accounts: [["a", 1], ["b", 0]] },
    { op: "accounts", accounts: [] },
  ];
  const outcomes: Outcome[] = results.map((result) => ({ ok: true, result }));
  for (const line of ["x\ny", "x\u2028y", "deposit 'a\nb' 1", "deposit a '1\n2'", "\u001b[2J"]) {
    const parsed = parseLine(line);
    assert(parsed !== null && !parsed.ok);
    outcomes.push(parsed);
  }
  for (const outcome of outcomes) {
    for (const layout of ["line", "json"] as const) {
      const formatted = formatOutcome(outcome, layout);
      assert(/^[\x20-\x7e]+$/.test(formatted), JSON.stringify(formatted));
    }
  }
});
