import { assertEquals } from "@std/assert";
import { Heartbeats, type LedPartition } from "../../lib/manager/heartbeats.ts";
import { place } from "../../lib/manager/moves.ts";
import { deleteTopic } from "../../lib/manager/topics.ts";
import { assignmentsView } from "../../lib/manager/views.ts";
import { type Cluster, clusterOf } from "./fixture.ts";

const groupId = "p/1/0";
const founders = ["r-b1", "r-b2", "r-b3"];

function led(more: Partial<LedPartition> = {}): LedPartition {
  return {
    groupId,
    epoch: 1,
    term: 1,
    membershipIndex: 1,
    voters: founders,
    startOffset: 0,
    endOffset: 0,
    sizeBytes: 100,
    ...more,
  };
}

/** A broker beats: it knows the newest placement and hosts what is assigned to it. */
function beat(cluster: Cluster, heartbeats: Heartbeats, id: string, more: Partial<LedPartition>[]) {
  const { version, replicas } = assignmentsView(cluster.machine.state, `r-${id}`);
  const hosted = replicas.map(({ groupId, epoch }) => ({
    groupId,
    epoch,
    quarantined: false,
    repairing: false,
  }));
  heartbeats.heard(`r-${id}`, {
    assignmentVersion: version,
    led: more.map(led),
    hosted,
    commitMs: null,
  });
}

/** Reports what is due, over and over, until nothing is; returns how often that was. */
function settle(cluster: Cluster, heartbeats: Heartbeats, nowMs = 0): number {
  for (let reports = 0; reports < 10; reports += 1) {
    const due = heartbeats.due(cluster.machine.state, nowMs);
    if (due === null) return reports;
    cluster.report(due);
  }
  throw new Error("reports never end");
}

Deno.test("a new leader of a partition is reported at once, and once", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  const heartbeats = new Heartbeats();
  beat(cluster, heartbeats, "b3", []);
  beat(cluster, heartbeats, "b2", [{ term: 3 }]);
  assertEquals(settle(cluster, heartbeats), 1);
  assertEquals(cluster.partition("logs").leader, "r-b2");
  beat(cluster, heartbeats, "b3", [{ term: 2 }]);
  assertEquals(settle(cluster, heartbeats), 0);
  assertEquals(heartbeats.led(groupId)?.term, 3, "an earlier leader's word counts no more");
});

Deno.test("a founding is recorded once its broker hosts the replica, also by the next manager", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  const founding = (id: string) => assignmentsView(cluster.machine.state, id).replicas[0].bootstrap;
  const heartbeats = new Heartbeats();
  const beatOf = (assignmentVersion: number, hosted: boolean, quarantined = false) =>
    heartbeats.heard("r-b1", {
      commitMs: null,
      assignmentVersion,
      led: [],
      hosted: hosted ? [{ groupId, epoch: 1, quarantined, repairing: false }] : [],
    });
  const { placementVersion } = cluster.machine.state;
  // It does not host it yet, or the heartbeat was made before the placement was known.
  beatOf(placementVersion, false);
  assertEquals(settle(cluster, heartbeats), 0);
  beatOf(placementVersion - 1, true);
  assertEquals(settle(cluster, heartbeats), 0);
  assertEquals(founding("r-b1"), true);
  // The manager that heard of it loses its leadership before it reports; the next one hears again.
  beatOf(placementVersion, true);
  heartbeats.startAfresh();
  assertEquals([settle(cluster, heartbeats), founding("r-b1")], [0, true]);
  beatOf(placementVersion, true);
  assertEquals([settle(cluster, heartbeats), founding("r-b1")], [1, false]);
  assertEquals(founding("r-b2"), true, "another founder may still have to found");
  beatOf(placementVersion, true);
  assertEquals(settle(cluster, heartbeats), 0, "it is reported once");
  beatOf(placementVersion, true, true);
  assertEquals(settle(cluster, heartbeats), 1);
  assertEquals(cluster.partition("logs").quarantined, ["r-b1"]);
  beatOf(placementVersion, true);
  assertEquals(settle(cluster, heartbeats), 1);
  assertEquals(cluster.partition("logs").quarantined, []);
});

Deno.test("a founder that returns under a new identity joins and does not found", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  const heartbeats = new Heartbeats();
  for (const id of ["b1", "b2", "b3"]) beat(cluster, heartbeats, id, []);
  settle(cluster, heartbeats);
  assertEquals([...cluster.partition("logs").begun].sort(), ["r-b1", "r-b2", "r-b3"]);
  for (const id of ["b1", "b2"]) {
    cluster.register(id, `r-${id}-again`);
    const [assigned] = assignmentsView(cluster.machine.state, `r-${id}-again`).replicas;
    assertEquals([assigned.bootstrap, assigned.begun], [false, false]);
  }
  assertEquals(cluster.partition("logs").begun, ["r-b3"]);
});

Deno.test("offsets alone are reported every ten seconds, or along with other news", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  const heartbeats = new Heartbeats();
  beat(cluster, heartbeats, "b2", [{ endOffset: 5 }]);
  assertEquals(settle(cluster, heartbeats, 0), 1);
  beat(cluster, heartbeats, "b2", [{ endOffset: 9 }]);
  assertEquals(settle(cluster, heartbeats, 9_999), 0);
  assertEquals(settle(cluster, heartbeats, 10_000), 1);
  assertEquals(cluster.partition("logs").endOffset, 9);
  beat(cluster, heartbeats, "b2", [{ endOffset: 12, term: 2 }]);
  assertEquals(settle(cluster, heartbeats, 10_001), 1);
  assertEquals(cluster.partition("logs").endOffset, 12);
});

Deno.test("after a change of leading manager nothing old is reported", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  const heartbeats = new Heartbeats();
  beat(cluster, heartbeats, "b2", [{ term: 3 }]);
  heartbeats.startAfresh();
  assertEquals(settle(cluster, heartbeats), 0);
});

Deno.test("the former replica is retired only when all who may lead know the new placement", () => {
  const cluster = clusterOf(4);
  cluster.createTopic("logs");
  const heartbeats = new Heartbeats();
  for (const id of ["b1", "b2", "b3", "b4"]) beat(cluster, heartbeats, id, []);
  beat(cluster, heartbeats, "b2", [{}]);
  settle(cluster, heartbeats);
  const voters = ["r-b2", "r-b3", "r-b4"];
  cluster.run(place, { topic: "logs", partition: 0, brokers: ["b2", "b3", "b4"] });
  beat(cluster, heartbeats, "b2", [{ membershipIndex: 8, voters }]);
  settle(cluster, heartbeats);
  assertEquals(cluster.partition("logs").voters, voters);
  assertEquals(cluster.tombstones(), [], "b3 and b4 know the old placement only");
  beat(cluster, heartbeats, "b3", []);
  settle(cluster, heartbeats);
  assertEquals(cluster.tombstones(), [], "b4 does not know it yet");
  beat(cluster, heartbeats, "b4", []);
  settle(cluster, heartbeats);
  assertEquals(cluster.tombstones(), [`r-b1 ${groupId}`]);
});

Deno.test("a replica is not retired before a leader that knows the placement has let it go", () => {
  const cluster = clusterOf(4);
  cluster.createTopic("logs");
  const heartbeats = new Heartbeats();
  const ids = ["b1", "b2", "b3", "b4"];
  const beatAll = (more: Partial<LedPartition>[]) => {
    for (const id of ids) beat(cluster, heartbeats, id, id === "b2" ? more : []);
    settle(cluster, heartbeats);
  };
  beatAll([{}]);
  cluster.run(place, { topic: "logs", partition: 0, brokers: ["b2", "b3", "b4"] });
  beatAll([{}]);
  // The leader takes b4 in, and the wish changes before it reports that, or never reports it.
  cluster.run(place, { topic: "logs", partition: 0, brokers: ["b1", "b2", "b3"] });
  beatAll([]);
  assertEquals(cluster.tombstones(), [], "no leader has said that b4 is no voter");
  beatAll([{ membershipIndex: 0, voters: [] }]);
  assertEquals(cluster.tombstones(), [], "its members are changing");
  beatAll([{ membershipIndex: 8, voters: ["r-b2", "r-b3", "r-b4"] }]);
  assertEquals(cluster.tombstones(), [], "b4 is a voter");
  beatAll([{ membershipIndex: 12, voters: ["r-b1", "r-b2", "r-b3"] }]);
  assertEquals(cluster.tombstones(), [`r-b4 ${groupId}`]);
});

Deno.test("a tombstone stays until its broker knew it and no longer has the replica", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  const heartbeats = new Heartbeats();
  const hosted = [{ groupId, epoch: 1, quarantined: false, repairing: false }];
  const before = cluster.machine.state.placementVersion;
  cluster.run(deleteTopic, { name: "logs" });
  const after = cluster.machine.state.placementVersion;
  const steps: [number, typeof hosted, number][] = [
    [before, [], 3], // It may have been about to create the replica.
    [after, hosted, 3],
    [after, [], 2],
  ];
  for (const [assignmentVersion, has, left] of steps) {
    heartbeats.heard("r-b1", { assignmentVersion, led: [], hosted: has, commitMs: null });
    settle(cluster, heartbeats);
    assertEquals(cluster.tombstones().length, left);
  }
});

Deno.test("what was said of a deleted topic or by a replaced broker is forgotten", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  const heartbeats = new Heartbeats();
  beat(cluster, heartbeats, "b1", [{ term: 9 }]);
  cluster.register("b1", "r-new");
  assertEquals(settle(cluster, heartbeats), 0);
  beat(cluster, heartbeats, "b2", [{ term: 9 }]);
  cluster.run(deleteTopic, { name: "logs" });
  assertEquals(settle(cluster, heartbeats), 0);
  assertEquals(heartbeats.led(groupId), undefined);
});
