/** `trilog recover`: one node is all that is left of a cluster. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { type Answer, AtmCluster } from "./atm_cluster.ts";
import { eventually, withHarness } from "./harness.ts";
import { numberedLines, QueueCluster } from "./queue_cluster.ts";

async function memberNames(cluster: AtmCluster, asked: string): Promise<string[]> {
  const { members } = await cluster.at(asked).done("status");
  return members.filter(({ role }: Answer) => role === "voter").map(({ name }: Answer) => name);
}

Deno.test("an ATM that is all that is left goes on alone, and old ATMs never mix with it", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    await cluster.at("a1").done("deposit alice 7");
    await cluster.level();
    const { data, port } = cluster.node("a1");
    const running = await harness.run(["recover", data, "--accept-loss"]);
    assertEquals(running.code, 1);
    assertStringIncludes(running.stderr, "data_directory_locked");
    await cluster.kill("a1", "a2", "a3");
    const looked = await harness.run(["recover", data]);
    assertEquals(looked.code, 1);
    assertStringIncludes(looked.stdout, "would be lost");
    const recovered = await harness.run(["recover", data, "--accept-loss"]);
    assertEquals(recovered.code, 0, recovered.stderr);
    assertStringIncludes(recovered.stdout, "a1 is the only member of group atm");
    assertEquals((await harness.run(["verify", data])).code, 0);
    await cluster.restart("a1");
    await cluster.at("a1").eventually("deposit alice 1");
    assertEquals(await cluster.balances("a1"), { alice: "8.00" });
    // The others come back on their old data, against the warning.
    await cluster.restart("a2");
    await cluster.restart("a3");
    await cluster.at("a2").eventually("deposit alice 100");
    assertEquals(await memberNames(cluster, "a1"), ["a1"]);
    assertEquals(await cluster.balances("a1"), { alice: "8.00" });
    assertEquals(await cluster.balances("a2"), { alice: "107.00" });
    // With an empty disk one of them is taken in as a new ATM.
    await cluster.kill("a2", "a3");
    Deno.removeSync(cluster.node("a2").data, { recursive: true });
    const words = ["member", "add", `a2=${cluster.node("a2").advertised}`];
    await harness.run(["atm", "--connect", `127.0.0.1:${port}`, "--", ...words]);
    await cluster.restart("a2");
    await eventually("a2 to vote", async () => {
      return (await memberNames(cluster, "a1")).join() === "a1,a2" || null;
    });
    await cluster.at("a1").eventually("deposit alice 1");
    await cluster.level(["a1", "a2"]);
  });
});

Deno.test("a manager that is all that is left serves brokers and clients that knew more than it does", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    await cluster.createTopic("t");
    await cluster.allOk();
    const lines = numberedLines(0, 100).map((line) => `${line}\n`).join("");
    await cluster.done(["produce", "t"], lines);
    const [left, ...lost] = cluster.managers;
    // It misses a topic, whose number must not be given to another one.
    await left.process.kill();
    await cluster.createTopic("forgotten");
    await cluster.allOk();
    await cluster.done(["produce", "forgotten"], lines);
    for (const manager of lost) await manager.process.kill();
    const directory = join(cluster.data, left.id);
    const { code, stdout, stderr } = await harness.run([
      ...["recover", directory, "--accept-loss", "--json"],
    ]);
    assertEquals(code, 0, stderr);
    assertEquals(JSON.parse(stdout).group, "metadata");
    cluster.restart(left);
    cluster.turnTo([left]);
    await cluster.ready();
    assertEquals(await cluster.done(["topic", "list"]), "t\n");
    assertEquals(await cluster.done(["consume", "t"]), lines);
    await cluster.createTopic("new");
    await eventually("the new topic to be served", async () => {
      await cluster.allOk();
      return await cluster.done(["consume", "new"]) === "" || null;
    });
    await cluster.done(["produce", "new"], "only this\n");
    assertEquals(await cluster.done(["consume", "new"]), "only this\n");
    // Two new managers make it three again.
    cluster.managers.splice(1);
    for (const id of ["m4", "m5"]) {
      const added = cluster.addManager(id);
      await cluster.done(["cluster", "add-manager", `${id}=${added.address}`]);
    }
    await left.process.kill();
    cluster.turnTo(cluster.managers.slice(1));
    await cluster.createTopic("last");
    const { managers } = await cluster.status();
    assertEquals(managers.map(({ id }) => id), ["m1", "m4", "m5"]);
  });
});

Deno.test("what is no node of a cluster is refused by recover", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { managers: 1 });
    await cluster.ready();
    await cluster.createTopic("t");
    await cluster.allOk();
    const [broker] = cluster.brokers;
    await broker.process.kill();
    const refusals: [string, RegExp][] = [
      [join(cluster.data, broker.id), /it is a broker's/],
      [harness.temporaryDirectory(), /it is no data directory/],
    ];
    for (const [directory, reason] of refusals) {
      const { code, stderr } = await harness.run(["recover", directory, "--accept-loss"]);
      assertEquals(code, 1);
      assert(reason.test(stderr), stderr);
    }
    cluster.restart(broker);
    await cluster.allOk();
  });
});
