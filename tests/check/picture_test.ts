/** The page of HTML: well formed, and showing what it is for. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { checkHistory } from "../../lib/check/linearizability.ts";
import type { ModelName } from "../../lib/check/models/models.ts";
import { pictureOf } from "../../lib/check/picture.ts";
import { type Bar, historyOf } from "./bars.ts";

function pageOf(bars: readonly Bar[], model: ModelName = "kv", maxSteps = 100_000): string {
  return pictureOf(checkHistory(historyOf(bars), model, { maxSteps }));
}

/** What is wrong with a page that should be XML; its own names of tags and attributes only. */
function faultOf(page: string): string | null {
  const open: string[] = [];
  const body = page.replace(/^<!DOCTYPE html>\n/, "").replace(/<style>[^<]*<\/style>/, "");
  const token = /<(\/?)([a-z]+\d?)((?: [a-zA-Z-]+\d?="[^"<&]*")*)(\/?)>|([^<>]+)|([\s\S])/g;
  for (const [whole, closing, name, , empty, text, stray] of body.matchAll(token)) {
    if (stray !== undefined) return `stray ${stray}`;
    if (text !== undefined && /&(?!(amp|lt|gt|quot);)/.test(text)) return `bare & in ${text}`;
    if (name === undefined) continue;
    if (closing === "/" && open.pop() !== name) return `${whole} closes another`;
    if (closing === "" && empty === "") open.push(name);
  }
  return open.length === 0 ? null : `${open} stay open`;
}

/** Classes of an operation's bar, or null where it is not shown. */
function classesOf(page: string, number: number): string | null {
  return new RegExp(`<g class="operation ([a-z ]+)" id="operation-${number}">`).exec(page)?.[1] ??
    null;
}

const STALE: readonly Bar[] = [
  { process: "a", f: "set", key: "k", input: "1", at: [1, 2] },
  { process: "b", f: "set", key: "k", input: "2", at: [3, 4] },
  { process: "c", f: "set", key: "k", input: "3", at: [5] },
  { process: "d", f: "cas", key: "k", input: ["9", "8"], at: [6, 7], fails: true },
  { process: "a", f: "get", key: "k", output: "1", at: [8, 9] },
  { process: "a", f: "get", key: "other", output: null, at: [10, 11] },
];

Deno.test("the fault finder finds faults", () => {
  assertEquals(faultOf("<p>a &amp; b<br/></p>"), null);
  for (const bad of ["<p>", "<p></q>", "<p>&</p>", "<p a=1></p>", '<p a="<"></p>', "a < b"]) {
    assert(faultOf(bad) !== null, bad);
  }
});

Deno.test("the picture of a violation marks the window, the unknown and the failed", () => {
  const page = pageOf(STALE);
  assertEquals(faultOf(page), null);
  const classes = [0, 1, 2, 3, 4, 5].map((number) => classesOf(page, number));
  assertEquals(classes, ["done", "done window", "unknown", "failed", "done window", null]);
  assertStringIncludes(page, "<title>not linearizable (kv)</title>");
  assertStringIncludes(page, "These 2 operations cannot be ordered");
  assertStringIncludes(page, `<a href="#operation-4">8..9 ms</a>`);
  assertStringIncludes(page, `<rect class="span"`);
  assertStringIncludes(page, "Objects that are not shown: 1.");
});

Deno.test("the longest order is drawn as points from left to right, each within its bar", () => {
  const page = pageOf(STALE);
  const points = [...page.matchAll(/<circle class="point" cx="([\d.]+)" cy="([\d.]+)"/g)]
    .map(([, x]) => Number(x));
  assertEquals(points.length, 4);
  assertEquals(points, points.toSorted((left, right) => left - right));
  const bars = [0, 1, 3, 2].map((number) => {
    const bar = new RegExp(
      `id="operation-${number}">.*?<rect [^>]* x="([\\d.]+)"[^>]* width="([\\d.]+)"`,
    );
    const [, x, width] = bar.exec(page)!;
    return [Number(x), Number(x) + Number(width)];
  });
  for (const [at, [left, right]] of bars.entries()) {
    assert(points[at] >= left && points[at] <= right, `point ${at}`);
  }
});

Deno.test("what is linearizable is drawn whole, with all its objects", () => {
  const page = pageOf(STALE.slice(0, 4));
  assertEquals(faultOf(page), null);
  assertStringIncludes(page, "linearizable: 4 operations on 1 object");
  assert(!page.includes(" window"), "nothing is marked");
  assertEquals(page.match(/<circle/g)?.length, 3);
});

Deno.test("a page of an undecided history says so", () => {
  const page = pageOf(STALE, "kv", 0);
  assertEquals(faultOf(page), null);
  assertStringIncludes(page, "unknown: the steps budget ran out");
});

Deno.test("whatever histories hold stays text", () => {
  const hostile = `</svg><script>alert("1")</script>&\u0000\u001b`;
  const page = pageOf([
    { process: hostile, f: "set", key: hostile, input: hostile, at: [1, 2] },
    { process: "a", f: "get", key: hostile, output: "x", at: [3, 4] },
  ]);
  assertEquals(faultOf(page), null);
  assert(!page.includes("<script"));
});

Deno.test("of a long history the picture shows what lies around the window", () => {
  const bars: Bar[] = Array.from({ length: 2_000 }, (_, n) => ({
    process: "a",
    f: "write",
    input: n,
    at: [n * 2 + 1, n * 2 + 2],
  }));
  bars.push({ process: "b", f: "read", output: -1, at: [3_000.5, 3_000.6] });
  const page = pageOf(bars, "register");
  assertEquals(faultOf(page), null);
  assertEquals(page.match(/<g class="operation/g)?.length, 400);
  assertEquals(page.match(/ window"/g)?.length, 1);
  assertStringIncludes(page, "operations that are not shown: 1601");
});
