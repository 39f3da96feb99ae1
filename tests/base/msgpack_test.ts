import { assertEquals, assertThrows } from "@std/assert";
import { decode as witnessDecode, encode as witnessEncode } from "@std/msgpack";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { pack, type Packable, packShared, unpack } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";

const SUITE = new URL("../../../shared/data/msgpack/msgpack-test-suite.json", import.meta.url);

type Case = Record<string, unknown> & { msgpack: string[] };

function readSuite(): Record<string, Case[]> | null {
  try {
    return JSON.parse(Deno.readTextFileSync(SUITE));
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) return null;
    throw thrown;
  }
}

function bytesOf(hex: string): Uint8Array {
  const parts = hex === "" ? [] : hex.split("-");
  return new Uint8Array(parts.map((part) => parseInt(part, 16)));
}

function refuses(bytes: Uint8Array | number[], state: string, maxValues?: number): void {
  const input = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  const error = assertThrows(() => unpack(input, maxValues), TrilogError, state);
  assertEquals(error.code, "malformed");
}

/** What a case of the suite decodes to here, or undefined where it must be refused. */
function expectedOf(test: Case): Packable | undefined {
  if ("timestamp" in test || "ext" in test) return undefined;
  if ("binary" in test) return bytesOf(test.binary as string);
  if ("number" in test || "bignum" in test) {
    const exact = Number(test.number ?? test.bignum);
    return Number.isInteger(exact) && !Number.isSafeInteger(exact) ? undefined : exact;
  }
  const kind = Object.keys(test).find((name) => name !== "msgpack")!;
  return test[kind] as Packable;
}

const suite = readSuite();

Deno.test({
  name: "every encoding of the MessagePack test suite is read right or refused",
  ignore: suite === null,
  fn: () => {
    let read = 0;
    let refused = 0;
    for (const test of Object.values(suite!).flat()) {
      const expected = expectedOf(test);
      for (const hex of test.msgpack) {
        if (expected === undefined) {
          assertThrows(() => unpack(bytesOf(hex)), TrilogError, "", hex);
          refused += 1;
        } else {
          assertEquals(unpack(bytesOf(hex)), expected, hex);
          read += 1;
        }
      }
    }
    assertEquals(read > 120 && refused > 30, true, `${read} read, ${refused} refused`);
  },
});

const SAMPLES: Packable[] = [
  null,
  true,
  false,
  "",
  "x".repeat(31),
  "x".repeat(32),
  "x".repeat(70_000),
  "\u00e9\u{1f600} text \u0000",
  new Uint8Array(0),
  new Uint8Array(300).fill(7),
  new Uint8Array(70_000).fill(8),
  [],
  [[], [1, [2, [3]]]],
  Array.from({ length: 70_000 }, (_, i) => i),
  {},
  { a: 1, b: { c: [null] } },
  Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`k${i}`, i])),
];

const NUMBERS = [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]
  .flatMap((n) => [n, -n - 1 < -(2 ** 53) ? -n : -n - 1])
  .concat([-32, -33, -128, -129, -32_768, -32_769, 0.5, -1e300]);

Deno.test("what is packed is unpacked as it was", () => {
  for (const value of [...SAMPLES, ...NUMBERS]) assertEquals(unpack(pack(value)), value);
});

Deno.test("an independent implementation writes what we read and reads what we write", () => {
  for (const value of SAMPLES.filter((sample) => pack(sample).length < 1_000)) {
    assertEquals(witnessDecode(pack(value)), value);
    assertEquals(unpack(witnessEncode(value as Parameters<typeof witnessEncode>[0])), value);
  }
  for (const value of NUMBERS) assertEquals(Number(witnessDecode(pack(value))), value);
});

Deno.test("binary is a view into what it was decoded from", () => {
  const bytes = pack([1, new Uint8Array([5, 6])]);
  const [, binary] = unpack(bytes) as [number, Uint8Array];
  assertEquals(binary.buffer === bytes.buffer, true);
});

Deno.test("a shared packing is the same bytes, until the next one", () => {
  assertEquals(packShared([1, "two"]).slice(), pack([1, "two"]));
});

Deno.test("a whole number that a double cannot hold exactly is refused", () => {
  refuses([0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0], "beyond 2^53");
  refuses([0xcf, 0, 0x20, 0, 0, 0, 0, 0, 1], "beyond 2^53");
  refuses([0xcf, 255, 255, 255, 255, 255, 255, 255, 255], "beyond 2^53");
  refuses([0xd3, 0xff, 0xe0, 0, 0, 0, 0, 0, 0], "beyond 2^53");
  refuses([0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], "beyond 2^53");
  assertEquals(unpack(new Uint8Array([0xcf, 0, 0x1f, 255, 255, 255, 255, 255, 255])), 2 ** 53 - 1);
  assertEquals(unpack(new Uint8Array([0xd3, 0xff, 0xe0, 0, 0, 0, 0, 0, 1])), -(2 ** 53 - 1));
});

Deno.test("truncated values, leftovers and unknown types are refused", () => {
  const whole = pack([1, "text", new Uint8Array(300), { a: -70_000 }, 1.5, 2 ** 40]);
  for (let length = 0; length < whole.length; length += 1) {
    assertThrows(() => unpack(whole.slice(0, length)), TrilogError, "Cannot decode message");
  }
  refuses([1, 2], "left over");
  refuses([0xc1], "0xc1 is not known");
  for (const type of [0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8]) {
    refuses([type, 1, 1, 1, 1, 1, 1], "not known here");
  }
});

Deno.test("text that is not UTF-8, and map keys that are no plain names, are refused", () => {
  refuses([0xa1, 0xff], "not UTF-8");
  refuses([0xa2, 0xc0, 0x80], "not UTF-8");
  refuses([0xa3, 0xed, 0xa0, 0x80], "not UTF-8");
  refuses([0xd9, 40, ...Array(39).fill(0x61), 0x80], "not UTF-8");
  refuses([0x81, 1, 1], "not a string");
  refuses(pack(JSON.parse('{"__proto__":1}') as Packable), "forbidden");
});

Deno.test("nesting is allowed to the limit and refused beyond it", () => {
  const nested = (depth: number) => new Uint8Array([...Array(depth).fill(0x91), 0xc0]);
  assertEquals(unpack(nested(limits.nestingDepth)) !== null, true);
  refuses(nested(limits.nestingDepth + 1), "nested too deeply");
  refuses(nested(1_000_000), "nested too deeply");
  refuses([...Array(20).fill([0x81, 0xa1, 0x61]).flat(), 0xc0], "nested too deeply");
});

Deno.test("a length that is only claimed costs nothing", () => {
  for (const type of [0xc6, 0xdb, 0xdd, 0xdf]) refuses([type, 255, 255, 255, 255, 0], "beyond");
  const claim = [0xdd, 0, 0, 0x7f, 0xff];
  const levels = new Uint8Array(40_000);
  for (let level = 0; level < limits.nestingDepth; level += 1) levels.set(claim, level * 5);
  refuses(levels, "");
});

Deno.test("the number of values can be limited", () => {
  assertEquals(unpack(pack([1, 2, 3]), 4), [1, 2, 3]);
  refuses(pack([1, 2, 3]), "too many values", 3);
  refuses(pack({ a: 1 }), "too many values", 2);
});

Deno.test("random bytes are a value or malformed, and a value packs and unpacks again", () => {
  const random = new Prng(2026);
  let values = 0;
  for (let round = 0; round < 20_000; round += 1) {
    const bytes = new Uint8Array(random.below(24)).map(() => random.below(256));
    if (random.chance(0.5) && bytes.length > 0) bytes[0] = 0x80 + random.below(0x40);
    try {
      const value = unpack(bytes);
      assertEquals(unpack(pack(value)), value);
      values += 1;
    } catch (thrown) {
      assertEquals((thrown as TrilogError).code, "malformed");
    }
  }
  assertEquals(values > 100 && values < 19_000, true);
});
