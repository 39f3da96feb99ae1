/**
 * Reads record batches (`batch_header.ts` draws the format) that may come from anybody: every
 * function ends in a value or in the error `invalid_batch`, in bounded memory.
 */

import { displayText, EMPTY_BYTES } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import {
  BATCH_HEADER_BYTES,
  type BatchHeader,
  CHECKED_FROM,
  readBatchHeader,
} from "./batch_header.ts";
import type { RecordHeader } from "./batch_writer.ts";
import { decompress } from "./compression.ts";
import { crc32c } from "./crc32c.ts";
import { invalidBatch, VarintReader } from "./varint.ts";

/** Bytes of the smallest record: its length and six parts of one byte each. */
const SMALLEST_RECORD_BYTES = 7;

/** One message as it stands in a batch; key and value are views, not copies. */
export interface BatchRecord {
  /** Its place in the partition, counted from 0. */
  readonly offset: number;
  /** Milliseconds since 1970, the producer's. */
  readonly timestampMs: number;
  /** Messages of one key are in one partition, in order; null where it has none. */
  readonly key: Uint8Array | null;
  /** What was sent. */
  readonly value: Uint8Array | null;
  /** In the order in which they were sent; most messages have none. */
  readonly headers: readonly RecordHeader[];
}

const NO_HEADERS: readonly RecordHeader[] = [];

/**
 * Checks everything about one batch that fills `bytes`: header, checksum, every record's parts,
 * count and offsets, and that nothing is left over. Returns its header.
 */
export function validateBatch(bytes: Uint8Array): BatchHeader {
  const header = readBatchHeader(bytes);
  if (header.sizeBytes !== bytes.length) throw invalidBatch("bytes follow it");
  if (crc32c(bytes, CHECKED_FROM) !== header.crc) throw invalidBatch("its checksum is wrong");
  const reader = openRecords(bytes, header);
  for (let delta = 0; delta < header.count; delta += 1) checkRecord(reader, header, delta);
  if (reader.at !== reader.end) throw invalidBatch("bytes follow its last record");
  return header;
}

/**
 * The records of one batch, front to back. Checks what it walks over, but not the checksum:
 * `validateBatch` does.
 */
export function* recordsOf(batch: Uint8Array): Generator<BatchRecord, void, undefined> {
  const header = readBatchHeader(batch);
  const reader = openRecords(batch, header);
  for (let delta = 0; delta < header.count; delta += 1) {
    yield readRecord(reader, header, delta);
  }
}

/** Offset of the first message of a batch at or after `timestampMs`; null where none is. */
export function firstOffsetAt(batch: Uint8Array, timestampMs: number): number | null {
  if (readBatchHeader(batch).maxTimestampMs < timestampMs) return null;
  for (const record of recordsOf(batch)) {
    if (record.timestampMs >= timestampMs) return record.offset;
  }
  return null;
}

/** The batches that follow each other in `bytes` (the answer to a fetch), as views. */
export function* batchesIn(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length;) {
    const { sizeBytes } = readBatchHeader(bytes, at);
    yield bytes.subarray(at, at + sizeBytes);
    at += sizeBytes;
  }
}

/** A reader of the records' bytes, decompressed where they have to be. */
function openRecords(batch: Uint8Array, header: BatchHeader): VarintReader {
  const stored = header.sizeBytes - BATCH_HEADER_BYTES;
  if (header.compression === "none") {
    checkCount(header.count, stored);
    return new VarintReader(batch, BATCH_HEADER_BYTES, header.sizeBytes);
  }
  const packed = batch.subarray(BATCH_HEADER_BYTES, header.sizeBytes);
  const records = decompress(header.compression, packed, limits.batchBytes - BATCH_HEADER_BYTES);
  checkCount(header.count, records.length);
  return new VarintReader(records, 0, records.length);
}

/** A count that the bytes cannot hold is refused before anybody walks or allocates by it. */
function checkCount(count: number, bytes: number): void {
  if (count * SMALLEST_RECORD_BYTES > bytes) throw invalidBatch("it claims more than it holds");
}

/** Walks over a record without building anything. */
function checkRecord(reader: VarintReader, header: BatchHeader, delta: number): void {
  const length = reader.varint();
  const start = reader.at;
  if (length < 0 || length > reader.end - start) throw invalidBatch("a record overruns it");
  if (reader.byte() !== 0) throw invalidBatch("a record has unknown attributes");
  if (!Number.isSafeInteger(header.baseTimestampMs + reader.varlong())) {
    throw invalidBatch("a timestamp is out of range");
  }
  if (reader.varint() !== delta) throw invalidBatch("its offsets are not dense");
  const keyBytes = skipNullable(reader);
  const valueBytes = skipNullable(reader);
  const headersAt = reader.at;
  const headers = reader.varint();
  if (headers !== 0) skipHeaders(reader, headers);
  if (reader.at - start !== length) throw invalidBatch("a record's length and parts disagree");
  const headerBytes = headers === 0 ? 0 : reader.at - headersAt;
  const recordBytes = keyBytes + valueBytes + headerBytes;
  if (valueBytes > limits.messageBytes || recordBytes > limits.recordBytes) {
    throw invalidBatch("a message is larger than the limit");
  }
}

/** Passes over bytes that may be null (length -1); returns how many they are. */
function skipNullable(reader: VarintReader): number {
  const length = reader.varint();
  if (length === -1) return 0;
  reader.skip(length);
  return length;
}

function skipHeaders(reader: VarintReader, count: number): void {
  if (count < 0) throw invalidBatch("a record has a negative number of headers");
  for (let header = 0; header < count; header += 1) {
    reader.skip(reader.varint());
    skipNullable(reader);
  }
}

function readRecord(reader: VarintReader, header: BatchHeader, delta: number): BatchRecord {
  const start = reader.at;
  checkRecord(reader, header, delta);
  const end = reader.at;
  reader.at = start;
  reader.varint();
  reader.byte();
  const timestampMs = header.baseTimestampMs + reader.varlong();
  reader.varint();
  const key = readNullable(reader);
  const value = readNullable(reader);
  const headers = readHeaders(reader);
  reader.at = end;
  return { offset: header.baseOffset + delta, timestampMs, key, value, headers };
}

function readNullable(reader: VarintReader): Uint8Array | null {
  const length = reader.varint();
  if (length === -1) return null;
  if (length === 0) return EMPTY_BYTES;
  const start = reader.skip(length);
  return reader.bytes.subarray(start, start + length);
}

function readHeaders(reader: VarintReader): readonly RecordHeader[] {
  const count = reader.varint();
  if (count === 0) return NO_HEADERS;
  const headers: RecordHeader[] = [];
  for (let header = 0; header < count; header += 1) {
    const length = reader.varint();
    const start = reader.skip(length);
    const key = displayText(reader.bytes.subarray(start, start + length));
    headers.push({ key, value: readNullable(reader) });
  }
  return headers;
}
