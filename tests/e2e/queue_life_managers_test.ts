/** Managers that are replaced while everything runs. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { assertComplete, Feed } from "./feed.ts";
import { eventually, sleep, withHarness } from "./harness.ts";
import { QueueCluster } from "./queue_cluster.ts";

Deno.test("every manager is replaced, one dead and the leading one too, and brokers and clients follow", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    await cluster.createTopic("t");
    const feed = new Feed(cluster, "t");
    await feed.progress(100);
    const former = [...cluster.managers];
    await former[0].process.kill();
    for (const [at, old] of former.entries()) {
      // The one to be replaced may lead: --peers need not name it.
      const added = cluster.addManager(`m${at + 4}`, old);
      const known = cluster.managers.filter((manager) => manager !== added);
      cluster.turnTo(known.filter(({ process }) => !process.exited));
      const words = [old.id, `${added.id}=${added.address}`];
      const [, present] = known;
      const taken = [old.id, `${present.id}=${present.address}`];
      const refused = await cluster.run(["cluster", "replace-manager", ...taken]);
      assertEquals(refused.code, 1, "one that is a manager already replaces none");
      assertStringIncludes(refused.stderr, `${present.id} is a member already`);
      const told = await cluster.done(["cluster", "replace-manager", ...words]);
      assertStringIncludes(told, `${added.id} votes`);
      // Once more is no harm, and changes nothing.
      await cluster.done(["cluster", "replace-manager", ...words]);
      if (at > 0) assertEquals(await old.process.status(), 1, "it is told so, and ends");
      cluster.managers.splice(cluster.managers.indexOf(old), 1);
    }
    cluster.turnTo(cluster.managers);
    const { managers } = await cluster.status();
    assertEquals(managers.map(({ id }) => id), ["m4", "m5", "m6"]);
    await feed.progress(100);
    await feed.finish();
    await assertComplete(cluster, feed.given);
    // Brokers were told of none of these; none is declared dead, and they take new work.
    await sleep(1_000);
    await cluster.ready();
    await cluster.createTopic("u", 3);
    await cluster.allOk();
    const leading = await cluster.leadingManager();
    await leading.process.kill();
    await cluster.createTopic("v");
    await cluster.allOk();
    const left = cluster.managers.filter((manager) => manager !== leading);
    cluster.turnTo(left);
    const alone = await cluster.run(["cluster", "remove-manager", left[0].id]);
    assertEquals(alone.code, 1);
    assertStringIncludes(alone.stderr, "of the 2 voters that stay only 1 answer");
    const removed = await cluster.done(["cluster", "remove-manager", leading.id]);
    assertStringIncludes(removed, `${leading.id} is removed`);
    assertEquals((await cluster.status()).managers.length, 2);
  });
});

Deno.test("a lone manager is replaced, and what makes no sense is refused", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { managers: 1, brokers: 1 });
    await cluster.ready();
    const refusals: [string[], RegExp][] = [
      [["m9", "m8=127.0.0.1:1"], /the members are m1/],
      [["m1", "m1=127.0.0.1:1"], /needs a name of its own/],
      [["m1", "m2"], /expected one NEW=HOST:PORT/],
    ];
    for (const [words, reason] of refusals) {
      const { code, stderr } = await cluster.run(["cluster", "replace-manager", ...words]);
      assert(code === 1 || code === 2, stderr);
      assert(reason.test(stderr), stderr);
    }
    const [old] = cluster.managers;
    const waiting = cluster.start("cluster", "replace-manager", "m1", "m2=127.0.0.1:1");
    await waiting.line("stderr", /m2 is invited: start it at 127.0.0.1:1/);
    waiting.signal("SIGINT");
    await waiting.status();
    const added = cluster.addManager("m3");
    await cluster.done(["cluster", "replace-manager", "m1", `m3=${added.address}`]);
    assertEquals(await old.process.status(), 1);
    cluster.managers.shift();
    cluster.turnTo([added]);
    await eventually("the broker to be heard by the new one", async () => {
      const { brokers } = await cluster.status();
      return brokers[0].lastHeartbeatMs !== null || null;
    });
  });
});
