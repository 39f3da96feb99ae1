import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { formatCents, isAmount, parseAmount } from "../../lib/atm/amounts.ts";

const ACCEPTED: readonly (readonly [string, number])[] = [
  ["1", 100],
  ["0.01", 1],
  ["0.1", 10],
  ["00.10", 10],
  ["007", 700],
  ["12.5", 1250],
  ["12.50", 1250],
  ["100", 10_000],
  ["0.29", 29],
  ["1.15", 115],
  ["8.41", 841],
  ["4503599627370.49", 450_359_962_737_049],
  ["89999999999999.99", limits.balanceCents - 1],
  ["90000000000000", limits.balanceCents],
  ["90000000000000.00", limits.balanceCents],
  [`${"0".repeat(200)}1`, 100],
];

for (const [text, cents] of ACCEPTED) {
  Deno.test(`the amount ${text.slice(-30)} is ${cents} cents`, () => {
    assertEquals(parseAmount(text), cents);
  });
}

const REFUSED: readonly (readonly [string, string])[] = [
  ["-5", "digits"],
  ["+5", "digits"],
  ["1.234", "at most two more after a point"],
  ["1e3", "digits"],
  ["NaN", "digits"],
  ["Infinity", "digits"],
  ["0x10", "digits"],
  ["1_000", "digits"],
  ["1,000", "digits"],
  ["1,5", "digits"],
  ["99999999999999999999", "must not be above 90000000000000.00"],
  ["90000000000000.01", "must not be above 90000000000000.00"],
  ["9".repeat(400), "must not be above 90000000000000.00"],
  ["", "digits"],
  [" ", "digits"],
  ["5 ", "digits"],
  [" 5", "digits"],
  ["5\n", "digits"],
  ["5\0", "digits"],
  ["5x", "digits"],
  ["x5", "digits"],
  ["$5", "digits"],
  ["5.", "digits"],
  [".5", "digits"],
  [".", "digits"],
  ["1.2.3", "digits"],
  ["--5", "digits"],
  ["\u0663", "digits"],
  ["\uff15", "digits"],
  ["1\u20ac", "digits"],
  ["0", "must be above zero"],
  ["0.0", "must be above zero"],
  ["000.00", "must be above zero"],
  ["-0", "digits"],
];

for (const [text, why] of REFUSED) {
  Deno.test(`the amount ${JSON.stringify(text.slice(0, 30))} is refused: ${why}`, () => {
    const error = assertThrows(() => parseAmount(text), TrilogError);
    assertEquals(error.code, "invalid_amount");
    assertStringIncludes(error.message, why);
    assertEquals(/^[\x20-\x7e]+$/.test(error.message), true, "the message is printable ASCII");
  });
}

Deno.test("cents are written with two digits after the point and no separators", () => {
  assertEquals(formatCents(0), "0.00");
  assertEquals(formatCents(1), "0.01");
  assertEquals(formatCents(99), "0.99");
  assertEquals(formatCents(100), "1.00");
  assertEquals(formatCents(123_456), "1234.56");
  assertEquals(formatCents(limits.balanceCents), "90000000000000.00");
  assertEquals(formatCents(2n ** 70n), "11805916207174113034.24");
});

Deno.test("reading what was written gives the same cents", () => {
  for (let cents = 1; cents <= 9_999; cents += 1) {
    assertEquals(parseAmount(formatCents(cents)), cents);
  }
  for (let cents = 1; cents <= limits.balanceCents; cents = cents * 7 + 3) {
    assertEquals(parseAmount(formatCents(cents)), cents);
  }
});

Deno.test("an amount is a whole number of cents from 1 to the limit", () => {
  for (const cents of [1, 100, limits.balanceCents]) assertEquals(isAmount(cents), true);
  for (const cents of [0, -0, -1, 0.5, 1.5, NaN, Infinity, limits.balanceCents + 1, 2 ** 60]) {
    assertEquals(isAmount(cents), false, String(cents));
  }
});
