/** PURE. Templates of `trilog consume --format`: the conventions of kcat. */

import { concatBytes, utf8 } from "../lib/base/bytes.ts";
import { TrilogError } from "../lib/base/errors.ts";
import type { BatchRecord } from "../lib/batch/batch_reader.ts";
import { shownHeaders } from "../lib/client/lines.ts";

/** The bytes of one message. */
export type Render = (topic: string, partition: number, record: BatchRecord) => Uint8Array;

const ABSENT_LENGTH = -1;

/** What each letter after a percent sign stands for. */
const FIELDS: Readonly<Record<string, Render>> = {
  s: (_topic, _partition, { value }) => value ?? new Uint8Array(0),
  S: (_topic, _partition, { value }) => utf8(String(value?.length ?? ABSENT_LENGTH)),
  R: (_topic, _partition, { value }) => bigEndian(value?.length ?? ABSENT_LENGTH),
  k: (_topic, _partition, { key }) => key ?? new Uint8Array(0),
  K: (_topic, _partition, { key }) => utf8(String(key?.length ?? ABSENT_LENGTH)),
  t: (topic) => utf8(topic),
  p: (_topic, partition) => utf8(String(partition)),
  o: (_topic, _partition, { offset }) => utf8(String(offset)),
  T: (_topic, _partition, { timestampMs }) => utf8(String(timestampMs)),
  h: (_topic, _partition, { headers }) => headerList(headers),
  "%": () => utf8("%"),
};

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", "\\": "\\" };

/** A percent sign and its letter; an escape; or text up to the next of these. */
const PART = /%(.)|\\x([0-9a-fA-F]{2})|\\(.)|[^%\\]+|./gsu;

/** How messages look by this template; throws `usage` where it cannot be read. */
export function parseTemplate(template: string): Render {
  const parts: Render[] = [];
  for (const [whole, field, byte, escape] of template.matchAll(PART)) {
    if (field !== undefined) parts.push(fieldOf(field));
    else parts.push(constant(byte, escape, whole));
  }
  return (topic, partition, record) =>
    concatBytes(parts.map((part) => part(topic, partition, record)));
}

function fieldOf(letter: string): Render {
  if (Object.hasOwn(FIELDS, letter)) return FIELDS[letter];
  const known = Object.keys(FIELDS).map((name) => `%${name}`).join(" ");
  throw invalid(`%${letter} means nothing; there are ${known}`);
}

function constant(
  byte: string | undefined,
  escape: string | undefined,
  whole: string,
): Render {
  const bytes = byte !== undefined
    ? Uint8Array.of(parseInt(byte, 16))
    : utf8(escape !== undefined ? escaped(escape) : literal(whole));
  return () => bytes;
}

function escaped(letter: string): string {
  if (Object.hasOwn(ESCAPES, letter)) return ESCAPES[letter];
  throw invalid(`\\${letter} means nothing; there are \\n \\r \\t \\\\ and \\xHH`);
}

/** Text; a percent sign or backslash is only left here at the template's end. */
function literal(text: string): string {
  if (text !== "%" && text !== "\\") return text;
  throw invalid(`it ends in ${text === "%" ? "a percent sign" : "a backslash"}`);
}

function invalid(state: string): TrilogError {
  return new TrilogError("usage", `Cannot use template: ${state}`);
}

function bigEndian(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value);
  return bytes;
}

/** `name=value,name=value`; `NULL` for the value of a header that has none. */
function headerList(headers: BatchRecord["headers"]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { key, value } of shownHeaders(headers)) {
    if (parts.length > 0) parts.push(utf8(","));
    parts.push(utf8(`${key}=`), value ?? utf8("NULL"));
  }
  return concatBytes(parts);
}
