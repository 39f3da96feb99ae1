import { assertEquals } from "@std/assert";
import { heartbeatBrokerMethod, metadataMethod } from "../../lib/client/protocol.ts";
import { place } from "../../lib/manager/moves.ts";
import { deleteTopic } from "../../lib/manager/topics.ts";
import {
  assignmentsView,
  brokerStatuses,
  brokersView,
  partitionStatuses,
  topicsView,
} from "../../lib/manager/views.ts";
import { clusterOf } from "./fixture.ts";

const groupId = "p/1/0";
const voters = ["r-b1", "r-b2", "r-b3"];
const said = {
  groupId,
  epoch: 1,
  leader: "r-b2",
  term: 4,
  membershipIndex: 1,
  voters,
  startOffset: 0,
  endOffset: 7,
};

Deno.test("metadata for clients passes the protocol's own check", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs", 2);
  cluster.createTopic("events");
  cluster.report({ partitions: [said] });
  const { state } = cluster.machine;
  const answer = {
    clusterId: state.clusterId,
    version: state.version,
    topics: topicsView(state, null),
    brokers: brokersView(state),
    managers: [],
  };
  const { answer: codec } = metadataMethod;
  assertEquals(codec.decode(codec.encode(answer), "metadata"), answer);
  assertEquals(answer.topics.map(({ name }) => name), ["events", "logs"]);
  assertEquals(answer.topics[1].partitions[0].leader, "r-b2");
  assertEquals(topicsView(state, ["logs", "none"]).map(({ name }) => name), ["logs"]);
});

Deno.test("a founder is told to found, one that was retired and is wanted again is not", () => {
  const cluster = clusterOf(4);
  cluster.createTopic("logs");
  const founding = () => assignmentsView(cluster.machine.state, "r-b1").replicas[0]?.bootstrap;
  assertEquals(founding(), true);
  const away = ["r-b2", "r-b3", "r-b4"];
  cluster.run(place, { topic: "logs", partition: 0, brokers: ["b2", "b3", "b4"] });
  assertEquals(founding(), true, "it may still have to found, to vote for the way out");
  const { placedVersion } = cluster.partition("logs");
  cluster.report({
    partitions: [{ ...said, membershipIndex: 9, voters: away }],
    retired: [{ groupId, epoch: 1, replicaId: "r-b1", placedVersion }],
  });
  assertEquals(founding(), undefined);
  const { placementVersion: version } = cluster.machine.state;
  cluster.report({ buried: [{ groupId, replicaId: "r-b1", version }] });
  cluster.run(place, { topic: "logs", partition: 0, brokers: ["b1", "b2", "b3"] });
  assertEquals(founding(), false);
});

Deno.test("a joining broker gets the founders' membership but does not found", () => {
  const cluster = clusterOf(4);
  cluster.createTopic("logs");
  cluster.run(place, { topic: "logs", partition: 0, brokers: ["b2", "b3", "b4"] });
  const [assigned] = assignmentsView(cluster.machine.state, "r-b4").replicas;
  assertEquals([assigned.bootstrap, [...assigned.founders].sort()], [false, voters]);
});

Deno.test("assignments name tombstones, and every identity's last address", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  cluster.createTopic("events");
  cluster.run(deleteTopic, { name: "logs" });
  cluster.register("b2", "r-new");
  const assignments = assignmentsView(cluster.machine.state, "r-b1");
  assertEquals(assignments.tombstones, [{ groupId, epoch: 1 }]);
  assertEquals(assignments.replicas.map((replica) => replica.groupId), ["p/2/0"]);
  assertEquals(assignments.superseded, ["r-b2"]);
  assertEquals(assignments.peers.filter(({ id }) => id === "b2"), [
    { replicaId: "r-b2", id: "b2", address: "b2:9101" },
    { replicaId: "r-new", id: "b2", address: "b2:9101" },
  ]);
  const answer = { intervalMs: 1000, assignments };
  const { answer: codec } = heartbeatBrokerMethod;
  assertEquals(codec.decode(codec.encode(answer), "heartbeat answer"), answer);
});

Deno.test("a broker that nothing concerns is assigned nothing", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  cluster.register("b4");
  const { replicas, tombstones } = assignmentsView(cluster.machine.state, "r-b4");
  assertEquals([replicas, tombstones], [[], []]);
});

Deno.test("status counts what each broker leads and hosts, with what the leader remembers", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs", 2);
  cluster.report({ partitions: [said] });
  const memory = {
    silentMs: (id: string) => id === "r-b1" ? 12 : null,
    commitMs: () => null,
    repairing: () => new Map([[groupId, ["r-b3"]]]),
    led: (group: string) =>
      group === groupId ? { ...said, endOffset: 9, sizeBytes: 300 } : undefined,
  };
  const brokers = brokerStatuses(cluster.machine.state, memory);
  assertEquals(
    brokers.map(({ led, hosted, lastHeartbeatMs }) => [led, hosted, lastHeartbeatMs]),
    [[0, 2, 12], [1, 2, null], [0, 2, null]],
  );
  const [first, second] = partitionStatuses(cluster.machine.state, memory);
  assertEquals([first.endOffset, first.sizeBytes, first.voters], [9, 300, voters]);
  assertEquals([first.repairing, second.repairing], [["r-b3"], []]);
  assertEquals([second.leader, second.sizeBytes, second.voters], [null, 0, []]);
});
