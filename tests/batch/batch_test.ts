import { assert, assertEquals, assertThrows } from "@std/assert";
import { gzipSync } from "node:zlib";
import { concatBytes, utf8, viewOf } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { Prng } from "../../lib/base/prng.ts";
import {
  BATCH_HEADER_BYTES,
  CHECKED_FROM,
  field,
  patchBaseOffset,
  readBatchHeader,
} from "../../lib/batch/batch_header.ts";
import {
  batchesIn,
  firstOffsetAt,
  recordsOf,
  validateBatch,
} from "../../lib/batch/batch_reader.ts";
import { BatchBuilder } from "../../lib/batch/batch_writer.ts";
import { compressions } from "../../lib/batch/compression.ts";
import { crc32c } from "../../lib/batch/crc32c.ts";
import { varintSize, writeVarint } from "../../lib/batch/varint.ts";
import { addAll, randomBytes, randomMessages } from "./support.ts";

function refused(bytes: Uint8Array, because = ""): void {
  const error = assertThrows(() => validateBatch(bytes), TrilogError, because);
  assertEquals(error.code, "invalid_batch");
}

/** A batch of `count` small messages. */
function smallBatch(count = 3): Uint8Array {
  const builder = new BatchBuilder();
  for (let at = 0; at < count; at += 1) builder.add(null, utf8(`message ${at}`), 1_000 + at);
  return builder.finish({ producerId: 7, producerEpoch: 1, baseSequence: 5 });
}

/** The batch with a change made to it and the checksum put right again. */
function resealed(batch: Uint8Array, change: (bytes: Uint8Array, view: DataView) => void) {
  const copy = batch.slice();
  change(copy, viewOf(copy));
  viewOf(copy).setUint32(field.crc, crc32c(copy, CHECKED_FROM));
  return copy;
}

for (const compression of compressions) {
  Deno.test(`messages come back as they went in, with compression ${compression}`, () => {
    const random = new Prng(11);
    for (let run = 0; run < 40; run += 1) {
      const messages = randomMessages(random, random.between(1, 60));
      const builder = new BatchBuilder(random.below(200));
      addAll(builder, messages);
      assertEquals(builder.count, messages.length);
      const batch = builder.finish({
        producerId: 2 ** 40 + run,
        producerEpoch: 3,
        baseSequence: run,
        compression,
      });
      const header = validateBatch(batch);
      assertEquals(header.count, messages.length);
      assertEquals(header.producerId, 2 ** 40 + run);
      assertEquals(header.producerEpoch, 3);
      assertEquals(header.baseSequence, run);
      assertEquals(header.maxTimestampMs, Math.max(...messages.map((one) => one.timestampMs)));
      patchBaseOffset(batch, 2 ** 45, 9);
      const read = [...recordsOf(batch)];
      assertEquals(
        read,
        messages.map((message, at) => ({ offset: 2 ** 45 + at, ...message })),
      );
      assertEquals(validateBatch(batch).leaderEpoch, 9);
    }
  });
}

Deno.test("compression makes a repetitive batch smaller and says so in its header", () => {
  for (const compression of compressions) {
    const builder = new BatchBuilder();
    for (let at = 0; at < 500; at += 1) builder.add(null, utf8("the same line again"), at);
    const raw = builder.sizeBytes;
    const batch = builder.finish({ compression });
    assertEquals(readBatchHeader(batch).compression, compression);
    assert(compression === "none" ? batch.length === raw : batch.length < raw / 4);
  }
});

Deno.test("records that compression would enlarge are stored as they are", () => {
  const builder = new BatchBuilder();
  builder.add(null, randomBytes(new Prng(5), 300), 0);
  const batch = builder.finish({ compression: "gzip" });
  assertEquals(validateBatch(batch).compression, "none");
});

Deno.test("the layout of a batch is Kafka's, byte for byte", () => {
  const builder = new BatchBuilder();
  builder.add(utf8("k"), utf8("v"), 0x0102030405);
  builder.add(null, utf8(""), 0x0102030405 + 64, [{ key: "h", value: null }]);
  const batch = builder.finish({ producerId: 258, producerEpoch: 2, baseSequence: 3 });
  const expected = [
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 69],
    [0, 0, 0, 0, 2],
    [...batch.subarray(17, 21)],
    [0, 0, 0, 0, 0, 1],
    [0, 0, 0, 1, 2, 3, 4, 5],
    [0, 0, 0, 1, 2, 3, 4, 69],
    [0, 0, 0, 0, 0, 0, 1, 2, 0, 2, 0, 0, 0, 3, 0, 0, 0, 2],
    [16, 0, 0, 0, 2, 0x6b, 2, 0x76, 0],
    [20, 0, 0x80, 1, 2, 1, 0, 2, 2, 0x68, 1],
  ].flat();
  assertEquals([...batch], expected);
  assertEquals(viewOf(batch).getUint32(17), crc32c(batch, 21));
});

Deno.test("a change of any single bit behind the checksum's start is noticed", () => {
  const batch = smallBatch(2);
  for (let bit = CHECKED_FROM * 8; bit < batch.length * 8; bit += 1) {
    batch[bit >> 3] ^= 1 << (bit & 7);
    refused(batch);
    batch[bit >> 3] ^= 1 << (bit & 7);
  }
  validateBatch(batch);
});

Deno.test("a batch with a right checksum and wrong contents is refused, and says why", () => {
  const batch = smallBatch();
  refused(batch.subarray(0, 60), "shorter than its header");
  refused(batch.subarray(0, batch.length - 1), "length field");
  refused(concatBytes([batch, Uint8Array.of(0)]), "bytes follow it");
  const cases: [string, (bytes: Uint8Array, view: DataView) => void][] = [
    ["format version", (_, view) => view.setInt8(field.magic, 1)],
    ["attributes", (_, view) => view.setInt16(field.attributes, 0x10)],
    ["attributes", (_, view) => view.setInt16(field.attributes, 7)],
    ["disagree", (_, view) => view.setInt32(field.lastOffsetDelta, 7)],
    ["no records", (_, view) => {
      view.setInt32(field.lastOffsetDelta, -1);
      view.setInt32(field.count, 0);
    }],
    ["claims more", (_, view) => {
      view.setInt32(field.lastOffsetDelta, 2 ** 31 - 2);
      view.setInt32(field.count, 2 ** 31 - 1);
    }],
    ["bytes follow its last record", (_, view) => {
      view.setInt32(field.lastOffsetDelta, 1);
      view.setInt32(field.count, 2);
    }],
    ["producer id", (_, view) => view.setInt32(field.producerId, -2)],
    ["out of range", (_, view) => view.setInt32(field.maxTimestamp, 2 ** 30)],
    ["without epoch", (_, view) => view.setInt32(field.baseSequence, -1)],
    ["negative", (_, view) => view.setInt32(field.baseOffset, -1)],
    ["offsets are out of range", (_, view) => {
      view.setUint32(field.baseOffset, 2 ** 21 - 1);
      view.setUint32(field.baseOffset + 4, 2 ** 32 - 1);
    }],
    ["timestamp is out of range", (bytes, view) => {
      view.setUint32(field.baseTimestamp, 2 ** 21 - 1);
      view.setUint32(field.baseTimestamp + 4, 2 ** 32 - 1);
      bytes[BATCH_HEADER_BYTES + 2] = 2;
    }],
    ["not dense", (bytes) => bytes[BATCH_HEADER_BYTES + 3] = 2],
    ["unknown attributes", (bytes) => bytes[BATCH_HEADER_BYTES + 1] = 1],
    ["overruns", (bytes) => bytes[BATCH_HEADER_BYTES] = 0x7e],
    ["parts disagree", (bytes) => bytes[BATCH_HEADER_BYTES] = 2 * 16],
  ];
  for (const [because, change] of cases) refused(resealed(batch, change), because);
});

Deno.test("a small batch that would unpack to more than the limit is refused", () => {
  const bomb = gzipSync(new Uint8Array(64 * 1024 * 1024));
  refused(handmade(bomb, 1), "cannot be decompressed");
});

/** A batch of one record with the given bytes behind a header that is right. */
function handmade(records: Uint8Array, attributes = 0): Uint8Array {
  return resealed(concatBytes([new Uint8Array(BATCH_HEADER_BYTES), records]), (bytes, view) => {
    view.setInt32(field.length, bytes.length - 12);
    view.setInt8(field.magic, 2);
    view.setInt16(field.attributes, attributes);
    view.setInt32(field.count, 1);
  });
}

/** A record with a null key, a value of zeros, and `tail` for the headers. */
function handmadeRecord(valueBytes: number, tail: readonly number[]): Uint8Array {
  const bodyBytes = 4 + varintSize(valueBytes) + valueBytes + tail.length;
  const record = new Uint8Array(varintSize(bodyBytes) + bodyBytes);
  let at = writeVarint(record, 0, bodyBytes) + 3;
  at = writeVarint(record, at, -1);
  at = writeVarint(record, at, valueBytes);
  record.set(tail, at + valueBytes);
  return record;
}

function varintBytes(value: number): Uint8Array {
  const bytes = new Uint8Array(varintSize(value));
  writeVarint(bytes, 0, value);
  return bytes;
}

Deno.test("a message or a batch above its limit is refused though all else is right", () => {
  validateBatch(handmade(handmadeRecord(limits.messageBytes, [0])));
  refused(handmade(handmadeRecord(limits.messageBytes + 1, [0])), "larger than the limit");
  const headers = [2, 2, 0x68, 2, 0x76];
  validateBatch(handmade(handmadeRecord(limits.messageBytes, headers)));
  const pad = limits.recordBytes - limits.messageBytes - 6;
  const long = [2, 2, 0x68, ...varintBytes(pad), ...new Uint8Array(pad)];
  validateBatch(handmade(handmadeRecord(limits.messageBytes, long)));
  const longer = [2, 2, 0x68, ...varintBytes(pad + 1), ...new Uint8Array(pad + 1)];
  refused(handmade(handmadeRecord(limits.messageBytes, longer)), "larger than the limit");
  refused(handmade(new Uint8Array(limits.batchBytes)), "it is larger than the limit");
});

Deno.test("a negative number of headers is refused", () => {
  validateBatch(handmade(handmadeRecord(3, [2, 2, 0x68, 1])));
  refused(handmade(handmadeRecord(3, [1])), "negative number of headers");
});

Deno.test("a length field that would stand still or go back is refused", () => {
  for (const length of [-12, -61, 0, 48, -(2 ** 31)]) {
    const batch = smallBatch();
    viewOf(batch).setInt32(field.length, length);
    assertThrows(() => [...batchesIn(batch)], TrilogError, "length field");
  }
});

Deno.test("the first message at or after a time is found by the producers' timestamps", () => {
  const builder = new BatchBuilder();
  for (const timestampMs of [50, 10, 70, 60]) builder.add(null, null, timestampMs);
  const batch = builder.finish();
  patchBaseOffset(batch, 100, 0);
  const found = [0, 50, 51, 70, 71].map((time) => firstOffsetAt(batch, time));
  assertEquals(found, [100, 100, 102, 102, null]);
});

Deno.test("concatenated batches are found one after the other", () => {
  const parts = [smallBatch(1), smallBatch(5), smallBatch(2)];
  parts.forEach((part, at) => patchBaseOffset(part, at * 10, 1));
  const found = [...batchesIn(concatBytes(parts))];
  assertEquals(found.map((batch) => validateBatch(batch).baseOffset), [0, 10, 20]);
  assertEquals(found, parts);
  const cut = concatBytes(parts).subarray(0, parts[0].length + 20);
  assertThrows(() => [...batchesIn(cut)], TrilogError, "shorter than its header");
});

Deno.test("a message above the limit is refused and leaves the batch as it was", () => {
  const builder = new BatchBuilder();
  builder.add(null, utf8("kept"), 1);
  const before = builder.sizeBytes;
  const error = assertThrows(
    () => builder.add(null, new Uint8Array(limits.messageBytes + 1), 1),
    TrilogError,
  );
  assertEquals(error.code, "message_too_large");
  assertEquals([builder.count, builder.sizeBytes], [1, before]);
  assert(builder.hasRoomFor(limits.messageBytes));
  builder.add(null, new Uint8Array(limits.messageBytes), 1);
  assert(!builder.hasRoomFor(limits.messageBytes));
  assertThrows(() => builder.add(null, new Uint8Array(limits.messageBytes), 1), TrilogError);
  assertEquals([...recordsOf(builder.finish())].length, 2);
});

Deno.test("random damage ends in a value or in invalid_batch, never in anything else", () => {
  const random = new Prng(42);
  let accepted = 0;
  for (let run = 0; run < 6_000; run += 1) {
    const builder = new BatchBuilder();
    addAll(builder, randomMessages(random, random.between(1, 6)));
    let bytes = builder.finish({ compression: random.pick(compressions) }).slice();
    for (let flip = random.between(1, 8); flip > 0; flip -= 1) {
      bytes[random.below(bytes.length)] = random.below(256);
    }
    if (random.chance(0.2)) bytes = bytes.subarray(0, random.below(bytes.length));
    if (bytes.length >= BATCH_HEADER_BYTES && random.chance(0.8)) {
      if (random.chance(0.7)) viewOf(bytes).setInt32(field.length, bytes.length - 12);
      viewOf(bytes).setUint32(field.crc, crc32c(bytes, CHECKED_FROM));
    }
    try {
      validateBatch(bytes);
      accepted += 1;
      assertEquals([...recordsOf(bytes)].length, readBatchHeader(bytes).count);
    } catch (thrown) {
      assert(thrown instanceof TrilogError && thrown.code === "invalid_batch", String(thrown));
    }
  }
  assert(accepted > 100 && accepted < 5_500, `${accepted} damaged batches were accepted`);
});
