import { assert, assertEquals, assertRejects } from "@std/assert";
import { sleep } from "../../lib/base/clock.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { alterTopicMethod, deleteTopicMethod } from "../../lib/client/protocol.ts";
import { GROUP, type Member, produceToAll, worldWith } from "./consumer_world.ts";

const second = 1_000;

/** All values of some members, sorted by partition and number. */
function allValues(members: readonly Member[]): string[] {
  const key = (value: string) => {
    const [partition, number] = value.split(":").map(Number);
    return partition * 1_000_000 + number;
  };
  return members.flatMap(({ values }) => values).sort((left, right) => key(left) - key(right));
}

function expected(partitions: number, count: number): string[] {
  return Array.from(
    { length: partitions },
    (_, partition) => Array.from({ length: count }, (_, at) => `${partition}:${at}`),
  ).flat();
}

Deno.test("a consumer alone gets everything in order, and stop commits it", async () => {
  const world = await worldWith(3);
  produceToAll(world, 3, 0, 10);
  const member = world.join(["t"]);
  member.iterate();
  await world.pass(2 * second);
  produceToAll(world, 3, 10, 5);
  await world.pass(second);
  assertEquals(allValues([member]), expected(3, 15));
  for (let partition = 0; partition < 3; partition += 1) {
    const own = member.seen.filter((message) => message.partition === partition);
    assertEquals(own.map(({ offset }) => offset), Array.from({ length: 15 }, (_, at) => at));
  }
  await world.settle(member.consumer.stop());
  assertEquals(member.end, "done");
  assertEquals([0, 1, 2].map((number) => world.partition("t", number).committed()), [15, 15, 15]);
  await world.end();
});

Deno.test("the message in hand is not committed until the next one is asked for", async () => {
  const world = await worldWith(1);
  world.partition("t", 0).produce("0:0", "0:1", "0:2");
  const member = world.join(["t"]);
  await world.settle(member.consumer.next());
  await world.settle(member.consumer.next());
  await world.pass(3 * second);
  assertEquals(world.partition("t", 0).committed(), 1);
  await world.settle(member.consumer.stop({ failed: true }));
  assertEquals(world.partition("t", 0).committed(), 1);
  const next = world.join(["t"]);
  next.iterate();
  await world.pass(second);
  assertEquals(next.values, ["0:1", "0:2"]);
  await world.end();
});

Deno.test("members divide the partitions, and those that stay are not claimed again", async () => {
  const world = await worldWith(4);
  produceToAll(world, 4, 0, 5);
  const first = world.join(["t"]);
  first.iterate();
  await world.pass(2 * second);
  const second_ = world.join(["t"]);
  second_.iterate();
  await world.pass(2 * second);
  produceToAll(world, 4, 5, 5);
  await world.pass(2 * second);
  assertEquals(first.assigned.length, 2);
  assertEquals(second_.assigned.length, 2);
  assertEquals(allValues([first, second_]), expected(4, 10));
  for (let number = 0; number < 4; number += 1) {
    const moved = second_.assigned.includes(`t/${number}`);
    assertEquals(world.partition("t", number).claims.length, moved ? 2 : 1);
  }
  await world.settle(second_.consumer.stop());
  await world.pass(second);
  produceToAll(world, 4, 10, 5);
  await world.pass(second);
  assertEquals(first.assigned.length, 4);
  assertEquals(allValues([first, second_]), expected(4, 15));
  await world.end();
});

Deno.test("a killed member's partitions move within its session, from what it had committed", async () => {
  const world = await worldWith(2);
  produceToAll(world, 2, 0, 10);
  const options = { sessionTimeoutMs: 4 * second, autoCommit: false };
  const victim = world.join(["t"], options);
  const other = world.join(["t"], options);
  victim.iterate();
  other.iterate();
  await world.pass(2 * second);
  assertEquals([victim.assigned.length, other.assigned.length], [1, 1]);
  await world.settle(victim.consumer.commit());
  const lost = Number(victim.assigned[0].slice(2));
  produceToAll(world, 2, 10, 5);
  await world.pass(second);
  victim.process.pause();
  await world.pass(5 * second);
  assertEquals(other.assigned.length, 2);
  const taken = other.values.filter((value) => value.startsWith(`${lost}:`));
  const committed = world.partition("t", lost).committed()!;
  assert(committed >= 10, "what it had handed out was committed");
  assertEquals(
    taken,
    Array.from({ length: 15 - committed }, (_, at) => `${lost}:${committed + at}`),
  );
  await world.end();
});

Deno.test("a member paused past its session cannot commit, and comes back as another", async () => {
  const world = await worldWith(1);
  produceToAll(world, 1, 0, 10);
  const options = { sessionTimeoutMs: 2 * second, autoCommit: false };
  const paused = world.join(["t"], options);
  paused.iterate();
  await world.pass(second);
  assertEquals(paused.values.length, 10);
  paused.process.pause();
  const other = world.join(["t"], options);
  other.iterate();
  await world.pass(4 * second);
  assertEquals(other.values.length, 10, "nothing was committed, so all is delivered again");
  await world.settle(other.consumer.commit());
  paused.process.goOn();
  const error = await assertRejects(
    () => world.settle(paused.consumer.commit()),
    TrilogError,
  );
  assertEquals(error.code, "fenced");
  assertEquals(world.partition("t", 0).committed(), 10);
  await world.settle(other.consumer.stop());
  await world.pass(3 * second);
  produceToAll(world, 1, 10, 1);
  await world.pass(second);
  assertEquals(paused.values.at(-1), "0:10", "it takes part again");
  await world.end();
});

Deno.test("after a pause a member hands out nothing that it had fetched and lost meanwhile", async () => {
  const world = await worldWith(1);
  produceToAll(world, 1, 0, 10);
  const options = { sessionTimeoutMs: 2 * second, autoCommitMs: 100 };
  const paused = world.join(["t"], options);
  paused.iterate(() => sleep(paused.process.clock, 200));
  await world.pass(900);
  const seen = paused.values.length;
  assert(seen > 1 && seen < 9);
  paused.process.pause();
  const other = world.join(["t"], options);
  other.iterate();
  await world.pass(4 * second);
  assertEquals(other.values.at(-1), "0:9");
  paused.process.goOn();
  await world.pass(4 * second);
  assertEquals(paused.values.length, seen);
  assert(paused.end === null, "it takes part again");
  await world.settle(other.consumer.stop());
  produceToAll(world, 1, 10, 1);
  await world.pass(2 * second);
  assertEquals(paused.values.slice(seen), ["0:10"]);
  await world.end();
});

Deno.test("a short nap of a member delays what it hands out by one question", async () => {
  const world = await worldWith(1);
  produceToAll(world, 1, 0, 10);
  const napping = world.join(["t"], { sessionTimeoutMs: 10 * second });
  napping.iterate(() => sleep(napping.process.clock, 200));
  await world.pass(900);
  napping.process.pause();
  await world.pass(6 * second);
  napping.process.goOn();
  await world.pass(5 * second);
  assertEquals(napping.values, expected(1, 10), "it was not expelled and lost nothing");
  await world.end();
});

Deno.test("a partition that moves waits until what was handed out of it is committed", async () => {
  const world = await worldWith(2);
  produceToAll(world, 2, 0, 4);
  const options = { autoCommit: false, revokeMs: 5 * second };
  const first = world.join(["t"], options);
  first.iterate();
  await world.pass(second);
  const late = world.join(["t"], options);
  late.iterate();
  await world.pass(2 * second);
  assertEquals([first.assigned.length, late.assigned.length], [2, 0]);
  await world.settle(first.consumer.commit());
  await world.pass(second);
  assertEquals([first.assigned.length, late.assigned.length], [1, 1]);
  assertEquals(late.values, [], "everything had been committed");
  await world.end();
});

Deno.test("a member that does not commit in time loses the partition and is told", async () => {
  const world = await worldWith(2);
  produceToAll(world, 2, 0, 4);
  const options = { autoCommit: false, revokeMs: second };
  const first = world.join(["t"], options);
  first.iterate();
  await world.pass(second);
  const late = world.join(["t"], options);
  late.iterate();
  await world.pass(4 * second);
  assertEquals(late.values.length, 4, "delivered again");
  const error = await assertRejects(() => world.settle(first.consumer.commit()), TrilogError);
  assertEquals(error.code, "fenced");
  await world.settle(first.consumer.commit());
  await world.end();
});

Deno.test("behind the trim a consumer ends with a clear error, or goes on where it was told", async () => {
  for (const onBehind of ["fail", "earliest", "latest"] as const) {
    const world = await worldWith(1);
    produceToAll(world, 1, 0, 5);
    const first = world.join(["t"]);
    first.iterate();
    await world.pass(second);
    await world.settle(first.consumer.stop());
    produceToAll(world, 1, 5, 5);
    produceToAll(world, 1, 10, 5);
    world.partition("t", 0).trim();
    const behind = world.join(["t"], { onBehind });
    behind.iterate();
    await world.pass(second);
    produceToAll(world, 1, 15, 1);
    await world.pass(second);
    if (onBehind === "fail") {
      assert(behind.end instanceof TrilogError);
      assertEquals(behind.end.code, "offset_out_of_range");
      assert(/t\/0 at offset 5 for group g/.test(behind.end.message), behind.end.message);
    } else {
      const from = onBehind === "earliest" ? 10 : 15;
      assertEquals(behind.values, expected(1, 16).slice(from));
    }
    await world.end();
  }
});

Deno.test("who starts at the latest message has committed that at once, so nothing is skipped", async () => {
  const world = await worldWith(1);
  produceToAll(world, 1, 0, 5);
  const options = { from: "latest", autoCommit: false, sessionTimeoutMs: second } as const;
  const first = world.join(["t"], options);
  first.iterate();
  await world.pass(second / 2);
  assertEquals(world.partition("t", 0).committed(), 5);
  first.process.pause();
  produceToAll(world, 1, 5, 5);
  const next = world.join(["t"], options);
  next.iterate();
  await world.pass(4 * second);
  assertEquals(next.values, expected(1, 10).slice(5));
  await world.end();
});

Deno.test("a consumer with an end stops there, across the partitions it owns", async () => {
  const world = await worldWith(3);
  produceToAll(world, 3, 0, 5);
  produceToAll(world, 3, 5, 5);
  const member = world.join(["t"], { until: (_, partition) => partition === 2 ? 0 : 7 });
  member.iterate();
  await world.pass(2 * second);
  assertEquals(member.end, "done");
  assertEquals(allValues([member]), expected(2, 10).filter((value) => Number(value.slice(2)) < 7));
  await world.settle(member.consumer.stop());
  assertEquals(world.partition("t", 0).committed(), 7);
  await world.end();
});

Deno.test("partitions that are added are consumed, and those of a topic that is deleted are dropped", async () => {
  const world = await worldWith(1);
  const member = world.join(["t"]);
  member.iterate();
  await world.pass(second);
  await world.managers.ask(alterTopicMethod, {
    requestId: "alter",
    name: "t",
    partitions: 3,
    retentionBytes: null,
    retentionMs: null,
  });
  produceToAll(world, 3, 0, 2);
  await world.pass(second);
  assertEquals(allValues([member]), expected(3, 2));
  await world.managers.ask(deleteTopicMethod, { requestId: "delete", name: "t" });
  await world.pass(3 * second);
  assertEquals([member.end, member.assigned], [null, []]);
  await world.createTopic("t", 1);
  produceToAll(world, 1, 100, 1);
  await world.pass(second);
  assertEquals(member.values.at(-1), "0:100", "a namesake is consumed from its own beginning");
  await world.end();
});

Deno.test("a consumer of two topics survives that one is deleted, also when it was expelled meanwhile", async () => {
  const world = await worldWith(1);
  await world.createTopic("u", 1);
  const member = world.join(["t", "u"], { sessionTimeoutMs: 2 * second });
  member.iterate();
  await world.pass(second);
  assertEquals(member.assigned, ["t/0", "u/0"]);
  member.process.pause();
  await world.managers.ask(deleteTopicMethod, { requestId: "delete", name: "u" });
  await world.pass(4 * second);
  member.process.goOn();
  await world.pass(3 * second);
  produceToAll(world, 1, 0, 3);
  await world.pass(second);
  assertEquals([member.end, member.assigned], [null, ["t/0"]]);
  assertEquals(member.values, ["0:0", "0:1", "0:2"]);
  await world.createTopic("u", 1);
  await world.pass(second);
  assertEquals(member.assigned, ["t/0", "u/0"], "it consumes the topic when it is made again");
  await world.end();
});

Deno.test("a topic that does not exist is an error for whoever asks for a message", async () => {
  const world = await worldWith(1);
  const member = world.join(["t", "none"]);
  const error = await assertRejects(() => world.settle(member.consumer.next()), TrilogError);
  assertEquals(error.code, "no_such_topic");
  await world.end();
});

Deno.test("consuming goes on while no manager leads, and a new leader expels nobody who beats", async () => {
  const world = await worldWith(2);
  const options = { sessionTimeoutMs: 3 * second };
  const members = [world.join(["t"], options), world.join(["t"], options)];
  for (const member of members) member.iterate();
  await world.pass(second);
  const claims = () => [0, 1].map((number) => world.partition("t", number).claims.length);
  const before = claims();
  world.managers.elect(null);
  produceToAll(world, 2, 0, 5);
  await world.pass(5 * second);
  assertEquals(allValues(members), expected(2, 5));
  world.managers.elect("m2");
  await world.pass(6 * second);
  assertEquals(claims(), before);
  assertEquals(members.map(({ assigned }) => assigned.length), [1, 1]);
  await world.end();
});

Deno.test("a leader that dies during a rebalance leaves it to the next one", async () => {
  const world = await worldWith(6);
  produceToAll(world, 6, 0, 20);
  const members = [world.join(["t"])];
  members[0].iterate();
  await world.pass(second);
  for (let round = 0; round < 4; round += 1) {
    const member = world.join(["t"]);
    members.push(member);
    member.iterate();
    await world.pass(3);
    world.managers.elect(null);
    await world.pass(300);
    world.managers.elect(`m${1 + (round + 1) % 3}`);
  }
  await world.pass(5 * second);
  produceToAll(world, 6, 20, 20);
  await world.pass(2 * second);
  assertEquals(allValues(members), expected(6, 40));
  assertEquals(members.flatMap(({ assigned }) => assigned).sort().length, 6);
  await world.end();
});

Deno.test("members that come and go in an orderly way deliver each message exactly once", async () => {
  for (let seed = 1; seed <= 6; seed += 1) {
    const world = await worldWith(12, seed);
    const { random } = world;
    const active: Member[] = [];
    let produced = 0;
    for (let step = 0; step < 25; step += 1) {
      if (active.length < 5 && (active.length === 0 || random.chance(0.6))) {
        const member = world.join(["t"], { strategy: seed % 2 === 0 ? "range" : "round_robin" });
        member.iterate(() => random.chance(0.02) ? world.pass(0).catch(() => {}) : undefined);
        active.push(member);
      } else if (random.chance(0.6)) {
        const [leaver] = active.splice(random.below(active.length), 1);
        await world.settle(leaver.consumer.stop());
      }
      produceToAll(world, 12, produced, 5);
      produced += 5;
      await world.pass(random.below(400));
    }
    if (active.length === 0) {
      active.push(world.join(["t"]));
      active[0].iterate();
    }
    await world.pass(10 * second);
    assertEquals(allValues(world.members), expected(12, produced), `seed ${seed}`);
    await world.end();
  }
});

Deno.test("whoever is paused for how long: what was committed is not handed out again", async () => {
  for (let seed = 1; seed <= 12; seed += 1) {
    const world = await worldWith(4, seed);
    const { random } = world;
    const repeated: string[] = [];
    const members = [1, 2, 3].map(() => {
      const member = world.join(["t"], { sessionTimeoutMs: 2 * second, autoCommitMs: 100 });
      member.iterate(({ partition, offset }) => {
        const committed = world.partition("t", partition).committed() ?? 0;
        if (offset < committed) repeated.push(`${partition}/${offset} of ${committed}`);
        return sleep(member.process.clock, random.below(20));
      });
      return member;
    });
    let produced = 0;
    for (let step = 0; step < 12; step += 1) {
      if (random.chance(0.7)) random.pick(members).process.pause();
      produceToAll(world, 4, produced, 10);
      produced += 10;
      await world.pass(random.below(4 * second));
      for (const { process } of members) process.goOn();
      await world.pass(random.below(500));
    }
    await world.pass(10 * second);
    assertEquals(repeated, [], `seed ${seed}`);
    assertEquals(new Set(allValues(members)).size, 4 * produced, `seed ${seed}`);
    await world.end();
  }
});

Deno.test("with pauses and lost answers nothing is skipped, and all is committed in the end", async () => {
  for (let seed = 1; seed <= 8; seed += 1) {
    const world = await worldWith(4, seed);
    const { random } = world;
    let produced = 0;
    const members: Member[] = [];
    for (let at = 0; at < 3; at += 1) {
      const named = random.chance(0.5) ? { instanceId: `member-${at}` } : {};
      const options = { sessionTimeoutMs: 2 * second, autoCommitMs: 200, ...named };
      const member = world.join(["t"], options);
      member.iterate();
      members.push(member);
    }
    world.loss = 0.05;
    for (let step = 0; step < 12; step += 1) {
      const victim = random.pick(members);
      if (random.chance(0.5)) victim.process.pause();
      produceToAll(world, 4, produced, 5);
      produced += 5;
      await world.pass(random.below(4 * second));
      for (const { process } of members) process.goOn();
    }
    world.loss = 0;
    await world.pass(30 * second);
    assertEquals(new Set(allValues(members)).size, 4 * produced, `seed ${seed}`);
    for (let number = 0; number < 4; number += 1) {
      assertEquals(world.partition("t", number).committed(GROUP), produced, `seed ${seed}`);
    }
    await world.end();
  }
});
