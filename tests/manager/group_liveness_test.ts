import { assertEquals } from "@std/assert";
import { GroupLiveness } from "../../lib/manager/group_liveness.ts";
import type { ConsumerGroup } from "../../lib/manager/group_records.ts";

const LOOK_MS = 250;

function groupsOf(...members: [id: string, sessionTimeoutMs: number][]) {
  const group: ConsumerGroup = {
    name: "g",
    strategy: "range",
    born: 1,
    generation: 1,
    topics: [],
    members: members.map(([id, sessionTimeoutMs]) => ({
      id,
      client: "",
      topics: [],
      sessionTimeoutMs,
      joinedAtMs: 0,
      instance: null,
    })),
    partitions: [],
    createdAtMs: 0,
    changedAtMs: 0,
  };
  return new Map([["g", group]]);
}

/** Looks every 250 ms in (fromMs, toMs]; gives when and who was first to be expelled. */
function firstExpelled(
  liveness: GroupLiveness,
  groups: ReadonlyMap<string, ConsumerGroup>,
  fromMs: number,
  toMs: number,
): [atMs: number, members: string[]] | null {
  for (let nowMs = fromMs + LOOK_MS; nowMs <= toMs; nowMs += LOOK_MS) {
    const expelled = liveness.judge(groups, nowMs).map(({ member }) => member);
    if (expelled.length > 0) return [nowMs, expelled];
  }
  return null;
}

Deno.test("each member has its own session timeout, from when it was last heard", () => {
  const liveness = new GroupLiveness(LOOK_MS);
  const groups = groupsOf(["a", 1_000], ["b", 3_000]);
  liveness.judge(groups, 0);
  liveness.heard("g", "a", 0);
  liveness.heard("g", "b", 0);
  assertEquals(firstExpelled(liveness, groups, 0, 5_000), [1_000, ["a"]]);
  liveness.heard("g", "a", 1_100);
  assertEquals(firstExpelled(liveness, groups, 1_000, 5_000), [2_250, ["a"]]);
  assertEquals(firstExpelled(liveness, groupsOf(["b", 3_000]), 2_250, 5_000), [3_000, ["b"]]);
});

Deno.test("a new leader gives everybody a whole session before it expels anybody", () => {
  const liveness = new GroupLiveness(LOOK_MS);
  const groups = groupsOf(["a", 2_000]);
  liveness.heard("g", "a", 0);
  liveness.startAfresh();
  assertEquals(liveness.lastHeardMs("g", "a"), null);
  liveness.judge(groups, 10_000);
  assertEquals(firstExpelled(liveness, groups, 10_000, 20_000), [12_000, ["a"]]);
});

Deno.test("time in which the manager itself was asleep counts against nobody", () => {
  const liveness = new GroupLiveness(LOOK_MS);
  const groups = groupsOf(["a", 2_000], ["b", 2_000]);
  liveness.judge(groups, 0);
  liveness.heard("g", "a", 0);
  liveness.heard("g", "b", 0);
  liveness.judge(groups, 250);
  // It wakes 30 seconds later; b's heartbeat is the first thing that it hears.
  liveness.heard("g", "b", 30_250);
  assertEquals(liveness.judge(groups, 30_250), []);
  assertEquals(firstExpelled(liveness, groups, 30_250, 40_000), [31_750, ["a"]]);
});

Deno.test("who left is forgotten, and begins anew when it comes back", () => {
  const liveness = new GroupLiveness(LOOK_MS);
  liveness.judge(groupsOf(["a", 1_000]), 0);
  liveness.heard("g", "a", 0);
  liveness.judge(groupsOf(["b", 1_000]), 250);
  assertEquals(liveness.lastHeardMs("g", "a"), null);
  assertEquals(liveness.judge(groupsOf(["a", 1_000]), 500), []);
  liveness.judge(new Map(), 750);
  assertEquals(liveness.judge(groupsOf(["a", 1_000]), 1_000), []);
});
