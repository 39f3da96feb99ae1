/** What `cluster recover` says of partitions that need no recovery. */

import { assertEquals } from "@std/assert";
import { membersOf, needless } from "../../cmd/cluster_recover.ts";
import type { PartitionStatus } from "../../lib/client/protocol.ts";
import { broker, partition } from "./status_fixture.ts";

const brokers = ["b1", "b2", "b3"].map((id) => broker(id, { alive: id !== "b2" }));

function refusal(more: Partial<PartitionStatus>): string | null {
  const status = partition(more);
  const { members, living } = membersOf({ brokers }, status);
  return living.length * 2 > members.length ? needless(status, members, living) : null;
}

Deno.test("a majority that is alive and sound is named", () => {
  const majority = "b3, b1 are alive and sound, a majority of its voters b3, b1, b2";
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
