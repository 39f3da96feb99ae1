import { assert, assertEquals } from "@std/assert";
import { Gatherer } from "../../lib/manager/gatherer.ts";
import { SimClock } from "../../lib/sim/clock.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";

/** A gatherer whose commands take 5 ms, with a pause of 100 ms; `batches` is what it ran. */
function world() {
  const scheduler = new Scheduler();
  const clock = new SimClock(new SimProcess(scheduler, "manager"));
  const batches: { readonly atMs: number; readonly items: readonly number[] }[] = [];
  const state = { fails: false };
  const gatherer = new Gatherer<number, string>({
    clock,
    pauseMs: () => 100,
    run: async (items) => {
      batches.push({ atMs: Math.round(scheduler.nowMs), items });
      await new Promise<void>((resolve) => scheduler.after(5, "command", resolve));
      if (state.fails) throw new Error("no leader");
      return items.map((item) => `answer ${item}`);
    },
  });
  return { scheduler, batches, gatherer, state };
}

Deno.test("the first goes at once, those that come meanwhile go together, each with its own answer", async () => {
  const { scheduler, batches, gatherer } = world();
  const answers: string[] = [];
  for (let at = 0; at < 10; at += 1) {
    scheduler.at(at * 20, "arrival", () => {
      void gatherer.add(at).then((answer) => answers.push(answer));
    });
  }
  await scheduler.runUntil(1_000);
  assertEquals(batches[0], { atMs: 0, items: [0] });
  assert(batches.length <= 4, `${batches.length} commands for ten items`);
  assert(batches.every(({ atMs }, at) => at === 0 || atMs - batches[at - 1].atMs >= 100));
  assertEquals(batches.flatMap(({ items }) => items), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assertEquals(answers, Array.from({ length: 10 }, (_, at) => `answer ${at}`));
});

Deno.test("a failure is that of its batch, and the next one goes on", async () => {
  const { scheduler, gatherer, state } = world();
  const ends: string[] = [];
  const add = (item: number) =>
    void gatherer.add(item).then((answer) => ends.push(answer), () => ends.push(`failed ${item}`));
  state.fails = true;
  scheduler.at(0, "arrival", () => [1, 2].forEach(add));
  scheduler.at(50, "arrival", () => {
    state.fails = false;
    add(3);
  });
  await scheduler.runUntil(1_000);
  assertEquals(ends, ["failed 1", "failed 2", "answer 3"]);
});
