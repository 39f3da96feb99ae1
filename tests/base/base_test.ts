import { assert, assertEquals, assertThrows } from "@std/assert";
import { assert as invariant, InvariantError } from "../../lib/base/assert.ts";
import { concatBytes, displayText, equalBytes, hexOf, textOf, utf8 } from "../../lib/base/bytes.ts";
import { errorFromWire, errorToWire, toTrilogError, TrilogError } from "../../lib/base/errors.ts";
import { isValidName } from "../../lib/base/limits.ts";
import { createLogger, type LogLevel } from "../../lib/base/logger.ts";
import { Prng } from "../../lib/base/prng.ts";
import { systemClock } from "../../lib/base/system_clock.ts";
import { randomIdentity } from "../../lib/base/system_random.ts";
import { listed } from "../../lib/base/listed.ts";

Deno.test("bytes are joined, compared and shown", () => {
  const joined = concatBytes([utf8("ab"), new Uint8Array(0), utf8("ç")]);
  assertEquals(textOf(joined), "abç");
  assertEquals(hexOf(joined), "6162c3a7");
  assert(equalBytes(joined, utf8("abç")));
  assert(!equalBytes(joined, utf8("abd")) && !equalBytes(joined, utf8("abçd")));
  assertThrows(() => textOf(new Uint8Array([0xff])), TypeError);
  assertEquals(displayText(new Uint8Array([0x61, 0xff])), "a\ufffd");
});

Deno.test("names are letters, digits, dots, underscores and dashes, and never a path", () => {
  for (const name of ["a", "A-1.b_c", "x".repeat(249), "..."]) assert(isValidName(name), name);
  const wrong = [
    "",
    ".",
    "..",
    "a/b",
    "../x",
    "a b",
    "ä",
    "a\n",
    "\u0000",
    "x".repeat(250),
    7,
    null,
  ];
  for (const name of wrong) assert(!isValidName(name), String(name));
});

Deno.test("an error keeps its code, retryable bit and leader over the wire", () => {
  const error = new TrilogError("not_leader", "Cannot serve g: not its leader", {
    leader: "127.0.0.1:1",
  });
  const copy = errorFromWire(errorToWire(error));
  assertEquals([copy.code, copy.message, copy.retryable, copy.leader], [
    "not_leader",
    "Cannot serve g: not its leader",
    true,
    "127.0.0.1:1",
  ]);
});

Deno.test("a newer peer's unknown code reads as internal", () => {
  assertEquals(errorFromWire(["from_the_future", "?", false, null]).code, "internal");
  assertEquals(toTrilogError(new TypeError("x")).code, "internal");
});

Deno.test("certain failures and unknown outcomes are told apart", () => {
  assertEquals(new TrilogError("unavailable", "").outcomeUnknown, false);
  assertEquals(new TrilogError("deadline_exceeded", "").outcomeUnknown, true);
});

Deno.test("a broken invariant throws", () => {
  invariant(true, "holds");
  assertThrows(() => invariant(false, "does not"), InvariantError, "does not");
});

Deno.test("equal seeds give equal numbers, forks are independent, and all of it is spread evenly", () => {
  const [one, other] = [new Prng(42), new Prng(42)];
  for (let at = 0; at < 100; at += 1) assertEquals(one.nextUint32(), other.nextUint32());
  assert(new Prng(1).nextUint32() !== new Prng(2).nextUint32());
  assert(new Prng(2 ** 40).nextUint32() !== new Prng(2 ** 41).nextUint32());
  assert(one.fork().nextUint32() !== one.fork().nextUint32());
  const counts = Array(10).fill(0);
  for (let at = 0; at < 10_000; at += 1) counts[one.below(10)] += 1;
  for (const count of counts) assert(count > 850 && count < 1_150, `${counts}`);
  assertEquals(one.shuffled([1, 2, 3, 4]).sort(), [1, 2, 3, 4]);
  for (let at = 0; at < 100; at += 1) {
    const value = one.between(3, 5);
    assert(value >= 3 && value <= 5);
  }
});

Deno.test("the log has a level, a form, and fields of its own", () => {
  const lines: string[] = [];
  const clock = { ...systemClock, wallMs: () => 0 };
  const logger = (level: LogLevel, format: "text" | "json") =>
    createLogger({ level, format, clock, write: (line) => lines.push(line) });
  const text = logger("info", "text").with({ node: "a1" });
  text.debug("unseen");
  text.info("began", { term: 2, note: "two words" });
  logger("warn", "json").error("failed", { file: "x", left: undefined });
  assertEquals(lines, [
    '1970-01-01T00:00:00.000Z info  began node=a1 term=2 note="two words"',
    '{"time":"1970-01-01T00:00:00.000Z","level":"error","message":"failed","file":"x"}',
  ]);
  assert(!text.enabled("debug") && text.enabled("error"));
});

Deno.test("identities are sixteen hexadecimal digits and differ", () => {
  const [one, other] = [randomIdentity(), randomIdentity()];
  assert(/^[0-9a-f]{16}$/.test(one) && one !== other);
});

Deno.test("the machine's clock runs timers, cancels them, and takes turns", async () => {
  const clock = systemClock;
  const before = clock.monotonicMs();
  let cancelled = false;
  clock.after(1, () => cancelled = true).cancel();
  await new Promise<void>((resolve) => clock.after(5, resolve));
  assert(clock.monotonicMs() - before >= 4);
  assert(!cancelled);
  await new Promise<void>((resolve) => clock.nextTurn(resolve));
  assert(clock.wallMs() > 1e12);
});

Deno.test("names are listed as in a sentence", () => {
  const lists = [[], ["a"], ["a", "b"], ["a", "b", "c"]];
  assertEquals(lists.map((names) => listed(names)), ["", "a", "a and b", "a, b and c"]);
});
