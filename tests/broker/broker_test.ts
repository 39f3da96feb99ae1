/** Producing, fetching and offsets through real brokers. */

import { assert, assertEquals } from "@std/assert";
import { sleep } from "../../lib/base/clock.ts";
import { toTrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { systemClock } from "../../lib/base/system_clock.ts";
import { readBatchHeader } from "../../lib/batch/batch_header.ts";
import {
  claimMethod,
  commitMethod,
  listOffsetsMethod,
  produceMethod,
} from "../../lib/client/protocol.ts";
import { codeOf, eventually, TestBrokers } from "./cluster.ts";
import { batchOf, sentBy } from "./partition_support.ts";

const TARGET = { groupId: "g", epoch: 1 };

Deno.test("what is produced to the leader is fetched with its offsets, on all replicas", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b2", "b1", "b3");
    const first = await cluster.produce("b2", batchOf(2));
    const second = await cluster.produce("b2", batchOf(3));
    assertEquals([first.baseOffset, second.baseOffset, first.duplicate], [0, 2, false]);
    assert(second.timeMs >= first.timeMs);
    const { batches, startOffset, endOffset } = await cluster.fetch("b2", 0);
    const { term } = cluster.partition("b2")!.replica.raft;
    assertEquals(batches.map((batch) => readBatchHeader(batch).baseOffset), [0, 2]);
    assertEquals(batches.map((batch) => readBatchHeader(batch).leaderEpoch), [term, term]);
    assertEquals([startOffset, endOffset], [0, 5]);
    assertEquals(await cluster.messages("b2", 1), ["1:m1", "2:m0", "3:m1", "4:m2"]);
    await eventually(
      "followers apply it",
      () => ["b1", "b3"].every((name) => cluster.partition(name)!.machine.endOffset === 5) || null,
    );
  });
});

Deno.test("requests to the wrong broker, epoch or group are refused, with the leader's address", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    await eventually(
      "b3 knows the leader",
      () => cluster.partition("b3")!.replica.leaderAddress() ?? null,
    );
    const refusal = await cluster.produce("b3", batchOf(1)).then(() => null, toTrilogError);
    assertEquals(refusal?.code, "not_leader");
    assertEquals(refusal?.leader, cluster.get("b1").broker.address);
    assertEquals(await codeOf(cluster.fetch("b3", 0)), "not_leader");
    assertEquals(await codeOf(cluster.fetch("b1", 0, { epoch: 2 })), "unknown_group");
    assertEquals(await codeOf(cluster.fetch("b1", 0, { groupId: "other" })), "unknown_group");
  });
});

Deno.test("duplicates get the first answer, gaps and broken batches are refused", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    await cluster.produce("b1", batchOf(4));
    assertEquals((await cluster.produce("b1", sentBy(7, 0, 2))).baseOffset, 4);
    const repeated = await cluster.produce("b1", sentBy(7, 0, 2));
    assertEquals([repeated.baseOffset, repeated.duplicate], [4, true]);
    assertEquals(await codeOf(cluster.produce("b1", sentBy(7, 5))), "out_of_order_sequence");
    const broken = batchOf(1);
    broken[broken.length - 1] ^= 1;
    assertEquals(await codeOf(cluster.produce("b1", broken)), "invalid_batch");
    const large = new Uint8Array(limits.batchBytes + 1);
    assertEquals(await codeOf(cluster.produce("b1", large)), "message_too_large");
    assertEquals((await cluster.messages("b1")).length, 6);
  });
});

Deno.test("the leader alone can acknowledge, before anything is durable or has an offset", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    const ask = (batch: Uint8Array) =>
      cluster.call("b1", produceMethod, { ...TARGET, batch, acks: "leader" as const });
    const { disk } = cluster.get("b1");
    disk.full = true;
    assertEquals(await ask(batchOf(50)), { baseOffset: null, timeMs: 0, duplicate: false });
    assertEquals(await cluster.messages("b1"), []);
    disk.full = false;
    await eventually(
      "it is there",
      () => cluster.partition("b1")!.machine.endOffset === 50 || null,
    );
    assertEquals(await codeOf(ask(sentBy(7, 0))), "invalid_argument");
  });
});

Deno.test("a leader deletes the offsets of groups that the managers deleted", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    const claim = (group: string, generation: number) =>
      cluster.call("b1", claimMethod, { ...TARGET, group, born: 1, generation, member: "x" });
    await claim("gone", 3);
    await claim("made-again", 8);
    await claim("kept", 4);
    cluster.managers.deletedGroups.set("gone", 7).set("made-again", 7);
    await eventually("the offsets are gone", () => {
      const left = [...cluster.partition("b1")!.machine.groupGenerations()];
      return left.length === 2 || null;
    });
    const left = [...cluster.partition("b1")!.machine.groupGenerations()];
    assertEquals(left, [["made-again", 8], ["kept", 4]]);
  });
});

Deno.test("commits and refused batches between the messages leave no gap for consumers", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    const member = { ...TARGET, group: "readers", generation: 1, member: "x" };
    assertEquals((await cluster.call("b1", claimMethod, { ...member, born: 0 })).offset, null);
    await cluster.produce("b1", batchOf(2));
    assertEquals((await cluster.call("b1", commitMethod, { ...member, offset: 1 })).offset, 1);
    await codeOf(cluster.produce("b1", sentBy(7, 5)));
    await cluster.produce("b1", batchOf(1));
    assertEquals(await cluster.messages("b1"), ["0:m0", "1:m1", "2:m0"]);
    assertEquals(await cluster.messages("b1", 2), ["2:m0"]);
    const claimed = await cluster.call("b1", claimMethod, {
      ...member,
      born: 0,
      generation: 2,
    });
    assertEquals(claimed.offset, 1);
    assertEquals(
      await codeOf(cluster.call("b1", commitMethod, { ...member, offset: 2 })),
      "fenced",
    );
  });
});

Deno.test("a fetch is held to its size, but always brings one batch", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    for (let batch = 0; batch < 5; batch += 1) await cluster.produce("b1", batchOf(10));
    const { length } = batchOf(10);
    const counts = async (maxBytes: number) =>
      (await cluster.fetch("b1", 0, { maxBytes })).batches.length;
    assertEquals(await counts(1), 1);
    assertEquals(await counts(length * 3), 3);
    assertEquals(await counts(length * 3 - 1), 2);
    assertEquals(await counts(2 ** 30), 5);
  });
});

Deno.test("offsets outside the partition are refused, and the end is an empty answer", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    await cluster.produce("b1", batchOf(3));
    assertEquals((await cluster.fetch("b1", 3)).batches, []);
    const refusal = await cluster.fetch("b1", 4).then(() => null, toTrilogError);
    assertEquals(refusal?.code, "offset_out_of_range");
    assert(refusal!.message.endsWith("it goes from 0 to 3"), refusal!.message);
  });
});

Deno.test("a fetch at the end waits for a message, for enough of them, or until its time", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    const startMs = systemClock.monotonicMs();
    assertEquals((await cluster.fetch("b1", 0, { maxWaitMs: 60 })).batches, []);
    assert(systemClock.monotonicMs() - startMs >= 55);
    const size = batchOf(1).length;
    const one = cluster.fetch("b1", 0, { maxWaitMs: 4_000 });
    const three = cluster.fetch("b1", 0, { maxWaitMs: 4_000, minBytes: 3 * size });
    let threeAnswered = false;
    void three.then(() => threeAnswered = true);
    await cluster.produce("b1", batchOf(1));
    assertEquals((await one).endOffset, 1);
    await cluster.produce("b1", batchOf(1));
    await sleep(systemClock, 20);
    assertEquals(threeAnswered, false);
    await cluster.produce("b1", batchOf(1));
    assertEquals((await three).batches.length, 3);
    assert(systemClock.monotonicMs() - startMs < 4_000);
  });
});

Deno.test("who waits for messages hears at once that the leader is another", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    const waiting = codeOf(cluster.fetch("b1", 0, { maxWaitMs: 4_900 }));
    await sleep(systemClock, 20);
    cluster.partition("b1")!.replica.transferLeadership(cluster.id("b2"));
    assertEquals(await waiting, "not_leader");
  });
});

Deno.test("offsets are found by place and by time", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    const at = async (where: "earliest" | "latest" | "time", timeMs = 0) =>
      (await cluster.call("b1", listOffsetsMethod, { ...TARGET, at: where, timeMs })).offset;
    assertEquals([await at("earliest"), await at("latest"), await at("time", 5)], [0, 0, 0]);
    await cluster.produce("b1", batchOf(3, {}, 1_000));
    await cluster.produce("b1", batchOf(3, {}, 2_000));
    assertEquals([await at("earliest"), await at("latest")], [0, 6]);
    const times = [0, 1_000, 1_002, 1_003, 2_001, 2_003];
    const found = [];
    for (const timeMs of times) found.push(await at("time", timeMs));
    assertEquals(found, [0, 0, 2, 3, 4, 6]);
  });
});
