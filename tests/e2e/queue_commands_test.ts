import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { eventually, type Harness, withHarness } from "./harness.ts";
import { QueueCluster } from "./queue_cluster.ts";

async function started(harness: Harness): Promise<QueueCluster> {
  const cluster = new QueueCluster(harness);
  await cluster.ready();
  return cluster;
}

/** Runs a shell pipeline in which `trilog` is the binary and finds the cluster. */
async function shell(harness: Harness, cluster: QueueCluster, script: string): Promise<number> {
  const full = `trilog() { '${harness.binary}' "$@"; }; set -o pipefail; ${script}`;
  const process = harness.startCommand(
    "env",
    `TRILOG_BOOTSTRAP=${cluster.bootstrap}`,
    "bash",
    "-c",
    full,
  );
  return await process.status();
}

Deno.test("what is piped into produce comes out of consume byte for byte", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    const directory = harness.temporaryDirectory();
    const strange = [0x61, 13, 10, 10, 10, 0xff, 0xfe, 0, 0x80, 10, 13, 10, 0xc3, 0x28, 10];
    const samples: Record<string, Uint8Array> = {
      plain: new TextEncoder().encode(Array.from({ length: 5_000 }, (_, at) => `${at}\n`).join("")),
      strange: new Uint8Array(strange),
      open: new TextEncoder().encode("first\nlast without a newline"),
      single: new TextEncoder().encode("x"),
      empty: new Uint8Array(0),
      long: new Uint8Array(1024 * 1024).fill(97).with(700_000, 10),
      largest: new Uint8Array(1024 * 1024).fill(97),
    };
    for (const [name, bytes] of Object.entries(samples)) {
      const [input, output] = [join(directory, name), join(directory, `${name}.out`)];
      Deno.writeFileSync(input, bytes);
      const script = `trilog topic create ${name} >/dev/null && ` +
        `cat ${input} | trilog produce ${name} && trilog consume ${name} > ${output}`;
      assertEquals(await shell(harness, cluster, script), 0, name);
      assertEquals(Deno.readFileSync(output), bytes, name);
    }
  });
});

Deno.test("a line that had no newline is still a line when more follows", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    await cluster.createTopic("t");
    await cluster.done(["produce", "t"], "a\nb");
    await cluster.done(["produce", "t"], "c\n");
    assertEquals(await cluster.done(["consume", "t"]), "a\nb\nc\n");
  });
});

Deno.test("consume starts and stops where it is told", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    await cluster.createTopic("t");
    await cluster.done(["produce", "t"], "zero\none\ntwo\n");
    const between = new Date().toISOString();
    await cluster.done(["produce", "t"], "three\n");
    const consume = (...flags: string[]) => cluster.done(["consume", "t", ...flags]);
    assertEquals(await consume("--from", "2"), "two\nthree\n");
    assertEquals(await consume("--from", "latest"), "");
    assertEquals(await consume("--from", between), "three\n");
    assertEquals(await consume("--max", "2"), "zero\none\n");
    assertEquals(await consume("--partition", "0", "--from", "3"), "three\n");
    const [first] = (await consume("--json", "--max", "1")).split("\n");
    const { partition, offset, key, value } = JSON.parse(first);
    assertEquals({ partition, offset, key, value }, {
      partition: 0,
      offset: 0,
      key: null,
      value: "zero",
    });
    assert((await consume("--with-metadata", "--max", "1")).startsWith("0\t0\t20"));
  });
});

Deno.test("consume --follow prints what arrives and ends on Ctrl-C", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    await cluster.createTopic("t");
    await cluster.done(["produce", "t"], "old\n");
    const follower = cluster.start("consume", "t", "--follow");
    await follower.line("stdout", /^old$/);
    await cluster.done(["produce", "t"], "new\n");
    await follower.line("stdout", /^new$/);
    follower.signal("SIGINT");
    assertEquals(await follower.status(), 130);
  });
});

Deno.test("keys keep their partition and produce --json tells where each message stands", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    await cluster.createTopic("t", 4);
    const lines = Array.from({ length: 40 }, (_, at) => `key${at % 8}:${at}`).join("\n");
    const flags = ["--key-separator", ":", "--compression", "gzip"];
    const printed = await cluster.done(["produce", "t", ...flags, "--json"], `${lines}\n`);
    const places = printed.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(places.length, 40);
    assert(new Set(places.map(({ partition }) => partition)).size > 1);
    const seen = new Map<string, number>();
    const records = (await cluster.done(["consume", "t", "--json"])).trim().split("\n")
      .map((line) => JSON.parse(line));
    assertEquals(records.length, 40);
    for (const { key, partition } of records) {
      assertEquals(seen.get(key) ?? partition, partition, `${key} stays on one partition`);
      seen.set(key, partition);
    }
    const ofKey3 = records.filter(({ key }) => key === "key3").map(({ value }) => Number(value));
    assertEquals(ofKey3, [3, 11, 19, 27, 35], "the order of a key is kept");
  });
});

Deno.test("headers, templates and the last messages go through produce and consume", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    await cluster.createTopic("t", 2);
    const headers = ["--header", "source=web", "--header", "trace=a=b"];
    await cluster.done(["produce", "t", "--key-separator", ":", ...headers], "k:one\n");
    await cluster.done(["produce", "t", "--partition", "1"], "two\nthree\n");
    const consume = (...flags: string[]) => cluster.done(["consume", "t", ...flags]);
    assertEquals(
      (await consume("--format", "%t %k %s [%h]\\n")).split("\n").sort(),
      ["", "t  three []", "t  two []", "t k one [source=web,trace=a=b]"],
    );
    assertEquals(await consume("--last", "2"), "two\nthree\n");
    assertEquals(await consume("--partition", "1", "--from", "-1"), "three\n");
    const wrong = await cluster.run(["consume", "t", "--format", "%q"]);
    assertEquals([wrong.code, /%q/.test(wrong.stderr)], [2, true]);
  });
});

Deno.test("produce says at once that a message was refused, and what it did on Ctrl-C", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    await cluster.createTopic("t");
    const producer = cluster.start("produce", "t");
    await producer.write("one\ntwo\n");
    await eventually("both messages", async () => {
      return await cluster.done(["consume", "t"]) === "one\ntwo\n" || null;
    });
    producer.signal("SIGINT");
    assertEquals(await producer.status(), 130);
    assertStringIncludes(producer.text("stderr"), "2 messages produced");
    const refused = cluster.start("produce", "t");
    await refused.write("three\n");
    await eventually("the third message", async () => {
      return (await cluster.done(["consume", "t"])).endsWith("three\n") || null;
    });
    await cluster.done(["topic", "delete", "t"]);
    await refused.write("four\n");
    // Its input stays open, and no other line comes.
    assertEquals(await refused.status(), 1, refused.text("stderr"));
    assertStringIncludes(refused.text("stderr"), "no_such_topic");
    assertStringIncludes(refused.text("stderr"), "1 message produced");
  });
});

Deno.test("wrong requests are refused with the contract's codes", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    await cluster.createTopic("t");
    const refused = async (code: string, status: number, args: string[], input = "x\n") => {
      const result = await cluster.run([...args, "--json"], input);
      assertEquals(result.code, status, result.stderr);
      assertStringIncludes(result.stderr + result.stdout, code);
    };
    await refused("no_such_topic", 1, ["produce", "none"]);
    await refused("no_such_topic", 1, ["consume", "none"]);
    await refused("no_such_partition", 1, ["produce", "t", "--partition", "7"]);
    await refused("no_such_partition", 1, ["consume", "t", "--partition", "7"]);
    await refused("topic_exists", 1, ["topic", "create", "t"]);
    await refused("invalid_topic", 1, ["topic", "create", "../x"]);
    await refused("offset_out_of_range", 1, ["consume", "t", "--from", "99", "--follow"]);
    await refused("message_too_large", 1, ["produce", "t"], "y".repeat(1024 * 1024 + 1));
    await refused("usage", 2, ["consume", "t", "--from", "yesterday"]);
    await refused("usage", 2, ["produce", "t", "--compresion", "gzip"]);
  });
});

Deno.test("a topic needs three brokers", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { brokers: 2 });
    await cluster.ready();
    const { code, stderr } = await cluster.run(["topic", "create", "t", "--json"]);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "not_enough_brokers");
  });
});

Deno.test("without any manager a client says so with status 3", async () => {
  await withHarness(async (harness) => {
    const args = ["topic", "list", "--bootstrap", "127.0.0.1:1"];
    const { code, stderr } = await harness.run(args);
    assertEquals(code, 3, stderr);
  });
});
