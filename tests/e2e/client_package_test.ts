/** The client library as a package in empty folders of other projects, without the network. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { nowMs, withHarness } from "./harness.ts";
import { QueueCluster } from "./queue_cluster.ts";

const ROOT = join(import.meta.dirname!, "..", "..");
/** A program that has closed its client ends; it took up to five seconds once. */
const LINGERS_MS = 1_500;

const PROGRAM = `
import { Client } from "trilog/client";
const client = await Client.connect({ bootstrap: BOOTSTRAP.split(",") });
const producer = client.producer({ compression: "gzip" });
const { offset } = await producer.send("orders", { key: "alice", value: "one apple" });
await producer.stop();
const consumer = client.consumer(GROUP, ["orders"]);
for await (const message of consumer) {
  if (message.offset === offset) break;
}
await consumer.stop();
client.close();
console.log("closed after offset " + offset);
`;

interface Finished {
  readonly code: number;
  readonly output: string;
  /** Milliseconds from the end of its output to its exit. */
  readonly lingeredMs: number;
}

async function run(cwd: string, command: string, ...args: string[]): Promise<Finished> {
  const env = { NO_COLOR: "1" };
  const options = { args, cwd, env, stdin: "null", stdout: "piped", stderr: "piped" } as const;
  const child = new Deno.Command(command, options).spawn();
  let spokeMs = nowMs();
  let output = "";
  const follow = async (stream: ReadableStream<Uint8Array>) => {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      output += text;
      spokeMs = nowMs();
    }
  };
  const [{ code }] = await Promise.all([
    child.status,
    follow(child.stdout),
    follow(child.stderr),
  ]);
  return { code, output, lingeredMs: nowMs() - spokeMs };
}

/** Whether a program is on this machine. */
function isThere(command: string): boolean {
  try {
    return new Deno.Command(command, { args: ["--version"], stdout: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

function programFor(bootstrap: string, group: string): string {
  return PROGRAM.replace("BOOTSTRAP", JSON.stringify(bootstrap))
    .replace("GROUP", JSON.stringify(group));
}

Deno.test("a stranger's project in an empty folder uses the library as a package", async () => {
  const made = await run(ROOT, Deno.execPath(), "run", "-A", "--no-check", "package_client.ts");
  assertEquals(made.code, 0, made.output);
  const archive = made.output.split("\n")[0];
  const module = join(ROOT, "dist", "package", "client.js");
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    await cluster.createTopic("orders");
    const endsWell = ({ code, output, lingeredMs }: Finished) => {
      assertEquals(code, 0, output);
      assertStringIncludes(output, "closed after offset");
      assert(lingeredMs < LINGERS_MS, `it lingered for ${lingeredMs} ms`);
    };

    const deno = harness.temporaryDirectory();
    const write = (name: string, text: string) => Deno.writeTextFileSync(join(deno, name), text);
    write("deno.json", JSON.stringify({ imports: { "trilog/client": module } }));
    write("main.ts", programFor(cluster.bootstrap, "deno"));
    const checked = await run(deno, Deno.execPath(), "check", "main.ts");
    assertEquals(checked.code, 0, checked.output);
    const flags = ["run", "--cached-only", "--allow-net=127.0.0.1", "main.ts"];
    endsWell(await run(deno, Deno.execPath(), ...flags));
    write("wrong.ts", programFor(cluster.bootstrap, "deno").replace('"one apple"', "5"));
    const wrong = await run(deno, Deno.execPath(), "check", "wrong.ts");
    assertEquals(wrong.code, 1, "a value that is a number does not pass the types");
    assertStringIncludes(wrong.output, "TS2322");

    if (!isThere("node") || !isThere("npm")) {
      console.log("skipped: there is no node or npm here");
      return;
    }
    const node = harness.temporaryDirectory();
    Deno.writeTextFileSync(join(node, "package.json"), '{"private":true,"type":"module"}');
    Deno.writeTextFileSync(join(node, "main.js"), programFor(cluster.bootstrap, "node"));
    const quiet = ["--offline", "--no-audit", "--no-fund"];
    const installed = await run(node, "npm", "install", ...quiet, archive);
    assertEquals(installed.code, 0, installed.output);
    endsWell(await run(node, "node", "main.js"));
  });
});
