/** PURE. Messages on their way out: what a caller may give, and the form in which it is sent. */

import { utf8 } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import { checkMessage, headersSize, type RecordHeader } from "../batch/batch_writer.ts";

/** Bytes, or text that is sent as UTF-8. */
export type BytesOrText = Uint8Array | string;

/** A named value beside a message's key and value. */
export interface OutgoingHeader {
  /** Need not be unique in a message. */
  readonly key: string;
  /** Bytes, text that is sent as UTF-8, or nothing. */
  readonly value: BytesOrText | null;
}

/** A message to send; all but its value may be left out. */
export interface OutgoingMessage {
  /** Messages of one key go to one partition, in order. Text is sent as UTF-8. */
  readonly key?: BytesOrText | null;
  /** At most 1 MiB. Text is sent as UTF-8; null marks a deletion, by convention. */
  readonly value: BytesOrText | null;
  /** By the key's hash, or spread evenly, where it is not given. */
  readonly partition?: number;
  /** For the consumers' use; at most 32 KiB together with the key where the value is largest. */
  readonly headers?: readonly OutgoingHeader[];
  /** Milliseconds since 1970, a whole number; now, where it is not given. */
  readonly timestampMs?: number;
}

/** A message that fits into a batch. */
export interface EncodedMessage {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: readonly RecordHeader[];
  /** Undefined: the time at which it is put into a batch. */
  readonly timestampMs: number | undefined;
  /** Its key, value and headers together. */
  readonly sizeBytes: number;
}

const NO_HEADERS: readonly RecordHeader[] = [];

/** Throws `invalid_argument` or `message_too_large` for a message that cannot be sent. */
export function encodeMessage(message: OutgoingMessage): EncodedMessage {
  const key = bytesOf(message.key ?? null, "key");
  const value = bytesOf(message.value, "value");
  const { timestampMs } = message;
  if (timestampMs !== undefined && !isTimestamp(timestampMs)) {
    throw invalid(`its timestamp ${timestampMs} is not a whole number of milliseconds`);
  }
  const headers = message.headers?.length ? message.headers.map(encodeHeader) : NO_HEADERS;
  const sizeBytes = (key?.length ?? 0) + (value?.length ?? 0) + headersSize(headers);
  checkMessage(value, sizeBytes);
  return { key, value, headers, timestampMs, sizeBytes };
}

function encodeHeader({ key, value }: OutgoingHeader): RecordHeader {
  if (typeof key !== "string") throw invalid("the key of a header is not text");
  return { key, value: bytesOf(value, "value of a header") };
}

/** Programs without types may give anything. */
function bytesOf(part: BytesOrText | null, what: string): Uint8Array | null {
  if (part === null || part instanceof Uint8Array) return part;
  if (typeof part === "string") return utf8(part);
  throw invalid(`its ${what} is ${typeof part}, not bytes, text or null`);
}

/** Times from 1970 on, as far as records hold them exactly. */
function isTimestamp(timestampMs: unknown): boolean {
  return Number.isSafeInteger(timestampMs) && (timestampMs as number) >= 0;
}

function invalid(state: string): TrilogError {
  return new TrilogError("invalid_argument", `Cannot send message: ${state}`);
}
