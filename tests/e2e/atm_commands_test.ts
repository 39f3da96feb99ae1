/** The ATM's commands, pipes and exit statuses, on real processes. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { AtmCluster } from "./atm_cluster.ts";
import { freePort, type Harness, withHarness } from "./harness.ts";

const BAD_AMOUNTS = ["-5", "+5", "1.234", "1e3", "NaN", "99999999999999999999", "''", "5x", "0"];
const BAD_NAMES = ["a/b", "../x", "al\u0007ice", "al\u001b[31mice", "é", "'a b'", "a".repeat(250)];

/** An ATM that is a bank of its own, and the address to connect to. */
async function single(harness: Harness): Promise<{ address: string; words: string[] }> {
  const port = freePort();
  const address = `127.0.0.1:${port}`;
  const data = `${harness.temporaryDirectory()}/a1`;
  const words = ["atm", "--id", "a1", "--listen", address, "--peers", `a1=${address}`];
  const node = harness.start(...words, "--data", data, "--serve");
  await node.line("stderr", /^listening on /);
  return { address, words };
}

function jsonLines(text: string): Record<string, unknown>[] {
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}

Deno.test("words after -- are one command, with the contract's JSON and exit statuses", async () => {
  await withHarness(async (harness) => {
    const { address } = await single(harness);
    const run = (...words: string[]) =>
      harness.run(["atm", "--connect", address, "--json", "--", ...words]);
    const deposited = await run("deposit", "alice", "100");
    assertEquals(
      deposited.stdout,
      '{"ok":true,"op":"deposit","account":"alice","balance":"100.00"}\n',
    );
    assertEquals([deposited.code, deposited.stderr], [0, ""]);
    await run("deposit", "bob", "1");
    const transferred = await run("transfer", "alice", "bob", "0.01");
    assertEquals(
      transferred.stdout,
      '{"ok":true,"op":"transfer","from":"alice","to":"bob",' +
        '"fromBalance":"99.99","toBalance":"1.01"}\n',
    );
    const refused = await run("withdraw", "bob", "5");
    assertEquals(refused.code, 1);
    const [failure] = jsonLines(refused.stdout);
    assertEquals([failure.ok, failure.op, failure.code], [false, "withdraw", "insufficient_funds"]);
    const unknown = await run("depsit", "bob", "5");
    assertEquals(unknown.code, 2);
    assertEquals(jsonLines(unknown.stdout)[0].code, "unknown_command");
  });
});

Deno.test("a command in words without --json prints text, and its failure on stderr", async () => {
  await withHarness(async (harness) => {
    const { address } = await single(harness);
    const run = (...words: string[]) => harness.run(["atm", "--connect", address, "--", ...words]);
    assertEquals(await run("deposit", "alice", "2.5"), {
      code: 0,
      stdout: "alice 2.50\n",
      stderr: "",
    });
    const refused = await run("balance", "nobody");
    assertEquals([refused.code, refused.stdout], [1, ""]);
    assertStringIncludes(refused.stderr, "there is no account nobody");
  });
});

Deno.test("an ATM that nobody answers for exits with 3", async () => {
  await withHarness(async (harness) => {
    const nobody = `127.0.0.1:${freePort()}`;
    const { code, stdout } = await harness.run([
      ...["atm", "--connect", nobody, "--json"],
      ...["--", "deposit", "alice", "1"],
    ]);
    assertEquals(code, 3);
    const [failure] = jsonLines(stdout);
    assertEquals([failure.ok, failure.code], [false, "unavailable"]);
  });
});

Deno.test("a pipe gets one line per command, in order, and its status tells whether all succeeded", async () => {
  await withHarness(async (harness) => {
    const { address } = await single(harness);
    const pipe = (input: string, ...flags: string[]) =>
      harness.run(["atm", "--connect", address, ...flags], input);
    const lines = Array.from({ length: 100 }, () => "deposit alice 0.01\n").join("");
    const many = await pipe(lines, "--json");
    assertEquals(many.code, 0);
    assertEquals(
      jsonLines(many.stdout).map(({ balance }) => balance),
      Array.from({ length: 100 }, (_, at) => ((at + 1) / 100).toFixed(2)),
    );

    const mixed = await pipe("balance alice\nwithdraw alice 500\n\nbalance alice\r\n", "--json");
    assertEquals(mixed.code, 1);
    assertEquals(
      jsonLines(mixed.stdout).map(({ ok, op }) => [ok, op]),
      [[true, "balance"], [false, "withdraw"], [true, "balance"]],
    );

    const text = await pipe("accounts\nhelp\nstatus\nhistory alice\nnonsense\nbalance alice");
    assertEquals(text.code, 1);
    assertEquals(text.stdout.trimEnd().split("\n").length, 6, "one line each, the last one too");
    assertMatch(text.stdout, /\nalice 1\.00\n$/);
    assertEquals(await pipe(""), { code: 0, stdout: "", stderr: "" });
    assertEquals((await pipe("quit\ndeposit alice 9\n")).stdout, "bye\n");
    assertEquals((await pipe("balance alice\n")).stdout, "alice 1.00\n");
  });
});

Deno.test("bad amounts and names get a clear error and change nothing, not even a log entry", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const teller = cluster.at("a2");
    await teller.done("deposit alice 10");
    await cluster.level();
    const { applied } = await teller.done("status");
    for (const amount of BAD_AMOUNTS) {
      for (const line of [`deposit alice ${amount}`, `transfer alice bob ${amount}`]) {
        const { ok, code, message } = await teller.ask(line);
        assertEquals([ok, code], [false, "invalid_amount"], line);
        assertStringIncludes(message, "Cannot use amount");
      }
    }
    for (const name of BAD_NAMES) {
      for (const line of [`deposit ${name} 1`, `transfer alice ${name} 1`, `balance ${name}`]) {
        const { ok, code, message } = await teller.ask(line);
        assertEquals([ok, code], [false, "invalid_account"], line);
        assert(/^[\x20-\x7e]+$/.test(message), "control characters are shown escaped");
      }
    }
    assertEquals((await teller.ask("transfer alice alice 1")).code, "same_account");
    assertEquals((await teller.done("status")).applied, applied);
    await cluster.agreeOn({ alice: "10.00" });
  });
});

Deno.test("the bank refuses what it must, at every ATM alike", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    await cluster.at("a1").done("deposit alice 10");
    await cluster.at("a2").done("deposit full 90000000000000");
    for (const name of cluster.names) {
      const teller = cluster.at(name);
      assertEquals((await teller.ask("withdraw alice 10.01")).code, "insufficient_funds");
      assertEquals((await teller.ask("withdraw nobody 1")).code, "no_such_account");
      assertEquals((await teller.ask("transfer alice nobody 1")).code, "no_such_account");
      assertEquals((await teller.ask("deposit full 0.01")).code, "balance_limit");
      assertEquals((await teller.ask("transfer alice full 1")).code, "balance_limit");
    }
    await cluster.agreeOn({ alice: "10.00", full: "90000000000000.00" });
    const { entries } = await cluster.at("a3").done("history alice");
    assertEquals(entries.length, 1);
    assertEquals(entries[0].type, "deposit");
    assert(Math.abs(Date.parse(entries[0].time) - Date.now()) < 60_000);
  });
});

Deno.test("a request id makes a repeat harmless, at any ATM and after all of them restarted", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const line = "deposit alice 7 --request-id order-66";
    const first = await cluster.at("a1").done(line);
    assertEquals(await cluster.at("a2").done(line), first);
    assertEquals((await cluster.at("a3").ask("deposit alice 8 --request-id order-66")).ok, false);
    await cluster.kill(...cluster.names);
    await Promise.all(cluster.names.map((name) => cluster.restart(name)));
    assertEquals(await cluster.at("a3").eventually(line), first);
    await cluster.agreeOn({ alice: "7.00" });
  });
});

Deno.test("an ATM with a pipe of its own runs its replica, prints the results and leaves", async () => {
  await withHarness(async (harness) => {
    const port = freePort();
    const address = `127.0.0.1:${port}`;
    const data = `${harness.temporaryDirectory()}/a1`;
    const words = ["atm", "--id", "a1", "--listen", address, "--peers", `a1=${address}`];
    words.push("--data", data, "--json");
    const first = await harness.run(words, "deposit alice 5\nbalance alice\n");
    assertEquals(first.code, 0, first.stderr);
    assertEquals(jsonLines(first.stdout).map(({ balance }) => balance), ["5.00", "5.00"]);
    assertStringIncludes(first.stderr, `listening on ${address}\n`);
    const second = await harness.run(words, "withdraw alice 9\nwithdraw alice 1\n");
    assertEquals(second.code, 1);
    assertEquals(jsonLines(second.stdout).map(({ ok }) => ok), [false, true]);
  });
});

Deno.test("SIGTERM stops an ATM with status 0, and the others go on at once", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    await cluster.at("a1").done("deposit alice 1");
    const leader = await cluster.leader();
    assertEquals(await cluster.process(leader).terminate(), 0);
    const [other] = cluster.others(leader);
    await cluster.at(other).done("deposit alice 1");
    await cluster.restart(leader);
    await cluster.level();
    await cluster.agreeOn({ alice: "2.00" });
  });
});

Deno.test("a start that cannot be is refused with its reason and status", async () => {
  await withHarness(async (harness) => {
    const { address, words } = await single(harness);
    const refused = async (status: number, reason: string, ...args: string[]) => {
      const { code, stdout, stderr } = await harness.run(args);
      assertEquals([code, stdout], [status, ""], stderr);
      assertStringIncludes(stderr, reason);
      assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
    };
    const data = `${harness.temporaryDirectory()}/a1`;
    const open = words.map((word) => word === address ? "0.0.0.0:0" : word);
    const stranger = words.map((word) => word === "a1" ? "a9" : word);
    await refused(1, "the address is in use", ...words, "--data", data, "--serve");
    await refused(2, "--token-file", ...open, "--data", data, "--serve");
    await refused(2, "--data missing", ...words, "--serve");
    await refused(2, "--peers does not name a9", ...stranger, "--data", data);
    await refused(2, "leave out --serve", "atm", "--connect", address, "--serve");
    await refused(2, "did you mean --connect?", "atm", "--conect", address);
  });
});

Deno.test("a data directory serves one process at a time", async () => {
  await withHarness(async (harness) => {
    const data = `${harness.temporaryDirectory()}/a1`;
    const words = () => {
      const address = `127.0.0.1:${freePort()}`;
      return ["atm", "--id", "a1", "--listen", address, "--peers", `a1=${address}`, "--data", data];
    };
    await harness.start(...words(), "--serve").line("stderr", /^listening on /);
    const { code, stderr } = await harness.run([...words(), "--serve"]);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "data_directory_locked");
  });
});

Deno.test("with a token only who knows it is served", async () => {
  await withHarness(async (harness) => {
    const directory = harness.temporaryDirectory();
    Deno.writeTextFileSync(`${directory}/token`, "a secret\n");
    Deno.writeTextFileSync(`${directory}/wrong`, "a guess\n");
    const cluster = await AtmCluster.start(harness, 3, ["--token-file", `${directory}/token`]);
    const run = (...flags: string[]) => {
      const address = `127.0.0.1:${cluster.node("a2").port}`;
      return harness.run(["atm", "--connect", address, ...flags, "--", "deposit", "alice", "1"]);
    };
    for (const flags of [[], ["--token-file", `${directory}/wrong`]]) {
      const { code, stderr } = await run(...flags);
      assertEquals(code, 3);
      assertStringIncludes(stderr, "its token differs from the one here");
    }
    assertEquals((await run("--token-file", `${directory}/token`)).stdout, "alice 1.00\n");
  });
});

Deno.test("--connect with several ATMs goes to the next when one is gone", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    await cluster.at("a2").done("deposit alice 1");
    await cluster.kill("a1");
    const addresses = cluster.nodes.map(({ port }) => `127.0.0.1:${port}`).join(",");
    const { code, stdout } = await harness.run(
      ["atm", "--connect", addresses, "--json"],
      "deposit alice 1\nbalance alice\n",
    );
    assertEquals(code, 0, stdout);
    assertEquals(jsonLines(stdout).map(({ balance }) => balance), ["2.00", "2.00"]);
  });
});

Deno.test("bench atm empties its accounts, and its record is a linearizable history", async () => {
  await withHarness(async (harness) => {
    const { address } = await single(harness);
    const path = `${harness.temporaryDirectory()}/history.jsonl`;
    const words = ["bench", "atm", "--connect", address, "--messages", "100", "--in-flight", "4"];
    const { code, stderr } = await harness.run([...words, "--record", path]);
    assertEquals(code, 0, stderr);
    const listed = await harness.run(["atm", "--connect", address, "--json", "--", "accounts"]);
    const [{ accounts }] = jsonLines(listed.stdout) as { accounts: { balance: string }[] }[];
    assertEquals(new Set(accounts.map(({ balance }) => balance)), new Set(["0.00"]));
    const judged = await harness.run(["check", path, "--model", "bank"]);
    assertEquals(judged.code, 0, judged.stdout + judged.stderr);
  });
});
