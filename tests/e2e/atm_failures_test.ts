/** ATMs that die or stop: the majority goes on, nothing acknowledged is lost, all agree again. */

import { assert, assertEquals } from "@std/assert";
import { AtmCluster } from "./atm_cluster.ts";
import { Crowd } from "./atm_crowd.ts";
import { withHarness } from "./harness.ts";

Deno.test("of three ATMs each one in turn is killed and comes back, while money moves", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const crowd = await Crowd.start(cluster);
    for (const victim of cluster.names) {
      await cluster.kill(victim);
      await crowd.progress(20);
      await cluster.restart(victim);
      await cluster.leader();
    }
    await crowd.settle();
    await cluster.level();
  });
});

Deno.test("the leader is killed again and again, while money moves", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const crowd = await Crowd.start(cluster);
    for (let round = 0; round < 3; round += 1) {
      const victim = await cluster.leader();
      await cluster.kill(victim);
      await crowd.progress(20);
      const successor = await cluster.leader(cluster.others(victim));
      assert(successor !== victim);
      await cluster.restart(victim);
    }
    await crowd.settle();
    await cluster.level();
  });
});

Deno.test("five ATMs go on without any two, the leader among them, and without two others", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 5);
    const crowd = await Crowd.start(cluster);
    const leader = await cluster.leader();
    const followers = cluster.others(leader);
    for (const victims of [[leader, followers[0]], [followers[1], followers[2]]]) {
      await cluster.kill(...victims);
      await crowd.progress(20);
      await Promise.all(victims.map((name) => cluster.restart(name)));
      await cluster.leader();
    }
    await crowd.settle();
    await cluster.level();
  });
});

Deno.test("without a majority nothing moves and everybody says so in time; with it all goes on", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    await cluster.at("a1").done("deposit alice 10");
    await cluster.level();
    await cluster.kill("a1", "a2");
    const teller = cluster.at("a3");
    const first = await teller.ask("deposit alice 1");
    assert(["unavailable", "outcome_unknown"].includes(first.code), JSON.stringify(first));
    // By now it knows that it is alone: it can promise that nothing moved.
    assertEquals((await teller.ask("withdraw alice 1")).code, "unavailable");
    assertEquals((await teller.ask("balance alice")).code, "unavailable");
    await Promise.all(["a1", "a2"].map((name) => cluster.restart(name)));
    const repeat = first.code === "outcome_unknown" ? ` --request-id ${first.requestId}` : "";
    await teller.eventually(`deposit alice 1${repeat}`);
    await cluster.agreeOn({ alice: "11.00" });
  });
});

Deno.test("what was proposed and not confirmed is outcome_unknown; its repeat anywhere moves it once", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const leader = await cluster.leader();
    const teller = cluster.at(leader);
    // The first command of a node opens its session, which alone would fail for certain.
    await teller.done("deposit alice 10");
    await cluster.level();
    const followers = cluster.others(leader);
    for (const name of followers) cluster.process(name).signal("SIGSTOP");
    const { code, requestId, message } = await teller.ask("deposit alice 1");
    assertEquals(code, "outcome_unknown", message);
    for (const name of followers) cluster.process(name).signal("SIGCONT");
    for (const name of [...followers, leader, ...followers]) {
      await cluster.at(name).eventually(`deposit alice 1 --request-id ${requestId}`);
    }
    await cluster.agreeOn({ alice: "11.00" });
    const { entries } = await teller.done("history alice");
    assertEquals(entries.length, 2);
  });
});

Deno.test("a stopped leader is replaced; when it goes on it follows, and is level within seconds", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const crowd = await Crowd.start(cluster);
    const stopped = await cluster.leader();
    cluster.process(stopped).signal("SIGSTOP");
    await crowd.progress(20);
    const successor = await cluster.leader(cluster.others(stopped));
    assert(successor !== stopped);
    await crowd.progress(20);
    cluster.process(stopped).signal("SIGCONT");
    await cluster.leader();
    await crowd.settle();
    await cluster.level(cluster.names, 10_000);
  });
});

Deno.test("a stopped follower disturbs nobody, and is level within seconds", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const crowd = await Crowd.start(cluster);
    const leader = await cluster.leader();
    const { term } = await cluster.at(leader).done("status");
    const [stopped] = cluster.others(leader);
    cluster.process(stopped).signal("SIGSTOP");
    await crowd.progress(40);
    cluster.process(stopped).signal("SIGCONT");
    await crowd.settle();
    await cluster.level(cluster.names, 10_000);
    assertEquals((await cluster.at(leader).done("status")).term, term, "no election was held");
  });
});

Deno.test("killing all ATMs at once, three times over, loses nothing acknowledged", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const crowd = await Crowd.start(cluster);
    for (let round = 0; round < 3; round += 1) {
      await crowd.progress(30);
      await cluster.kill(...cluster.names);
      await Promise.all(cluster.names.map((name) => cluster.restart(name)));
    }
    await crowd.progress(10);
    await crowd.settle();
    await cluster.level();
  });
});
