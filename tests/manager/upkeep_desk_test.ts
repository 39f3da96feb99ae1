/** The leading manager looks after dead brokers and the load, on virtual time. */

import { assertEquals, assertRejects } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import {
  drainBrokerMethod,
  rebalanceMethod,
  removeBrokerMethod,
} from "../../lib/client/protocol.ts";
import { type Managers, managersWith, second } from "./manager_fixture.ts";

const REPLACE_AFTER_MS = 60 * second;
const upkeep = { replaceAfterMs: REPLACE_AFTER_MS, rebalancing: "off" } as const;

/** Lets time pass in which these brokers beat, and report what they lead as it is wanted. */
async function passWith(managers: Managers, durationMs: number, ...alive: string[]): Promise<void> {
  for (let passedMs = 0; passedMs < durationMs; passedMs += second) {
    const { partitions, version } = await managers.status();
    for (const id of alive) {
      const led = partitions.filter(({ replicas }) => replicas[0] === `r-${id}`).map((found) => ({
        groupId: found.groupId,
        epoch: found.epoch,
        term: found.leaderTerm + 1,
        membershipIndex: version,
        voters: found.replicas,
        startOffset: 0,
        endOffset: 0,
        sizeBytes: 0,
      }));
      await managers.heartbeat(id, { led, assignmentVersion: version });
    }
    await managers.pass(second);
  }
}

/** What each broker is wanted for. */
async function hosted(managers: Managers): Promise<number[]> {
  return (await managers.status()).brokers.map((broker) => broker.hosted);
}

Deno.test("a dead broker's replicas are rebuilt elsewhere after the time, counted by one leader", async () => {
  const managers = await managersWith(4, upkeep);
  await managers.createTopic("logs", "m1", 4);
  await passWith(managers, 5 * second, "b1", "b2", "b3", "b4");
  assertEquals(await hosted(managers), [3, 3, 3, 3]);
  await passWith(managers, 60 * second, "b1", "b2", "b3");
  assertEquals((await managers.aliveBrokers()).length, 3);
  assertEquals(await hosted(managers), [3, 3, 3, 3], "dead, but not for that long");
  managers.elect("m2");
  await passWith(managers, 40 * second, "b1", "b2", "b3");
  assertEquals(await hosted(managers), [3, 3, 3, 3], "the new leader counts afresh");
  await passWith(managers, 40 * second, "b1", "b2", "b3");
  assertEquals(await hosted(managers), [4, 4, 4, 0]);
  managers.stop();
});

Deno.test("one that returns in time keeps everything, and its next absence is counted anew", async () => {
  const managers = await managersWith(4, upkeep);
  await managers.createTopic("logs", "m1", 4);
  await passWith(managers, 5 * second, "b1", "b2", "b3", "b4");
  for (let round = 0; round < 2; round += 1) {
    await passWith(managers, 50 * second, "b1", "b2", "b3");
    await passWith(managers, 5 * second, "b1", "b2", "b3", "b4");
  }
  assertEquals(await hosted(managers), [3, 3, 3, 3]);
  managers.stop();
});

Deno.test("an operator's wish to rebalance ends when it is no longer repeated", async () => {
  const managers = await managersWith(3, upkeep);
  await managers.createTopic("logs", "m1", 30);
  const everybody = ["b1", "b2", "b3", "b4", "b5"];
  await passWith(managers, 3 * second, "b1", "b2", "b3");
  await managers.register("b4", "b5");
  await passWith(managers, 10 * second, ...everybody);
  assertEquals((await hosted(managers)).slice(3), [0, 0]);
  const { planned } = await managers.ask(rebalanceMethod, null);
  assertEquals(planned > 4, true, "more than are moved at once");
  await passWith(managers, 30 * second, ...everybody);
  const [b1, , , b4] = await hosted(managers);
  assertEquals([b1 < 30, b4 > 0, b4 < 18], [true, true, true], "some moves, and then no more");
  for (;;) {
    const left = await managers.ask(rebalanceMethod, null);
    if (left.moving + left.planned === 0) break;
    await passWith(managers, second, ...everybody);
  }
  assertEquals(await hosted(managers), [18, 18, 18, 18, 18]);
  managers.stop();
});

Deno.test("only the leader rebalances; any manager takes a wish to drain or to remove", async () => {
  const managers = await managersWith(5, upkeep);
  await managers.createTopic("logs", "m1", 5);
  const everybody = ["b1", "b2", "b3", "b4", "b5"];
  await passWith(managers, 2 * second, ...everybody);
  const refusal = await assertRejects(() => managers.ask(rebalanceMethod, null, "m2"), TrilogError);
  assertEquals([refusal.code, refusal.leader], ["not_leader", "m1:9001"]);
  const drain = { requestId: "drain", broker: "b5", draining: true };
  await managers.ask(drainBrokerMethod, drain, "m3");
  await passWith(managers, 10 * second, ...everybody);
  const { brokers } = await managers.status();
  const { hosted, held, draining } = brokers[4];
  assertEquals([hosted, held, draining], [0, 0, true]);
  await managers.ask(removeBrokerMethod, { requestId: "remove", broker: "b5" }, "m2");
  const told = await assertRejects(() => managers.heartbeat("b5"), TrilogError);
  assertEquals(told.code, "superseded");
  managers.stop();
});
