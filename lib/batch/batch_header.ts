/**
 * The header of Kafka's record batch, version 2 ("magic 2"), 61 bytes, big-endian:
 *
 *     0  int64  baseOffset            21  int16  attributes (CRC from here to the end)
 *     8  int32  length behind byte 12 23  int32  lastOffsetDelta
 *    12  int32  partitionLeaderEpoch  27  int64  baseTimestamp
 *    16  int8   magic = 2             35  int64  maxTimestamp
 *    17  uint32 CRC-32C               43  int64  producerId (-1: none)
 *                                     51  int16  producerEpoch
 *                                     53  int32  baseSequence
 *                                     57  int32  number of records
 *
 * Base offset and leader epoch lie outside the checksum: a broker fixes them without touching the
 * records. Attributes: bits 0 to 2 name the compression; log append time (bit 3), transactional
 * (4) and control batches (5) are not spoken here and are refused.
 */

import { viewOf } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { type Compression, compressionOf } from "./compression.ts";
import { invalidBatch } from "./varint.ts";

/** Bytes before the first record. */
export const BATCH_HEADER_BYTES = 61;
/** Bytes before the part that the length field counts. */
export const BATCH_PREFIX_BYTES = 12;
/** Where the checksummed part begins. */
export const CHECKED_FROM = 21;
export const BATCH_MAGIC = 2;
/** The producer id of a batch without one. */
export const NO_PRODUCER = -1;
/**
 * Producer ids from here on are used for one batch each: a hash of a request's id, with epoch 0
 * and sequence 0. They are remembered apart, so that they drive out no producer that goes on.
 */
export const ONE_BATCH_PRODUCERS_FROM = 2 ** 52;

/** Positions of the fields, as drawn above. */
export const field = {
  baseOffset: 0,
  length: 8,
  leaderEpoch: 12,
  magic: 16,
  crc: 17,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  producerEpoch: 51,
  baseSequence: 53,
  count: 57,
} as const;

export interface BatchHeader {
  /** Offset of the first record; 0 as produced, patched when it is read. */
  readonly baseOffset: number;
  /** Bytes of the whole batch, header included. */
  readonly sizeBytes: number;
  readonly leaderEpoch: number;
  /** CRC-32C as stored, not checked. */
  readonly crc: number;
  readonly compression: Compression;
  /** Number of records, from 1; their offsets are dense from `baseOffset`. */
  readonly count: number;
  /** Milliseconds since 1970, of the first record. */
  readonly baseTimestampMs: number;
  /** Milliseconds since 1970, the producer's latest. */
  readonly maxTimestampMs: number;
  /** {@link NO_PRODUCER} or the id under which retries are recognised. */
  readonly producerId: number;
  readonly producerEpoch: number;
  /** Sequence number of the first record, in [0, 2^31); sequences wrap around. */
  readonly baseSequence: number;
}

/**
 * The header of the batch that begins at `at`, with all its fields in range and in agreement, and
 * the whole batch within `bytes`. Neither checksum nor records are looked at: see `validateBatch`.
 * Throws `invalid_batch`.
 */
export function readBatchHeader(bytes: Uint8Array, at = 0): BatchHeader {
  if (bytes.length - at < BATCH_HEADER_BYTES) throw invalidBatch("it is shorter than its header");
  const view = viewOf(bytes);
  const sizeBytes = view.getInt32(at + field.length) + BATCH_PREFIX_BYTES;
  if (sizeBytes < BATCH_HEADER_BYTES || sizeBytes > bytes.length - at) {
    throw invalidBatch("its length field does not match its bytes");
  }
  if (sizeBytes > limits.batchBytes) throw invalidBatch("it is larger than the limit");
  const magic = view.getInt8(at + field.magic);
  if (magic !== BATCH_MAGIC) throw invalidBatch(`format version ${magic} is not known here`);
  const header: BatchHeader = {
    baseOffset: readSafe(view, at + field.baseOffset),
    sizeBytes,
    leaderEpoch: view.getInt32(at + field.leaderEpoch),
    crc: view.getUint32(at + field.crc),
    compression: compressionOf(view.getInt16(at + field.attributes)),
    count: view.getInt32(at + field.count),
    baseTimestampMs: readSafe(view, at + field.baseTimestamp),
    maxTimestampMs: readSafe(view, at + field.maxTimestamp),
    producerId: readSafe(view, at + field.producerId),
    producerEpoch: view.getInt16(at + field.producerEpoch),
    baseSequence: view.getInt32(at + field.baseSequence),
  };
  checkRelations(header, view.getInt32(at + field.lastOffsetDelta));
  return header;
}

function checkRelations(header: BatchHeader, lastOffsetDelta: number): void {
  if (header.baseOffset < 0) throw invalidBatch("its base offset is negative");
  if (!Number.isSafeInteger(header.baseOffset + header.count)) {
    throw invalidBatch("its offsets are out of range");
  }
  if (header.count < 1) throw invalidBatch("it holds no records");
  if (lastOffsetDelta !== header.count - 1) {
    throw invalidBatch("its offsets and its count disagree");
  }
  if (header.producerId < NO_PRODUCER) throw invalidBatch("its producer id is out of range");
  const idempotent = header.producerId !== NO_PRODUCER;
  if (idempotent && (header.producerEpoch < 0 || header.baseSequence < 0)) {
    throw invalidBatch("it names a producer without epoch or sequence");
  }
}

function readSafe(view: DataView, at: number): number {
  const value = view.getInt32(at) * 2 ** 32 + view.getUint32(at + 4);
  if (!Number.isSafeInteger(value)) throw invalidBatch("a number in its header is out of range");
  return value;
}

/** Writes a safe integer as a big-endian int64. */
export function writeInt64(view: DataView, at: number, value: number): void {
  view.setInt32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value >>> 0);
}

/**
 * Fixes, in place, the offset of a batch's first record and the epoch of the leader that appended
 * it. The checksum stays right. Only for bytes that nobody else holds: a log's own are shared with
 * the replication to others.
 */
export function patchBaseOffset(batch: Uint8Array, baseOffset: number, leaderEpoch: number): void {
  const view = viewOf(batch);
  writeInt64(view, field.baseOffset, baseOffset);
  view.setInt32(field.leaderEpoch, leaderEpoch);
}
