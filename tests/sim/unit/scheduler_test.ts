import { assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { sleep } from "../../../lib/base/clock.ts";
import { InvariantError } from "../../../lib/base/assert.ts";
import { Prng } from "../../../lib/base/prng.ts";
import { exactClock, SimClock } from "../../../lib/sim/clock.ts";
import { SimProcess } from "../../../lib/sim/process.ts";
import { Scheduler } from "../../../lib/sim/scheduler.ts";

Deno.test("events run in the order of their times, and of their scheduling at equal times", async () => {
  const scheduler = new Scheduler();
  const random = new Prng(7);
  const wanted: { atMs: number; order: number }[] = [];
  const seen: typeof wanted = [];
  for (let order = 0; order < 500; order += 1) {
    const event = { atMs: random.below(40), order };
    wanted.push(event);
    scheduler.at(event.atMs, "event", () => seen.push(event));
  }
  await scheduler.runUntil(100);
  wanted.sort((left, right) => left.atMs - right.atMs || left.order - right.order);
  assertEquals(seen, wanted);
  assertEquals([scheduler.nowMs, scheduler.steps], [100, 500]);
});

Deno.test("time stops at the limit and goes on from there", async () => {
  const scheduler = new Scheduler();
  const seen: number[] = [];
  scheduler.after(10, "a", () => seen.push(scheduler.nowMs));
  scheduler.after(20, "b", () => seen.push(scheduler.nowMs));
  await scheduler.runUntil(15);
  assertEquals([seen, scheduler.nowMs], [[10], 15]);
  assertThrows(() => scheduler.at(14, "late", () => {}), InvariantError, "lies in the past");
  await scheduler.runUntil(20);
  assertEquals(seen, [10, 20]);
});

Deno.test("a cancelled event does not run and does not count as a step", async () => {
  const scheduler = new Scheduler();
  scheduler.after(1, "a", () => {}).cancel();
  await scheduler.runUntil(2);
  assertEquals(scheduler.steps, 0);
});

Deno.test("a chain of awaits ends within its event, before the hooks and the next event", async () => {
  const scheduler = new Scheduler();
  const seen: string[] = [];
  const deeper = async (depth: number): Promise<void> => {
    if (depth > 0) await deeper(depth - 1);
  };
  scheduler.after(1, "a", () => {
    deeper(5).then(() => seen.push("end of a"));
  });
  scheduler.after(1, "b", () => seen.push("b"));
  scheduler.afterEachStep(() => seen.push("hook"));
  await scheduler.runUntil(1);
  assertEquals(seen, ["end of a", "hook", "b", "hook"]);
});

Deno.test("what an event or a hook throws ends the run", async () => {
  const scheduler = new Scheduler();
  scheduler.after(1, "a", () => {});
  scheduler.afterEachStep(() => {
    throw new Error("broken invariant");
  });
  await assertRejects(() => scheduler.runUntil(5), Error, "broken invariant");
});

Deno.test("the run stops after the step that fulfils its condition", async () => {
  const scheduler = new Scheduler();
  let count = 0;
  for (let at = 1; at <= 5; at += 1) scheduler.at(at, "count", () => count += 1);
  assertEquals(await scheduler.runUntil(10, () => count === 3), true);
  assertEquals([count, scheduler.nowMs], [3, 3]);
  assertEquals(await scheduler.runUntil(10, () => count === 9), false);
});

Deno.test("equal runs have equal trace hashes, and one changed event changes the hash", async () => {
  const run = async (label: string, atMs: number) => {
    const scheduler = new Scheduler();
    scheduler.after(1, "first", () => scheduler.trace.bytes(new Uint8Array([1, 2])));
    scheduler.after(atMs, label, () => {});
    await scheduler.runUntil(5);
    return scheduler.trace.digest();
  };
  const hash = await run("second", 2);
  assertEquals(hash, await run("second", 2));
  assertEquals(/^[0-9a-f]{16}$/.test(hash), true);
  assertNotEquals(hash, await run("secone", 2));
  assertNotEquals(hash, await run("second", 2.001));
});

Deno.test("a fast clock fires its timers early in true time, never before its own time", async () => {
  const scheduler = new Scheduler();
  const clock = new SimClock(new SimProcess(scheduler, "n1"), { ...exactClock, rate: 1.01 });
  const seen: number[] = [];
  for (const delayMs of [0, 1, 33.3, 100]) {
    clock.after(delayMs, () => seen.push(clock.monotonicMs() - delayMs));
  }
  await scheduler.runUntil(99.02);
  assertEquals(seen.length, 4);
  assertEquals(seen.every((late) => late >= 0 && late < 0.01), true);
});

Deno.test("a wall clock jumps and the monotonic clock does not notice", () => {
  const clock = new SimClock(new SimProcess(new Scheduler(), "n1"), {
    ...exactClock,
    wallOffsetMs: 500,
  });
  const before = clock.wallMs();
  clock.jumpWall(-60_000);
  assertEquals([clock.wallMs() - before, clock.monotonicMs()], [-60_000, 0]);
});

Deno.test("a paused process runs its timers late, in order, when it goes on", async () => {
  const scheduler = new Scheduler();
  const process = new SimProcess(scheduler, "n1");
  const clock = new SimClock(process);
  const seen: string[] = [];
  clock.after(10, () => seen.push(`a ${Math.floor(clock.monotonicMs())}`));
  clock.after(20, () => seen.push(`b ${Math.floor(clock.monotonicMs())}`));
  const cancelled = clock.after(25, () => seen.push("cancelled"));
  sleep(clock, 30).then(() => seen.push("slept"));
  scheduler.after(5, "pause", () => process.pause());
  scheduler.after(100, "resume", () => process.resume());
  scheduler.after(99, "cancel", () => cancelled.cancel());
  await scheduler.runUntil(99);
  assertEquals(seen, []);
  await scheduler.runUntil(101);
  assertEquals(seen, ["a 100", "b 100", "slept"]);
});

Deno.test("nothing of a dead process runs, not even what it was late with", async () => {
  const scheduler = new Scheduler();
  const process = new SimProcess(scheduler, "n1");
  let ran = false;
  process.after(10, "timer", () => ran = true);
  scheduler.after(5, "pause", () => process.pause());
  scheduler.after(15, "kill", () => process.kill());
  scheduler.after(16, "resume", () => process.resume());
  await scheduler.runUntil(50);
  assertEquals([ran, process.alive], [false, false]);
});

Deno.test("what a process throws goes to whoever watches it", async () => {
  const scheduler = new Scheduler();
  const thrown: unknown[] = [];
  const process = new SimProcess(scheduler, "n1", (error) => thrown.push(error));
  process.after(1, "timer", () => {
    throw new Error("a bug");
  });
  await scheduler.runUntil(5);
  assertEquals(thrown.map(String), ["Error: a bug"]);
});
