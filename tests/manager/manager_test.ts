import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type ErrorCode, TrilogError } from "../../lib/base/errors.ts";
import {
  clusterStatusMethod,
  createTopicMethod,
  deleteTopicMethod,
  heartbeatBrokerMethod,
  metadataMethod,
  registerBrokerMethod,
} from "../../lib/client/protocol.ts";
import { unlimited } from "./fixture.ts";
import { beat, Managers, managersWith, second } from "./manager_fixture.ts";

async function refusal(run: () => Promise<unknown>, code: ErrorCode): Promise<TrilogError> {
  const error = await assertRejects(run, TrilogError);
  assertEquals(error.code, code, error.message);
  return error;
}

const everything = { topics: null, consistency: "linearizable" } as const;

Deno.test("every manager answers metadata, once the leader has named the cluster", async () => {
  const managers = new Managers();
  await refusal(() => managers.ask(metadataMethod, everything), "unavailable");
  await managers.pass(2 * second);
  for (const name of ["m1", "m2", "m3"]) {
    const metadata = await managers.ask(metadataMethod, everything, name);
    assertEquals(metadata.clusterId, "c1");
    assertEquals(
      metadata.managers.map(({ id, leader }) => [id, leader]),
      [["m1", true], ["m2", false], ["m3", false]],
      "an identity that is being replaced is not shown",
    );
  }
  managers.stop();
});

Deno.test("any manager takes a change, and a repeated request changes nothing more", async () => {
  const managers = await managersWith(3);
  await managers.createTopic("logs", "m2");
  await managers.createTopic("logs", "m3");
  const { topics } = await managers.ask(metadataMethod, everything, "m1");
  assertEquals(topics.map(({ name, partitions }) => [name, partitions.length]), [["logs", 1]]);
  const again = { requestId: "another", name: "logs", partitions: 1, settings: unlimited };
  await refusal(() => managers.ask(createTopicMethod, again), "topic_exists");
  managers.stop();
});

Deno.test("without a quorum a linearizable answer is refused and a stale one given", async () => {
  const managers = await managersWith(3);
  managers.elect(null);
  await refusal(() => managers.ask(metadataMethod, everything, "m2"), "unavailable");
  const stale = { topics: null, consistency: "stale" } as const;
  assertEquals((await managers.ask(metadataMethod, stale, "m2")).brokers.length, 3);
  managers.stop();
});

Deno.test("what rests on the leader's memory is refused elsewhere with the leader's name", async () => {
  const managers = await managersWith(3);
  const runs = [
    () => managers.ask(heartbeatBrokerMethod, beat("b1"), "m2"),
    () => managers.ask(clusterStatusMethod, { consistency: "linearizable" }, "m2"),
  ];
  for (const run of runs) assertEquals((await refusal(run, "not_leader")).leader, "m1:9001");
  managers.stop();
});

Deno.test("a leader that has not committed anything in its term is not trusted yet", async () => {
  const managers = await managersWith(3);
  managers.readReady = false;
  await refusal(() => managers.heartbeat("b1"), "unavailable");
  managers.stop();
});

Deno.test("a heartbeat brings assignments that are newer, and none that are known", async () => {
  const managers = await managersWith(3);
  await managers.createTopic("logs");
  const { intervalMs, assignments } = await managers.heartbeat("b1");
  assertEquals(intervalMs, second);
  assertEquals(assignments?.replicas.map(({ groupId }) => groupId), ["p/1/0"]);
  const known = { assignmentVersion: assignments!.version };
  assertEquals((await managers.heartbeat("b1", known)).assignments, null);
  managers.stop();
});

Deno.test("a held heartbeat is answered when assignments change, else after its wait", async () => {
  const managers = await managersWith(3);
  const first = await managers.heartbeat("b1");
  const held = { assignmentVersion: first.assignments!.version, maxWaitMs: 5 * second };
  const beforeMs = managers.clock.monotonicMs();
  const waiting = managers.call(heartbeatBrokerMethod, beat("b1", held));
  await managers.createTopic("logs");
  const answer = await managers.clock.settle(waiting);
  assertEquals(answer.assignments?.replicas.length, 1);
  assert(managers.clock.monotonicMs() - beforeMs < second);
  const next = { ...held, assignmentVersion: answer.assignments!.version };
  assertEquals((await managers.heartbeat("b1", next)).assignments, null);
  const waitedMs = managers.clock.monotonicMs() - beforeMs;
  assert(waitedMs >= 5 * second && waitedMs < 7 * second, `${waitedMs}`);
  managers.stop();
});

Deno.test("a leader that is deposed answers no held heartbeat", async () => {
  const managers = await managersWith(3);
  const { assignments } = await managers.heartbeat("b1");
  const held = { assignmentVersion: assignments!.version, maxWaitMs: 9 * second };
  const waiting = managers.call(heartbeatBrokerMethod, beat("b1", held), "m1");
  managers.elect("m2");
  await refusal(() => managers.clock.settle(waiting), "not_leader");
  managers.stop();
});

Deno.test("a silent broker is declared dead after the time to dead, and alive when it beats", async () => {
  const managers = await managersWith(3);
  for (let nowMs = 0; nowMs < 9 * second; nowMs += second) {
    await managers.heartbeat("b1");
    await managers.heartbeat("b2");
    await managers.pass(second);
  }
  assertEquals(await managers.aliveBrokers(), ["b1", "b2", "b3"]);
  await managers.heartbeat("b1");
  await managers.heartbeat("b2");
  await managers.pass(2 * second);
  assertEquals(await managers.aliveBrokers(), ["b1", "b2"]);
  await managers.heartbeat("b3");
  await managers.pass(second + 10);
  assertEquals(await managers.aliveBrokers(), ["b1", "b2", "b3"]);
  managers.stop();
});

Deno.test("a new leader goes on from the silence that was counted, and gives brokers a moment at least", async () => {
  const managers = await managersWith(3);
  await managers.pass(8 * second);
  managers.elect("m2");
  await managers.pass(4 * second);
  assertEquals(await managers.aliveBrokers(), ["b1", "b2", "b3"]);
  await managers.pass(3 * second);
  assertEquals(await managers.aliveBrokers(), []);
  managers.stop();
});

Deno.test("a leader that comes back has forgotten what it heard before", async () => {
  const managers = await managersWith(1);
  managers.elect("m2");
  await managers.pass(second);
  managers.elect("m1");
  await managers.pass(second);
  const { brokers } = await managers.status();
  assertEquals(brokers.map(({ lastHeartbeatMs }) => lastHeartbeatMs), [null]);
  managers.stop();
});

Deno.test("a leader that lost its quorum hands out no assignments, they may be out of date", async () => {
  const managers = await managersWith(3);
  await managers.createTopic("logs");
  managers.quorum = false;
  await refusal(() => managers.heartbeat("b1"), "unavailable");
  managers.stop();
});

Deno.test("a broker of another cluster is refused", async () => {
  const managers = await managersWith(0);
  const foreign = { id: "b1", replicaId: "r", address: "b1:1", rack: "", clusterId: "c2" };
  await refusal(() => managers.ask(registerBrokerMethod, foreign), "wrong_cluster");
  managers.stop();
});

Deno.test("a name passes to a new identity only when the old one is silent", async () => {
  const managers = await managersWith(3);
  const wiped = { id: "b1", replicaId: "r-new", address: "b1:9101", rack: "", clusterId: null };
  await refusal(() => managers.ask(registerBrokerMethod, wiped), "unavailable");
  await managers.pass(2 * second);
  await managers.ask(registerBrokerMethod, wiped);
  await refusal(() => managers.heartbeat("b1"), "superseded");
  await refusal(() => managers.heartbeat("b9"), "no_such_broker");
  managers.stop();
});

Deno.test("at another address a new identity waits for a long silence, dead or not", async () => {
  const managers = await managersWith(3);
  const elsewhere = { id: "b1", replicaId: "r-new", address: "h:9", rack: "", clusterId: null };
  await managers.pass(15 * second);
  const refused = await refusal(
    () => managers.ask(registerBrokerMethod, elsewhere),
    "unavailable",
  );
  assertStringIncludes(refused.message, "replaced after 60 s of silence");
  await managers.heartbeat("b1");
  await managers.pass(59 * second);
  await refusal(() => managers.ask(registerBrokerMethod, elsewhere), "unavailable");
  await managers.pass(2 * second);
  await managers.ask(registerBrokerMethod, elsewhere);
  managers.stop();
});

Deno.test("a reported leader is in everybody's metadata, and sizes in the leader's status", async () => {
  const managers = await managersWith(3);
  await managers.createTopic("logs");
  const led = {
    groupId: "p/1/0",
    epoch: 1,
    term: 2,
    membershipIndex: 1,
    voters: ["r-b1", "r-b2", "r-b3"],
    startOffset: 0,
    endOffset: 42,
    sizeBytes: 4096,
  };
  await managers.heartbeat("b2", {
    led: [led],
    hosted: [{ groupId: "p/1/0", epoch: 1, quarantined: false, repairing: true }],
  });
  await managers.pass(10);
  const { topics } = await managers.ask(metadataMethod, everything, "m3");
  assertEquals(topics[0].partitions[0].leader, "r-b2");
  const { partitions, brokers, managers: servers } = await managers.status();
  assertEquals([partitions[0].endOffset, partitions[0].sizeBytes], [42, 4096]);
  assertEquals(partitions[0].repairing, ["r-b2"]);
  assertEquals(brokers.map(({ id, led }) => [id, led]), [["b1", 0], ["b2", 1], ["b3", 0]]);
  assertEquals(servers.map(({ role }) => role), ["leader", "follower", "follower"]);
  const stale = await managers.ask(clusterStatusMethod, { consistency: "stale" }, "m3");
  assertEquals(stale.brokers.map(({ lastHeartbeatMs }) => lastHeartbeatMs), [null, null, null]);
  managers.elect("m2");
  await managers.pass(second);
  managers.elect("m1");
  assertEquals((await managers.status()).partitions[0].sizeBytes, 0, "old news");
  managers.stop();
});

Deno.test("a deleted topic's replicas get tombstones, which end with the replicas", async () => {
  const managers = await managersWith(3);
  await managers.createTopic("logs");
  const buried = [{ groupId: "p/1/0", epoch: 1 }];
  const hosted = buried.map((where) => ({ ...where, quarantined: false, repairing: false }));
  for (const id of ["b1", "b2", "b3"]) await managers.heartbeat(id, { hosted });
  await managers.ask(deleteTopicMethod, { requestId: "d", name: "logs" }, "m2");
  assertEquals((await managers.status()).tombstones, 3);
  for (const id of ["b1", "b2", "b3"]) {
    const { assignments } = await managers.heartbeat(id, { hosted });
    assertEquals(assignments?.tombstones, buried);
    await managers.heartbeat(id, { assignmentVersion: assignments!.version });
    await managers.pass(10);
  }
  assertEquals((await managers.status()).tombstones, 0);
  managers.stop();
});
