/** Partitions that were recovered with loss, on real disks, and what a crash leaves of it. */

import { assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { surveyMethod } from "../../lib/client/protocol.ts";
import { codeOf, eventually, TestBrokers } from "./cluster.ts";
import { sentBy } from "./partition_support.ts";

/** Gives up epoch 1 of `g`: the log of the first of these goes on in epoch 2. */
function recover(cluster: TestBrokers, endOffset: number, ...replicas: string[]): void {
  cluster.managers.want("g", { replicas, founders: [], epoch: 2, recovery: { endOffset } });
}

async function inEpoch(cluster: TestBrokers, name: string, epoch: number): Promise<void> {
  await eventually(
    `${name} in epoch ${epoch}`,
    () => cluster.partition(name)?.epoch === epoch || null,
  );
}

function setAsides(cluster: TestBrokers, name: string): string[] {
  return [...Deno.readDirSync(cluster.directory(name))].map((item) => item.name)
    .filter((item) => item.startsWith("set-aside-"));
}

/** One partition with three messages, of whose brokers only `b1` is left. */
async function left(cluster: TestBrokers): Promise<{ ids: string[]; addresses: string[] }> {
  await cluster.host("b1", "b2", "b3");
  for (let batch = 0; batch < 3; batch += 1) await cluster.deliver(sentBy(7, batch));
  await cluster.led("b1");
  await cluster.messages("b1");
  const ids = cluster.ids("b1", "b2", "b3");
  const addresses = ["b1", "b2", "b3"].map((name) => cluster.get(name).broker.address);
  await cluster.kill("b2");
  await cluster.kill("b3");
  return { ids, addresses };
}

Deno.test("a survivor's log goes on in the next epoch, its offsets above all that were known", async () => {
  await TestBrokers.with(3, async (cluster) => {
    const { ids, addresses } = await left(cluster);
    recover(cluster, 10, ...ids);
    await inEpoch(cluster, "b1", 2);
    await cluster.led("b1");
    await eventually("the gap", () => cluster.partition("b1")?.machine.endOffset === 10 || null);
    assertEquals(await codeOf(cluster.fetch("b1", 0)), "unknown_group", "the old epoch is over");
    assertEquals(await codeOf(cluster.fetch("b1", 0, { epoch: 2 })), "no refusal");
    // The others return: what they have is set aside, and they learn all of it anew.
    cluster.start("b2", addresses[1]);
    cluster.start("b3", addresses[2]);
    for (const name of ["b2", "b3"]) {
      await inEpoch(cluster, name, 2);
      await eventually(
        `${name} has everything`,
        () => cluster.partition(name)?.machine.endOffset === 10 || null,
      );
      assertEquals(setAsides(cluster, name).length, 1);
    }
    await eventually("three voters", () => {
      return cluster.partition("b1")!.replica.raft.membership.voters.length === 3 || null;
    });
  });
});

Deno.test("a survey tells what a replica has although nobody leads it", async () => {
  await TestBrokers.with(3, async (cluster) => {
    const { addresses } = await left(cluster);
    const params = surveyMethod.request.encode({ groupId: "g", epoch: 1 });
    const options = { deadlineMs: 2_000 };
    const answer = await cluster.rpc.call(addresses[0], surveyMethod.name, params, options);
    const { committedOffset, endOffset, lastTerm } = surveyMethod.answer.decode(answer, "survey");
    assertEquals([committedOffset, endOffset, lastTerm > 0], [3, 3, true]);
  });
});

Deno.test("a crash before the copy is whole leaves the old epoch, one after it both: either is finished", async () => {
  await TestBrokers.with(3, async (cluster) => {
    const { ids } = await left(cluster);
    const directory = cluster.directory("b1");
    const unfinished = join(directory, "groups", "00000009.tmp");
    const old = join(directory, cluster.hosted("b1")!.directory);
    await cluster.kill("b1");
    Deno.mkdirSync(unfinished);
    cluster.start("b1");
    assertEquals([existsSync(unfinished), cluster.hosted("b1")!.notes.epoch], [false, 1]);
    recover(cluster, 5, ...ids);
    await inEpoch(cluster, "b1", 2);
    // As if it had died before the old one was set aside.
    await cluster.kill("b1");
    const [aside] = setAsides(cluster, "b1");
    const moved = join(directory, aside, "groups", old.slice(old.lastIndexOf("/") + 1));
    Deno.renameSync(moved, old);
    cluster.start("b1");
    assertEquals(cluster.hosted("b1")!.notes.epoch, 2);
    assertEquals(existsSync(old), false);
    await cluster.led("b1");
    await eventually("the gap", () => cluster.partition("b1")?.machine.endOffset === 5 || null);
  });
});
