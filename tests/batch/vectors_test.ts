import { assert, assertEquals, assertThrows } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { Prng } from "../../lib/base/prng.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { crc32c } from "../../lib/batch/crc32c.ts";
import { murmur2, partitionOfKey } from "../../lib/batch/murmur2.ts";
import {
  VarintReader,
  varintSize,
  varlongSize,
  writeVarint,
  writeVarlong,
} from "../../lib/batch/varint.ts";

Deno.test("CRC-32C answers the vectors of RFC 3720 and the usual check string", () => {
  assertEquals(crc32c(utf8("123456789")), 0xe3069283);
  assertEquals(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assertEquals(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assertEquals(crc32c(Uint8Array.from({ length: 32 }, (_, at) => at)), 0x46dd794e);
  assertEquals(crc32c(Uint8Array.from({ length: 32 }, (_, at) => 31 - at)), 0x113fdb5c);
  assertEquals(crc32c(new Uint8Array(0)), 0);
});

Deno.test("CRC-32C of any part of a buffer equals the bitwise definition", () => {
  const random = new Prng(1);
  const bytes = Uint8Array.from({ length: 300 }, () => random.below(256));
  for (let run = 0; run < 200; run += 1) {
    const from = random.below(100);
    const to = from + random.below(200);
    let crc = 0xffffffff;
    for (let at = from; at < to; at += 1) {
      crc ^= bytes[at];
      for (let bit = 0; bit < 8; bit += 1) {
        crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
      }
    }
    assertEquals(crc32c(bytes, from, to), ~crc >>> 0);
  }
});

Deno.test("murmur2 answers the vectors of Kafka's own tests", () => {
  assertEquals(murmur2(utf8("21")), -973932308);
  assertEquals(murmur2(utf8("foobar")), -790332482);
  assertEquals(murmur2(utf8("a-little-bit-long-string")), -985981536);
  assertEquals(murmur2(utf8("a-little-bit-longer-string")), -1486304829);
  assertEquals(
    murmur2(utf8("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8")),
    -58897971,
  );
  assertEquals(murmur2(utf8("abc")), 479470107);
});

Deno.test("a key's partition is the positive hash modulo the number of partitions", () => {
  assertEquals(partitionOfKey(utf8("21"), 7), (-973932308 & 0x7fffffff) % 7);
  assertEquals(partitionOfKey(utf8("anything"), 1), 0);
});

const BOUNDARIES = [0, 1, 63, 64, 8191, 8192, 2 ** 20 - 1, 2 ** 20, 2 ** 27 - 1, 2 ** 27];

Deno.test("varints come back as they were written, in the size announced", () => {
  const values = [...BOUNDARIES, 2 ** 31 - 1, ...BOUNDARIES.map((value) => -value), -(2 ** 31)];
  const random = new Prng(2);
  for (let run = 0; run < 500; run += 1) values.push(random.nextUint32() | 0);
  for (const value of values) {
    const bytes = new Uint8Array(5);
    const end = writeVarint(bytes, 0, value);
    assertEquals(end, varintSize(value));
    const reader = new VarintReader(bytes, 0, end);
    assertEquals(reader.varint(), value | 0);
    assertEquals(reader.at, end);
  }
});

Deno.test("varlongs agree with zigzag in 64-bit arithmetic over all safe integers", () => {
  const values = [...BOUNDARIES, 2 ** 31, 2 ** 32, 2 ** 48, Number.MAX_SAFE_INTEGER];
  const random = new Prng(3);
  for (let run = 0; run < 500; run += 1) values.push(Math.floor(random.next() * 2 ** 53));
  for (const value of values.flatMap((value) => [value, -value])) {
    const bytes = new Uint8Array(10);
    const end = writeVarlong(bytes, 0, value);
    assertEquals(end, varlongSize(value));
    assertEquals([...bytes.subarray(0, end)], bigVarlong(BigInt(value)));
    assertEquals(new VarintReader(bytes, 0, end).varlong(), value === 0 ? 0 : value);
  }
});

function bigVarlong(value: bigint): number[] {
  let zigzag = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
  const bytes: number[] = [];
  for (; zigzag > 0x7fn; zigzag >>= 7n) bytes.push(Number(zigzag & 0x7fn) | 0x80);
  return [...bytes, Number(zigzag)];
}

Deno.test("numbers that are cut off or too wide are refused as an invalid batch", () => {
  const wide = new Uint8Array(11).fill(0xff);
  for (
    const read of [
      () => new VarintReader(wide, 0, 1).varint(),
      () => new VarintReader(wide, 0, 11).varint(),
      () => new VarintReader(wide, 0, 11).varlong(),
      () => new VarintReader(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x1f), 0, 5).varint(),
      () => new VarintReader(Uint8Array.of(...wide.subarray(0, 8), 1), 0, 9).varlong(),
      () => new VarintReader(wide, 0, 4).skip(5),
      () => new VarintReader(wide, 0, 4).skip(-1),
    ]
  ) {
    const error = assertThrows(read, TrilogError);
    assert(error.code === "invalid_batch");
  }
});
