import { assertEquals, assertThrows } from "@std/assert";
import { concatBytes } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { pack, type Packable } from "../../lib/base/msgpack.ts";
import { batched, StateReader, streamOf } from "../../lib/replica/state_stream.ts";

const VALUES: Packable[] = [1, "two", [3, [4]], new Uint8Array(300).fill(5), null, "rest"];

function cut(bytes: Uint8Array, size: number): Uint8Array[] {
  const parts = [];
  for (let at = 0; at < bytes.length; at += size) parts.push(bytes.subarray(at, at + size));
  return parts;
}

Deno.test("a stream is read back from parts of any size, and another one may follow", () => {
  const inner = concatBytes([...streamOf(7, ["inner"])]);
  const bytes = concatBytes([...streamOf(2, VALUES), inner]);
  for (const size of [1, 2, 3, 5, 64, 1_000]) {
    const reader = new StateReader(cut(bytes, size));
    assertEquals(reader.version, 2);
    assertEquals([...reader.list()], VALUES.slice(0, 4));
    assertEquals(reader.next(), "rest");
    const next = new StateReader(reader.rest());
    assertEquals([next.version, next.next()], [7, "inner"]);
  }
});

Deno.test("a state that is no stream is handed on as it is", () => {
  for (const bytes of [pack([1, [2]]), new Uint8Array(0), new Uint8Array([9])]) {
    for (const size of [1, 100]) {
      const reader = new StateReader(cut(bytes, size));
      assertEquals([reader.version, concatBytes([...reader.rest()])], [null, bytes]);
    }
  }
});

Deno.test("a stream that is cut off or has an absurd length is malformed", () => {
  const bytes = concatBytes([...streamOf(2, ["a", "bcd"])]);
  for (let length = 2; length < bytes.length; length += 1) {
    const reader = new StateReader([bytes.slice(0, length)]);
    const error = assertThrows(() => [reader.next(), reader.next()], TrilogError);
    assertEquals(error.code, "malformed");
  }
  const absurd = new StateReader([new Uint8Array([0xc1, 2, 255, 255, 255, 255])]);
  assertEquals(assertThrows(() => absurd.next(), TrilogError).code, "malformed");
});

Deno.test("batches are as long as asked for, and hold everything once", () => {
  const items = [...Array(100).keys()];
  const batches = [...batched(items, (item) => item, 200)];
  assertEquals(batches.flat(), items);
  for (const batch of batches.slice(0, -1)) {
    const sum = batch.reduce((total, item) => total + item, 0);
    assertEquals(sum >= 200 && sum < 300, true);
  }
  assertEquals([...batched([], () => 1, 1)], []);
});
