/** Partitions that lost their majority for good, and go on with what is left. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { eventually, withHarness } from "./harness.ts";
import { numberedLines, QueueCluster, type Server } from "./queue_cluster.ts";

const QUICK = ["--heartbeat-interval", "200ms", "--time-to-dead", "1500ms"];

const text = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join("");

async function produce(cluster: QueueCluster, first: number, count: number): Promise<void> {
  await cluster.done(["produce", "t"], text(numberedLines(first, count)));
}

async function declaredDead(cluster: QueueCluster, ...dead: Server[]): Promise<void> {
  await eventually("brokers to be declared dead", async () => {
    const { brokers } = await cluster.status();
    return dead.every(({ id }) => brokers.some((one) => one.id === id && !one.alive)) || null;
  });
}

/** The end of the only partition as the managers know it. */
async function knownEnd(cluster: QueueCluster, endOffset: number): Promise<void> {
  await eventually(`the managers to know offset ${endOffset}`, async () => {
    const { partitions } = await cluster.status();
    return partitions[0].endOffset === endOffset || null;
  });
}

function hasSetAside(cluster: QueueCluster, { id }: Server): boolean {
  return [...Deno.readDirSync(join(cluster.data, id))].some(({ name }) => /^set-aside/.test(name));
}

Deno.test("a partition goes on from its survivor, above all offsets known; old replicas are kept aside", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { managerFlags: QUICK });
    await cluster.ready();
    await cluster.createTopic("t");
    await cluster.allOk();
    await produce(cluster, 0, 500);
    const leader = await cluster.leader("t");
    const survivor = cluster.brokers.find((broker) => broker !== leader)!;
    const lost = cluster.brokers.filter((broker) => broker !== survivor);
    await cluster.allOk();
    const needless = await cluster.run(["cluster", "recover", "t/0", "--accept-loss"]);
    assertEquals(needless.code, 1);
    assertStringIncludes(needless.stderr, "a majority of");
    // The survivor has the first half only; what came later is lost with the others.
    await survivor.process.kill();
    await produce(cluster, 500, 500);
    await knownEnd(cluster, 1_000);
    for (const broker of lost) await broker.process.kill();
    cluster.restart(survivor);
    await declaredDead(cluster, ...lost);
    const survives = async () => {
      const { brokers } = await cluster.status();
      return brokers.find(({ id }) => id === survivor.id)?.alive || null;
    };
    await eventually("the survivor to be alive", survives);

    assertEquals((await cluster.run(["cluster", "recover", "t/0"])).code, 2);
    const told = await cluster.done(["cluster", "recover", "t/0", "--dry-run"]);
    assertStringIncludes(told, `only ${survivor.id} is alive`);
    assertStringIncludes(told, "the highest known offset is 999");
    assertStringIncludes(told, "would be lost");
    const shown = await cluster.done(["cluster", "recover", "t/0", "--dry-run", "--json"]);
    const { survivor: chosen, highestOffset, recovered, survivors } = JSON.parse(shown);
    assertEquals([chosen, highestOffset, recovered], [survivor.id, 999, false]);
    assertEquals(survivors[0].endOffset, 500);

    await cluster.done(["cluster", "recover", "t/0", "--accept-loss"]);
    const offsets = await cluster.done(["produce", "t", "--json"], text(numberedLines(1_000, 3)));
    const [first] = offsets.trim().split("\n").map((line) => JSON.parse(line).offset);
    assertEquals(first, 1_000);
    const expected = text([...numberedLines(0, 500), ...numberedLines(1_000, 3)]);
    assertEquals(await cluster.done(["consume", "t"]), expected);

    for (const broker of lost) cluster.restart(broker);
    await cluster.ready();
    await cluster.allOk();
    for (const broker of lost) assert(hasSetAside(cluster, broker), `${broker.id} keeps its data`);
    assert(hasSetAside(cluster, survivor));
    // The others have all of it by now, and go on without the survivor.
    await survivor.process.kill();
    assertEquals(await cluster.done(["consume", "t"]), expected);
    await produce(cluster, 2_000, 1);
  });
});

Deno.test("a recovered partition gets its replicas on other brokers, and a crash right after is no harm", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { managerFlags: QUICK, brokers: 5 });
    await cluster.ready();
    await cluster.createTopic("t");
    await cluster.allOk();
    await produce(cluster, 0, 1_000);
    const { partitions: [{ voters }] } = await cluster.status();
    const members = voters.map((id) => cluster.brokers.find((broker) => broker.id === id)!);
    const [survivor, ...lost] = members;
    for (const broker of lost) await broker.process.kill();
    await declaredDead(cluster, ...lost);
    await cluster.done(["cluster", "recover", "t/0", "--accept-loss"]);
    await survivor.process.kill();
    cluster.restart(survivor);
    await cluster.allOk();
    assertEquals(await cluster.done(["consume", "t"]), text(numberedLines(0, 1_000)));
    for (const broker of lost) cluster.restart(broker);
    await cluster.ready();
    for (const broker of lost) {
      await cluster.hosts(broker, 0);
      assert(hasSetAside(cluster, broker));
    }
    await produce(cluster, 1_000, 1);
    assertEquals(await cluster.done(["consume", "t"]), text(numberedLines(0, 1_001)));
  });
});
