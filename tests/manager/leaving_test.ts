/** Brokers that are drained and removed, partitions recovered with loss, managers that leap. */

import { assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { drain, held, removeBroker } from "../../lib/manager/drains.ts";
import { leap } from "../../lib/manager/leaps.ts";
import { MetadataMachine } from "../../lib/manager/metadata.ts";
import { place } from "../../lib/manager/moves.ts";
import { deleteTopic } from "../../lib/manager/topics.ts";
import { recover } from "../../lib/manager/recoveries.ts";
import { assignmentsView } from "../../lib/manager/views.ts";
import { type Cluster, clusterOf } from "./fixture.ts";

function refusal(act: () => unknown): string {
  return assertThrows(act, TrilogError).code;
}

/** Three brokers with `t/0`, whose voters were reported, and more brokers. */
function reported(brokers: number): Cluster {
  const cluster = clusterOf(3);
  cluster.createTopic("t");
  for (let at = 4; at <= brokers; at += 1) cluster.register(`b${at}`);
  const { groupId, replicas } = cluster.partition("t");
  cluster.report({
    partitions: [{
      groupId,
      epoch: 1,
      leader: replicas[0],
      term: 3,
      membershipIndex: 1,
      voters: replicas,
      startOffset: 0,
      endOffset: 70,
    }],
  });
  return cluster;
}

const wish = { topic: "t", partition: 0, epoch: 1, endOffset: 50 };

Deno.test("a broker is drained only where its replicas have somewhere to go", () => {
  const cluster = reported(4);
  const draining = (broker: string, draining = true) => cluster.run(drain, { broker, draining });
  assertEquals(refusal(() => draining("b9")), "no_such_broker");
  draining("b4");
  assertEquals([...cluster.machine.state.draining], ["b4"]);
  assertEquals(refusal(() => draining("b1")), "not_enough_brokers");
  draining("b4", false);
  draining("b1");
  assertEquals(cluster.partition("t").replicas.at(-1), "r-b1", "it leads last");
  const { version } = draining("b1");
  assertEquals(version, cluster.machine.state.version, "once more changes nothing");
});

Deno.test("new partitions avoid a draining broker", () => {
  const cluster = reported(4);
  cluster.run(drain, { broker: "b4", draining: true });
  cluster.createTopic("u", 3);
  assertEquals(held(cluster.machine.state, "r-b4"), 0);
});

Deno.test("without three brokers that stay no topic is made, and the third of three is not drained", () => {
  const four = reported(4);
  four.run(drain, { broker: "b4", draining: true });
  four.declareDead("r-b3");
  four.createTopic("u", 3);
  assertEquals(held(four.machine.state, "r-b4"), 0, "a dead broker is taken before a drained one");
  const three = clusterOf(3);
  const draining = (broker: string) => three.run(drain, { broker, draining: true });
  assertEquals(refusal(() => draining("b3")), "not_enough_brokers", "it holds nothing");
  three.register("b4");
  draining("b3");
  three.run(removeBroker, { broker: "b4" });
  assertEquals(refusal(() => three.createTopic("t", 1)), "not_enough_brokers");
  three.run(drain, { broker: "b3", draining: false });
  three.createTopic("t", 1);
});

Deno.test("a partition is not moved to a broker that cannot make a replica", () => {
  const cluster = reported(5);
  cluster.declareDead("r-b4");
  cluster.run(drain, { broker: "b5", draining: true });
  const moveTo = (...brokers: string[]) => {
    cluster.run(place, { topic: "t", partition: 0, brokers });
  };
  const { version } = cluster.machine.state;
  assertEquals(refusal(() => moveTo("b1", "b2", "b4")), "unavailable", "dead");
  assertEquals(refusal(() => moveTo("b1", "b2", "b5")), "unavailable", "drained");
  assertEquals(cluster.machine.state.version, version);
  cluster.declareDead("r-b3");
  moveTo("b2", "b1", "b3");
  assertEquals(cluster.partition("t").replicas, ["r-b2", "r-b1", "r-b3"], "it has one already");
});

Deno.test("a broker with replicas is not removed, one without is never admitted again", () => {
  const cluster = reported(4);
  const remove = (broker: string) => cluster.run(removeBroker, { broker });
  assertEquals(refusal(() => remove("b1")), "invalid_argument");
  assertEquals(refusal(() => remove("b9")), "no_such_broker");
  remove("b4");
  assertEquals(cluster.machine.state.brokers.has("b4"), false);
  assertEquals(refusal(() => cluster.register("b4")), "superseded");
  assertEquals(refusal(() => cluster.register("other", "r-b4")), "superseded");
  cluster.register("b4", "another-identity");
  assertEquals(assignmentsView(cluster.machine.state, "r-b1").superseded, ["r-b4"]);
});

Deno.test("a broker that still deletes former replicas is removed by a repeat of the request", () => {
  const cluster = reported(4);
  cluster.run(deleteTopic, { name: "t" });
  const remove = () => cluster.run(removeBroker, { broker: "b1" });
  assertEquals(assertThrows(remove, TrilogError).retryable, true);
  assertEquals(cluster.machine.state.brokers.has("b1"), true);
});

Deno.test("a partition is recovered only without a majority, from a living replica of its epoch", () => {
  const cluster = reported(4);
  const from = (survivor: string, more = {}) =>
    cluster.run(recover, { ...wish, survivor, ...more });
  assertEquals(refusal(() => from("r-b1")), "invalid_argument");
  cluster.declareDead("r-b2");
  assertEquals(refusal(() => from("r-b1")), "invalid_argument");
  cluster.declareDead("r-b3");
  for (const survivor of ["r-b2", "r-b4", "r-b9"]) {
    assertEquals(refusal(() => from(survivor)), "invalid_argument");
  }
  assertEquals(refusal(() => from("r-b1", { epoch: 2 })), "invalid_argument");
  assertEquals(refusal(() => from("r-b1", { topic: "u" })), "no_such_topic");
  assertEquals(refusal(() => from("r-b1", { partition: 1 })), "no_such_partition");
  from("r-b1");
  assertEquals(refusal(() => from("r-b1")), "invalid_argument");
});

Deno.test("a quarantined replica is no living one: the complete third goes on without loss", () => {
  const cluster = reported(3);
  const from = (survivor: string) => cluster.run(recover, { ...wish, survivor });
  const quarantine = (quarantined: boolean) => {
    const { groupId, placedVersion } = cluster.partition("t");
    const said = { groupId, epoch: 1, replicaId: "r-b1", placedVersion };
    cluster.report({ replicas: [{ ...said, quarantined }] });
  };
  // The leader has rotted, another has lost its disk, the third has everything.
  quarantine(true);
  assertEquals(refusal(() => from("r-b3")), "invalid_argument", "b2 and b3 are a majority");
  cluster.register("b2", "r-b2-again");
  assertEquals(refusal(() => from("r-b1")), "invalid_argument", "it is quarantined");
  quarantine(false);
  assertEquals(refusal(() => from("r-b3")), "invalid_argument", "it was rebuilt");
  quarantine(true);
  from("r-b3");
  assertEquals([cluster.partition("t").epoch, cluster.partition("t").quarantined], [2, []]);
});

Deno.test("after a recovery nobody founds the group, one goes on, and offsets are above all known", () => {
  const cluster = reported(5);
  cluster.declareDead("r-b2", "r-b3");
  cluster.run(recover, { ...wish, survivor: "r-b1" });
  const { epoch, replicas, placed, voters, founders } = cluster.partition("t");
  assertEquals([epoch, replicas, voters, founders], [2, ["r-b1", "r-b4", "r-b5"], [], []]);
  assertEquals(placed.toSorted(), ["r-b1", "r-b2", "r-b3", "r-b4", "r-b5"]);
  const { state } = cluster.machine;
  for (const id of placed) {
    const [assigned] = assignmentsView(state, id).replicas;
    assertEquals(assigned.bootstrap, false);
    // The managers knew of more than the survivors did.
    assertEquals(assigned.recovery, id === "r-b1" ? { endOffset: 70 } : null);
  }
});

Deno.test("where no others are alive the dead ones keep their places, blank", () => {
  const cluster = reported(3);
  cluster.declareDead("r-b2", "r-b3");
  cluster.run(recover, { ...wish, survivor: "r-b1", endOffset: 90 });
  assertEquals(cluster.partition("t").replicas, ["r-b1", "r-b2", "r-b3"]);
  const [assigned] = assignmentsView(cluster.machine.state, "r-b1").replicas;
  assertEquals(assigned.recovery, { endOffset: 90 });
});

Deno.test("an old replica is retired when the new epoch has settled, and reports of the old are void", () => {
  const cluster = reported(5);
  cluster.declareDead("r-b2", "r-b3");
  cluster.run(recover, { ...wish, survivor: "r-b1" });
  const { groupId, replicas, placedVersion } = cluster.partition("t");
  const said = { groupId, leader: "r-b1", membershipIndex: 9, startOffset: 0, endOffset: 0 };
  const [old] = [{ ...said, epoch: 1, term: 99, voters: ["r-b1", "r-b2", "r-b3"] }];
  cluster.report({ partitions: [old] });
  assertEquals(cluster.partition("t").voters, []);
  cluster.report({ partitions: [{ ...said, epoch: 2, term: 8, voters: replicas }] });
  cluster.report({ retired: [{ groupId, epoch: 2, replicaId: "r-b2", placedVersion }] });
  assertEquals(cluster.tombstones(), [`r-b2 ${groupId}`]);
  assertEquals(assignmentsView(cluster.machine.state, "r-b2").tombstones, [{ groupId, epoch: 2 }]);
});

Deno.test("a leap goes beyond all versions and numbers that may have been used", () => {
  const cluster = reported(3);
  const before = cluster.machine.state.version;
  const { number } = cluster.machine.state.topics.get("t")!;
  cluster.run(leap, {});
  const { state } = cluster.machine;
  assertEquals(state.version > before + 1_000_000, true);
  assertEquals(state.placementVersion, state.version);
  cluster.createTopic("u");
  assertEquals(cluster.machine.state.topics.get("u")!.number > number + 100_000, true);
});

Deno.test("all of it is kept in snapshots", () => {
  const cluster = reported(5);
  cluster.run(drain, { broker: "b5", draining: true });
  cluster.run(removeBroker, { broker: "b4" });
  cluster.declareDead("r-b2", "r-b3");
  cluster.run(recover, { ...wish, survivor: "r-b1" });
  const copy = new MetadataMachine();
  copy.restore(cluster.machine.snapshot());
  assertEquals(copy.snapshot(), cluster.machine.snapshot());
  const { draining, removed, recoveries } = copy.state;
  assertEquals([[...draining], [...removed], recoveries.size], [["b5"], ["r-b4"], 1]);
});
