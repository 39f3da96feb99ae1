import { assertEquals, assertThrows } from "@std/assert";
import { InvariantError } from "../../lib/base/assert.ts";
import { limits } from "../../lib/base/limits.ts";
import type { Movement } from "../../lib/atm/codec.ts";
import { type HistoryRecord, HistoryRing } from "../../lib/atm/history.ts";

const MOVEMENTS: readonly Movement[] = ["deposit", "withdraw", "transfer_in", "transfer_out"];

function record(number: number): HistoryRecord {
  return {
    index: Number.MAX_SAFE_INTEGER - number,
    timeMs: 1_700_000_000_000 + number,
    movement: MOVEMENTS[number % 4],
    cents: limits.balanceCents - number,
    balanceCents: number,
    other: number % 4 < 2 ? 0 : 2 ** 32 - 1 - number,
  };
}

function packed(ring: HistoryRing): Uint8Array {
  const bytes = new Uint8Array(ring.packedBytes);
  ring.copyInto(bytes, 0);
  return bytes;
}

Deno.test("a ring gives back the newest records, oldest first, at every fill", () => {
  const ring = new HistoryRing();
  const all: HistoryRecord[] = [];
  for (let number = 0; number < 2_345; number += 1) {
    ring.add(record(number));
    all.push(record(number));
    if (number > 20 && number % 97 !== 0 && Math.abs(number - 1_000) > 3) continue;
    assertEquals(ring.list(), all.slice(-limits.historyEntries));
    assertEquals(ring.length, Math.min(all.length, limits.historyEntries));
  }
});

Deno.test("an unpacked ring has the same records and bytes and goes on alike", () => {
  for (const fill of [0, 1, 7, 8, 9, 500, 999, 1_000, 1_001, 1_700, 2_000]) {
    const ring = new HistoryRing();
    for (let number = 0; number < fill; number += 1) ring.add(record(number));
    const copy = HistoryRing.unpack(packed(ring));
    for (let number = fill; number < fill + 3; number += 1) {
      assertEquals(copy.list(), ring.list());
      assertEquals(packed(copy), packed(ring));
      for (const each of [ring, copy]) each.add(record(number));
    }
    assertEquals(packed(copy), packed(ring));
  }
});

Deno.test("bytes that are no whole number of records, or too many, are no history", () => {
  for (const size of [1, 36, 38, 37 * 1_001]) {
    assertThrows(() => HistoryRing.unpack(new Uint8Array(size)), InvariantError);
  }
});
