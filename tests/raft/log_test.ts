import { assert, assertEquals, assertThrows } from "@std/assert";
import { InvariantError } from "../../lib/base/assert.ts";
import { Log } from "../../lib/raft/log.ts";
import { Rounds } from "../../lib/raft/rounds.ts";
import { commandAt, diskOf, initialOf } from "./disks.ts";

function logOf(terms: readonly number[], commit = 0): Log {
  const log = new Log(initialOf(diskOf([])));
  terms.forEach((term, at) => log.append(commandAt(at + 1, term)));
  log.commitTo(commit);
  return log;
}

/** The terms that a log knows from index 0 to one beyond its last. */
function termsOf(log: Log): (number | null)[] {
  return Array.from({ length: log.last.index + 2 }, (_, index) => log.termAt(index));
}

Deno.test("a log knows the term of every entry from its base on, in memory or not", () => {
  assertEquals(termsOf(logOf([1, 1, 2, 5, 5])), [0, 1, 1, 2, 5, 5, null]);
  const recovered = new Log(initialOf(diskOf([1, 1, 2, 5, 5])));
  assertEquals(termsOf(recovered), [0, 1, 1, 2, 5, 5, null]);
  assertEquals(recovered.isCached(5), false);
});

Deno.test("truncating forgets the terms and the entries from there on", () => {
  const log = logOf([1, 1, 2, 5, 5]);
  log.truncate(3);
  assertEquals(termsOf(log), [0, 1, 1, null]);
  log.append(commandAt(3, 6));
  assertEquals(termsOf(log), [0, 1, 1, 6, null]);
  log.truncate(1);
  assertEquals([termsOf(log), log.cacheBytes], [[0, null], 0]);
  log.append(commandAt(1, 7));
  assertEquals(termsOf(log), [0, 7, null]);
});

Deno.test("truncating below the cache leaves the log without entries in memory", () => {
  const log = new Log(initialOf(diskOf([1, 1, 2, 5, 5])));
  log.truncate(4);
  log.append(commandAt(4, 6));
  assertEquals(termsOf(log), [0, 1, 1, 2, 6, null]);
  assertEquals([log.cached(3), log.cached(4)?.term], [null, 6]);
});

Deno.test("committed entries cannot be truncated", () => {
  assertThrows(() => logOf([1, 1, 2], 2).truncate(2), InvariantError);
});

Deno.test("compacting keeps the term of the last compacted entry and all that follow", () => {
  for (const [index, base] of [[1, 1], [2, 1], [3, 2], [4, 5], [5, 5]]) {
    const log = logOf([1, 1, 2, 5, 5], 5);
    log.takeUnstored();
    log.applied = 5;
    log.compact({ index, term: base });
    const terms = [null, 1, 1, 2, 5, 5, null].map((term, at) => at < index ? null : term);
    assertEquals(termsOf(log), terms);
    assertEquals([log.firstIndex, log.cached(index)], [index + 1, null]);
    log.append(commandAt(6, 9));
    assertEquals(log.termAt(6), 9);
  }
});

Deno.test("where two logs may still match is found a whole term further down per question", () => {
  const log = logOf([1, 1, 2, 2, 5, 5]);
  assertEquals(log.lastAtMost(6, 5), { index: 6, term: 5 });
  assertEquals(log.lastAtMost(6, 4), { index: 4, term: 2 });
  assertEquals(log.lastAtMost(3, 2), { index: 3, term: 2 });
  assertEquals(log.lastAtMost(9, 1), { index: 2, term: 1 });
  assertEquals(log.lastAtMost(6, 0), { index: 0, term: 0 });
});

Deno.test("entries leave the memory once they are durable, applied and beyond the cache's size", () => {
  const log = logOf(new Array(5_000).fill(1), 5_000);
  log.takeUnstored();
  log.evict(5_000, 1_000);
  assertEquals(log.cacheFirst, 1, "nothing is applied yet");
  log.applied = 4_000;
  log.evict(3_000, 1_000);
  assertEquals(log.cacheFirst, 3_001, "the rest is not durable yet");
  log.applied = 5_000;
  log.evict(5_000, 1_000);
  assert(log.cacheBytes <= 1_000 && log.cacheBytes > 900);
  assertEquals(log.cached(log.cacheFirst)?.index, log.cacheFirst);
  assertEquals(log.slice(4_999, 5_000, Infinity).map((entry) => entry.index), [4_999, 5_000]);
});

Deno.test("a slice holds at least one entry, then as many as fit", () => {
  const log = logOf([1, 1, 1]);
  assertEquals(log.slice(1, 3, 0).length, 1);
  assertEquals(log.slice(1, 3, 80).length, 2);
  assertEquals(log.slice(2, 3, Infinity).length, 2);
});

Deno.test("a log that claims more applied than it holds is refused", () => {
  const initial = initialOf(diskOf([1, 1]));
  assertThrows(() => new Log({ ...initial, applied: 3 }), InvariantError);
});

Deno.test("a commit hint beyond the recovered log counts up to its end", () => {
  assertEquals(new Log(initialOf(diskOf([1, 1], { commit: 9 }))).commit, 2);
});

Deno.test("a round's moment is known until it is forgotten, and never later than it was sent", () => {
  const rounds = new Rounds();
  for (const sentMs of [10, 10.4, 12, 30]) rounds.open(sentMs);
  assertEquals([1, 2, 3, 4, 5].map((round) => rounds.sentMs(round)), [10, 10, 12, 30, -Infinity]);
  rounds.forget(29);
  assertEquals([2, 3, 4].map((round) => rounds.sentMs(round)), [-Infinity, -Infinity, 30]);
});
