import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { eventually, type Harness, nowMs, sleep, withHarness } from "./harness.ts";
import { describeGroup, disorder, GroupMember, settled, Tally } from "./group_members.ts";
import { numberedLines, QueueCluster } from "./queue_cluster.ts";

async function started(harness: Harness, partitions: number): Promise<QueueCluster> {
  const cluster = new QueueCluster(harness);
  await cluster.ready();
  await cluster.createTopic("t", partitions);
  return cluster;
}

/** Messages in every partition alike: `count` lines for each. */
async function produce(cluster: QueueCluster, partitions: number, count: number): Promise<void> {
  const input = numberedLines(0, count).map((line) => `${line}\n`).join("");
  for (let partition = 0; partition < partitions; partition += 1) {
    await cluster.done(["produce", "t", "--partition", String(partition)], input);
  }
}

function lines(text: string): string[] {
  return text.split("\n").slice(0, -1);
}

Deno.test("a group goes on where it was, shows its lag, and is reset while nobody is active", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness, 3);
    await produce(cluster, 3, 100);
    const consume = async (...flags: string[]) =>
      lines(await cluster.done(["consume", "t", "--group", "g", ...flags]));
    assertEquals((await consume("--max", "30")).length, 30);
    assertEquals((await consume()).length, 270);
    assertEquals(await consume(), []);
    await produce(cluster, 3, 5);
    let view = await describeGroup(cluster, "g");
    assertEquals(view.state, "empty");
    assertEquals(view.partitions.map(({ committed, end, lag }) => [committed, end, lag]), [
      [100, 105, 5],
      [100, 105, 5],
      [100, 105, 5],
    ]);
    assertStringIncludes(await cluster.done(["group", "describe", "g"]), "15 messages behind");
    const reset = ["group", "reset", "g", "--topic", "t", "--to"];
    await cluster.done([...reset, "90"]);
    assertEquals((await consume()).length, 45);
    await cluster.done([...reset, "earliest"]);
    assertEquals((await consume()).length, 315);
    await cluster.done([...reset, "earliest"]);
    await cluster.done([...reset, "latest"]);
    assertEquals(await consume(), []);
    const outside = await cluster.run([...reset, "106"]);
    assertEquals([outside.code, /offset_out_of_range/.test(outside.stderr)], [1, true]);

    const member = new GroupMember(cluster, "t", "g");
    view = await settled(cluster, "g", 1);
    assertEquals(view.members.map(({ client }) => client), ["trilog-consume"]);
    const refused = await cluster.run([...reset, "earliest"]);
    assertEquals([refused.code, /group_not_empty/.test(refused.stderr)], [1, true]);
    const kept = await cluster.run(["group", "delete", "g"]);
    assertEquals([kept.code, /group_not_empty/.test(kept.stderr)], [1, true]);
    assertStringIncludes(await cluster.done(["group", "list"]), "stable");
    await member.leave();
    await cluster.done([...reset, "earliest"]);
    const times = await cluster.done([...reset, "2020-01-01T00:00:00Z", "--json"]);
    assertEquals(JSON.parse(times).partitions.map(({ offset }: { offset: number }) => offset), [
      0,
      0,
      0,
    ]);
    assertEquals((await consume()).length, 315);
    await cluster.done(["group", "delete", "g"]);
    assertEquals((await consume()).length, 315, "a new group of the name begins at the start");
    const none = await cluster.run(["group", "describe", "none"]);
    assertEquals([none.code, /no_such_group/.test(none.stderr)], [1, true]);
  });
});

Deno.test("what a group cannot do is refused by name", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness, 1);
    const refused = async (code: string, status: number, ...args: string[]) => {
      const result = await cluster.run([...args, "--json"]);
      assertEquals(result.code, status, result.stderr);
      assertStringIncludes(result.stderr, `"${code}"`);
    };
    await refused("usage", 2, "consume", "t", "--group", "g", "--partition", "0");
    await refused("usage", 2, "consume", "t", "--group", "g", "--from", "5");
    await refused("usage", 2, "consume", "t", "--group", "../g");
    await refused("usage", 2, "group", "reset", "g", "--topic", "t", "--to", "soon");
    await refused("usage", 2, "group", "reset", "g", "--to", "latest");
    await refused("no_such_topic", 1, "consume", "none", "--group", "g");
    await refused("no_such_topic", 1, "group", "reset", "g", "--topic", "none", "--to", "latest");
    await refused("no_such_group", 1, "group", "describe", "g");
    await refused("no_such_group", 1, "group", "delete", "g");
    const short = ["--group", "g", "--session-timeout", "10ms"];
    await refused("invalid_argument", 1, "consume", "t", ...short);
    await cluster.done(["consume", "t", "--group", "g", "--from", "latest"]);
    assertEquals((await describeGroup(cluster, "g")).partitions[0].committed, 0);
  });
});

Deno.test("a member's partitions move within the session timeout when it is killed (-9)", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness, 4);
    await produce(cluster, 4, 200);
    const flags = ["--session-timeout", "2s"];
    const victim = new GroupMember(cluster, "t", "g", ...flags);
    await settled(cluster, "g", 1);
    const other = new GroupMember(cluster, "t", "g", ...flags);
    const both = await settled(cluster, "g", 2);
    await eventually("everything to be printed", () => victim.count + other.count === 800 || null);
    await eventually("everything to be committed", async () => {
      const { partitions } = await describeGroup(cluster, "g");
      return partitions.every(({ lag }) => lag === 0) || null;
    });
    await victim.process.kill();
    const killedMs = nowMs();
    await produce(cluster, 4, 50);
    await eventually("all partitions to be the other's", () => {
      return new Tally([victim, other]).distinct === 1_000 || null;
    });
    assert(nowMs() - killedMs < 15_000, `it took ${nowMs() - killedMs} ms`);
    const alone = await settled(cluster, "g", 1);
    const survivor = alone.members[0].id;
    assertEquals(new Set(alone.partitions.map(({ owner }) => owner)), new Set([survivor]));
    const tally = new Tally([victim, other]);
    // Only what came in the moment between the look at the commits and the kill may come twice.
    assertEquals(tally.repeated.filter((key) => Number(key.split("/")[1]) < 200), []);
    assertEquals(both.partitions.filter(({ owner }) => owner === survivor).length, 2);
    assertEquals(disorder(other), []);
    await other.leave();
  });
});

Deno.test("a member that was paused past its session cannot commit when it goes on", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness, 1);
    const flags = ["--session-timeout", "2s"];
    const paused = new GroupMember(cluster, "t", "g", ...flags);
    await settled(cluster, "g", 1);
    await produce(cluster, 1, 100);
    await eventually("the messages to be printed", () => paused.count === 100 || null);
    await sleep(1_500);
    await produce(cluster, 1, 1);
    await eventually("the last message to be printed", () => paused.count === 101 || null);
    paused.process.signal("SIGSTOP");
    const other = new GroupMember(cluster, "t", "g", ...flags);
    await produce(cluster, 1, 50);
    await eventually("the other to take over", () => {
      return other.printed.at(-1)?.offset === 150 || null;
    });
    const first = other.printed[0].offset;
    assert(first === 100 || first === 101, `it began at ${first}`);
    const committed = () =>
      eventually("a commit of everything", async () => {
        const { partitions } = await describeGroup(cluster, "g");
        return partitions[0].committed === 151 || null;
      });
    await committed();
    paused.process.signal("SIGCONT");
    await settled(cluster, "g", 2);
    await sleep(1_500);
    await committed();
    await produce(cluster, 1, 10);
    await eventually("the last messages to be printed", () => {
      return new Tally([paused, other]).distinct === 161 || null;
    });
    const tally = new Tally([paused, other]);
    for (let offset = 151; offset < 161; offset += 1) assertEquals(tally.timesOf(0, offset), 1);
    await paused.leave();
    await other.leave();
  });
});

Deno.test("a leading manager that dies during a rebalance leaves it to the next one", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness, 6);
    await produce(cluster, 6, 100);
    const members = [new GroupMember(cluster, "t", "g")];
    await settled(cluster, "g", 1);
    const leader = await cluster.leadingManager();
    for (let at = 0; at < 3; at += 1) members.push(new GroupMember(cluster, "t", "g"));
    await eventually("the first of them to join", async () => {
      return (await describeGroup(cluster, "g")).members.length > 1 || null;
    });
    await leader.process.kill();
    await settled(cluster, "g", 4);
    await produce(cluster, 6, 50);
    await eventually("all messages", () => new Tally(members).distinct === 900 || null);
    cluster.restart(leader);
    for (const member of members) await member.leave();
    const tally = new Tally(members);
    assertEquals([tally.distinct, tally.repeated], [900, []]);
    for (const member of members) assertEquals(disorder(member), []);
  });
});
