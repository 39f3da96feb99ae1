import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { decode as witnessDecode } from "@std/msgpack";
import { concatBytes } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { type Packable, unpack } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";
import { FrameDecoder, FrameEncoder } from "../../lib/net/frame.ts";
import { encodeFrames } from "./helpers.ts";

function drain(decoder: FrameDecoder, chunk: Uint8Array): Uint8Array[] {
  const payloads: Uint8Array[] = [];
  decoder.push(chunk);
  for (let next = decoder.next(); next !== null; next = decoder.next()) payloads.push(next);
  return payloads;
}

Deno.test("a frame is its length in four bytes, highest first, and its MessagePack", () => {
  assertEquals([...encodeFrames([0, "g", null])], [0, 0, 0, 5, 0x93, 0, 0xa1, 0x67, 0xc0]);
});

Deno.test("frames come out the same however the stream is cut", () => {
  const random = new Prng(42);
  const decoder = new FrameDecoder(1 << 20);
  for (let round = 0; round < 200; round += 1) {
    const values: Packable[] = Array.from({ length: random.between(1, 8) }, (_, i) => [
      i,
      "x".repeat(random.below(40)),
      new Uint8Array(random.chance(0.1) ? random.below(200_000) : random.below(50)).fill(i),
    ]);
    const stream = encodeFrames(...values);
    const seen: Packable[] = [];
    for (let at = 0; at < stream.length;) {
      const count = random.chance(0.5) ? random.between(1, 7) : random.between(1, 100_000);
      seen.push(...drain(decoder, stream.slice(at, at + count)).map((bytes) => unpack(bytes)));
      at += count;
    }
    assertEquals(seen, values);
    assertEquals(decoder.midFrame, false);
  }
});

Deno.test("a frame within one chunk is a view of it, one that spans chunks is a copy", () => {
  const stream = encodeFrames("within", "spanning");
  const decoder = new FrameDecoder(1_024);
  const first = drain(decoder, stream.subarray(0, 15));
  assertStrictEquals(first[0].buffer, stream.buffer);
  assertEquals(decoder.midFrame, true);
  const second = drain(decoder, stream.subarray(15));
  assert(second[0].buffer !== stream.buffer);
  assertEquals([...first, ...second].map((bytes) => unpack(bytes)), ["within", "spanning"]);
});

Deno.test("a frame that spans chunks stays as it is while later ones arrive", () => {
  const values = Array.from({ length: 50 }, (_, i) => new Uint8Array(100).fill(i));
  const stream = encodeFrames(...values);
  const decoder = new FrameDecoder(1_024);
  const payloads: Uint8Array[] = [];
  for (let at = 0; at < stream.length; at += 33) {
    payloads.push(...drain(decoder, stream.slice(at, at + 33)));
  }
  assertEquals(payloads.map((bytes) => unpack(bytes)), values);
});

Deno.test("a length above the limit is refused as soon as the header is there", () => {
  const decoder = new FrameDecoder(100);
  decoder.push(new Uint8Array([0, 0, 0, 101]));
  const error = assertThrows(() => decoder.next(), TrilogError);
  assertEquals(error.code, "frame_too_large");
  const largest = new FrameDecoder(100);
  largest.push(new Uint8Array([255, 255, 255, 255]));
  assertThrows(() => largest.next(), TrilogError, "4294967295");
  assertEquals(drain(new FrameDecoder(100), new Uint8Array([0, 0, 0, 100])), []);
});

Deno.test("a large claim takes no more memory than its bytes justify", () => {
  const decoder = new FrameDecoder(2 ** 31);
  decoder.push(new Uint8Array([0x7f, 0xff, 0xff, 0xff, 1, 2, 3]));
  const before = Deno.memoryUsage().external;
  assertEquals(decoder.next(), null);
  assert(Deno.memoryUsage().external - before < 1_000_000);
});

Deno.test("an empty frame is a frame", () => {
  const payloads = drain(new FrameDecoder(10), new Uint8Array([0, 0, 0, 0, 0, 0, 0, 1, 0xc0]));
  assertEquals(payloads.map((bytes) => bytes.length), [0, 1]);
});

Deno.test("the encoder joins frames, reports their bytes and refuses what has no room", () => {
  const encoder = new FrameEncoder(100);
  assertEquals(encoder.append("abc"), 8);
  assertEquals(encoder.append("abc", 15), 0);
  assertEquals(encoder.append("abc", 16), 8);
  assertEquals(encoder.bytes, 16);
  assertThrows(() => encoder.append(new Uint8Array(100)), TrilogError, "limit is 100");
  const taken = encoder.take();
  assertEquals([encoder.bytes, taken.length], [0, 16]);
});

Deno.test("a buffer handed out is not written again until it is given back", () => {
  const encoder = new FrameEncoder(1_000_000);
  encoder.append("first");
  const first = encoder.take();
  const copy = first.slice();
  encoder.append("second");
  encoder.append(new Uint8Array(300_000));
  const second = encoder.take();
  assertEquals(first, copy);
  assert(first.buffer !== second.buffer);
  encoder.recycle(second);
  encoder.append("third");
  assertStrictEquals(encoder.take().buffer, second.buffer);
  assertEquals(first, copy);
});

Deno.test("a buffer that grows keeps the frames that are in it", () => {
  const values = Array.from({ length: 100 }, (_, i) => new Uint8Array(i * 100).fill(i));
  const payloads = drain(new FrameDecoder(1 << 20), encodeFrames(...values));
  assertEquals(payloads.map((bytes) => unpack(bytes)), values);
});

Deno.test("an independent decoder reads our frames", () => {
  const values: Packable[] = [
    [0, "group", "r1", "r2", [1, 2 ** 40, -7, new Uint8Array([1, 2, 3])]],
    [2, 7, ["not_leader", "Cannot", true, null], null],
    { a: true, b: [1.5, "\u00e9\u{1f600}", 2 ** 53 - 1, -(2 ** 53 - 1)] },
  ];
  const stream = concatBytes(values.map((value) => encodeFrames(value)));
  const payloads = drain(new FrameDecoder(10_000), stream);
  assertEquals(payloads.map((bytes) => asNumbers(witnessDecode(bytes))), values);
});

/** The witness reads 64-bit integers as bigint. */
function asNumbers(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(asNumbers);
  if (value === null || typeof value !== "object" || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, asNumbers(item)]));
}
