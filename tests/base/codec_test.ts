import { assertEquals, assertThrows } from "@std/assert";
import {
  binary,
  flag,
  list,
  name,
  nullable,
  record,
  token,
  whole,
  word,
} from "../../lib/base/codec.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { pack, type Packable, unpack } from "../../lib/base/msgpack.ts";

interface Sample {
  readonly id: string;
  readonly size: number;
  readonly mode: "fast" | "safe";
  readonly parts: readonly (Uint8Array | null)[];
  readonly open: boolean;
}
const sample = record<Sample>({
  id: name,
  size: whole,
  mode: word("fast", "safe"),
  parts: list(nullable(binary)),
  open: flag,
});
const packed: readonly Packable[] = ["a", 7, "safe", [new Uint8Array([1]), null], true];

Deno.test("a record travels as an array of its fields and comes back equal", () => {
  const value: Sample = {
    id: "a",
    size: 7,
    mode: "safe",
    parts: [new Uint8Array([1]), null],
    open: true,
  };
  assertEquals(sample.encode(value), packed);
  assertEquals(sample.decode(unpack(pack(sample.encode(value))), "sample"), value);
});

Deno.test("binary fields are views into the received bytes", () => {
  const bytes = pack(packed);
  const part = sample.decode(unpack(bytes), "sample").parts[0];
  assertEquals(part?.buffer, bytes.buffer);
});

Deno.test("whatever is not exactly the described shape is malformed and names the field", () => {
  const cases: [Packable, string][] = [
    [null, "sample"],
    [{ id: "a" }, "sample"],
    [packed.slice(0, 4), "4 fields instead of 5"],
    [[...packed, 1], "6 fields instead of 5"],
    [["..", 7, "safe", [], true], "id"],
    [["a", -1, "safe", [], true], "size"],
    [["a", 1.5, "safe", [], true], "size"],
    [["a", 2 ** 53, "safe", [], true], "size"],
    [["a", "1", "safe", [], true], "size"],
    [["a", 1, "slow", [], true], "mode"],
    [["a", 1, "safe", ["x"], true], "parts"],
    [["a", 1, "safe", {}, true], "parts"],
    [["a", 1, "safe", [], 1], "open"],
  ];
  for (const [value, part] of cases) {
    const error = assertThrows(() => sample.decode(value, "sample"), TrilogError, part);
    assertEquals(error.code, "malformed");
  }
});

Deno.test("tokens are printable, not empty and bounded", () => {
  for (const good of ["a", "127.0.0.1:9001", "p/42/0", "x".repeat(249)]) {
    assertEquals(token.decode(good, "token"), good);
  }
  for (const bad of ["", "a b", "a\n", "\u00e9", "x".repeat(250)]) {
    assertThrows(() => token.decode(bad, "token"), TrilogError);
  }
});
