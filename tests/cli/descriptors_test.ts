/** How a server's file descriptors are divided. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { descriptorLimit, parseLimit, shareDescriptors } from "../../cmd/descriptors.ts";
import { TrilogError } from "../../lib/base/errors.ts";

Deno.test("the limit is read from the system's own table", () => {
  const table = [
    "Limit                     Soft Limit           Hard Limit           Units     ",
    "Max processes             63704                63704                processes ",
    "Max open files            1024                 524288               files     ",
  ].join("\n");
  assertEquals(parseLimit(table), 1_024);
  assertEquals(parseLimit(table.replace("1024  ", "unlimited")), null);
  assertEquals(parseLimit(""), null);
  assert(descriptorLimit() > 0);
});

Deno.test("files and connections together stay below the limit, at every limit", () => {
  for (const withHttp of [false, true]) {
    for (let limit = 128; limit < 100_000; limit = Math.ceil(limit * 1.1)) {
      const { files, connections, httpConnections } = shareDescriptors(limit, withHttp);
      const rest = limit - files - connections - httpConnections;
      assert(rest >= 48 + Math.floor(limit / 16), `${limit}: ${rest} are left`);
      assert(files >= 32 && connections >= 16, `${limit}: ${files} files, ${connections}`);
      assertEquals(httpConnections > 0, withHttp);
    }
  }
  assertEquals(shareDescriptors(1_024, false).files, 256);
});

Deno.test("a limit that is too low for a server is refused with the number that it needs", () => {
  const refused = assertThrows(() => shareDescriptors(64, false), TrilogError);
  assertEquals(refused.message.includes("at least 128"), true);
});
