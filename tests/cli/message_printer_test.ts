import { assertEquals, assertThrows } from "@std/assert";
import { MessagePrinter } from "../../cmd/message_printer.ts";
import { parseTemplate, type Render } from "../../cmd/message_template.ts";
import { displayText, utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import type { BatchRecord } from "../../lib/batch/batch_reader.ts";
import { Progress } from "../../lib/cli/progress.ts";
import { OPEN_LINE } from "../../lib/client/lines.ts";
import { FakeTerminal } from "./fake_terminal.ts";
import { VirtualClock } from "../atm/virtual_clock.ts";

const ERASE = "\r\x1b[K";
const SUMMARY = "messages consumed";

function recordOf(value: string | Uint8Array | null, more: Partial<BatchRecord> = {}): BatchRecord {
  const bytes = typeof value === "string" ? utf8(value) : value;
  return {
    offset: 7,
    timestampMs: 1_700_000_000_000,
    key: null,
    value: bytes,
    headers: [],
    ...more,
  };
}

function printerOn(terminal: FakeTerminal, form: "value" | "metadata" | "json" | Render) {
  const clock = new VirtualClock();
  const texts = { noun: "message", verb: "consumed" };
  const progress = new Progress({ terminal, clock, ...texts, silent: form === "json" });
  const printer = new MessagePrinter({ terminal, topic: "t", form, max: Infinity, progress });
  const pass = (durationMs: number) =>
    clock.settle(new Promise<void>((resolve) => clock.after(durationMs, resolve)));
  return { printer, pass };
}

/** What a terminal shows of the text: each erased line is gone. */
function shown(text: string): string[] {
  return text.split("\n").map((line) =>
    line.slice(line.lastIndexOf(ERASE) + 1).replace("\x1b[K", "")
  );
}

Deno.test("on a terminal messages and the progress line take turns on their own lines", async () => {
  const terminal = new FakeTerminal({ isTerminal: true });
  const { printer, pass } = printerOn(terminal, "value");
  await printer.print(0, [recordOf("first")]);
  await pass(250);
  assertEquals(shown(terminal.screen)[1].startsWith("1 message consumed"), true);
  await printer.print(0, [recordOf("second")]);
  await pass(250);
  await printer.finish();
  const lines = shown(terminal.screen);
  assertEquals(lines.slice(0, 2), ["first", "second"]);
  assertEquals([lines.length, lines[2].startsWith(`2 ${SUMMARY}`), lines[3]], [4, true, ""]);
});

Deno.test("the progress line is not drawn behind a message that left its line open", async () => {
  const terminal = new FakeTerminal({ isTerminal: true });
  const { printer, pass } = printerOn(terminal, "value");
  await printer.print(0, [recordOf("open", { headers: [OPEN_LINE] })]);
  await pass(1_000);
  assertEquals(terminal.screen, "open");
  await printer.finish();
  assertEquals(shown(terminal.screen)[0], "open");
  assertEquals(shown(terminal.screen)[1].startsWith("1 message consumed"), true);
});

Deno.test("the summary follows all messages, though output is buffered", async () => {
  class SlowTerminal extends FakeTerminal {
    private held: Uint8Array[] = [];
    override write(bytes: Uint8Array): void {
      this.held.push(bytes);
    }
    override async flush(): Promise<void> {
      await Promise.resolve();
      for (const bytes of this.held.splice(0)) void super.write(bytes);
    }
  }
  const terminal = new SlowTerminal();
  const { printer } = printerOn(terminal, "value");
  await printer.print(0, [recordOf("a"), recordOf("b")]);
  await printer.finish();
  assertEquals(terminal.screen.split("\n").slice(0, 2), ["a", "b"]);
  assertEquals(terminal.screen.split("\n")[2].startsWith(`2 ${SUMMARY}`), true);
});

Deno.test("JSON shows text as text, and what is not UTF-8 in base64 and says so", async () => {
  const terminal = new FakeTerminal();
  const { printer } = printerOn(terminal, "json");
  const strange = Uint8Array.of(0xff, 0xfe, 0);
  const header = { key: "trace", value: utf8("x") };
  await printer.print(3, [
    recordOf("grün"),
    recordOf(null, { key: utf8("k") }),
    recordOf("text", { headers: [header, { key: "none", value: null }, OPEN_LINE] }),
    recordOf(strange, { key: utf8("k"), headers: [header] }),
    recordOf("text", { key: strange }),
    recordOf("far", { timestampMs: Number.MAX_SAFE_INTEGER }),
  ]);
  const base = { partition: 3, offset: 7, time: "2023-11-14T22:13:20.000Z", key: null };
  assertEquals(terminal.stdout.trim().split("\n").map((line) => JSON.parse(line)), [
    { ...base, value: "grün" },
    { ...base, key: "k", value: null },
    {
      ...base,
      value: "text",
      headers: [{ key: "trace", value: "x" }, { key: "none", value: null }],
    },
    {
      ...base,
      key: "aw==",
      value: "//4A",
      headers: [{ key: "trace", value: "eA==" }],
      encoding: "base64",
    },
    { ...base, key: "//4A", value: "dGV4dA==", encoding: "base64" },
    { ...base, time: String(Number.MAX_SAFE_INTEGER), value: "far" },
  ]);
});

Deno.test("a template has kcat's fields and escapes", () => {
  const headers = [{ key: "a", value: utf8("1") }, { key: "b", value: null }, OPEN_LINE];
  const full = recordOf("value", { key: utf8("key"), headers });
  const render = (template: string, record = full) =>
    displayText(parseTemplate(template)("t", 2, record));
  assertEquals(render("%t/%p %o %T %k(%K) %s(%S)\\n"), "t/2 7 1700000000000 key(3) value(5)\n");
  assertEquals(render("%h"), "a=1,b=NULL");
  assertEquals(render("100%% \\t\\r\\\\\\x41é"), "100% \t\r\\Aé");
  assertEquals(render("[%k %K %s %S %h]", recordOf(null)), "[ -1  -1 ]");
  assertEquals([...parseTemplate("%R")("t", 0, full)], [0, 0, 0, 5]);
  assertEquals([...parseTemplate("%R")("t", 0, recordOf(null))], [255, 255, 255, 255]);
  assertEquals(render(""), "");
});

Deno.test("a template that cannot be read is refused by name", () => {
  for (
    const [template, state] of [["%q", "%q"], ["a%", "percent"], ["a\\", "backslash"], [
      "\\q",
      "\\q",
    ]]
  ) {
    const error = assertThrows(() => parseTemplate(template), TrilogError, state);
    assertEquals(error.code, "usage");
  }
});
