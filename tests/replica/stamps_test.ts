import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import {
  BELIEVED_AFTER_MS,
  LARGEST_STEP_MS,
  Stamps,
  SteadyTime,
} from "../../lib/replica/stamps.ts";
import type { Node } from "./cluster.ts";
import { TestCluster } from "./cluster.ts";

const day = 24 * 3_600_000;

/** A wall clock that a test sets, and a monotonic clock. */
class Clocks {
  monotonic = 0;
  lead = 1_700_000_000_000;

  monotonicMs(): number {
    return this.monotonic;
  }

  wallMs(): number {
    return this.monotonic + this.lead;
  }
}

Deno.test("small steps of the wall clock are followed at once, in both directions", () => {
  const clocks = new Clocks();
  const time = new SteadyTime(clocks);
  for (const stepMs of [LARGEST_STEP_MS, -LARGEST_STEP_MS, 3, -700]) {
    clocks.monotonic += 50;
    clocks.lead += stepMs;
    assertEquals(time.nowMs(), clocks.wallMs());
  }
});

Deno.test("a jump moves the time by a tenth of its duration, and is over when the clock is back", () => {
  for (const jumpMs of [day, -day]) {
    const clocks = new Clocks();
    const time = new SteadyTime(clocks);
    clocks.lead += jumpMs;
    for (let at = 0; at < 20; at += 1) {
      clocks.monotonic += 100;
      time.nowMs();
    }
    const errorMs = time.nowMs() - (clocks.wallMs() - jumpMs);
    assertEquals(Math.round(errorMs), Math.sign(jumpMs) * 200);
    clocks.lead -= jumpMs;
    assertEquals(time.nowMs(), clocks.wallMs());
  }
});

Deno.test("a clock that stays where it jumped to is believed after an hour, a restless one is not", () => {
  const clocks = new Clocks();
  const time = new SteadyTime(clocks);
  clocks.lead += day;
  time.nowMs();
  clocks.monotonic += BELIEVED_AFTER_MS - 1;
  assert(time.nowMs() < clocks.wallMs() - day / 2);
  clocks.lead -= day / 4;
  time.nowMs();
  clocks.monotonic += BELIEVED_AFTER_MS - 1;
  assert(time.nowMs() < clocks.wallMs() - day / 2);
  clocks.monotonic += 1;
  assertEquals(time.nowMs(), clocks.wallMs());
});

Deno.test("where the log is ahead of the clock its stamps go on, a tenth slower", () => {
  const clocks = new Clocks();
  const stamps = new Stamps(new SteadyTime(clocks), clocks);
  const ahead = clocks.wallMs() + 1_000;
  assertEquals(stamps.nowMs(ahead), ahead);
  clocks.monotonic += 500;
  assertEquals(stamps.nowMs(ahead), ahead + 450);
  clocks.monotonic += 10_000;
  assertEquals(stamps.nowMs(ahead + 450), clocks.wallMs());
});

async function stamp(cluster: TestCluster, leader: Node): Promise<number> {
  const { timeMs } = await cluster.settle(cluster.replica(leader).propose(utf8("x")));
  return timeMs;
}

Deno.test("a leader's clock that jumps for two seconds moves the stamps by less than a second", async () => {
  for (const jumpMs of [day, -day]) {
    const cluster = new TestCluster(3);
    const leader = await cluster.elected();
    const truth = () => cluster.nodes.find((node) => node !== leader)!.clock.wallMs();
    leader.clock.jumpWall(jumpMs);
    let last = 0;
    for (let at = 0; at < 20; at += 1) {
      const timeMs = await stamp(cluster, leader);
      assert(timeMs >= last, "stamps never go back");
      assert(Math.abs(timeMs - truth()) < 1_000, `${timeMs - truth()} ms`);
      last = timeMs;
      await cluster.run(100);
    }
    leader.clock.jumpWall(-jumpMs);
    await cluster.run(5_000);
    assert(Math.abs(await stamp(cluster, leader) - truth()) < 100);
  }
});

Deno.test("after a leader whose clock was a day ahead, stamps go on with the time that passes", async () => {
  const cluster = new TestCluster(3);
  const wrong = await cluster.elected();
  cluster.kill(wrong);
  await cluster.until("another leads", () => {
    const leader = cluster.leader();
    return leader !== undefined && cluster.replica(leader).status().readReady;
  });
  cluster.wallOffsetMs.set(wrong.id, day);
  cluster.restart(wrong);
  const first = cluster.leader()!;
  cluster.replica(first).transferLeadership(wrong.id);
  await cluster.until("the wrong one leads", () => cluster.leader() === wrong);
  await cluster.elected();
  const ahead = await stamp(cluster, wrong);
  assert(ahead > first.clock.wallMs() + day / 2);
  cluster.replica(wrong).transferLeadership(first.id);
  await cluster.until("the right one leads", () => cluster.leader() === first);
  await cluster.elected();
  const before = await stamp(cluster, first);
  await cluster.run(10_000);
  const passedMs = await stamp(cluster, first) - before;
  assert(passedMs > 8_900 && passedMs < 9_200, `10 s on the clock are ${passedMs} ms in stamps`);
});
