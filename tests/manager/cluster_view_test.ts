import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  CLUSTER_STATES,
  clusterState,
  partitionRows,
  type PartitionState,
  partitionState,
  statusLines,
  statusObject,
} from "../../cmd/cluster_view.ts";
import type { BrokerStatus, ClusterStatus, PartitionStatus } from "../../lib/client/protocol.ts";
import { broker, cluster, manager, partition } from "./status_fixture.ts";

Deno.test("the state of a partition follows from its leader, voters and living brokers", () => {
  const dead = (...ids: string[]) =>
    ["b1", "b2", "b3", "b4"].map((id) => broker(id, { alive: !ids.includes(id) }));
  const moved = ["r-b1", "r-b2", "r-b4"];
  const cases: [Partial<PartitionStatus>, BrokerStatus[], PartitionState][] = [
    [{}, dead(), "ok"],
    [{ leader: null, voters: [] }, dead(), "starting"],
    [{ leader: null, voters: [] }, dead("b2"), "starting"],
    [{ replicas: moved }, dead(), "moving"],
    [{}, dead("b3"), "degraded"],
    [{}, dead("b1"), "stalled"],
    [{}, dead("b2", "b3"), "stalled"],
    [{ leader: null }, dead("b2", "b3"), "stalled"],
    [{ leader: "r-gone" }, dead(), "stalled"],
    [{ quarantined: ["r-b2"] }, dead(), "degraded"],
    [{ quarantined: ["r-b1"], voters: ["r-b1", "r-former", "r-b3"] }, dead(), "stalled"],
  ];
  for (const [more, brokers, state] of cases) {
    assertEquals(partitionState(partition(more), brokers), state);
  }
});

Deno.test("the first line says whether all is well", () => {
  const first = (more: Partial<ClusterStatus>, stale = false) =>
    statusLines(cluster(more), stale, 100)[0];
  assertEquals(first({}), "HEALTHY: 3 brokers alive; 1 partition ok");
  assertEquals(
    first({ brokers: [broker("b1")], partitions: [] }),
    "TROUBLE: 1 broker alive, topics need 3; 0 partitions ok",
  );
  const oneDead = [broker("b1"), broker("b2", { alive: false }), broker("b3")];
  assertEquals(
    first({ brokers: oneDead }),
    "TROUBLE: 1 of 3 brokers DEAD (b2); 1 partition: 1 degraded",
  );
  assertEquals(
    first({ partitions: [partition({ leader: null, voters: [] })] }),
    "BUSY: 3 brokers alive; 1 partition: 1 starting",
  );
  const silent = [cluster().managers[0], manager("m2", { lastHeardMs: null })];
  assertStringIncludes(first({ managers: silent }), "TROUBLE: 1 of 2 managers SILENT (m2)");
  const late = [broker("b1"), broker("b2", { lastHeartbeatMs: 2_300 }), broker("b3")];
  assertEquals(first({ brokers: late }), "SUSPECT: 1 of 3 brokers LATE (b2); 1 partition ok");
  const unheard = [broker("b1", { lastHeartbeatMs: null }), broker("b2"), broker("b3")];
  assertEquals(first({ brokers: unheard }), "SUSPECT: 1 of 3 brokers LATE (b1); 1 partition ok");
  const slow = [broker("b1"), broker("b2"), broker("b3", { commitMs: 12_000 })];
  assertEquals(first({ brokers: slow }), "SUSPECT: 1 of 3 brokers SLOW (b3); 1 partition ok");
});

Deno.test("without a quorum of managers nothing is called alive or ok", () => {
  const lines = statusLines(cluster(), true, 200);
  assertEquals(
    lines[0],
    "TROUBLE: NO QUORUM of the 2 managers answers; the state of 3 brokers and 1 partition is " +
      "unknown, this is what one manager knew last",
  );
  const text = lines.join("\n");
  for (const word of [/\balive\b/, /\bok\b/, /0B/, /\bfollower\b/, /\bleader\b/]) {
    assertEquals(word.test(text), false, text);
  }
  assertEquals(lines.filter((line) => line.includes("unknown")).length, 7);
  const object = JSON.parse(JSON.stringify(statusObject(cluster(), true)));
  assertEquals([object.state, object.partitions[0].state], ["no_quorum", "unknown"]);
});

Deno.test("the state has an exit status for scripts", () => {
  const statusOf = (more: Partial<ClusterStatus>, stale = false) =>
    CLUSTER_STATES[clusterState(cluster(more), stale)];
  assertEquals(statusOf({}), 0);
  assertEquals(statusOf({ partitions: [partition({ replicas: ["r-b1", "r-b2", "r-b4"] })] }), 0);
  assertEquals(statusOf({ brokers: [broker("b1"), broker("b2")] }), 1);
  const late = broker("b1", { lastHeartbeatMs: 9_000 });
  assertEquals(statusOf({ brokers: [late, broker("b2"), broker("b3")] }), 1);
  const dead = broker("b1", { alive: false });
  assertEquals(statusOf({ brokers: [dead, broker("b2"), broker("b3")] }), 1);
  assertEquals(statusOf({}, true), 3);
});

Deno.test("a topic's line sums up its partitions by state", () => {
  const all = (degraded: readonly number[], count: number) =>
    Array.from({ length: count }, (_, at) =>
      partition({
        partition: at,
        ...(degraded.includes(at) ? { replicas: ["r-b1", "r-b2", "r-b4"] } : {}),
      }));
  const stateOf = (degraded: readonly number[], count: number) =>
    statusLines(cluster({ partitions: all(degraded, count) }), false, 200).at(-1)!
      .split(/ {2,}/).at(-1);
  assertEquals(stateOf([], 3), "ok");
  assertEquals(stateOf([0], 1), "moving: 0");
  assertEquals(stateOf([0, 1, 2, 5], 9), "moving: 0-2, 5");
  assertEquals(stateOf([0, 1, 2], 3), "moving: all");
  const scattered = Array.from({ length: 50 }, (_, at) => 2 * at);
  assertEquals(stateOf(scattered, 100), "moving: 0, 2, 4, 6, 8, 10 and 44 more");
});

Deno.test("brokers are shown by their names, an unknown identity as such", () => {
  const [row] = partitionRows(cluster({
    partitions: [partition({ leader: "r-b2", voters: ["r-b2", "r-gone"] })],
  }));
  assertEquals([row.leader, row.replicas], ["b2", ["b1", "b2", "b3"]]);
  assertEquals(row.voters, ["b2", "(r-gone)"]);
  assertEquals(partitionRows(cluster(), "other"), []);
});

Deno.test("tables give every server and topic a line that fits the terminal", () => {
  const wide = cluster({ partitions: [partition(), partition({ topic: "t".repeat(249) })] });
  const lines = statusLines(wide, false, 80);
  assertEquals(lines.filter((line) => line.length > 80 && !line.startsWith("HEALTHY")), []);
  const text = lines.join("\n");
  for (const part of ["m1:9001", "leader", "b3:9101", "400ms ago", "1,500", "3MiB"]) {
    assertStringIncludes(text, part);
  }
});

Deno.test("the object for scripts holds everything, by names", () => {
  const object = JSON.parse(JSON.stringify(statusObject(cluster(), false)));
  assertEquals(object.stale, false);
  assertEquals(object.brokers.length, 3);
  assertEquals(object.partitions[0].leader, "b1");
  assertEquals(object.partitions[0].state, "ok");
});

Deno.test("a topic's state names the replicas that are quarantined or repair rot", () => {
  const shown = (more: Partial<PartitionStatus>) =>
    statusLines(cluster({ partitions: [partition(more)] }), false, 200).at(-1)!;
  assert(shown({ quarantined: ["r-b2"] }).endsWith("degraded: 0; quarantined: 0 on b2"));
  assert(shown({ repairing: ["r-b1"] }).endsWith("repairing rot: 0 on b1"));
});
