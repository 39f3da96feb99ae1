import { assertEquals } from "@std/assert";
import {
  type ClockWatch,
  isStampDue,
  isWorthATrim,
  retentionPlan,
  rollAfterMs,
  trustedNowMs,
  watchClock,
} from "../../lib/broker/partition_retention.ts";

/** Five segments of 100 bytes; the entry before segment n is stamped n * 1,000. */
const segments = [0, 1, 2, 3, 4].map((at) => ({
  first: 1 + at * 10,
  bytes: 100,
  stampBeforeMs: at * 1_000,
}));
const unlimited = { retentionBytes: 0, retentionMs: 0 };

Deno.test("without limits nothing goes", () => {
  assertEquals(retentionPlan(segments, unlimited, 10 ** 9), { trimTo: null, reason: null });
});

Deno.test("by size whole segments go while at least the limit stays", () => {
  const trimTo = (retentionBytes: number) =>
    retentionPlan(segments, { retentionBytes, retentionMs: 0 }, 0).trimTo;
  assertEquals([500, 401, 400, 399, 250, 100, 1].map(trimTo), [null, null, 11, 11, 21, 41, 41]);
});

Deno.test("by age a segment goes when its last entry is too old, the last segment never", () => {
  const trimTo = (nowMs: number) =>
    retentionPlan(segments, { retentionBytes: 0, retentionMs: 500 }, nowMs).trimTo;
  assertEquals([0, 1_500, 1_501, 3_400, 3_501, 10 ** 9].map(trimTo), [null, null, 11, 21, 31, 41]);
});

Deno.test("the log never begins where no checkpoint is stored", () => {
  const some = segments.map((segment, at) =>
    at === 2 ? { ...segment, stampBeforeMs: null } : segment
  );
  const trimTo = (retentionBytes: number) =>
    retentionPlan(some, { retentionBytes, retentionMs: 0 }, 0).trimTo;
  assertEquals([400, 300, 200, 100].map(trimTo), [11, 11, 31, 41]);
  const none = segments.map((segment) => ({ ...segment, stampBeforeMs: null }));
  assertEquals(retentionPlan(none, { retentionBytes: 1, retentionMs: 1 }, 10 ** 9).trimTo, null);
});

Deno.test("a clock that is not trusted stops retention by age, not by size", () => {
  assertEquals(
    retentionPlan(segments, { retentionBytes: 300, retentionMs: 1 }, null),
    { trimTo: 21, reason: "size" },
  );
  assertEquals(retentionPlan([], unlimited, 5).trimTo, null);
});

Deno.test("a stamp is due when all messages of the last segment are too old", () => {
  const byAge = { retentionBytes: 0, retentionMs: 500 };
  const due = (nowMs: number | null, holdsMessages = true, limits = byAge) =>
    isStampDue(holdsMessages, 1_000, limits, nowMs);
  assertEquals([1_500, 1_501, null].map((nowMs) => due(nowMs)), [false, true, false]);
  assertEquals(due(10 ** 9, false), false);
  assertEquals(due(10 ** 9, true, unlimited), false);
});

Deno.test("segments that hold nothing but a few small entries are not worth a trim", () => {
  const worth = [[0, 200], [1, 200], [0, 65_536]].map(([messages, bytes]) =>
    isWorthATrim(messages, bytes)
  );
  assertEquals(worth, [false, true, true]);
});

Deno.test("segments end after an eighth of the retention time, but not within a second", () => {
  const after = (retentionMs: number) => rollAfterMs({ retentionBytes: 0, retentionMs });
  assertEquals([0, 80_000, 100].map(after), [0, 10_000, 1_000]);
});

const settings = { largestLeapMs: 1_000, distrustMs: 5_000 };
const look = (previous: ClockWatch | null, wallMs: number, monotonicMs: number, stampMs = 0) =>
  watchClock(previous, { wallMs, monotonicMs }, stampMs, settings);

Deno.test("a clock that keeps pace with the monotonic one is trusted", () => {
  let watch = look(null, 100_000, 0, 99_500);
  for (let step = 1; step < 50; step += 1) {
    watch = look(watch, 100_000 + step * 700, step * 700);
    assertEquals(trustedNowMs(watch), 100_000 + step * 700);
  }
});

Deno.test("a leap forward is distrusted for a while, and then believed", () => {
  let watch = look(null, 100_000, 0, 100_000);
  watch = look(watch, 900_000, 100);
  assertEquals(trustedNowMs(watch), null);
  watch = look(watch, 904_900, 5_000);
  assertEquals(trustedNowMs(watch), null);
  watch = look(watch, 905_000, 5_100);
  assertEquals(trustedNowMs(watch), 905_000);
});

Deno.test("a clock that is set back to where it belongs is trusted at once", () => {
  let watch = look(null, 100_000, 0, 100_000);
  watch = look(watch, 900_000, 100);
  watch = look(watch, 100_200, 200);
  assertEquals(trustedNowMs(watch), 100_200);
});

Deno.test("a new leader holds its clock against the log's last stamp", () => {
  assertEquals(trustedNowMs(look(null, 102_000, 0, 100_000)), null);
  assertEquals(trustedNowMs(look(null, 100_900, 0, 100_000)), 100_900);
  assertEquals(trustedNowMs(look(null, 90_000, 0, 100_000)), 90_000);
});
