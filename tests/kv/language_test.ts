import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { limits } from "../../lib/base/limits.ts";
import { completionsOf, OPS, parseLine, parseWords, type Request } from "../../lib/kv/language.ts";

function requestOf(line: string, base64 = false): Request {
  const parsed = parseLine(line, base64);
  assert(parsed?.ok, `${line}: ${JSON.stringify(parsed)}`);
  return parsed.request;
}

function codeOf(line: string, base64 = false): string {
  const parsed = parseLine(line, base64);
  assert(parsed !== null && !parsed.ok, line);
  return parsed.failure.code;
}

const a = utf8("a");

Deno.test("every command is read with its words", () => {
  const set = { op: "set", key: a, value: utf8("1"), ttlMs: null, requestId: null };
  assertEquals(requestOf("set a 1"), set as Request);
  assertEquals(requestOf("get a"), { op: "get", key: a });
  assertEquals(requestOf("delete a"), { op: "delete", key: a, requestId: null });
  const cas = { op: "cas", key: a, value: utf8("2"), ttlMs: null, requestId: null };
  assertEquals(requestOf("cas a 1 2"), { ...cas, old: utf8("1") } as Request);
  assertEquals(requestOf("cas a --absent 2"), { ...cas, old: null } as Request);
  assertEquals(requestOf("cas --absent a 2"), { ...cas, old: null } as Request);
  assertEquals(requestOf("list"), { op: "list", prefix: utf8("") });
  assertEquals(requestOf("list a"), { op: "list", prefix: a });
  assertEquals(requestOf("watch"), { op: "watch", prefix: utf8(""), after: null, max: null });
  assertEquals(requestOf("watch a --after 7 --max=2"), {
    op: "watch",
    prefix: a,
    after: 7,
    max: 2,
  });
  assertEquals(requestOf("member add k4=h:1"), {
    op: "member",
    change: { action: "add", name: "k4", address: "h:1", replaces: null },
  });
  for (const op of ["members", "status", "help", "quit"] as const) {
    assertEquals(requestOf(op), { op });
  }
  assertEquals(parseLine("  \t ", false), null);
});

Deno.test("quotes hold words together and take the meaning from flags", () => {
  const request = requestOf(`set "two words" '--ttl'`);
  assert(request.op === "set");
  assertEquals([request.key, request.value], [utf8("two words"), utf8("--ttl")]);
  assertEquals(codeOf("set 'a 1"), "unknown_command");
});

Deno.test("words that are no flag of the command are keys and values", () => {
  const request = requestOf("set --absent --max");
  assert(request.op === "set");
  assertEquals([request.key, request.value], [utf8("--absent"), utf8("--max")]);
  assertEquals(requestOf("get --ttl"), { op: "get", key: utf8("--ttl") });
});

Deno.test("a time to live is a duration, and an id a name", () => {
  const request = requestOf("set a 1 --ttl 1.5s --request-id once");
  assert(request.op === "set");
  assertEquals([request.ttlMs, request.requestId], [1_500, "once"]);
  for (const bad of ["0", "5x", "-1s", "100000d", ""]) {
    assertEquals(codeOf(`set a 1 --ttl '${bad}'`), "unknown_command", bad);
  }
  for (const bad of ["set a 1 --ttl", "set a 1 --ttl 1s --ttl 2s", "set a 1 --request-id a/b"]) {
    assertEquals(codeOf(bad), "unknown_command", bad);
  }
});

Deno.test("too many words, too few, and unknown commands say how it is typed", () => {
  for (const op of ["set a", "set a 1 2", "get", "get a b", "delete", "cas a 1", "cas a"]) {
    assertEquals(codeOf(op), "unknown_command", op);
  }
  for (const op of ["cas a --absent", "cas a --absent 1 2", "cas a --absent=x 1", "list a b"]) {
    assertEquals(codeOf(op), "unknown_command", op);
  }
  for (const op of ["nonsense", "toString", "watch --max x", "status now", "member"]) {
    assertEquals(codeOf(op), "unknown_command", op);
  }
  assertEquals(parseWords([], false).ok, false);
});

Deno.test("what is empty or too long is refused before it is sent", () => {
  assertEquals(codeOf("set '' 1"), "invalid_key");
  assertEquals(codeOf(`get ${"k".repeat(limits.keyBytes + 1)}`), "key_too_large");
  const value = "v".repeat(limits.valueBytes);
  assertEquals(requestOf(`set ${"k".repeat(limits.keyBytes)} ${value}`).op, "set");
  assertEquals(codeOf(`set a ${value}v`), "value_too_large");
  assertEquals(codeOf(`cas a v ${value}`), "value_too_large");
  // Sizes are bytes, not characters.
  assertEquals(codeOf(`get ${"é".repeat(limits.keyBytes / 2 + 1)}`), "key_too_large");
});

Deno.test("in base64 keys and values are any bytes", () => {
  const request = requestOf("set AP8= gA==", true);
  assert(request.op === "set");
  assertEquals([request.key, request.value], [Uint8Array.of(0, 0xff), Uint8Array.of(0x80)]);
  assertEquals(requestOf("list AP8=", true), { op: "list", prefix: Uint8Array.of(0, 0xff) });
  assertEquals(codeOf("get ###", true), "invalid_argument");
});

Deno.test("the first word is completed, later ones are not", () => {
  assertEquals(completionsOf("me"), ["members", "member"]);
  assertEquals(completionsOf("").length, Object.keys(OPS).length);
  assertEquals(completionsOf("get a"), []);
});
