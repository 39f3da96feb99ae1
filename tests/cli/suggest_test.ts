import { assertEquals } from "@std/assert";
import { editDistance, nearestWord, suggestion } from "../../lib/cli/suggest.ts";

Deno.test("the edit distance counts insertions, deletions and replacements", () => {
  assertEquals(editDistance("", ""), 0);
  assertEquals(editDistance("abc", "abc"), 0);
  assertEquals(editDistance("", "abc"), 3);
  assertEquals(editDistance("kitten", "sitting"), 3);
  assertEquals(editDistance("flaw", "lawn"), 2);
});

Deno.test("the nearest word is suggested, and none when all are far", () => {
  const known = ["produce", "consume", "cluster", "topic"];
  assertEquals(nearestWord("prodcue", known), "produce");
  assertEquals(nearestWord("Topic", known), "topic");
  assertEquals(nearestWord("consum", known), "consume");
  assertEquals(nearestWord("clu", known), "cluster");
  assertEquals(nearestWord("xyzzy", known), null);
  assertEquals(nearestWord("", known), null);
});

Deno.test("a suggestion ends an error message, or adds nothing to it", () => {
  assertEquals(suggestion("topc", ["topic"]), "; did you mean topic?");
  assertEquals(suggestion("quux", ["topic"]), "");
});
