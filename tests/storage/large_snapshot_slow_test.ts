/** Snapshots beyond 2 GiB: sizes and positions that do not fit in 31 bits. */

import { assert, assertEquals } from "@std/assert";
import { DenoDisk } from "../../lib/storage/deno_disk.ts";
import { directory, founders, openLog } from "./fixtures.ts";

const GIB = 2 ** 30;
const PART = new Uint8Array(256 * 1024).fill(7);

Deno.test("a state of more than 2 GiB is written, read back and read, part by part", async () => {
  const root = Deno.makeTempDirSync({ prefix: "trilog-large-" });
  try {
    const log = openLog(new DenoDisk(root));
    const meta = { last: { index: 9, term: 2 }, timeMs: 1, membership: founders };
    const writer = log.beginSnapshot(meta);
    const size = 2 * GIB + 3 * PART.length + 5;
    while (writer.size + PART.length <= size) writer.write(PART);
    writer.write(new Uint8Array([1, 2, 3, 4, 5]));
    assertEquals(writer.size, size);
    writer.end();
    await writer.sync();
    while (!writer.check());
    writer.publish();
    const reader = log.openSnapshot(9)!;
    assertEquals(reader.size, size);
    for (const at of [0, GIB, 2 * GIB - 3, 2 * GIB, 2 * GIB + 2 * PART.length]) {
      assert(reader.read(at, 1_000).every((byte) => byte === 7), `at ${at}`);
    }
    assertEquals([...reader.read(size - 7, 100)], [7, 7, 1, 2, 3, 4, 5]);
    reader.close();
    log.close();
    const again = openLog(new DenoDisk(root));
    assertEquals(again.openSnapshot(9)!.size, size);
    assertEquals(Deno.statSync(`${root}/${directory}/${SNAPSHOT}`).size > size, true);
    const { heapUsed, external } = Deno.memoryUsage();
    assert(heapUsed + external < GIB / 2, "it was never in memory as a whole");
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

const SNAPSHOT = "0000000000000009-0000000000000002.snapshot";
