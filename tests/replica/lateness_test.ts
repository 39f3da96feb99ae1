import { assert, assertEquals } from "@std/assert";
import { Lateness } from "../../lib/replica/lateness.ts";

Deno.test("ticks that come on time, or a little late, discount nothing", () => {
  const lateness = new Lateness(10, 600, 0);
  let nowMs = 0;
  for (const delay of [10, 12, 15, 20, 19, 10]) {
    nowMs += delay;
    assertEquals(lateness.isLate(nowMs), false);
    assertEquals(lateness.tick(nowMs), undefined);
  }
});

Deno.test("one long stop is discounted once, and the patience it leaves fades", () => {
  const lateness = new Lateness(10, 600, 0);
  assert(lateness.isLate(5_000));
  assertEquals(lateness.tick(5_000), { lateMs: 4_990, patienceMs: 600 });
  assertEquals(lateness.tick(5_010), { lateMs: 0, patienceMs: 597.5 });
  for (let nowMs = 5_020; nowMs < 7_410; nowMs += 10) lateness.tick(nowMs);
  assertEquals(lateness.tick(7_420), undefined);
});

Deno.test("patience grows only where more than a quarter of the time is lost, up to the bound", () => {
  const patience = (onMs: number, offMs: number) => {
    const lateness = new Lateness(10, 600, 0);
    let patienceMs = 0;
    for (let cycleMs = 0; cycleMs < 60_000; cycleMs += onMs + offMs) {
      for (let atMs = 0; atMs < onMs; atMs += 10) {
        patienceMs = lateness.tick(cycleMs + offMs + atMs)?.patienceMs ?? 0;
      }
    }
    return patienceMs;
  };
  assertEquals(patience(200, 40), 0);
  assert(patience(40, 60) > 550);
});
