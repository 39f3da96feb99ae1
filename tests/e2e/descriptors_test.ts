/** Servers that may open few files: many partitions on them, and connections that say nothing. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { eventually, freePort, type Harness, type Running, withHarness } from "./harness.ts";

const LIMIT = 200;
const SILENT = 300;
const PARTITIONS = 120;

function startLimited(harness: Harness, ...words: string[]): Running {
  const script = `ulimit -n ${LIMIT}; exec "$0" "$@"`;
  return harness.startCommand("sh", "-c", script, harness.binary, ...words);
}

/** Connects to `port` so many times and says nothing. */
async function connectSilently(harness: Harness, port: number): Promise<void> {
  const open: Deno.TcpConn[] = [];
  harness.defer(() => open.forEach((connection) => connection.close()));
  for (let count = 0; count < SILENT; count += 1) open.push(await Deno.connect({ port }));
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}

function openFiles({ pid }: Running): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

Deno.test({
  name: "servers with few descriptors host many partitions and outlive silent connections",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    withHarness(async (harness) => {
      const root = harness.temporaryDirectory();
      const [manager, http, ...brokers] = Array.from(
        { length: 5 },
        () => `127.0.0.1:${freePort()}`,
      );
      const flags = (
        id: string,
        listen: string,
      ) => ["--id", id, "--listen", listen, "--data", join(root, id)];
      const servers = [
        startLimited(
          harness,
          ...["manager", ...flags("m1", manager), "--peers", `m1=${manager}`, "--http", http],
        ),
        ...brokers.map((address, at) =>
          startLimited(harness, "broker", ...flags(`b${at + 1}`, address), "--managers", manager)
        ),
      ];
      const done = async (...words: string[]) => {
        const { code, stdout, stderr } = await harness.run(
          [...words, "--bootstrap", manager],
          "a\n",
        );
        assertEquals(code, 0, `${words.join(" ")}: ${stderr}`);
        return stdout;
      };
      // These hold their places until the server has waited long enough for their requests.
      await servers[0].line("stderr", /serving HTTP/);
      await connectSilently(harness, portOf(http));
      await eventually("a topic is made", async () => {
        await done("topic", "create", "t", "--partitions", String(PARTITIONS));
        return true;
      });
      for (const address of [manager, ...brokers]) {
        await connectSilently(harness, portOf(address));
      }
      await done("produce", "t", "--partition", "7");
      assertStringIncludes(await done("consume", "t", "--partition", "7"), "a");
      const topics = await eventually("HTTP is served", async () => {
        const signal = AbortSignal.timeout(2_000);
        return await (await fetch(`http://${http}/topics`, { signal })).text();
      });
      assertStringIncludes(topics, '"t"');
      for (const server of servers) {
        assert(!server.exited, "it goes on");
        const count = openFiles(server);
        assert(count < LIMIT, `${count} of ${LIMIT} descriptors are open`);
      }
    }),
});
