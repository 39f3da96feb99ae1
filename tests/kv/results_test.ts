import { assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { formatChange, formatOutcome, type Result } from "../../lib/kv/results.ts";

const key = utf8("color");
const binary = Uint8Array.of(0xff, 0);

function entry(value: Uint8Array, expiresAtMs: number | null = null) {
  return { key, value, revision: 3, expiresAtMs };
}

function text(result: Result, base64 = false) {
  return formatOutcome({ ok: true, result }, "lines", base64);
}

function json(result: Result, base64 = false) {
  return formatOutcome({ ok: true, result }, "json", base64);
}

Deno.test("a value is printed as its own bytes, or in base64", () => {
  assertEquals(text({ op: "get", entry: entry(binary) }), binary);
  assertEquals(text({ op: "get", entry: entry(binary) }, true), "/wA=");
});

Deno.test("lists take a line each, and nothing in a key or value breaks it", () => {
  const entries = [
    entry(utf8("blue")),
    entry(utf8("two\nlines")),
    { ...entry(binary), key: utf8("a key") },
  ];
  const lines = ["color blue", 'color "two\\u{a}lines"', '"a key" "\\u{fffd}\\u{0}"'];
  assertEquals(text({ op: "list", entries }), lines.join("\n"));
  assertEquals(text({ op: "list", entries: [] }), null);
});

Deno.test("results are JSON with text where it is text, and base64 where it is not", () => {
  assertEquals(
    json({ op: "get", entry: entry(utf8("blue"), 1_700_000_000_000) }),
    '{"ok":true,"op":"get","key":"color","value":"blue","revision":3,' +
      '"expiresAt":"2023-11-14T22:13:20.000Z"}',
  );
  assertEquals(
    json({ op: "get", entry: entry(binary) }),
    '{"ok":true,"op":"get","key":"color","valueBase64":"/wA=","revision":3}',
  );
  assertEquals(
    json({ op: "set", key, revision: 4 }, true),
    '{"ok":true,"op":"set","key":"Y29sb3I=","revision":4}',
  );
  assertEquals(
    json({ op: "delete", key, existed: false }),
    '{"ok":true,"op":"delete","key":"color","existed":false}',
  );
});

Deno.test("a missing key prints nothing as text, and its code as JSON", () => {
  const failure = { op: "get", code: "no_such_key", message: "Cannot get: none" } as const;
  assertEquals(formatOutcome({ ok: false, failure }, "lines", false), null);
  assertEquals(
    formatOutcome({ ok: false, failure }, "json", false),
    '{"ok":false,"op":"get","code":"no_such_key","message":"Cannot get: none"}',
  );
});

Deno.test("a failure tells the leader and the id to repeat it with", () => {
  const failure = { op: "get", code: "unavailable", message: "Cannot get", leader: "h:1" } as const;
  assertEquals(
    formatOutcome({ ok: false, failure }, "line", false),
    "error unavailable: Cannot get; the leader is h:1",
  );
  const unknown = { op: "set", code: "outcome_unknown", message: "Hm", requestId: "t1.x" } as const;
  assertEquals(
    formatOutcome({ ok: false, failure: unknown }, "line", false),
    "error outcome_unknown: Hm; repeat it with --request-id t1.x to learn the outcome",
  );
});

Deno.test("changes are lines of text or JSON", () => {
  const change = { revision: 7, kind: "set", key, value: utf8("light blue") } as const;
  assertEquals(formatChange(change, false, false), "7 set color light blue");
  assertEquals(
    formatChange(change, true, false),
    '{"revision":7,"type":"set","key":"color","value":"light blue"}',
  );
  const gone = { revision: 8, kind: "expire", key: binary, value: null } as const;
  assertEquals(formatChange(gone, false, true), "8 expire /wA=");
  assertEquals(
    formatChange(gone, true, false),
    '{"revision":8,"type":"expire","keyBase64":"/wA="}',
  );
});
