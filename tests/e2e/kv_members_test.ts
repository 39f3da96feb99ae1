/** Members come and go by a command while everything runs: of the key-value store and the bank. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { eventually, freePort, withHarness } from "./harness.ts";
import { KvCluster } from "./kv_cluster.ts";

Deno.test("a node of the store is added before or after it starts, and votes", async () => {
  await withHarness(async (harness) => {
    const cluster = await KvCluster.start(harness, 3);
    const first = cluster.names;
    await cluster.leader();
    await cluster.done(first, "set", "a", "1");
    const { address } = cluster.plan("k4");
    const invited = await cluster.done(["k1"], "member", "add", `k4=${address}`);
    assertEquals([invited.member, invited.state], ["k4", "invited"]);
    await cluster.restart("k4");
    await cluster.level();
    const { address: fifth } = cluster.plan("k5");
    await cluster.restart("k5");
    await cluster.tells("k5", /no member has that name/);
    await eventually("k5 votes", async () => {
      const { state } = await cluster.done(["k2"], "member", "add", `k5=${fifth}`);
      return state === "voter" || null;
    });
    await cluster.level();
    // Three of five are enough now, the two new ones among them.
    const leader = await cluster.leader();
    const killed = [leader, ...cluster.others(leader, "k4", "k5")].slice(0, 2);
    await cluster.kill(...killed);
    const left = cluster.others(...killed);
    await cluster.eventually(left, "set", "a", "2");
    assertEquals((await cluster.eventually(["k5"], "get", "a")).value, "2");
  });
});

Deno.test("a member is removed, even the leader; it ends, and the others go on without it", async () => {
  await withHarness(async (harness) => {
    const cluster = await KvCluster.start(harness, 3);
    const leader = await cluster.leader();
    await cluster.done(cluster.names, "set", "a", "1");
    const others = cluster.others(leader);
    const removed = await cluster.done(others, "member", "remove", leader);
    assertEquals([removed.member, removed.state], [leader, "removed"]);
    assertEquals(await cluster.process(leader).status(), 1);
    await cluster.tells(leader, /it was removed/);
    const { members } = await cluster.done(others, "members");
    assertEquals(members.map(({ name }: { name: string }) => name), others);
    assertEquals((await cluster.eventually(others, "get", "a")).value, "1");
    const again = await cluster.run(others, ["member", "remove", leader]);
    assertEquals(again.code, 1);
    assertStringIncludes(again.stderr, "no member has that name");
    // Two are left: without one of them there would be no majority to go on with.
    const next = await cluster.leader(others);
    const [follower] = cluster.others(leader, next);
    await cluster.kill(follower);
    const alone = await cluster.run([next], ["set", "a", "2"], ["--timeout", "2s"]);
    assertEquals(alone.code, 3, alone.stderr);
  });
});

Deno.test("a removal that would leave no majority alive is refused", async () => {
  await withHarness(async (harness) => {
    const cluster = await KvCluster.start(harness, 3);
    const leader = await cluster.leader();
    const [dead, alive] = cluster.others(leader);
    await cluster.kill(dead);
    const refused = await cluster.run([leader], ["member", "remove", alive]);
    assertEquals(refused.code, 1);
    assertStringIncludes(refused.stderr, "of the 2 voters that stay only 1 answer");
    const removed = await cluster.done([leader], "member", "remove", dead);
    assertEquals(removed.state, "removed");
    await cluster.done([leader], "set", "a", "1");
  });
});

Deno.test("a fourth ATM is added to a bank and knows every balance; another is removed", async () => {
  await withHarness(async (harness) => {
    const root = harness.temporaryDirectory();
    const nodes = ["a1", "a2", "a3", "a4"].map((name) => ({
      name,
      address: `127.0.0.1:${freePort()}`,
    }));
    const start = async ({ name, address }: typeof nodes[number], peers: typeof nodes) => {
      const list = peers.map((peer) => `${peer.name}=${peer.address}`).join(",");
      const process = harness.start(
        ...["atm", "--id", name, "--listen", address, "--peers", list],
        ...["--data", join(root, name), "--serve"],
      );
      await process.line("stderr", /^listening on /);
      return process;
    };
    const founders = nodes.slice(0, 3);
    const [, , third] = await Promise.all(founders.map((node) => start(node, founders)));
    const ask = async (node: typeof nodes[number], ...words: string[]) => {
      const connect = ["atm", "--connect", node.address, "--json", "--", ...words];
      return JSON.parse((await harness.run(connect)).stdout);
    };
    const [a1, , a3, a4] = nodes;
    await eventually("a deposit", async () => (await ask(a1, "deposit", "alice", "5")).ok || null);
    await ask(a1, "member", "add", `a4=${a4.address}`);
    await start(a4, nodes);
    await eventually("a4 votes", async () => {
      const { members } = await ask(a4, "members");
      return members?.find(({ name }: { name: string }) => name === "a4")?.role === "voter" || null;
    });
    assertEquals((await ask(a4, "balance", "alice")).balance, "5.00");
    const removed = await eventually("a3 is removed", async () => {
      const answer = await ask(a4, "member", "remove", a3.name);
      return answer.ok ? answer : null;
    });
    assertEquals(removed.state, "removed");
    assertEquals(await third.status(), 1);
    assertEquals((await ask(a4, "deposit", "alice", "1")).balance, "6.00");
  });
});
