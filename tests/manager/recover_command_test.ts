/** What `cluster recover` says of partitions that need no recovery. */

import { assertEquals } from "@std/assert";
import { membersOf, needless } from "../../cmd/cluster_recover.ts";
import type { BrokerStatus, PartitionStatus } from "../../lib/client/protocol.ts";

const brokers = ["b1", "b2", "b3"].map((id): BrokerStatus => ({
  id,
  replicaId: `r-${id}`,
  address: `${id}:9101`,
  rack: "",
  alive: id !== "b2",
  lastHeartbeatMs: 10,
  commitMs: null,
  led: 0,
  hosted: 1,
  held: 1,
  draining: false,
}));

function partition(more: Partial<PartitionStatus>): PartitionStatus {
  return {
    topic: "logs",
    partition: 0,
    groupId: "p/1/0",
    epoch: 1,
    leader: "r-b1",
    leaderTerm: 1,
    replicas: ["r-b1", "r-b2", "r-b3"],
    voters: ["r-b1", "r-b2", "r-b3"],
    quarantined: [],
    repairing: [],
    startOffset: 0,
    endOffset: 9,
    sizeBytes: 0,
    ...more,
  };
}

function refusal(more: Partial<PartitionStatus>): string | null {
  const status = partition(more);
  const { members, living } = membersOf({ brokers }, status);
  return living.length * 2 > members.length ? needless(status, members, living) : null;
}

Deno.test("a majority that is alive and sound is named", () => {
  const majority = "b1, b3 are alive and sound, a majority of its voters b1, b2, b3";
  assertEquals(refusal({}), majority);
});

Deno.test("a quarantined replica, or a voter whose identity is gone, is no living one", () => {
  assertEquals(refusal({ quarantined: ["r-b1"] }), null);
  assertEquals(refusal({ voters: ["r-b1", "r-former", "r-b2"] }), null);
});

Deno.test("a second recovery of a partition is refused: it goes on already", () => {
  const before = "it was recovered before and goes on in epoch 2: ";
  const alone = `${before}its only voter b3 is alive and sound`;
  assertEquals(refusal({ epoch: 2, voters: ["r-b3"] }), alone);
  // Until the new voters are reported the survivor, which is named first, is the only one.
  assertEquals(refusal({ epoch: 2, voters: [], replicas: ["r-b3", "r-b1", "r-b2"] }), alone);
});
