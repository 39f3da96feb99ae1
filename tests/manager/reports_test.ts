import { assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import type { PartitionReport } from "../../lib/manager/reports.ts";
import { place } from "../../lib/manager/moves.ts";
import { deleteTopic } from "../../lib/manager/topics.ts";
import { type Cluster, clusterOf } from "./fixture.ts";

const groupId = "p/1/0";

function said(more: Partial<PartitionReport> = {}): PartitionReport {
  return {
    groupId,
    epoch: 1,
    leader: "r-b1",
    term: 2,
    membershipIndex: 1,
    voters: ["r-b1", "r-b2", "r-b3"],
    startOffset: 0,
    endOffset: 0,
    ...more,
  };
}

function withTopic(): Cluster {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  return cluster;
}

Deno.test("the leader of the latest term is known, whatever arrives later from an earlier one", () => {
  const cluster = withTopic();
  cluster.report({ partitions: [said({ leader: "r-b2", term: 5 })] });
  cluster.report({ partitions: [said({ leader: "r-b3", term: 4 })] });
  const { leader, leaderTerm } = cluster.partition("logs");
  assertEquals([leader, leaderTerm], ["r-b2", 5]);
});

Deno.test("the newest committed membership is kept, though its reporter was deposed", () => {
  const cluster = withTopic();
  cluster.report({ partitions: [said({ term: 5, membershipIndex: 9, voters: ["r-b1", "r-b2"] })] });
  cluster.report({ partitions: [said({ term: 6, membershipIndex: 3, voters: ["r-b3"] })] });
  assertEquals(cluster.partition("logs").voters, ["r-b1", "r-b2"]);
  cluster.report({ partitions: [said({ term: 4, membershipIndex: 12, voters: ["r-b2"] })] });
  const { leaderTerm, voters } = cluster.partition("logs");
  assertEquals([leaderTerm, voters], [6, ["r-b2"]]);
});

Deno.test("a leader that does not know the committed membership reports none", () => {
  const cluster = withTopic();
  cluster.report({ partitions: [said({ membershipIndex: 0, voters: ["r-b1"] })] });
  const { leader, voters } = cluster.partition("logs");
  assertEquals([leader, voters], ["r-b1", []]);
});

Deno.test("offsets only grow, and their growth alone is no new version", () => {
  const cluster = withTopic();
  cluster.report({ partitions: [said({ endOffset: 10 })] });
  const { version } = cluster.machine.state;
  cluster.report({ partitions: [said({ startOffset: 4, endOffset: 30 })] });
  cluster.report({ partitions: [said({ startOffset: 2, endOffset: 20 })] });
  const { startOffset, endOffset } = cluster.partition("logs");
  assertEquals([startOffset, endOffset, cluster.machine.state.version], [4, 30, version]);
});

Deno.test("reports of other epochs, unknown groups and unknown brokers are passed over", () => {
  const cluster = withTopic();
  const before = cluster.machine.snapshot();
  cluster.report({
    partitions: [
      said({ epoch: 2 }),
      said({ groupId: "p/1/1" }),
      said({ groupId: "p/01/0" }),
      said({ groupId: "p/7/0" }),
      said({ leader: "r-unknown" }),
    ],
  });
  assertEquals(cluster.machine.snapshot(), before);
});

/** A cluster in which b1 was wiped, so that its old identity is no longer wanted. */
function withReplacement(): Cluster {
  const cluster = withTopic();
  cluster.report({ partitions: [said({ leader: "r-b2" })] });
  cluster.register("b1", "r-new");
  return cluster;
}

Deno.test("a wiped broker's identity needs no tombstone, its disk is gone", () => {
  const cluster = withReplacement();
  const voters = ["r-b2", "r-b3", "r-new"];
  cluster.report({ partitions: [said({ leader: "r-b2", membershipIndex: 7, voters })] });
  const { placedVersion } = cluster.partition("logs");
  cluster.report({ retired: [{ groupId, epoch: 1, replicaId: "r-b1", placedVersion }] });
  assertEquals(cluster.tombstones(), []);
});

/** A cluster in which the partition of "logs" is to move from b1 to b4. */
function withMove(): Cluster {
  const cluster = clusterOf(4);
  cluster.createTopic("logs");
  cluster.report({ partitions: [said({ leader: "r-b2" })] });
  cluster.run(place, { topic: "logs", partition: 0, brokers: ["b2", "b3", "b4"] });
  return cluster;
}

Deno.test("a replica is retired once it is neither wanted nor a voter of the committed group", () => {
  const cluster = withMove();
  const { placedVersion } = cluster.partition("logs");
  const retirement = { groupId, epoch: 1, replicaId: "r-b1", placedVersion };
  cluster.report({ retired: [retirement] });
  assertEquals(cluster.tombstones(), [], "it still votes");
  const voters = ["r-b2", "r-b3", "r-b4"];
  cluster.report({ partitions: [said({ term: 3, membershipIndex: 9, voters })] });
  cluster.report({ retired: [{ ...retirement, placedVersion: placedVersion - 1 }] });
  assertEquals(cluster.tombstones(), [], "it was found out for another placement");
  cluster.report({ retired: [retirement] });
  assertEquals(cluster.tombstones(), [`r-b1 ${groupId}`]);
  const { placed, retired } = cluster.partition("logs");
  assertEquals([[...placed].sort(), retired], [voters, ["r-b1"]]);
});

Deno.test("a replica that is being deleted is not wanted again until it is gone", () => {
  const cluster = withMove();
  const { placedVersion } = cluster.partition("logs");
  cluster.report({
    partitions: [said({ membershipIndex: 9, voters: ["r-b2", "r-b3", "r-b4"] })],
    retired: [{ groupId, epoch: 1, replicaId: "r-b1", placedVersion }],
  });
  const back = { topic: "logs", partition: 0, brokers: ["b1", "b2", "b3"] };
  const error = assertThrows(() => cluster.run(place, back), TrilogError);
  assertEquals(error.code, "unavailable");
  const { placementVersion: version } = cluster.machine.state;
  cluster.report({ buried: [{ groupId, replicaId: "r-b1", version }] });
  cluster.run(place, back);
  assertEquals(cluster.partition("logs").retired, ["r-b1"]);
});

Deno.test("a move names three different, known brokers and an existing partition", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  const all = ["b1", "b2", "b3"];
  const cases: [string, number, string[], string][] = [
    ["none", 0, all, "no_such_topic"],
    ["logs", 1, all, "no_such_partition"],
    ["logs", 0, ["b1", "b2"], "invalid_argument"],
    ["logs", 0, ["b1", "b2", "b2"], "invalid_argument"],
    ["logs", 0, ["b1", "b2", "b9"], "no_such_broker"],
  ];
  for (const [topic, partition, brokers, code] of cases) {
    const run = () => cluster.run(place, { topic, partition, brokers });
    assertEquals(assertThrows(run, TrilogError).code, code);
  }
});

Deno.test("a wanted replica or a voter is never retired", () => {
  const cluster = withTopic();
  const { placedVersion } = cluster.partition("logs");
  const retire = { groupId, epoch: 1, replicaId: "r-b1", placedVersion };
  cluster.report({ retired: [retire] });
  cluster.report({ partitions: [said()], retired: [retire] });
  cluster.report({
    partitions: [said({ membershipIndex: 5, voters: ["r-b2", "r-b3"] })],
    retired: [retire],
  });
  assertEquals(cluster.tombstones(), []);
});

Deno.test("a tombstone goes when its own version is buried, not when an older one is", () => {
  const cluster = withTopic();
  cluster.run(deleteTopic, { name: "logs" });
  const { placementVersion: version } = cluster.machine.state;
  cluster.report({ buried: [{ groupId, replicaId: "r-b1", version: version - 1 }] });
  assertEquals(cluster.tombstones().length, 3);
  cluster.report({ buried: [{ groupId, replicaId: "r-b1", version }] });
  assertEquals(cluster.tombstones(), [`r-b2 ${groupId}`, `r-b3 ${groupId}`]);
});
