/** ATMs that come back: behind, wiped, or with yesterday's data. */

import { assert, assertEquals } from "@std/assert";
import { copySync } from "@std/fs";
import { type Answer, AtmCluster } from "./atm_cluster.ts";
import { Crowd } from "./atm_crowd.ts";
import { eventually, withHarness } from "./harness.ts";

/** "Level again within seconds." */
const SECONDS_MS = 10_000;

function installedSnapshot(cluster: AtmCluster, name: string): boolean {
  return cluster.process(name).lines("stderr").some((line) => /installed a snapshot/.test(line));
}

/** The members as the leader has them, by name. */
async function members(cluster: AtmCluster, asked: string): Promise<Record<string, Answer>> {
  const { members } = await cluster.at(asked).done("status");
  return Object.fromEntries(members.map((member: Answer) => [member.name, member]));
}

Deno.test("an ATM that missed a little is level again within seconds, by log entries", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const leader = await cluster.leader();
    const [victim, other] = cluster.others(leader);
    await cluster.at(leader).done("deposit alice 1");
    await cluster.kill(victim);
    await cluster.deposits(other, "alice", 200);
    await cluster.restart(victim);
    await cluster.level(cluster.names, SECONDS_MS);
    assertEquals(installedSnapshot(cluster, victim), false);
    await cluster.agreeOn({ alice: "3.00" });
    const { entries } = await cluster.at(victim).done("history alice");
    assertEquals(entries.length, 201);
  });
});

Deno.test("an ATM that missed more than the log keeps is level within seconds, by a snapshot", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3, ["--segment-bytes", "16KiB"]);
    const leader = await cluster.leader();
    const [victim, other] = cluster.others(leader);
    await cluster.at(leader).done("deposit alice 1 --request-id before");
    await cluster.level();
    await cluster.kill(victim);
    await cluster.deposits(other, "alice", 1_000);
    await cluster.restart(victim);
    await cluster.level(cluster.names, SECONDS_MS);
    assert(installedSnapshot(cluster, victim), "the log alone would not have done");
    // The restored state answers as the one that was copied: balances, history, request ids.
    await cluster.agreeOn({ alice: "11.00" });
    const { entries } = await cluster.at(victim).done("history alice");
    assertEquals(entries.length, 1_000);
    await cluster.at(victim).done("deposit alice 1 --request-id before");
    await cluster.agreeOn({ alice: "11.00" });
  });
});

Deno.test("an ATM that was away while the log was trimmed serves as a voter, and may lead", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3, ["--segment-bytes", "16KiB"]);
    const leader = await cluster.leader();
    const [victim, other] = cluster.others(leader);
    await cluster.kill(victim);
    await cluster.deposits(other, "alice", 1_000);
    await cluster.restart(victim);
    await cluster.level(cluster.names, SECONDS_MS);
    await cluster.kill(leader);
    await cluster.at(victim).eventually("deposit alice 1");
    await cluster.agreeOn({ alice: "11.00" }, [victim, other]);
  });
});

Deno.test("a wiped ATM comes back as a new identity: learner, then voter; its old self is gone", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const crowd = await Crowd.start(cluster);
    const leader = await cluster.leader();
    const [victim, other] = cluster.others(leader);
    const before = await members(cluster, leader);
    await cluster.kill(victim);
    Deno.removeSync(cluster.node(victim).data, { recursive: true });
    await cluster.restart(victim);
    const after = await eventually("the new identity to be a voter", async () => {
      const now = await members(cluster, leader);
      const fresh = now[victim]?.replicaId !== before[victim].replicaId;
      return fresh && now[victim]?.role === "voter" && Object.keys(now).length === 3 ? now : null;
    });
    assertEquals(after[leader].replicaId, before[leader].replicaId);
    assertEquals(after[other].replicaId, before[other].replicaId);
    const log = cluster.process(leader).lines("stderr").join("\n");
    assert(log.includes("taken in as a learner"), "it was a learner first");
    await crowd.settle();
    await cluster.level();
    // It counts as a voter now: the bank goes on with it and one more.
    await cluster.kill(other);
    await cluster.at(victim).eventually("deposit p1 1");
  });
});

Deno.test("wiped ATMs never help a cluster forget: one that lost its majority's data answers nothing", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    await cluster.at("a1").done("deposit alice 100");
    await cluster.level();
    const cluster0 = (await cluster.at("a3").done("status")).cluster;
    await cluster.kill("a1", "a2");
    for (const name of ["a1", "a2"]) {
      Deno.removeSync(cluster.node(name).data, { recursive: true });
      cluster.launch(name);
    }
    // Two blank ATMs are a majority of names, but not of the voters that hold the money.
    for (const name of cluster.names) {
      const { code } = await cluster.at(name).ask("balance alice");
      assertEquals(code, "unavailable");
    }
    assertEquals((await cluster.at("a3").done("status")).cluster, cluster0);
  });
});

Deno.test("yesterday's copy of a data directory is refused by name, and the others go on", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const leader = await cluster.leader();
    const [victim] = cluster.others(leader);
    const { data } = cluster.node(victim);
    await cluster.at(leader).done("deposit alice 1");
    await cluster.level();
    await cluster.kill(victim);
    copySync(data, `${data}.copy`);
    await cluster.restart(victim);
    await cluster.at(leader).done("deposit alice 1");
    await cluster.level();
    await cluster.kill(victim);
    Deno.removeSync(data, { recursive: true });
    copySync(`${data}.copy`, data);
    const process = cluster.launch(victim);
    const { text } = await process.line("stderr", /rolled_back/);
    assert(text.includes(victim), text);
    assertEquals(await process.status(), 1);
    await cluster.at(leader).done("deposit alice 1");
    await cluster.agreeOn({ alice: "3.00" }, cluster.others(victim));
    // Its directory moved away, it comes back as somebody new.
    Deno.removeSync(data, { recursive: true });
    await cluster.restart(victim);
    await eventually("the new identity to be a voter", async () => {
      const now = await members(cluster, leader);
      return now[victim]?.role === "voter" && Object.keys(now).length === 3 ? now : null;
    });
    await cluster.level();
    await cluster.agreeOn({ alice: "3.00" });
  });
});
