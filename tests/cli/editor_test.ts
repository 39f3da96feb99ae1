import { assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { type EditorAction, type EditorOptions, LineEditor } from "../../lib/cli/editor.ts";
import { KeyDecoder } from "../../lib/cli/keys.ts";

/** Types bytes at an editor; the actions other than redraws are kept. */
function type(editor: LineEditor, input: string): EditorAction[] {
  return new KeyDecoder().decode(utf8(input)).map((key) => editor.handle(key))
    .filter(({ kind }) => kind !== "redraw" && kind !== "none");
}

/** The line after typing, with `|` at the cursor. */
function after(input: string, options: EditorOptions = {}): string {
  const editor = new LineEditor(options);
  type(editor, input);
  return `${editor.before}|${editor.line.slice(editor.before.length)}`;
}

const LEFT = "\x1b[D";
const RIGHT = "\x1b[C";
const UP = "\x1b[A";
const DOWN = "\x1b[B";

Deno.test("text goes in at the cursor, and the cursor moves by characters", () => {
  assertEquals(after("abc"), "abc|");
  assertEquals(after(`abc${LEFT}${LEFT}X`), "aX|bc");
  assertEquals(after(`abc\x01X${RIGHT}Y`), "XaY|bc");
  assertEquals(after(`abc\x01${LEFT}${LEFT}\x05${RIGHT}d`), "abcd|");
  assertEquals(after(`日👍🏽e\u0301${LEFT}${LEFT}`), "日|👍🏽e\u0301");
  assertEquals(after(`e\u0301\x7f`), "|");
  assertEquals(after(`ea${LEFT}\u0301`), "e\u0301|a");
});

Deno.test("characters and words are deleted on both sides", () => {
  assertEquals(after("abc\x7f"), "ab|");
  assertEquals(after("\x7f"), "|");
  assertEquals(after("abc\x01\x1b[3~"), "|bc");
  assertEquals(after("abc\x01\x04"), "|bc");
  assertEquals(after("deposit  alice\x17"), "deposit  |");
  assertEquals(after("deposit  \x17"), "|");
  assertEquals(after("one two three\x1bb\x1bb\x1bd"), "one | three");
  assertEquals(after(`one two${LEFT}${LEFT}\x15`), "|wo");
  assertEquals(after(`one two${LEFT}${LEFT}\x0b`), "one t|");
  assertEquals(after(`one two${LEFT}${LEFT}\x0b\x01\x19`), "wo|one t");
});

Deno.test("Enter submits the line and begins a new one", () => {
  const editor = new LineEditor();
  assertEquals(type(editor, "a b\rc"), [{ kind: "submit", line: "a b" }]);
  assertEquals(editor.line, "c");
  assertEquals(type(editor, "\x15\r"), [{ kind: "submit", line: "" }]);
});

Deno.test("Ctrl-C gives up the line, Ctrl-D ends an empty one", () => {
  const editor = new LineEditor();
  assertEquals(type(editor, "ab\x03"), [{ kind: "interrupt", empty: false }]);
  assertEquals(editor.line, "");
  assertEquals(type(editor, "\x03"), [{ kind: "interrupt", empty: true }]);
  assertEquals(type(editor, "a\x04"), []);
  assertEquals(type(editor, "\x7f\x04"), [{ kind: "end_of_input" }]);
  assertEquals(type(editor, "\x0c"), [{ kind: "clear_screen" }]);
});

Deno.test("Up and Down walk through history and back to the line being written", () => {
  const history = ["first", "second"];
  assertEquals(after(`dra${UP}`, { history }), "second|");
  assertEquals(after(`dra${UP}${UP}${UP}`, { history }), "first|");
  assertEquals(after(`dra${UP}${UP}${DOWN}`, { history }), "second|");
  assertEquals(after(`dra${UP}${UP}${DOWN}${DOWN}${DOWN}ft`, { history }), "draft|");
  assertEquals(after(`${UP}!`, { history }), "second!|");
  assertEquals(after(UP), "|");
});

Deno.test("history takes each line once in a row, no blank ones, and stays bounded", () => {
  const editor = new LineEditor({ maxHistory: 2 });
  type(editor, "a\ra\r  \rb\rc\r");
  assertEquals(editor.history, ["b", "c"]);
  type(editor, UP);
  assertEquals(editor.line, "c");
});

Deno.test("Tab completes as far as it is certain, then offers the rest", () => {
  const complete = (before: string) =>
    before.includes(" ") ? ["alice", "alfred", "bob"] : ["balance", "deposit", "withdraw"];
  assertEquals(after("dep\t", { complete }), "deposit |");
  assertEquals(after("deposit b\t", { complete }), "deposit bob |");
  assertEquals(after("deposit a\t", { complete }), "deposit al|");
  assertEquals(after("x\t", { complete }), "x|");
  const editor = new LineEditor({ complete });
  assertEquals(type(editor, "deposit al\t"), [
    { kind: "candidates", words: ["alfred", "alice"] },
  ]);
  assertEquals(after(`dep 1${LEFT}${LEFT}\t`, { complete }), "deposit | 1");
});

Deno.test("the row shows prompt, line and cursor", () => {
  const editor = new LineEditor();
  type(editor, `abc${LEFT}`);
  assertEquals(editor.render("> ", 80), "\r> abc\x1b[K\r\x1b[4C");
  type(editor, "\x15\x0b");
  assertEquals(editor.render("", 80), "\r\x1b[K\r");
});

Deno.test("a line wider than the terminal scrolls, and the row never wraps", () => {
  const editor = new LineEditor();
  type(editor, "0123456789");
  assertEquals(editor.render("> ", 8), "\r> 56789\x1b[K\r\x1b[7C");
  type(editor, "\x01");
  assertEquals(editor.render("> ", 8), "\r> 01234\x1b[K\r\x1b[2C");
  type(editor, "\x15\x0b日本語日本語");
  assertEquals(editor.render("> ", 9).startsWith("\r> 日本語\x1b[K"), true);
});
