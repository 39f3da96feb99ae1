import { assertEquals } from "@std/assert";
import {
  formatDuration,
  formatSize,
  groupedNumber,
  parseDuration,
  parseSize,
  roundedDuration,
  roundedSize,
} from "../../lib/cli/units.ts";

Deno.test("durations read with their unit, and a bare 0", () => {
  const readings: [string, number | null][] = [
    ["500ms", 500],
    ["15s", 15_000],
    ["2m", 120_000],
    ["1h", 3_600_000],
    ["7d", 604_800_000],
    ["1.5s", 1_500],
    ["1.1s", 1_100],
    ["0", 0],
    ["0s", 0],
  ];
  for (const [text, durationMs] of readings) assertEquals(parseDuration(text), durationMs, text);
});

Deno.test("durations without a unit, with a sign or below a millisecond are refused", () => {
  for (const text of ["", "5", "-5s", "+5s", "5 s", "5sec", "s", "1e3s", "0.5ms", "1s2m", "∞s"]) {
    assertEquals(parseDuration(text), null, text);
  }
});

Deno.test("sizes read in binary and decimal units, and plain numbers are bytes", () => {
  const readings: [string, number | null][] = [
    ["4096", 4_096],
    ["64KiB", 65_536],
    ["1GiB", 2 ** 30],
    ["1.5MiB", 1_572_864],
    ["2TiB", 2 ** 41],
    ["10MB", 10_000_000],
    ["10kB", 10_000],
    ["7B", 7],
    ["0", 0],
  ];
  for (const [text, sizeBytes] of readings) assertEquals(parseSize(text), sizeBytes, text);
});

Deno.test("sizes that are no whole number of bytes, negative or beyond 2^53 are refused", () => {
  for (const text of ["", "-1", "1.5", "64kib", "64K", "KiB", "9007199254740993", "9999999TiB"]) {
    assertEquals(parseSize(text), null, text);
  }
});

Deno.test("a formatted duration or size reads back as the same", () => {
  for (const durationMs of [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000]) {
    assertEquals(parseDuration(formatDuration(durationMs)), durationMs);
  }
  for (const sizeBytes of [0, 1, 1_023, 1_024, 65_536, 2 ** 20 + 1, 3 * 2 ** 30, 2 ** 40]) {
    assertEquals(parseSize(formatSize(sizeBytes)), sizeBytes);
  }
  assertEquals(formatDuration(90_000), "90s");
  assertEquals(formatSize(64 * 1024), "64KiB");
});

Deno.test("rounded forms keep three digits", () => {
  assertEquals([0.42, 12.345, 999, 1_240, 192_000, 18_420_000].map(roundedDuration), [
    "0.42ms",
    "12.3ms",
    "999ms",
    "1.24s",
    "3m 12s",
    "5h 7m",
  ]);
  assertEquals([0, 1_023, 1_536, 2 ** 20 * 123.4, 2 ** 30 * 1.456].map(roundedSize), [
    "0B",
    "1023B",
    "1.5KiB",
    "123MiB",
    "1.46GiB",
  ]);
  assertEquals([0, 999, 1_000, 1_234_567].map(groupedNumber), ["0", "999", "1,000", "1,234,567"]);
});
