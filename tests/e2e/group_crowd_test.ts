import { assertEquals } from "@std/assert";
import { Feed } from "./feed.ts";
import { eventually, type Harness, sleep, withHarness } from "./harness.ts";
import { describeGroup, disorder, GroupMember, settled, Tally } from "./group_members.ts";
import { QueueCluster } from "./queue_cluster.ts";

const PARTITIONS = 12;

interface Crowd {
  readonly cluster: QueueCluster;
  readonly feeds: readonly Feed[];
  /** Everybody who was ever there, and those who are. */
  readonly all: GroupMember[];
  readonly present: GroupMember[];
  join(): void;
}

async function crowd(harness: Harness): Promise<Crowd> {
  const cluster = new QueueCluster(harness);
  await cluster.ready();
  await cluster.createTopic("t", PARTITIONS);
  const all: GroupMember[] = [];
  const present: GroupMember[] = [];
  const join = () => {
    const member = new GroupMember(cluster, "t", "g", "--session-timeout", "3s");
    all.push(member);
    present.push(member);
  };
  return { cluster, feeds: [new Feed(cluster, "t"), new Feed(cluster, "t")], all, present, join };
}

/** Ends the feeds and waits until the group has all that they gave; gives how many that is. */
async function allConsumed({ cluster, feeds, all }: Crowd): Promise<number> {
  for (const feed of feeds) await feed.finish();
  const given = feeds.reduce((sum, feed) => sum + feed.given, 0);
  await eventually("every message to be printed", () => new Tally(all).distinct === given || null);
  await eventually("every message to be committed", async () => {
    const { partitions } = await describeGroup(cluster, "g");
    return partitions.every(({ lag }) => lag === 0) || null;
  });
  return given;
}

Deno.test("five consumers come and go while producers run: each message exactly once and in order", async () => {
  await withHarness(async (harness) => {
    const everything = await crowd(harness);
    const { cluster, present, all, join } = everything;
    join();
    await settled(cluster, "g", 1);
    for (let at = 0; at < 4; at += 1) {
      join();
      await sleep(300);
    }
    await settled(cluster, "g", 5);
    for (let round = 0; round < 4; round += 1) {
      const [leaver] = present.splice(round % present.length, 1);
      await eventually("a part for the leaver", () => leaver.count > 0 || null);
      await leaver.leave();
      await sleep(200);
      join();
      await sleep(200);
    }
    await settled(cluster, "g", 5);
    await eventually("a part for each member", () => all.every(({ count }) => count > 0) || null);
    const given = await allConsumed(everything);
    for (const member of present) await member.leave();
    const tally = new Tally(all);
    assertEquals([tally.distinct, tally.repeated], [given, []]);
    for (const member of all) assertEquals(disorder(member), []);
  });
});

Deno.test("consumers are killed and paused while producers run: nothing is skipped", async () => {
  await withHarness(async (harness) => {
    const everything = await crowd(harness);
    const { cluster, present, all, join } = everything;
    for (let at = 0; at < 5; at += 1) join();
    await settled(cluster, "g", 5);
    for (let round = 0; round < 3; round += 1) {
      const [victim] = present.splice(0, 1);
      await victim.process.kill();
      present[0].process.signal("SIGSTOP");
      join();
      await sleep(4_000);
      present[0].process.signal("SIGCONT");
    }
    await settled(cluster, "g", 5);
    const given = await allConsumed(everything);
    const tally = new Tally(all);
    assertEquals(tally.distinct, given);
    for (const member of present) await member.leave();
  });
});
