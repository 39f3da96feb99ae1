/**
 * `deno task demo`: the whole thing in under a minute, on real processes. A cluster comes up, a log
 * of 10,000 lines goes through a topic while the broker that leads it is killed, and money moves
 * between ATMs while one of them is cut off. Everything is counted at the end.
 */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { AtmCluster, centsOf } from "./atm_cluster.ts";
import { eventually, type Harness, nowMs, withHarness } from "./harness.ts";
import { numberedLines, QueueCluster } from "./queue_cluster.ts";

const LINES = 10_000;
const LEVELS = ["INFO", "DEBUG", "ERROR"];

export type Say = (line: string) => void;

/** Runs the demo; throws when anything is not accounted for. */
export async function runDemo(say: Say): Promise<void> {
  const startMs = nowMs();
  await withHarness(async (harness) => {
    await queueStory(harness, say);
    await bankStory(harness, say);
  });
  say(`everything is accounted for, in ${((nowMs() - startMs) / 1_000).toFixed(0)} s`);
}

async function queueStory(harness: Harness, say: Say): Promise<void> {
  const cluster = new QueueCluster(harness);
  await cluster.ready();
  say("a cluster is up: managers m1 m2 m3, brokers b1 b2 b3, a process each");
  await cluster.createTopic("logs");
  const log = join(harness.temporaryDirectory(), "access.log");
  const lines = numberedLines(0, LINES).map((line, at) => `${LEVELS[at % 3]} ${line}`);
  Deno.writeTextFileSync(log, lines.map((line) => `${line}\n`).join(""));
  say(`topic logs is made; producing ${LINES} lines of ${log}`);

  const follower = cluster.start("consume", "logs", "--follow");
  const producer = cluster.start("produce", "logs", "--json");
  for (let at = 0; at < LINES / 2; at += 100) await writeLines(producer, lines, at);
  await eventually("some acknowledgements", () => producer.lines("stdout").length > 0 || null);
  const leader = await cluster.leader("logs");
  await leader.process.kill();
  say(`${leader.id}, which leads the partition, is killed (-9) in the middle`);
  for (let at = LINES / 2; at < LINES; at += 100) await writeLines(producer, lines, at);
  await producer.endInput();
  assertEquals(await producer.status(), 0);
  say(`all ${producer.lines("stdout").length} lines are acknowledged all the same`);

  await eventually(
    "the consumer to have all",
    () => follower.lines("stdout").length >= LINES || null,
  );
  assertEquals([...follower.lines("stdout")], lines);
  say(`the consumer that was running has all ${LINES}, once each and in order`);
  cluster.restart(leader);
  await cluster.ready();
  assertEquals((await cluster.done(["consume", "logs"])).split("\n").slice(0, -1), lines);
  say(`${leader.id} is back; a new consumer reads the same ${LINES} lines`);
  await Promise.all(cluster.servers.map(({ process }) => process.terminate()));
}

async function writeLines(
  producer: { write(text: string): Promise<void> },
  lines: readonly string[],
  from: number,
): Promise<void> {
  await producer.write(lines.slice(from, from + 100).map((line) => `${line}\n`).join(""));
}

async function bankStory(harness: Harness, say: Say): Promise<void> {
  const bank = await AtmCluster.start(harness, 3);
  await bank.at("a1").eventually("deposit alice 100");
  await bank.at("a2").done("deposit bob 50");
  say("three ATMs are up: alice has 100.00, bob has 50.00");
  const cutOff = await bank.leader();
  const others = bank.others(cutOff);
  bank.links.separate([cutOff], others);
  say(`${cutOff}, the leader, is cut off from ${others.join(" and ")}`);
  await bank.at(others[0]).eventually("transfer alice bob 30");
  const refused = await bank.at(cutOff).ask("transfer alice bob 70");
  assert(!refused.ok);
  say(`the majority moved 30.00 from alice to bob; ${cutOff} answers "${refused.code}"`);
  bank.links.heal();
  await bank.level();
  const expected = await bank.balances(others[0]);
  await bank.agreeOn(expected);
  assertEquals(centsOf(expected), 15_000);
  const text = Object.entries(expected).map(([name, balance]) => `${name} ${balance}`).join(", ");
  say(`the link is back: all three ATMs say ${text}; no cent is lost or made`);
}

if (import.meta.main) await runDemo((line) => console.log(line));
