import { assertEquals } from "@std/assert";
import { tableLines } from "../../lib/cli/table.ts";
import { clipped, padded, textWidth, wrapped } from "../../lib/cli/width.ts";

Deno.test("columns align, numbers stand on the right, and no line ends in spaces", () => {
  const lines = tableLines(["ROLE", { title: "PID", align: "right" }, "ADDRESS"], [
    ["manager", 7, "127.0.0.1:9001"],
    ["broker", 12345, "h:1"],
  ]);
  assertEquals(lines, [
    "ROLE       PID  ADDRESS",
    "manager      7  127.0.0.1:9001",
    "broker   12345  h:1",
  ]);
});

Deno.test("a table without rows is its titles", () => {
  assertEquals(tableLines(["A", "B"], []), ["A  B"]);
});

Deno.test("a table too wide loses the end of its widest column", () => {
  const lines = tableLines(["ID", "NOTE"], [["b1", "a very long note indeed"]], 16);
  assertEquals(lines, ["ID  NOTE", "b1  a very long…"]);
  assertEquals(Math.max(...lines.map(textWidth)) <= 16, true);
});

Deno.test("columns stay readable where there is hardly any room", () => {
  assertEquals(tableLines(["A", "B"], [["12345678", "12345678"]], 3), ["A     B", "123…  123…"]);
});

Deno.test("wide characters and accents align by the columns they take", () => {
  const lines = tableLines(["NAME", "N"], [["日本", "1"], ["e\u0301a", "2"], ["👍🏽", "3"]]);
  assertEquals(lines, ["NAME  N", "日本  1", "e\u0301a    2", "👍🏽    3"]);
});

Deno.test("control characters never reach the terminal", () => {
  assertEquals(tableLines(["A"], [["x\u001b[2Jy\n"]]), ["A", "x\ufffd[2Jy\ufffd"]);
});

Deno.test("clipping keeps whole characters", () => {
  assertEquals(clipped("日本語", 4), "日…");
  assertEquals(clipped("abc", 3), "abc");
  assertEquals(clipped("abcd", 1), "…");
  assertEquals(clipped("abcd", 0), "");
  assertEquals(padded("ab", 4), "ab  ");
  assertEquals(padded("日", 4, "right"), "  日");
  assertEquals(padded("abcdef", 4), "abcdef");
});

Deno.test("long lines are wrapped at spaces, words that do not fit are cut", () => {
  assertEquals(wrapped("one two three", 20), ["one two three"]);
  assertEquals(wrapped("one two three", 7), ["one two", "three"]);
  assertEquals(wrapped("one two three", 8), ["one two", "three"]);
  assertEquals(wrapped("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
  assertEquals(wrapped("日本 語", 4), ["日本", "語"]);
  assertEquals(wrapped("", 4), [""]);
  for (const width of [1, 2, 3, 5]) {
    const rows = wrapped("a line of some words", width);
    assertEquals(rows.join("").replaceAll(" ", ""), "alineofsomewords");
    for (const row of rows) assertEquals(textWidth(row) <= width, true, row);
  }
});
