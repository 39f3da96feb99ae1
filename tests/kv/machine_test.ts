import { assert, assertEquals, assertThrows } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { pack } from "../../lib/base/msgpack.ts";
import { encodeCommand } from "../../lib/kv/codec.ts";
import { KvMachine } from "../../lib/kv/machine.ts";
import { REQUEST_WINDOW } from "../../lib/replica/requests.ts";
import { codeOf, START_MS, Store } from "./store.ts";

Deno.test("a value is there after set, another one after the next, none after delete", () => {
  const store = new Store();
  assertEquals(store.get("a"), null);
  assertEquals(store.set("a", "1"), { kind: "set", revision: 1 });
  assertEquals(store.get("a"), "1");
  assertEquals(store.set("a", "2"), { kind: "set", revision: 2 });
  assertEquals(store.get("a"), "2");
  assertEquals(store.delete("a"), { kind: "deleted", existed: true });
  assertEquals(store.delete("a"), { kind: "deleted", existed: false });
  assertEquals(store.get("a"), null);
  assertEquals(store.machine.revision, 3);
});

Deno.test("compare-and-set changes what it expects and nothing else", () => {
  const store = new Store();
  assertEquals(codeOf(store.cas("a", "1", "2")), "no_such_key");
  assertEquals(codeOf(store.cas("a", null, "1")), "ok");
  assertEquals(codeOf(store.cas("a", null, "9")), "key_exists");
  assertEquals(codeOf(store.cas("a", "9", "2")), "value_differs");
  assertEquals(codeOf(store.cas("a", "1", "2")), "ok");
  assertEquals(store.get("a"), "2");
});

Deno.test("an empty value is a value", () => {
  const store = new Store();
  store.set("a", "");
  assertEquals(store.get("a"), "");
  assertEquals(codeOf(store.cas("a", "", "1")), "ok");
});

Deno.test("keys and values are bytes of any kind", () => {
  const store = new Store();
  const key = Uint8Array.of(0, 0xff, 0x80);
  const value = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  store.run({ op: "set", requestId: "x", key, value, ttlMs: null });
  const answer = store.ask({ op: "get", key });
  assert(answer.kind === "value");
  assertEquals(answer.entry.value, value);
});

Deno.test("lists go by the order of the bytes, whatever the order of writing", () => {
  const store = new Store();
  for (const key of ["é", "b", "a", "aa", "ab", "Z", "a\u{10000}", "a\uffff"]) store.set(key, "x");
  const keys = () => store.list().map(([key]) => key);
  assertEquals(keys(), ["Z", "a", "aa", "ab", "a\uffff", "a\u{10000}", "b", "é"]);
  assertEquals(store.list("a").length, 5);
  store.delete("aa");
  store.set("aaa", "x");
  assertEquals(store.list("aa"), [["aaa", "x"]]);
  assertEquals(store.list("zz"), []);
});

Deno.test("a list of many large values comes in pages that leave out nothing", () => {
  const store = new Store();
  const large = "v".repeat(400_000);
  for (let at = 0; at < 7; at += 1) store.set(`k${at}`, large);
  store.set("k7", "w".repeat(limits.valueBytes));
  const first = store.ask({ op: "list", prefix: utf8("k"), after: new Uint8Array(0) });
  assert(first.kind === "entries" && first.more && first.entries.length === 2);
  assertEquals(store.list("k").map(([key]) => key), [0, 1, 2, 3, 4, 5, 6, 7].map((at) => `k${at}`));
});

Deno.test("what is too long, empty or malformed is refused and changes nothing", () => {
  const store = new Store();
  const before = store.machine.snapshot();
  const key = "k".repeat(limits.keyBytes);
  assertEquals(codeOf(store.set("", "x")), "invalid_key");
  assertEquals(codeOf(store.set(`${key}k`, "x")), "key_too_large");
  assertEquals(codeOf(store.set("k", "x".repeat(limits.valueBytes + 1))), "value_too_large");
  assertEquals(codeOf(store.cas("k", "x".repeat(limits.valueBytes), "y")), "value_too_large");
  for (const ttlMs of [0, limits.timeToLiveMs + 1]) {
    assertEquals(codeOf(store.set("k", "x", ttlMs)), "invalid_argument");
  }
  const named = { op: "set", requestId: "no/name", key: utf8("k"), value: utf8("v"), ttlMs: null };
  assertEquals(codeOf(store.run(named as Parameters<Store["run"]>[0])), "malformed");
  for (const bytes of [utf8("nonsense"), pack([9]), pack([1, "id"]), pack(null)]) {
    assertEquals(store.applyBytes(bytes), store.applyBytes(utf8("\xc1")));
  }
  assertEquals(store.machine.snapshot(), before);
  assertEquals(codeOf(store.set(key, "x".repeat(limits.valueBytes))), "ok");
});

Deno.test("a repeated request gets its first answer and changes nothing", () => {
  const store = new Store();
  const command = encodeCommand({
    op: "set",
    requestId: "once",
    key: utf8("a"),
    value: utf8("x".repeat(1_000)),
    ttlMs: null,
  });
  const first = store.applyBytes(command);
  store.set("a", "2");
  assertEquals(store.applyBytes(command), first);
  assertEquals(store.get("a"), "2");
  const other = { op: "delete", requestId: "once", key: utf8("a") } as const;
  assertEquals(codeOf(store.run(other)), "invalid_argument");
});

Deno.test("the same id with another long value is told from a repeat", () => {
  const store = new Store();
  const setting = (value: string) =>
    store.run({ op: "set", requestId: "once", key: utf8("a"), value: utf8(value), ttlMs: null });
  const long = "x".repeat(5_000);
  assertEquals(codeOf(setting(`${long}1`)), "ok");
  assertEquals(codeOf(setting(`${long}2`)), "invalid_argument");
  assertEquals(codeOf(setting(`${long}1`)), "ok");
});

Deno.test("an id with a ticket that may have been forgotten is refused", () => {
  const store = new Store();
  const command = { op: "delete", requestId: "t0.x", key: utf8("a") } as const;
  assertEquals(codeOf(store.run(command)), "ok");
  for (let at = 0; at <= REQUEST_WINDOW; at += 1) store.delete("b");
  assertEquals(codeOf(store.run(command)), "session_expired");
});

Deno.test("a key with a time to live ends by the stamps of entries, and never by itself", () => {
  const store = new Store();
  store.set("a", "1", 1_000);
  assertEquals(store.machine.nextExpiryMs, START_MS + 1_000);
  assertEquals(store.get("a"), "1");
  store.timeMs += 999;
  store.set("b", "2");
  assertEquals(store.get("a"), "1");
  store.timeMs += 1;
  // The time has come, but no entry has said so: every replica still has the key.
  assertEquals(store.get("a"), "1");
  store.run({ op: "expire" });
  assertEquals(store.get("a"), null);
  assertEquals(store.machine.nextExpiryMs, null);
  assertEquals(store.changes(0), ["1 set a 1", "2 set b 2", "3 expire a"]);
});

Deno.test("a due key ends before the command that brings the time takes effect", () => {
  const store = new Store();
  store.set("a", "1", 1_000);
  store.timeMs += 1_000;
  assertEquals(codeOf(store.cas("a", null, "2")), "ok");
  assertEquals(store.changes(1), ["2 expire a", "3 set a 2"]);
});

Deno.test("a new value without a time to live stays, one with another lives by the new one", () => {
  const store = new Store();
  store.set("stays", "1", 1_000);
  store.set("stays", "2");
  store.set("longer", "1", 1_000);
  store.set("longer", "2", 3_000);
  store.set("shorter", "1", 3_000);
  store.set("shorter", "2", 1_000);
  store.set("deleted", "1", 1_000);
  store.delete("deleted");
  store.set("deleted", "2");
  store.timeMs += 1_000;
  store.run({ op: "expire" });
  assertEquals(store.list().map(([key]) => key), ["deleted", "longer", "stays"]);
  store.timeMs += 2_000;
  store.run({ op: "expire" });
  assertEquals(store.list().map(([key]) => key), ["deleted", "stays"]);
});

Deno.test("keys that are due together end by time, then in their order", () => {
  const store = new Store();
  store.set("b", "", 10);
  store.set("c", "", 5);
  store.set("a", "", 10);
  store.timeMs += 10;
  store.run({ op: "expire" });
  assertEquals(store.changes(3), ["4 expire c", "5 expire a", "6 expire b"]);
});

Deno.test("changes are told after a revision and by prefix", () => {
  const store = new Store();
  store.set("a1", "x");
  store.set("b1", "y");
  store.delete("a1");
  store.delete("a1");
  store.set("a2", "z");
  assertEquals(store.changes(0), ["1 set a1 x", "2 set b1 y", "3 delete a1", "4 set a2 z"]);
  assertEquals(store.changes(1, "a"), ["3 delete a1", "4 set a2 z"]);
  assertEquals(store.changes(4), []);
  assertEquals(store.changes(99), []);
  const answer = store.ask({ op: "changes", prefix: utf8("none"), after: 1 });
  assertEquals(answer, { kind: "changes", changes: [], upTo: 4 });
});

Deno.test("changes that are forgotten are refused rather than left out", () => {
  const store = new Store();
  for (let at = 0; at < limits.watchedChanges + 5; at += 1) store.set("a", String(at));
  assertEquals(store.changes(4), "changes_forgotten");
  const kept = store.changes(5);
  assertEquals(kept.length, limits.watchedChanges);
  assertEquals(kept[0], "6 set a 5");
});

Deno.test("large values push older changes out, and pages of changes leave out nothing", () => {
  const store = new Store();
  const value = "v".repeat(limits.valueBytes);
  for (let at = 0; at < 10; at += 1) store.set("k", value);
  assertEquals(store.changes(0), "changes_forgotten");
  const revisions: number[] = [];
  for (let after = 3; after < 10;) {
    const page = store.ask({ op: "changes", prefix: utf8(""), after });
    assert(page.kind === "changes");
    assertEquals(page.changes.length, 1);
    revisions.push(...page.changes.map(({ revision }) => revision));
    after = page.upTo;
  }
  assertEquals(revisions, [4, 5, 6, 7, 8, 9, 10]);
});

Deno.test("a snapshot of a version that is not known is refused", () => {
  const machine = new KvMachine();
  const error = assertThrows(() => machine.restore(pack([99, null])), TrilogError);
  assertEquals(error.code, "unsupported_version");
});
