import { assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { decode, encode } from "@std/msgpack";
import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { DelimiterStream } from "@std/streams";
import * as mp from "@msgpack/msgpack";

Deno.test("the pinned standard packages answer under their official names", async () => {
  assertEquals(parseArgs(["--a", "b", "c"], { string: ["a"] }).a, "b");
  assertEquals(mp.decode(encode([1, "x", new Uint8Array([7])])), [1, "x", new Uint8Array([7])]);
  assertEquals(decode(mp.encode([1, "x"])), [1, "x"]);
  assertEquals(existsSync(join("lib", "types")), true);
  const lines: Uint8Array[] = [];
  const source = new Blob(["a\r\n\nb"]).stream();
  for await (const line of source.pipeThrough(new DelimiterStream(new Uint8Array([10])))) {
    lines.push(line);
  }
  assertEquals(lines.map((line) => [...line]), [[97, 13], [], [98]]);
});
