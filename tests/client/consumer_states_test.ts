/** The states of a member (`lib/client/DESIGN.md`): each window that the table names. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { sleep } from "../../lib/base/clock.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { type Member, produceToAll, repeatedBy, World, worldWith } from "./consumer_world.ts";

const second = 1_000;

/** Loses the answers of the first `count` requests of a method; says how many it lost. */
function loseFirst(world: World, method: string, count: number): () => number {
  let asked = 0;
  world.loses = (name) => name === method && (asked += 1) <= count;
  return () => Math.min(asked, count);
}

/** Members that the managers have in the group. */
function membersOf(world: World): readonly string[] {
  const { state } = world.managers.servers.get("m1")!.machine;
  return state.groups.get("g")?.members.map(({ id }) => id) ?? [];
}

function claimsOf(world: World, partitions: number): number[] {
  return Array.from({ length: partitions }, (_, at) => world.partition("t", at).claims.length);
}

Deno.test("joining: a join whose answer is lost is repeated under the same name", async () => {
  const world = await worldWith(1);
  produceToAll(world, 1, 0, 3);
  const lost = loseFirst(world, "manager.join_group", 2);
  const member = world.join(["t"]);
  member.iterate();
  await world.until("the messages", () => member.seen.length === 3);
  assertEquals([lost(), membersOf(world).length], [2, 1]);
  await world.end();
});

Deno.test("joining: a join that ends after stop leaves no member behind", async () => {
  const world = await worldWith(1);
  loseFirst(world, "manager.join_group", 1);
  const member = world.join(["t"]);
  member.iterate();
  await world.pass(1);
  await world.settle(member.consumer.stop());
  await world.pass(10 * second);
  assertEquals([member.end, membersOf(world)], ["done", []]);
  await world.end();
});

Deno.test("joining: a consumer that was never asked for a message joins nothing", async () => {
  const world = await worldWith(1);
  const member = world.join(["t"]);
  await world.pass(second);
  await world.settle(member.consumer.stop());
  assertEquals([await world.settle(member.consumer.next()), membersOf(world)], [null, []]);
  await world.end();
});

Deno.test("assigned: a claim whose answer is lost is repeated, and nothing is skipped", async () => {
  const world = await worldWith(1);
  produceToAll(world, 1, 0, 3);
  const lost = loseFirst(world, "broker.claim", 2);
  const member = world.join(["t"]);
  member.iterate();
  await world.until("the messages", () => member.seen.length === 3);
  assertEquals([lost(), repeatedBy(member)], [2, []]);
  await world.end();
});

Deno.test("assigned: lost heartbeats within the session change nothing", async () => {
  const world = await worldWith(2);
  const member = world.join(["t"], { sessionTimeoutMs: 8 * second });
  member.iterate();
  await world.pass(second);
  const before = [membersOf(world), claimsOf(world, 2)];
  const lost = loseFirst(world, "manager.group_heartbeat", 2);
  await world.pass(20 * second);
  assertEquals(lost(), 2);
  assertEquals([membersOf(world), claimsOf(world, 2)], before);
  await world.end();
});

Deno.test("revoking: a partition that comes back before it was released goes on where it was", async () => {
  const world = await worldWith(2);
  produceToAll(world, 2, 0, 4);
  const first = world.join(["t"], { autoCommit: false, revokeMs: 60 * second });
  first.iterate();
  await world.until("the messages", () => first.seen.length === 8);
  const late = world.join(["t"]);
  late.iterate();
  await world.pass(second);
  assertEquals([first.assigned.length, late.assigned.length], [2, 0], "nothing is committed");
  produceToAll(world, 2, 4, 1);
  await world.pass(second);
  assertEquals(first.seen.length, 9, "the revoked one hands out nothing");
  await world.settle(late.consumer.stop());
  await world.until("the last message", () => first.seen.length === 10);
  assertEquals([repeatedBy(first), claimsOf(world, 2)], [[], [1, 1]]);
  await world.end();
});

Deno.test("revoking: a release whose answer is lost is told again by the next heartbeat", async () => {
  const world = await worldWith(2);
  produceToAll(world, 2, 0, 4);
  const first = world.join(["t"]);
  first.iterate();
  await world.until("the messages", () => first.seen.length === 8);
  const late = world.join(["t"]);
  world.loses = (method) => method === "manager.group_heartbeat" && world.random.chance(0.5);
  late.iterate();
  await world.until("the move", () => late.assigned.length === 1 && first.assigned.length === 1);
  world.loses = () => false;
  produceToAll(world, 2, 4, 4);
  await world.until("all messages", () => first.seen.length + late.seen.length >= 16);
  assertEquals(repeatedBy(first, late), []);
  await world.end();
});

Deno.test("revoking: a program that does not come back in time loses the partition after revokeMs", async () => {
  const world = await worldWith(2);
  produceToAll(world, 2, 0, 4);
  const first = world.join(["t"], { revokeMs: second });
  // One message is in hand for good.
  await world.settle(first.consumer.next());
  const late = world.join(["t"]);
  late.iterate();
  await world.until("the move", () => late.assigned.length === 1);
  assertEquals(first.assigned.length, 1);
  await world.end();
});

Deno.test("fenced: a partition's fence is heard of before the managers say anything", async () => {
  const world = await worldWith(1);
  produceToAll(world, 1, 0, 4);
  const member = world.join(["t"], { autoCommit: false });
  member.iterate();
  await world.until("the messages", () => member.seen.length === 4);
  const partition = world.partition("t", 0);
  partition.run({ kind: "claim", group: "g", generation: 1_000, born: 1, member: "another" });
  const error = await assertRejects(() => world.settle(member.consumer.commit()), TrilogError);
  assertEquals([error.code, partition.committed(), member.assigned], ["fenced", null, []]);
  await world.end();
});

Deno.test("left: a leave whose answer is lost has left, and stop ends all the same", async () => {
  const world = await worldWith(1);
  produceToAll(world, 1, 0, 4);
  const member = world.join(["t"]);
  member.iterate();
  await world.until("the messages", () => member.seen.length === 4);
  world.loses = (method) => method === "manager.leave_group";
  await world.settle(member.consumer.stop());
  assertEquals([membersOf(world), world.partition("t", 0).committed()], [[], 4]);
  await world.end();
});

Deno.test("left: where the commit at the end fails, stop says so and has left", async () => {
  const world = await worldWith(1);
  produceToAll(world, 1, 0, 4);
  const member = world.join(["t"]);
  member.iterate();
  await world.until("the messages", () => member.seen.length === 4);
  const fence = {
    kind: "claim",
    group: "g",
    generation: 1_000,
    born: 1,
    member: "another",
  } as const;
  world.partition("t", 0).run(fence);
  const error = await assertRejects(() => world.settle(member.consumer.stop()), TrilogError);
  assertEquals([error.code, membersOf(world)], ["fenced", []]);
  await world.end();
});

Deno.test("left: nothing of a consumer that was stopped waits for anything any more", async () => {
  const world = await worldWith(2);
  produceToAll(world, 2, 0, 4);
  const member = world.join(["t"]);
  member.iterate();
  await world.pass(second);
  await world.settle(member.consumer.stop());
  await world.pass(10 * second);
  const { asked } = member;
  await world.pass(60 * second);
  assertEquals(member.asked, asked, "no request is sent");
  await world.end();
});

Deno.test("an instance that restarts takes its partitions back, and nobody else's move", async () => {
  const world = await worldWith(4);
  produceToAll(world, 4, 0, 10);
  const first = world.join(["t"], { instanceId: "one" });
  const other = world.join(["t"], { instanceId: "two" });
  first.iterate();
  other.iterate();
  await world.until("the messages", () => first.seen.length + other.seen.length === 40);
  await world.until("a division", () => first.assigned.length === 2 && other.assigned.length === 2);
  const [own, others] = [first.assigned, other.assigned];
  const before = claimsOf(world, 4);
  await world.settle(first.consumer.stop());
  await world.pass(3 * second);
  assertEquals(other.assigned, others, "its place is kept");
  const again = world.join(["t"], { instanceId: "one" });
  again.iterate();
  produceToAll(world, 4, 10, 5);
  await world.until("the new messages", () => again.seen.length + other.seen.length >= 30);
  assertEquals([again.assigned, other.assigned], [own, others]);
  assertEquals(repeatedBy(first, again, other), []);
  const claimed = claimsOf(world, 4).map((count, at) => count - before[at]);
  const expected = [0, 1, 2, 3].map((at) => own.includes(`t/${at}`) ? 1 : 0);
  assertEquals(claimed, expected, "only its own were claimed again");
  await world.end();
});

Deno.test("an instance that stops keeps its partitions, but not those on their way to others", async () => {
  const world = await worldWith(2);
  produceToAll(world, 2, 0, 4);
  const options = { autoCommit: false, revokeMs: 60 * second, sessionTimeoutMs: 60 * second };
  const first = world.join(["t"], { ...options, instanceId: "one" });
  first.iterate();
  await world.until("the messages", () => first.seen.length === 8);
  const late = world.join(["t"]);
  late.iterate();
  await world.pass(second);
  assertEquals([first.assigned.length, late.assigned.length], [2, 0], "nothing is committed");
  await world.settle(first.consumer.stop());
  await world.pass(second);
  assertEquals(late.assigned.length, 1);
  await world.end();
});

Deno.test("an instance that does not come back within its session loses its partitions", async () => {
  const world = await worldWith(2);
  const first = world.join(["t"], { instanceId: "one", sessionTimeoutMs: 2 * second });
  const other = world.join(["t"]);
  first.iterate();
  other.iterate();
  await world.until("a division", () => other.assigned.length === 1 && first.assigned.length === 1);
  await world.settle(first.consumer.stop());
  await world.pass(second);
  assertEquals(other.assigned.length, 1);
  await world.until("the session to end", () => other.assigned.length === 2);
  await world.end();
});

Deno.test("an instance that leaves for good is told so, and gives its partitions up at once", async () => {
  const world = await worldWith(2);
  const first = world.join(["t"], { instanceId: "one", sessionTimeoutMs: 60 * second });
  const other = world.join(["t"]);
  first.iterate();
  other.iterate();
  await world.until("a division", () => other.assigned.length === 1 && first.assigned.length === 1);
  await world.settle(first.consumer.stop({ leave: true }));
  await world.pass(second);
  assertEquals(other.assigned.length, 2);
  await world.end();
});

Deno.test("fenced: of two processes with one instance the older one ends, however long it slept", async () => {
  for (const sleptMs of [0, 5 * second]) {
    const world = await worldWith(2);
    produceToAll(world, 2, 0, 5);
    const options = { instanceId: "one", sessionTimeoutMs: 3 * second };
    const older = world.join(["t"], options);
    older.iterate();
    await world.until("the messages", () => older.seen.length === 10);
    if (sleptMs > 0) {
      older.process.pause();
      await world.pass(sleptMs);
    }
    const newer = world.join(["t"], options);
    newer.iterate();
    await world.until("the new one", () => newer.assigned.length === 2);
    older.process.goOn();
    await world.until("the end of the older one", () => older.end !== null);
    assert(older.end instanceof TrilogError);
    assertEquals([older.end.code, older.assigned], ["fenced", []]);
    assert(older.end.message.includes("instance one of group g"), older.end.message);
    await world.pass(10 * second);
    assertEquals([newer.assigned.length, newer.end], [2, null], "it does not come back");
    const again = await assertRejects(() => world.settle(older.consumer.next()), TrilogError);
    assertEquals(again.code, "fenced");
    await world.end();
  }
});

Deno.test("an instance whose process was paused past its session comes back under its name", async () => {
  const world = await worldWith(1);
  const member = world.join(["t"], { instanceId: "one", sessionTimeoutMs: 2 * second });
  member.iterate(() => sleep(member.process.clock, 1));
  await world.pass(second);
  member.process.pause();
  await world.pass(5 * second);
  assertEquals(membersOf(world), []);
  member.process.goOn();
  produceToAll(world, 1, 0, 3);
  await world.until("the messages", () => member.seen.length === 3);
  await world.end();
});

Deno.test("instances that stop and restart at random, in peace, deliver each message exactly once", async () => {
  for (let seed = 1; seed <= 3; seed += 1) {
    const world = await worldWith(8, seed);
    const { random } = world;
    const names = ["one", "two", "three", "four"];
    const running = new Map<string, Member>();
    let produced = 0;
    for (let step = 0; step < 40; step += 1) {
      const instanceId = random.pick(names);
      const present = running.get(instanceId);
      if (present === undefined) {
        const autoCommitMs = random.pick([50, 3_600_000]);
        const member = world.join(["t"], { instanceId, autoCommitMs, sessionTimeoutMs: 60_000 });
        member.iterate(() => sleep(member.process.clock, random.below(5)));
        running.set(instanceId, member);
      } else {
        running.delete(instanceId);
        await world.settle(present.consumer.stop({ leave: random.chance(0.3) }));
      }
      produceToAll(world, 8, produced, 3);
      produced += 3;
      await world.pass(random.below(400));
    }
    for (const instanceId of names.filter((name) => !running.has(name))) {
      const member = world.join(["t"], { instanceId });
      member.iterate();
    }
    const seen = () => new Set(world.members.flatMap(({ values }) => values)).size;
    await world.until(`all messages of seed ${seed}`, () => seen() === 8 * produced);
    assertEquals(repeatedBy(...world.members), [], `seed ${seed}`);
    await world.end();
  }
});
