/** More producers at a real broker than a partition remembered when it counted them. */

import { assertEquals } from "@std/assert";
import { TestBrokers } from "./cluster.ts";
import { sentBy } from "./partition_support.ts";

const PRODUCERS = 4_500;
const AT_ONCE = 500;

Deno.test("4,500 producers that write to one partition in turns have no message refused", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    for (const sequence of [0, 1]) {
      for (let from = 0; from < PRODUCERS; from += AT_ONCE) {
        await Promise.all(Array.from(
          { length: AT_ONCE },
          (_, at) => cluster.produce("b1", sentBy(from + at, sequence)),
        ));
      }
    }
    assertEquals(cluster.partition("b1")!.machine.endOffset, 2 * PRODUCERS);
  });
});
