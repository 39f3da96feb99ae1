import { assertEquals, assertRejects } from "@std/assert";
import { concatBytes, equalBytes, utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import {
  hasNewline,
  lineContent,
  readLineBatches,
  readLines,
  readTextLines,
} from "../../lib/cli/lines.ts";

function streamOf(...chunks: (string | Uint8Array)[]): ReadableStream<Uint8Array> {
  return ReadableStream.from(chunks.map((part) => typeof part === "string" ? utf8(part) : part));
}

type Reader = (input: ReadableStream<Uint8Array>, maxBytes?: number) => AsyncIterable<Uint8Array>;

async function* oneByOne(input: ReadableStream<Uint8Array>, maxBytes?: number) {
  for await (const batch of readLineBatches(input, maxBytes)) {
    assertEquals(batch.length > 0, true, "an empty batch");
    yield* batch;
  }
}

/** The same rules hold for both ways of reading. */
function conformance(name: string, one: Reader): void {
  const read = (input: ReadableStream<Uint8Array>, maxBytes?: number) =>
    Array.fromAsync(one(input, maxBytes));

  Deno.test(`${name}: lines keep CRLF, emptiness and what is not UTF-8, wherever chunks are cut`, async () => {
    const input = concatBytes([utf8("a\r\n\n\r\n"), new Uint8Array([0xff, 0, 10]), utf8("z")]);
    const expected = [
      utf8("a\r\n"),
      utf8("\n"),
      utf8("\r\n"),
      new Uint8Array([0xff, 0, 10]),
      utf8("z"),
    ];
    for (let size = 1; size <= input.length; size += 1) {
      const chunks: Uint8Array[] = [];
      for (let at = 0; at < input.length; at += size) chunks.push(input.slice(at, at + size));
      assertEquals(await read(streamOf(...chunks)), expected, `chunks of ${size}`);
    }
  });

  Deno.test(`${name}: a last line without a newline is told from one with`, async () => {
    const endings = async (...chunks: string[]) =>
      (await read(streamOf(...chunks))).map(hasNewline);
    assertEquals(await endings("a\nb"), [true, false]);
    assertEquals(await endings("a\nb\n"), [true, true]);
    assertEquals(await endings("a\n", "\n"), [true, true]);
    assertEquals(await endings("a"), [false]);
    assertEquals(await endings(), []);
    assertEquals(await endings("\n"), [true]);
  });

  Deno.test(`${name}: all lines together are the input again, byte for byte`, async () => {
    const random = new Prng(11);
    const input = new Uint8Array(20_000);
    for (let at = 0; at < input.length; at += 1) {
      input[at] = random.chance(0.05) ? 10 : random.below(256);
    }
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < input.length;) {
      const end = at + random.between(0, 300);
      chunks.push(input.slice(at, end));
      at = end;
    }
    const lines = await read(streamOf(...chunks));
    assertEquals(equalBytes(concatBytes(lines), input), true);
    assertEquals(lines.slice(0, -1).every(hasNewline), true);
    assertEquals(lines.some((line) => lineContent(line).includes(10)), false);
  });

  Deno.test(`${name}: a line of exactly the limit passes, with or without its newline`, async () => {
    assertEquals((await read(streamOf("12345\n12345"), 5)).length, 2);
  });

  Deno.test(`${name}: a line that is too long is an error with its number, after the lines before it`, async () => {
    for (const chunks of [["a\nb\n123456\nc\n"], ["a\nb", "\n123", "456\nc\n"], ["a\nb\n123456"]]) {
      const before: string[] = [];
      const error = await assertRejects(async () => {
        for await (const line of one(streamOf(...chunks), 5)) {
          before.push(new TextDecoder().decode(line));
        }
      }, TrilogError);
      assertEquals(error.code, "message_too_large");
      assertEquals(error.message, "Cannot read line 3: it is longer than 5B");
      assertEquals(before, ["a\n", "b\n"]);
    }
  });

  Deno.test(`${name}: an endless line is given up soon, not collected`, async () => {
    let pulled = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled += 1;
        controller.enqueue(new Uint8Array(1_000));
      },
    });
    await assertRejects(() => read(endless, 10_000), TrilogError, "Cannot read line 1");
    assertEquals(pulled < 30, true, `${pulled} chunks were read`);
  });
}

conformance("readLines", readLines);
conformance("readLineBatches", oneByOne);

Deno.test("text lines lose LF and CRLF only", async () => {
  const text = await Array.fromAsync(readTextLines(streamOf("a\r\nb\n\n \u00e4\rc\n", "last")));
  assertEquals(text, ["a", "b", "", " \u00e4\rc", "last"]);
});
