import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { LineReader } from "../../lib/cli/line_reader.ts";
import { FakeTerminal } from "./fake_terminal.ts";

Deno.test("lines come one by one, in raw mode only while they are typed", async () => {
  const terminal = new FakeTerminal({ isTerminal: true, input: ["hel", "lo\rwor", "ld\r"] });
  const reader = new LineReader(terminal);
  assertEquals(await reader.next("> "), "hello");
  assertEquals(terminal.rawModes, [true, false]);
  assertEquals(await reader.next("> "), "world");
  assertEquals(await reader.next("> "), null);
  assertEquals(terminal.rawModes, [true, false, true, false, true, false]);
  assertEquals(terminal.stdout, "");
});

Deno.test("a paste of several lines gives them all", async () => {
  const terminal = new FakeTerminal({ input: ["\x1b[200~one\ntwo\nthr\x1b[201~ee\r"] });
  const reader = new LineReader(terminal);
  assertEquals([await reader.next(""), await reader.next(""), await reader.next("")], [
    "one",
    "two",
    "three",
  ]);
});

Deno.test("Ctrl-D ends, Ctrl-C gives up a line and then cancels", async () => {
  const terminal = new FakeTerminal({ input: ["abc\x03def\r", "\x04", "\x03"] });
  const reader = new LineReader(terminal);
  assertEquals(await reader.next("> "), "def");
  assertStringIncludes(terminal.stderr, "^C\x1b[K\r\n");
  assertEquals(await reader.next("> "), null);
  const error = await assertRejects(() => reader.next("> "), TrilogError);
  assertEquals(error.code, "cancelled");
  assertEquals(terminal.rawModes.at(-1), false);
});

Deno.test("candidates show above the line, which is drawn again", async () => {
  const terminal = new FakeTerminal({ input: ["a\t", "l\t\r"] });
  const reader = new LineReader(terminal, { complete: () => ["alice", "adam"] });
  assertEquals(await reader.next("> "), "alice ");
  assertStringIncludes(terminal.stderr, "\r\x1b[Kadam  alice\r\n\r> a");
});

Deno.test("text printed while a line is being typed stands above it", async () => {
  let reader: LineReader | null = null;
  const terminal = new FakeTerminal({ input: ["ab", "\t", "\r"] });
  reader = new LineReader(terminal, {
    complete: () => {
      reader?.printAbove("leader lost\nleader found");
      return [];
    },
  });
  assertEquals(await reader.next("> "), "ab");
  assertStringIncludes(terminal.stderr, "\r\x1b[Kleader lost\r\nleader found\r\n\r> ab");
  terminal.stderr = "";
  reader.printAbove("later");
  assertEquals(terminal.stderr, "later\n");
});

Deno.test("a signal ends the line being typed and leaves raw mode", async () => {
  const controller = new AbortController();
  const terminal = new FakeTerminal({ input: ["ab\t"], staysOpen: true });
  const complete = () => {
    controller.abort();
    return [];
  };
  const reader = new LineReader(terminal, { complete, signal: controller.signal });
  assertEquals(await reader.next("> "), null);
  assertEquals(await reader.next("> "), null);
  assertEquals(terminal.rawModes.at(-1), false);
});
