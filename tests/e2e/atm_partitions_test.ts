/** ATMs cut off from each other, both ways and one way. */

import { assert, assertEquals } from "@std/assert";
import { type Answer, AtmCluster } from "./atm_cluster.ts";
import { Crowd } from "./atm_crowd.ts";
import { withHarness } from "./harness.ts";

/**
 * An ATM that has just been cut off may not know it yet: its first answer may be that the outcome
 * is unknown. After that it must know, and say that certainly nothing moved.
 */
async function saysUnavailable(
  cluster: AtmCluster,
  name: string,
  lines: readonly string[] = ["withdraw alice 5", "balance alice"],
): Promise<Answer> {
  const first = await cluster.at(name).ask("deposit alice 5");
  assert(["unavailable", "outcome_unknown"].includes(first.code), JSON.stringify(first));
  await Promise.all(lines.map(async (line) => {
    const { code, message } = await cluster.another(name).ask(line);
    assertEquals(code, "unavailable", `${line} at ${name}: ${message}`);
  }));
  return first;
}

/** Every command that needs the bank. */
const EVERYTHING = [
  "deposit alice 5",
  "withdraw alice 5",
  "transfer alice bob 5",
  "balance alice",
  "accounts",
  "history alice",
];

/** Opens two accounts and waits until everybody has them. */
async function open(cluster: AtmCluster): Promise<string> {
  await cluster.at("a1").eventually("deposit alice 100");
  await cluster.at("a1").eventually("deposit bob 100");
  await cluster.level();
  return await cluster.leader();
}

/** After healing: the answer that was left open is found out, and everybody agrees. */
async function healAndAgree(
  cluster: AtmCluster,
  alice: number,
  open: { readonly name: string; readonly first: Answer },
): Promise<void> {
  cluster.links.heal();
  await cluster.leader();
  let expected = alice;
  if (open.first.code === "outcome_unknown") {
    await cluster.at(open.name).eventually(
      `deposit alice 5 --request-id ${open.first.requestId}`,
    );
    expected += 5;
  }
  await cluster.level(cluster.names, 10_000);
  await cluster.agreeOn({ alice: expected.toFixed(2), bob: "100.00" });
}

Deno.test("a leader cut off both ways is replaced, says unavailable in time, and follows when healed", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const old = await open(cluster);
    const rest = cluster.others(old);
    cluster.links.separate([old], rest);
    const [, first] = await Promise.all([
      cluster.at(rest[0]).eventually("deposit alice 1"),
      saysUnavailable(cluster, old, EVERYTHING),
    ]);
    assert(await cluster.leader(rest) !== old);
    await cluster.at(rest[1]).done("withdraw alice 2");
    await healAndAgree(cluster, 99, { name: old, first });
  });
});

Deno.test("a follower cut off both ways disturbs nobody, neither cut off nor when it returns", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const leader = await open(cluster);
    const [lonely, other] = cluster.others(leader);
    const { term } = await cluster.at(leader).done("status");
    cluster.links.separate([lonely], [leader, other]);
    const [, first] = await Promise.all([
      cluster.at(other).done("deposit alice 1"),
      saysUnavailable(cluster, lonely),
    ]);
    await healAndAgree(cluster, 101, { name: lonely, first });
    const after = await cluster.at(leader).done("status");
    assertEquals([after.leader, after.term], [leader, term], "no election was held");
  });
});

Deno.test("a leader that nobody hears is replaced", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const old = await open(cluster);
    const rest = cluster.others(old);
    for (const name of rest) cluster.links.cut(old, name);
    const [, first] = await Promise.all([
      cluster.at(rest[0]).eventually("deposit alice 1"),
      saysUnavailable(cluster, old),
    ]);
    await cluster.at(rest[1]).done("withdraw alice 2");
    await healAndAgree(cluster, 99, { name: old, first });
  });
});

Deno.test("a leader that hears nobody steps down and is replaced", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const old = await open(cluster);
    const rest = cluster.others(old);
    for (const name of rest) cluster.links.cut(name, old);
    const [, first] = await Promise.all([
      cluster.at(rest[0]).eventually("deposit alice 1"),
      saysUnavailable(cluster, old),
    ]);
    assert(await cluster.leader(rest) !== old);
    await cluster.at(rest[1]).done("withdraw alice 2");
    await healAndAgree(cluster, 99, { name: old, first });
  });
});

Deno.test("of five ATMs split two to three, the leader among the two, the three go on", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 5);
    const old = await open(cluster);
    const [companion, ...three] = cluster.others(old);
    cluster.links.separate([old, companion], three);
    const [, first] = await Promise.all([
      cluster.at(three[0]).eventually("deposit alice 1"),
      saysUnavailable(cluster, old),
    ]);
    for (const name of three) await cluster.at(name).done("deposit alice 1");
    await healAndAgree(cluster, 104, { name: old, first });
  });
});

Deno.test("cuts of every kind while money moves: the books agree to the cent", async () => {
  await withHarness(async (harness) => {
    const cluster = await AtmCluster.start(harness, 3);
    const crowd = await Crowd.start(cluster);
    const isolating: ((leader: string, others: string[]) => void)[] = [
      (leader, others) => cluster.links.separate([leader], others),
      (leader, others) => others.forEach((other) => cluster.links.cut(leader, other)),
      (leader, others) => others.forEach((other) => cluster.links.cut(other, leader)),
    ];
    for (const cut of isolating) {
      const leader = await cluster.leader();
      cut(leader, cluster.others(leader));
      await Promise.all([crowd.progress(20), crowd.trouble(1)]);
      cluster.links.heal();
    }
    const bridging: ((leader: string, one: string) => void)[] = [
      (leader, one) => cluster.links.cut(one, leader),
      (leader, one) => cluster.links.cut(leader, one),
      (leader, one) => cluster.links.separate([leader], [one]),
    ];
    for (const cut of bridging) {
      const leader = await cluster.leader();
      cut(leader, cluster.others(leader)[0]);
      await crowd.progress(20);
      cluster.links.heal();
    }
    await crowd.settle();
    await cluster.level(cluster.names, 10_000);
  });
});
