/** Brokers whose disks have no room left: retention makes some, starts and peers need none. */

import { assert, assertEquals } from "@std/assert";
import { codeOf, eventually, TestBrokers } from "./cluster.ts";
import { batchOf, sentBy } from "./partition_support.ts";

const SEGMENT_BYTES = 8 * 1024;
const CAPACITY_BYTES = 160 * 1024;
const NAMES = ["b1", "b2", "b3"];

/** Three brokers with small disks, and partition `g` on all of them. */
async function withSmallDisks(
  test: (cluster: TestBrokers, retain: (bytes: number) => void) => Promise<void>,
): Promise<void> {
  const cluster = new TestBrokers();
  cluster.segmentBytes = SEGMENT_BYTES;
  await cluster.run(3, async () => {
    await cluster.host(...NAMES);
    for (const name of NAMES) cluster.get(name).disk.capacityBytes = CAPACITY_BYTES;
    const replicas = cluster.ids(...NAMES);
    const retain = (retentionBytes: number) =>
      cluster.managers.want("g", {
        replicas,
        founders: replicas,
        settings: { retentionBytes, retentionMs: 0 },
      });
    await test(cluster, retain);
  });
}

/** Produces until a broker refuses for want of room. */
async function fill(cluster: TestBrokers): Promise<void> {
  await eventually("the disks are full", async () => {
    const [leader] = cluster.leaders();
    if (leader === undefined) return null;
    return await codeOf(cluster.produce(leader, batchOf(500), "g", 500)) === "disk_full" || null;
  });
}

async function assertResumes(cluster: TestBrokers): Promise<void> {
  const before = await cluster.deliver(sentBy(9, 0, 5));
  await cluster.deliver(sentBy(9, 5, 5));
  const [leader] = cluster.leaders();
  const { startOffset, endOffset } = await eventually(
    "the group agrees on what was dropped",
    async () => {
      const answer = await cluster.fetch(leader, before);
      return cluster.partition(leader)!.machine.startOffset === answer.startOffset ? answer : null;
    },
  );
  assert(startOffset > 0 && startOffset < before, `${startOffset} to ${endOffset}`);
  assertEquals(await codeOf(cluster.fetch(leader, 0)), "offset_out_of_range");
  const kept = await cluster.messages(leader, startOffset);
  assertEquals(kept.length, endOffset - startOffset, "every message within the limit is there");
}

Deno.test("retention by size makes room on full disks without room to decide it", async () => {
  await withSmallDisks(async (cluster, retain) => {
    await fill(cluster);
    for (const name of NAMES) assert(cluster.partition(name)!.replica.store.bytes() > 80_000);
    retain(4 * SEGMENT_BYTES);
    await assertResumes(cluster);
    for (const name of NAMES) {
      const kept = cluster.partition(name)!.replica.store.bytes();
      assert(kept >= 4 * SEGMENT_BYTES, `${name} kept ${kept} bytes, less than the limit`);
    }
  });
});

Deno.test("lowering the retention of a topic makes room where the disk has none at all", async () => {
  await withSmallDisks(async (cluster, retain) => {
    retain(100 * SEGMENT_BYTES);
    await fill(cluster);
    // Not even the reserves of the groups can be kept: others on the device take what there is.
    for (const name of NAMES) {
      const { disk } = cluster.get(name);
      disk.remove("groups/00000001/reserve");
      disk.capacityBytes = disk.usedBytes();
    }
    retain(2 * SEGMENT_BYTES);
    await assertResumes(cluster);
  });
});

Deno.test("a broker starts on a disk without a free byte, and lets restarted peers in", async () => {
  await withSmallDisks(async (cluster) => {
    await fill(cluster);
    // What a group has given up of its reserve is room for its votes, which nobody else takes here.
    const full = (name: string) => {
      const { disk } = cluster.get(name);
      return disk.usedBytes() + (disk.exists("groups/00000001/reserve") ? 0 : 32 * 1024);
    };
    cluster.get("b1").disk.capacityBytes = full("b1");
    const used = full("b2");
    await cluster.kill("b2");
    await cluster.kill("b3");
    cluster.start("b2", undefined, used);
    await eventually(
      "b2 leads or follows",
      () => cluster.partition("b2")?.replica.status().leader ?? null,
    );
    const answer = await eventually("what is there is served", async () => {
      const leads = (name: string) => cluster.partition(name)?.replica.isLeader;
      const leader = ["b1", "b2"].find(leads);
      return leader === undefined
        ? null
        : await cluster.fetch(leader, 0, { isolation: "committed" });
    });
    assert(answer.startOffset === 0 && answer.batches.length > 0);
    const { directory } = cluster.get("b1").broker.process;
    const seen = directory.peerRecord(cluster.id("b2")).highestStartCounter;
    assertEquals(Math.floor(seen / 2 ** 20), 2, "b1 has let the second start of b2 in");
    assert(directory.hasUnstored, "and has no room to note it");
    cluster.get("b1").disk.capacityBytes = Infinity;
    await eventually("it is noted when there is room", () => !directory.hasUnstored || null);
  });
});

Deno.test("a topic is removed from a full disk though another one waits to be made there", async () => {
  await withSmallDisks(async (cluster) => {
    await fill(cluster);
    const replicas = cluster.ids(...NAMES);
    cluster.managers.want("a", { replicas, founders: replicas });
    await eventually(
      "it cannot be made",
      () => cluster.get("b1").disk.usedBytes() > CAPACITY_BYTES - 40_000 || null,
    );
    for (const id of replicas) cluster.managers.bury("g", id);
    await eventually(
      "the room is free, and the other topic is served",
      () =>
        cluster.leaders("a").length === 1 && NAMES.every((name) => !cluster.hosted(name)) || null,
    );
    await cluster.deliver(batchOf(3), "a");
  });
});
