import { assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { type Key, KeyDecoder, type KeyName } from "../../lib/cli/keys.ts";

function press(name: KeyName): Key {
  return { kind: "press", name };
}

function text(typed: string): Key {
  return { kind: "text", text: typed };
}

/** Runs of text joined, so that results compare however the input was cut. */
function joined(keys: readonly Key[]): Key[] {
  const result: Key[] = [];
  for (const key of keys) {
    const last = result.at(-1);
    if (key.kind === "text" && last?.kind === "text") {
      result[result.length - 1] = text(last.text + key.text);
    } else result.push(key);
  }
  return result;
}

function decodeWhole(input: string): Key[] {
  return joined(new KeyDecoder().decode(utf8(input)));
}

const SAMPLES: [string, Key[]][] = [
  ["abc", [text("abc")]],
  ["ä日👍🏽", [text("ä日👍🏽")]],
  ["\x1b[A\x1b[B\x1b[C\x1b[D", [press("up"), press("down"), press("right"), press("left")]],
  ["\x1bOA\x1bOH\x1bOF", [press("up"), press("home"), press("end")]],
  ["\x1b[H\x1b[1~\x1b[F\x1b[4~\x1b[3~", [
    press("home"),
    press("home"),
    press("end"),
    press("end"),
    press("delete"),
  ]],
  ["\x1b[1;5C\x1bb", [press("word_right"), press("word_left")]],
  ["\x01\x05\x15\x0b\x17\x03\x04\x0c", [
    press("home"),
    press("end"),
    press("delete_to_start"),
    press("delete_to_end"),
    press("delete_word_left"),
    press("interrupt"),
    press("end_of_input"),
    press("clear_screen"),
  ]],
  ["a\tb\x7f\r", [text("a"), press("tab"), text("b"), press("backspace"), press("enter")]],
  ["a\nb\r\nc", [text("a"), press("enter"), text("b"), press("enter"), text("c")]],
  ["\x1b[200~x\ty\r\nz\x1b[31m\x03\x1b[201~!", [
    text("x y"),
    press("enter"),
    text("z[31m!"),
  ]],
  // Unknown sequences and control characters do nothing.
  ["a\x1b[15~\x1b[200;300Hb\x00\x1c", [text("ab")]],
];

Deno.test("bytes become keys", () => {
  for (const [input, keys] of SAMPLES) {
    assertEquals(decodeWhole(input), keys, JSON.stringify(input));
  }
});

Deno.test("keys are the same wherever a chunk is cut in two", () => {
  for (const [input, keys] of SAMPLES) {
    const bytes = utf8(input);
    for (let cut = 1; cut < bytes.length; cut += 1) {
      // A CR at the end of a chunk is Enter at once: a person is waiting for it.
      if (bytes[cut - 1] === 13 && bytes[cut] === 10 && !input.includes("200~")) continue;
      const decoder = new KeyDecoder();
      const got = [...decoder.decode(bytes.slice(0, cut)), ...decoder.decode(bytes.slice(cut))];
      assertEquals(joined(got), keys, `${JSON.stringify(input)} cut at ${cut}`);
    }
  }
});

Deno.test("keys are the same byte by byte", () => {
  for (const [input, keys] of SAMPLES) {
    if (input.includes("b\r\nc")) continue;
    const decoder = new KeyDecoder();
    const got: Key[] = [];
    for (const byte of utf8(input)) got.push(...decoder.decode(new Uint8Array([byte])));
    assertEquals(joined(got), keys, JSON.stringify(input));
  }
});

Deno.test("an endless sequence is thrown away, and typing goes on", () => {
  const decoder = new KeyDecoder();
  decoder.decode(utf8(`\x1b[${"1;".repeat(100)}`));
  const keys = decoder.decode(utf8("ab\r"));
  assertEquals(keys.at(-1), press("enter"));
});
