import { assert, assertEquals, assertThrows } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { Liveness } from "../../lib/manager/liveness.ts";

const second = 1000;
const settings = { intervalMs: second, timeToDeadMs: 10 * second };
const nobody = { dead: [], alive: [] };
const alive = [{ replicaId: "a", alive: true }];
const dead = [{ replicaId: "a", alive: false }];

/** Judges every second from `fromMs` to `toMs` and returns when "a" was declared dead, or null. */
function diesAt(liveness: Liveness, fromMs: number, toMs: number): number | null {
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += second) {
    if (liveness.judge(alive, nowMs).dead.length > 0) return nowMs;
  }
  return null;
}

Deno.test("a silent broker is declared dead after the time to dead, not before", () => {
  const liveness = new Liveness(settings);
  liveness.heard("a", 0);
  assertEquals(diesAt(liveness, 0, 60 * second), 10 * second);
});

Deno.test("a heartbeat starts the count again", () => {
  const liveness = new Liveness(settings);
  liveness.heard("a", 0);
  assertEquals(diesAt(liveness, 0, 9 * second), null);
  liveness.heard("a", 9 * second);
  assertEquals(diesAt(liveness, 9 * second, 60 * second), 19 * second);
});

Deno.test("a broker never heard is given the time to dead from when the leader began to lead", () => {
  assertEquals(diesAt(new Liveness(settings), 100 * second, 200 * second), 110 * second);
});

Deno.test("a new leader starts its count afresh, whatever it heard when it led before", () => {
  const liveness = new Liveness(settings);
  liveness.heard("a", 0);
  liveness.startAfresh();
  assertEquals(liveness.judge(alive, 100 * second), nobody);
  assertEquals(liveness.lastHeardMs("a"), null);
  assertEquals(diesAt(liveness, 100 * second, 200 * second), 110 * second);
});

Deno.test("a leader that was asleep declares nobody dead on old news", () => {
  const liveness = new Liveness(settings);
  liveness.heard("a", 0);
  assertEquals(diesAt(liveness, 0, 3 * second), null);
  assertEquals(liveness.judge(alive, 40 * second), nobody);
  assertEquals(diesAt(liveness, 41 * second, 100 * second), 50 * second);
});

Deno.test("a dead broker lives again with its first heartbeat, not by the leader's change", () => {
  const liveness = new Liveness(settings);
  assertEquals(liveness.judge(dead, 0), nobody);
  liveness.heard("a", second);
  assertEquals(liveness.judge(dead, second), { dead: [], alive: ["a"] });
});

Deno.test("a name is taken while its broker was heard within two intervals", () => {
  for (const heard of [true, false]) {
    const liveness = new Liveness(settings);
    if (heard) liveness.heard("a", 0);
    assertEquals(liveness.takeoverInMs("a", true, 0), 2 * second, "a new leader cannot know yet");
    assertEquals(liveness.takeoverInMs("a", true, 2 * second - 1), 1);
    assertEquals(liveness.takeoverInMs("a", true, 2 * second), 0);
    assertEquals(liveness.takeoverInMs("a", false, 2 * second), 58_000, "elsewhere it may live");
    assertEquals(liveness.takeoverInMs("a", false, 60_000), 0);
  }
});

Deno.test("the course's 15 s and 60 s work, and so does a time to dead just above the interval", () => {
  for (const [intervalMs, timeToDeadMs] of [[15_000, 60_000], [1000, 1001], [1000, 3000]]) {
    const liveness = new Liveness({ intervalMs, timeToDeadMs });
    liveness.heard("a", 0);
    let diedMs: number | null = null;
    for (let nowMs = 0; diedMs === null; nowMs += liveness.judgeIntervalMs) {
      if (liveness.judge(alive, nowMs).dead.length > 0) diedMs = nowMs;
    }
    assertEquals(diedMs >= timeToDeadMs, true);
    assertEquals(diedMs < timeToDeadMs + liveness.judgeIntervalMs, true);
  }
});

Deno.test("a time to dead within the interval is refused", () => {
  assertThrows(() => new Liveness({ intervalMs: 1000, timeToDeadMs: 1000 }));
});

Deno.test("whatever happens, nobody is declared dead who was heard within the time to dead", () => {
  const ids = ["a", "b", "c"];
  for (let seed = 0; seed < 200; seed += 1) {
    const random = new Prng(seed);
    const liveness = new Liveness(settings);
    const declared = new Map(ids.map((id) => [id, true]));
    const heardMs = new Map<string, number>();
    let leadingSinceMs = 0;
    for (let nowMs = 0; nowMs < 120 * second;) {
      nowMs += random.chance(0.03) ? random.below(30 * second) : random.below(second);
      if (random.chance(0.02)) {
        liveness.startAfresh();
        leadingSinceMs = nowMs;
        heardMs.clear();
      }
      for (const id of ids) {
        if (!random.chance(id === "c" ? 0.01 : 0.3)) continue;
        liveness.heard(id, nowMs);
        heardMs.set(id, nowMs);
      }
      const brokers = ids.map((replicaId) => ({ replicaId, alive: declared.get(replicaId)! }));
      const declarations = liveness.judge(brokers, nowMs);
      for (const id of declarations.dead) {
        const lastMs = Math.max(heardMs.get(id) ?? 0, leadingSinceMs);
        assertEquals(declared.get(id) && nowMs - lastMs >= settings.timeToDeadMs, true);
        declared.set(id, false);
      }
      for (const id of declarations.alive) {
        assertEquals(!declared.get(id) && heardMs.has(id), true);
        declared.set(id, true);
      }
    }
  }
});

Deno.test("the leader looks often also where brokers beat seldom, so that a start does not wait", () => {
  const seldom = new Liveness({ intervalMs: 15 * second, timeToDeadMs: 60 * second });
  assert(seldom.judgeIntervalMs <= 500);
});

Deno.test("a broker that stays silent is declared dead although no leadership lasts as long", () => {
  let counted = new Map<string, number>();
  const lives = [{ replicaId: "a", alive: true }, { replicaId: "b", alive: true }];
  let nowMs = 0;
  let deadAtMs: number | null = null;
  for (let term = 1; term <= 20 && deadAtMs === null; term += 1) {
    const liveness = new Liveness({ intervalMs: 15 * second, timeToDeadMs: 60 * second });
    for (const endMs = nowMs + 8 * second; nowMs < endMs; nowMs += 500) {
      // A living broker turns to the new leader at once, and beats again much later.
      if (endMs - nowMs === 7 * second) liveness.heard("b", nowMs);
      const { dead } = liveness.judge(lives, nowMs, counted);
      if (dead.length > 0) {
        assertEquals(dead, ["a"]);
        deadAtMs ??= nowMs;
      }
      const stored = liveness.toStore(lives, nowMs, counted);
      counted = new Map([
        ...counted,
        ...stored.map((one) => [one.replicaId, one.silentMs] as const),
      ]);
    }
  }
  assert(deadAtMs !== null && deadAtMs >= 55 * second && deadAtMs <= 90 * second, `${deadAtMs}`);
  assertEquals(counted.get("b") ?? 0, 0);
});

Deno.test("a new leader gives a silent broker a moment, and one that is heard starts from nothing", () => {
  const counted = new Map([["a", 9 * second]]);
  const liveness = new Liveness(settings);
  assertEquals(liveness.judge(alive, 0, counted), nobody);
  assertEquals(liveness.judge(alive, 4.5 * second, counted), nobody);
  assertEquals(liveness.judge(alive, 5 * second, counted).dead, ["a"]);
  const other = new Liveness(settings);
  other.judge(alive, 0, counted);
  other.heard("a", second);
  assertEquals(other.judge(alive, 3 * second, counted), nobody);
  assertEquals(other.toStore(alive, second, counted), [{ replicaId: "a", silentMs: 0 }]);
});
