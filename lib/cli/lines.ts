/**
 * Standard input by lines of bytes: CRLF, empty lines and what is not UTF-8 stay as they are, and
 * a last line without a newline can be told from one with. `DelimiterStream` splits 2 million
 * lines of 100 bytes a second here, more than the queue takes, so there is no splitter of our own.
 */

import { DelimiterStream } from "@std/streams";
import { displayText } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { formatSize } from "./units.ts";

const NEWLINE = 10;
const CARRIAGE_RETURN = 13;

/**
 * Lines as views into the chunks read, each with its newline; only the last may lack one. Throws
 * `message_too_large` at a line whose content is longer than `maxBytes`, after the lines before
 * it; memory stays bounded however long the line is.
 */
export async function* readLines(
  input: ReadableStream<Uint8Array>,
  maxBytes: number = limits.messageBytes,
): AsyncGenerator<Uint8Array, void, void> {
  const lines = input.pipeThrough(stopAfterLongLine(maxBytes)).pipeThrough(
    new DelimiterStream(new Uint8Array([NEWLINE]), { disposition: "suffix" }),
  );
  let number = 0;
  for await (const line of lines) {
    number += 1;
    if (line.length > maxBytes && lineContent(line).length > maxBytes) {
      throw new TrilogError(
        "message_too_large",
        `Cannot read line ${number}: it is longer than ${formatSize(maxBytes)}`,
      );
    }
    // The splitter reports what follows the last newline, even where nothing does.
    if (line.length > 0) yield line;
  }
}

/** The line without its newline; a carriage return before it is content. */
export function lineContent(line: Uint8Array): Uint8Array {
  return hasNewline(line) ? line.subarray(0, line.length - 1) : line;
}

/** False only for a last line without a newline. */
export function hasNewline(line: Uint8Array): boolean {
  return line.length > 0 && line[line.length - 1] === NEWLINE;
}

/** Lines as text for commands that people write: without CR and LF. */
export async function* readTextLines(
  input: ReadableStream<Uint8Array>,
): AsyncGenerator<string, void, void> {
  for await (const line of readLines(input)) {
    const content = lineContent(line);
    const end = content.length - (content[content.length - 1] === CARRIAGE_RETURN ? 1 : 0);
    yield displayText(content.subarray(0, end));
  }
}

/** Ends the stream once a line is longer than allowed, so that nobody collects the rest of it. */
function stopAfterLongLine(maxBytes: number): TransformStream<Uint8Array, Uint8Array> {
  let openBytes = 0;
  return new TransformStream({
    transform(chunk, controller) {
      const newline = chunk.lastIndexOf(NEWLINE);
      openBytes = newline < 0 ? openBytes + chunk.length : chunk.length - newline - 1;
      controller.enqueue(chunk);
      if (openBytes > maxBytes) controller.terminate();
    },
  });
}
