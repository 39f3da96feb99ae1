/** Encodes messages into record batches (`batch_header.ts` draws the format), built for speed. */

import { assert } from "../base/assert.ts";
import { utf8, viewOf } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import {
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  BATCH_PREFIX_BYTES,
  CHECKED_FROM,
  field,
  NO_PRODUCER,
  writeInt64,
} from "./batch_header.ts";
import { compress, type Compression, compressionCodes } from "./compression.ts";
import { crc32c } from "./crc32c.ts";
import { varintSize, varlongSize, writeVarint, writeVarlong } from "./varint.ts";

/** A named value beside a message's key and value. */
export interface RecordHeader {
  /** Need not be unique in a message. */
  readonly key: string;
  /** Bytes of the sender's choice. */
  readonly value: Uint8Array | null;
}

export interface FinishOptions {
  /** Who sends, for the recognition of retries; left out: nobody. */
  readonly producerId?: number;
  readonly producerEpoch?: number;
  /** Sequence number of the first record, in [0, 2^31). */
  readonly baseSequence?: number;
  readonly compression?: Compression;
}

const NO_HEADERS: readonly RecordHeader[] = [];
const INITIAL_BYTES = 4 * 1024;
/** Below this a loop copies faster than a call of `set`. */
const SHORT_COPY_BYTES = 24;
/** Attributes (1 byte) and the largest of each varint of a record: length, deltas, key, value. */
const RECORD_OVERHEAD_BYTES = 1 + 5 + 10 + 5 + 5 + 5 + 5;

/** Collects the records of one batch; used once. */
export class BatchBuilder {
  private bytes: Uint8Array;
  private end = BATCH_HEADER_BYTES;
  private records = 0;
  private baseTimestampMs = 0;
  private maxTimestampMs = 0;
  private finished = false;

  /** `initialBytes`: set aside at first, at least the header; grows by doubling. */
  constructor(initialBytes: number = INITIAL_BYTES) {
    this.bytes = new Uint8Array(Math.max(initialBytes, BATCH_HEADER_BYTES));
  }

  /** Number of records added. */
  get count(): number {
    return this.records;
  }

  /** Bytes of the batch as it stands, header included, before compression. */
  get sizeBytes(): number {
    return this.end;
  }

  /** Whether the batch stays within the size limit with one more message of that size. */
  hasRoomFor(messageBytes: number): boolean {
    return this.end + messageBytes + RECORD_OVERHEAD_BYTES <= limits.batchBytes;
  }

  /**
   * Adds a message and copies its bytes. `timestampMs`: whole milliseconds since 1970. Throws
   * `message_too_large` where {@link checkMessage} does or the batch is full (`hasRoomFor` says so
   * before); then nothing was added.
   */
  add(
    key: Uint8Array | null,
    value: Uint8Array | null,
    timestampMs: number,
    headers: readonly RecordHeader[] = NO_HEADERS,
  ): void {
    assert(!this.finished, "a finished batch takes no more messages");
    assert(Number.isSafeInteger(timestampMs), "a timestamp is a whole number");
    if (this.records === 0) this.baseTimestampMs = this.maxTimestampMs = timestampMs;
    const packed = headers.length === 0 ? null : packHeaders(headers);
    const timestampDelta = timestampMs - this.baseTimestampMs;
    const bodyBytes = 1 + varlongSize(timestampDelta) + varintSize(this.records) +
      sizeOf(key) + sizeOf(value) + (packed === null ? 1 : packed.length);
    checkMessage(value, (key?.length ?? 0) + (value?.length ?? 0) + (packed?.length ?? 0));
    this.reserve(bodyBytes);
    const bytes = this.bytes;
    let at = writeVarint(bytes, this.end, bodyBytes);
    bytes[at++] = 0;
    at = writeVarlong(bytes, at, timestampDelta);
    at = writeVarint(bytes, at, this.records);
    at = writeBytes(bytes, at, key);
    at = writeBytes(bytes, at, value);
    if (packed === null) bytes[at++] = 0;
    else {
      bytes.set(packed, at);
      at += packed.length;
    }
    this.end = at;
    this.records += 1;
    if (timestampMs > this.maxTimestampMs) this.maxTimestampMs = timestampMs;
  }

  /**
   * The batch's bytes, with base offset 0 and leader epoch 0. Records that compression would not
   * make smaller are stored as they are. The builder must not be used afterwards.
   */
  finish(options: FinishOptions = {}): Uint8Array {
    assert(this.records > 0, "a batch holds at least one message");
    assert(!this.finished, "a batch is finished once");
    this.finished = true;
    let compression = options.compression ?? "none";
    if (compression !== "none") {
      const packed = compress(compression, this.bytes.subarray(BATCH_HEADER_BYTES, this.end));
      if (BATCH_HEADER_BYTES + packed.length < this.end) this.replaceRecords(packed);
      else compression = "none";
    }
    const batch = this.bytes.subarray(0, this.end);
    this.writeHeader(viewOf(batch), options, compression);
    viewOf(batch).setUint32(field.crc, crc32c(batch, CHECKED_FROM));
    return batch;
  }

  private writeHeader(view: DataView, options: FinishOptions, compression: Compression): void {
    writeInt64(view, field.baseOffset, 0);
    view.setInt32(field.length, this.end - BATCH_PREFIX_BYTES);
    view.setInt32(field.leaderEpoch, 0);
    view.setInt8(field.magic, BATCH_MAGIC);
    view.setInt16(field.attributes, compressionCodes[compression]);
    view.setInt32(field.lastOffsetDelta, this.records - 1);
    writeInt64(view, field.baseTimestamp, this.baseTimestampMs);
    writeInt64(view, field.maxTimestamp, this.maxTimestampMs);
    writeInt64(view, field.producerId, options.producerId ?? NO_PRODUCER);
    view.setInt16(field.producerEpoch, options.producerEpoch ?? -1);
    view.setInt32(field.baseSequence, options.baseSequence ?? -1);
    view.setInt32(field.count, this.records);
  }

  private replaceRecords(packed: Uint8Array): void {
    this.bytes.set(packed, BATCH_HEADER_BYTES);
    this.end = BATCH_HEADER_BYTES + packed.length;
  }

  /** Makes room for a record whose body has `bodyBytes`; throws where the batch is full. */
  private reserve(bodyBytes: number): void {
    const needed = this.end + bodyBytes + varintSize(bodyBytes);
    if (needed > limits.batchBytes) {
      throw new TrilogError("message_too_large", "Cannot add message: the batch is full");
    }
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.end));
    this.bytes = grown;
  }
}

/**
 * Throws `message_too_large` for a message that no batch takes. `recordBytes`: its key, value and
 * headers together.
 */
export function checkMessage(value: Uint8Array | null, recordBytes: number): void {
  const valueBytes = value?.length ?? 0;
  const { messageBytes: most, recordBytes: mostTogether } = limits;
  const refuse = (state: string) =>
    new TrilogError("message_too_large", `Cannot send message: ${state}`);
  if (valueBytes > most) {
    throw refuse(`its value has ${valueBytes} bytes, and the limit is ${most}`);
  }
  if (recordBytes > mostTogether) {
    throw refuse(
      `its key, value and headers have ${recordBytes} bytes together, and the limit is ` +
        `${mostTogether}`,
    );
  }
}

/** Bytes of headers as a record holds them; 0 for none. */
export function headersSize(headers: readonly RecordHeader[]): number {
  if (headers.length === 0) return 0;
  const one = ({ key, value }: RecordHeader) => sizeOf(utf8(key)) + sizeOf(value);
  return headers.reduce((sum, header) => sum + one(header), varintSize(headers.length));
}

/** Gives a finished batch another producer and sequence, in place, with epoch 0. */
export function renumberBatch(batch: Uint8Array, producerId: number, baseSequence: number): void {
  const view = viewOf(batch);
  writeInt64(view, field.producerId, producerId);
  view.setInt16(field.producerEpoch, 0);
  view.setInt32(field.baseSequence, baseSequence);
  view.setUint32(field.crc, crc32c(batch, CHECKED_FROM));
}

/** Bytes of a length and the bytes behind it; null has the length -1. */
function sizeOf(part: Uint8Array | null): number {
  return part === null ? 1 : varintSize(part.length) + part.length;
}

function writeBytes(bytes: Uint8Array, at: number, part: Uint8Array | null): number {
  if (part === null) return writeVarint(bytes, at, -1);
  const length = part.length;
  const start = writeVarint(bytes, at, length);
  if (length > SHORT_COPY_BYTES) bytes.set(part, start);
  else for (let offset = 0; offset < length; offset += 1) bytes[start + offset] = part[offset];
  return start + length;
}

function packHeaders(headers: readonly RecordHeader[]): Uint8Array {
  const keys = headers.map((header) => utf8(header.key));
  let size = varintSize(headers.length);
  for (const [at, key] of keys.entries()) size += sizeOf(key) + sizeOf(headers[at].value);
  const packed = new Uint8Array(size);
  let end = writeVarint(packed, 0, headers.length);
  for (const [at, key] of keys.entries()) {
    end = writeBytes(packed, end, key);
    end = writeBytes(packed, end, headers[at].value);
  }
  return packed;
}
