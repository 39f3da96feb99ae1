/** The key-value store's commands, pipes, terminal and exit statuses, on real processes. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { eventually, freePort, withHarness } from "./harness.ts";
import { KvCluster } from "./kv_cluster.ts";

const KIB = 1_024;
const MIB = KIB * KIB;

Deno.test("set, get, delete, cas and list do what they say and exit with their status", async () => {
  await withHarness(async (harness) => {
    const cluster = await KvCluster.start(harness, 1);
    const run = async (...words: string[]) => {
      const { code, stdout } = await cluster.run(["k1"], words);
      return [code, stdout];
    };
    assertEquals(await run("get", "color"), [1, ""]);
    assertEquals(await run("set", "color", "blue"), [0, "ok\n"]);
    assertEquals(await run("get", "color"), [0, "blue\n"]);
    assertEquals(await run("cas", "color", "red", "green"), [1, ""]);
    assertEquals(await run("cas", "color", "blue", "grün ☂"), [0, "ok\n"]);
    assertEquals(await run("cas", "color", "--absent", "x"), [1, ""]);
    assertEquals(await run("cas", "size", "--absent", "large one"), [0, "ok\n"]);
    assertEquals(await run("list"), [0, "color grün ☂\nsize large one\n"]);
    assertEquals(await run("list", "si"), [0, "size large one\n"]);
    assertEquals(await run("delete", "color"), [0, "deleted\n"]);
    assertEquals(await run("get", "color"), [1, ""]);
    assertEquals(await run("nonsense"), [2, ""]);
    assertEquals(await run("set", "color"), [2, ""]);
  });
});

Deno.test("a get of a missing key prints nothing anywhere, other failures say why", async () => {
  await withHarness(async (harness) => {
    const cluster = await KvCluster.start(harness, 1);
    assertEquals(await cluster.run(["k1"], ["get", "x"]), { code: 1, stdout: "", stderr: "" });
    const { ok, code } = await cluster.ask(["k1"], "get", "x");
    assertEquals([ok, code], [false, "no_such_key"]);
    const long = await cluster.run(["k1"], ["set", "k".repeat(4 * KIB + 1), "x"]);
    assertEquals(long.code, 1);
    assertStringIncludes(long.stderr, "a key has at most 4KiB, not 4097 bytes");
    const nobody = `127.0.0.1:${freePort()}`;
    const { code: status } = await harness.run(
      ["kv", "--connect", nobody, "--timeout", "1s", "--", "get", "x"],
    );
    assertEquals(status, 3);
  });
});

Deno.test("a pipe gives the same lines; large and binary values come back as they went in", async () => {
  await withHarness(async (harness) => {
    const cluster = await KvCluster.start(harness, 3);
    await cluster.leader();
    const { address } = cluster.node("k1");
    const pipe = (input: string, ...flags: string[]) =>
      harness.run(["kv", "--connect", address, ...flags], input);
    const typed = await pipe(
      'set "two words" "a  b"\r\nget "two words"\n\nget none\nquit\nget x\n',
    );
    assertEquals(typed, { code: 1, stdout: "ok\na  b\nbye\n", stderr: "" });
    const largest = "v".repeat(MIB);
    const large = await pipe(`set large ${largest}\nget large\nset large ${largest}v\n`);
    const [ok, value, refused] = large.stdout.split("\n");
    assertEquals([ok, value === largest, large.code], ["ok", true, 1]);
    assertMatch(refused, /^error value_too_large: .*at most 1MiB/);
    const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte).toBase64();
    const binary = await pipe(
      `set ${btoa("\0\xff")} ${bytes}\nget ${btoa("\0\xff")}\n`,
      "--base64",
    );
    assertEquals([binary.code, binary.stdout], [0, `ok\n${bytes}\n`]);
    const shown = await pipe("list \0\n", "--json");
    const [entry] = JSON.parse(shown.stdout).entries;
    assertEquals([entry.keyBase64, entry.valueBase64], [btoa("\0\xff"), bytes]);
    assertEquals((await pipe("set a ###\n", "--base64")).code, 1);
  });
});

Deno.test("a key with a time to live ends on every node by itself", async () => {
  await withHarness(async (harness) => {
    const cluster = await KvCluster.start(harness, 3);
    await cluster.leader();
    await cluster.done(cluster.names, "set", "short", "x", "--ttl", "2s");
    await cluster.done(cluster.names, "set", "long", "x", "--ttl", "1h");
    assertEquals((await cluster.done(["k2"], "get", "short")).value, "x");
    for (const name of cluster.names) {
      await eventually("the end of the key", async () => {
        const { entries } = await cluster.done([name], "list");
        return entries.length === 1 ? entries : null;
      });
    }
    assert("expiresAt" in await cluster.done(["k3"], "get", "long"));
  });
});

Deno.test("a watcher sees every change of its prefix in order, also over a change of leader", async () => {
  await withHarness(async (harness) => {
    const cluster = await KvCluster.start(harness, 3);
    const leader = await cluster.leader();
    await cluster.done(cluster.names, "set", "a0", "before");
    const addresses = cluster.nodes.map(({ address }) => address).join(",");
    const words = ["kv", "--connect", addresses, "--json", "--", "watch", "a"];
    const watcher = harness.start(...words, "--after", "1", "--max", "7");
    await cluster.done(cluster.names, "set", "a1", "x");
    await cluster.done(cluster.names, "set", "b", "not mine");
    await cluster.done(cluster.names, "delete", "a0");
    await watcher.line("stdout", /"delete"/);
    await cluster.kill(leader);
    const others = cluster.others(leader);
    for (const key of ["a2", "a3", "a4"]) await cluster.eventually(others, "set", key, "y");
    await cluster.eventually(others, "set", "a5", "z", "--ttl", "100ms");
    await watcher.line("stdout", /"expire"/);
    assertEquals(await watcher.status(), 0);
    const seen = watcher.lines("stdout").map((line) => JSON.parse(line));
    assertEquals(seen.map(({ type, key }) => `${type} ${key}`), [
      ...["set a1", "delete a0", "set a2", "set a3", "set a4", "set a5", "expire a5"],
    ]);
    const revisions = seen.map(({ revision }) => revision);
    assertEquals(revisions, [...revisions].sort((left, right) => left - right));
  });
});

Deno.test("a client at a prompt is told of its commands, and Ctrl-D leaves", async () => {
  await withHarness(async (harness) => {
    const cluster = await KvCluster.start(harness, 1);
    const words = `${harness.binary} kv --connect ${cluster.node("k1").address}`;
    const terminal = harness.startCommand("script", "-qefc", words, "/dev/null");
    await eventually("the prompt", () => terminal.text("stdout").includes("kv> ") || null);
    await terminal.write("set a 1\r");
    await eventually("the result", () => /\bok\b/.test(terminal.text("stdout")) || null);
    await terminal.write("get a\r");
    await eventually("the value", () => /^1\r?$/m.test(terminal.text("stdout")) || null);
    await terminal.write("\x04");
    assertEquals(await terminal.status(), 0);
  });
});

Deno.test("flags that do not go together are wrong usage", async () => {
  await withHarness(async (harness) => {
    const node = ["kv", "--id", "k1", "--listen", "127.0.0.1:0", "--peers", "k1=127.0.0.1:6001"];
    const server = [...node, "--data", `${harness.temporaryDirectory()}/k1`];
    for (
      const [words, expected] of [
        [["kv"], "--id, --listen, --peers, --data missing"],
        [[...server, "--lease", "1s"], "--lease needs --reads lease"],
        [[...server, "--reads", "lease", "--lease", "60ms"], "at least twice --raft-heartbeat"],
        [[...server, "--base64"], "--base64 is for clients"],
        [["kv", "--connect", "127.0.0.1:1", "--id", "k1"], "leave out --id"],
        [["kv", "--connect", "127.0.0.1:1", "--timeout", "1ms"], "--timeout must be at least"],
      ] as const
    ) {
      const { code, stderr } = await harness.run(words);
      assertEquals(code, 2, stderr);
      assertStringIncludes(stderr, expected);
    }
  });
});

Deno.test("a value cannot play tricks on a terminal", async () => {
  await withHarness(async (harness) => {
    const cluster = await KvCluster.start(harness, 1);
    const { address } = cluster.node("k1");
    await cluster.done(["k1"], "set", "a", "\x1b[31mred");
    const words = `${harness.binary} kv --connect ${address} -- get a`;
    const terminal = harness.startCommand("script", "-qefc", words, "/dev/null");
    assertEquals(await terminal.status(), 0);
    assertEquals(terminal.text("stdout").trimEnd(), "\\u{1b}[31mred");
    const piped = await cluster.run(["k1"], ["get", "a"]);
    assertEquals(piped.stdout, "\x1b[31mred\n");
  });
});
