/** kafkajs, another implementation of the format, as a witness: it reads ours, we read its. */

import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { concatBytes, displayText, utf8 } from "../../lib/base/bytes.ts";
import { Prng } from "../../lib/base/prng.ts";
import { patchBaseOffset } from "../../lib/batch/batch_header.ts";
import { recordsOf, validateBatch } from "../../lib/batch/batch_reader.ts";
import { BatchBuilder } from "../../lib/batch/batch_writer.ts";
import { type Compression, compressionCodes } from "../../lib/batch/compression.ts";
import { crc32c } from "../../lib/batch/crc32c.ts";
import { murmur2 } from "../../lib/batch/murmur2.ts";
import decodeBatch from "kafkajs/src/protocol/recordBatch/v0/decoder.js";
import encoding from "kafkajs/src/protocol/recordBatch/v0/index.js";
import encodeRecord from "kafkajs/src/protocol/recordBatch/record/v0/index.js";
import Decoder from "kafkajs/src/protocol/decoder.js";
import kafkaCrc32c from "kafkajs/src/protocol/recordBatch/crc32C/index.js";
import kafkaMurmur2 from "kafkajs/src/producer/partitioners/default/murmur2.js";
import { randomBytes, randomMessages } from "./support.ts";

/** A record as the decoder of kafkajs returns it; the package declares no types for it. */
interface KafkaRecord {
  readonly offset: string;
  readonly timestamp: string;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: Record<string, Uint8Array | null>;
}

/** What both sides know of a message. */
interface Plain {
  readonly offset: string;
  readonly timestamp: string;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Record<string, string | null>;
}

const hex = (bytes: Uint8Array | null) =>
  bytes === null ? null : Buffer.from(bytes).toString("hex");

async function readByKafka(batch: Uint8Array) {
  const decoded = await decodeBatch(new Decoder(Buffer.from(batch)));
  return {
    ...decoded,
    plain: decoded.records.map((record: KafkaRecord): Plain => ({
      offset: record.offset,
      timestamp: record.timestamp,
      key: hex(record.key),
      value: hex(record.value),
      headers: Object.fromEntries(
        Object.entries(record.headers).map(([name, value]) => [name, hex(value)]),
      ),
    })),
  };
}

function readByUs(batch: Uint8Array): Plain[] {
  return [...recordsOf(batch)].map((record) => ({
    offset: String(record.offset),
    timestamp: String(record.timestampMs),
    key: hex(record.key),
    value: hex(record.value),
    headers: Object.fromEntries(record.headers.map(({ key, value }) => [key, hex(value)])),
  }));
}

for (const compression of ["none", "gzip"] as const satisfies readonly Compression[]) {
  Deno.test(`kafkajs reads our batches, compression ${compression}`, async () => {
    const random = new Prng(3);
    for (let run = 0; run < 20; run += 1) {
      const builder = new BatchBuilder();
      const messages = randomMessages(random, random.between(1, 40));
      for (const { key, value, timestampMs, headers } of messages) {
        builder.add(key, value, timestampMs, headers);
      }
      const batch = builder.finish({
        producerId: 4_000_000_000_000,
        producerEpoch: 12,
        baseSequence: 77,
        compression,
      });
      patchBaseOffset(batch, 5_000_000_000, 6);
      const decoded = await readByKafka(batch);
      assertEquals(decoded.plain, readByUs(batch));
      assertEquals(decoded.plain.length, messages.length);
      assertEquals(decoded.firstOffset, "5000000000");
      assertEquals(decoded.partitionLeaderEpoch, 6);
      assertEquals(decoded.producerId, "4000000000000");
      assertEquals(decoded.producerEpoch, 12);
      assertEquals(decoded.firstSequence, 77);
    }
  });

  Deno.test(`we read the batches of kafkajs, compression ${compression}`, async () => {
    const timestamps = [1_700_000_000_000, 1_700_000_000_050, 1_700_000_009_999];
    const records = timestamps.map((timestamp, at) =>
      encodeRecord({
        offsetDelta: at,
        timestampDelta: timestamp - timestamps[0],
        key: at === 0 ? null : Buffer.from(`key ${at}`),
        value: Buffer.from(`value ${at}, `.repeat(30)),
        headers: at === 2 ? { colour: Buffer.from("blue") } : {},
      })
    );
    const encoded = await encoding.RecordBatch({
      compression: compressionCodes[compression],
      firstTimestamp: timestamps[0],
      maxTimestamp: timestamps[2],
      lastOffsetDelta: 2,
      producerId: 99,
      producerEpoch: 4,
      firstSequence: 1_000,
      records,
    });
    const batch = new Uint8Array(encoded.buffer);
    const header = validateBatch(batch);
    assertEquals(header.compression, compression);
    assertEquals(header.maxTimestampMs, timestamps[2]);
    assertEquals([header.producerId, header.producerEpoch, header.baseSequence], [99, 4, 1_000]);
    const read = [...recordsOf(batch)];
    assertEquals(read.map((record) => record.timestampMs), timestamps);
    assertEquals(read.map((record) => record.key && displayText(record.key)), [
      null,
      "key 1",
      "key 2",
    ]);
    assertEquals(displayText(read[1].value!), "value 1, ".repeat(30));
    assertEquals(read[2].headers, [{ key: "colour", value: utf8("blue") }]);
  });
}

Deno.test("checksum and key hash agree with kafkajs on random bytes", () => {
  const random = new Prng(8);
  for (let run = 0; run < 300; run += 1) {
    const bytes = randomBytes(random, random.below(120));
    assertEquals(crc32c(bytes), kafkaCrc32c(Buffer.from(bytes)));
    assertEquals(murmur2(bytes), kafkaMurmur2(Buffer.from(bytes)));
  }
});

Deno.test("batches that follow each other in an answer are read by kafkajs one by one", async () => {
  const parts = [0, 1].map((at) => {
    const builder = new BatchBuilder();
    builder.add(null, utf8(`batch ${at}`), 5);
    const batch = builder.finish();
    patchBaseOffset(batch, at, 0);
    return batch;
  });
  const decoder = new Decoder(Buffer.from(concatBytes(parts)));
  for (const at of [0, 1]) {
    const { records } = await decodeBatch(decoder);
    assertEquals(records.map((record: KafkaRecord) => record.offset), [String(at)]);
  }
});
