import { assert, assertEquals } from "@std/assert";
import { type ErrorCode, TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import { LeaderTracker } from "../../lib/client/leader_tracker.ts";
import { Managers } from "../../lib/client/managers.ts";
import { type ClusterMetadata, metadataMethod } from "../../lib/client/protocol.ts";
import { SimClock } from "../../lib/sim/clock.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";

function tracker(candidates = ["a:1", "b:1", "c:1"]): LeaderTracker {
  return new LeaderTracker(candidates, new Prng(1), { firstDelayMs: 10, maxDelayMs: 80 });
}

function failure(code: ErrorCode, leader?: string): TrilogError {
  return new TrilogError(code, "Cannot do it: test", { leader });
}

Deno.test("the first candidate is asked first, and whoever answered is asked again", () => {
  const leader = tracker();
  assertEquals(leader.current, "a:1");
  leader.succeeded("c:1");
  assertEquals(leader.current, "c:1");
});

Deno.test("a hint is followed at once", () => {
  const leader = tracker();
  assertEquals(leader.failed("a:1", failure("not_leader", "z:1")), {
    kind: "retry",
    delayMs: 0,
    refresh: false,
  });
  assertEquals(leader.current, "z:1");
});

Deno.test("two servers that name each other are not asked in a tight circle", () => {
  const leader = tracker(["a:1", "b:1"]);
  let waitedMs = 0;
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const other = leader.current === "a:1" ? "b:1" : "a:1";
    const advice = leader.failed(leader.current, failure("not_leader", other));
    assert(advice.kind === "retry");
    waitedMs += advice.delayMs;
  }
  assert(waitedMs > 15 * 5, `waited ${waitedMs} ms`);
});

Deno.test("a hint that names the server that gave it is no hint", () => {
  const leader = tracker();
  const advice = leader.failed("a:1", failure("not_leader", "a:1"));
  assert(advice.kind === "retry" && advice.delayMs > 0 && advice.refresh);
});

Deno.test("without a hint the candidates are asked one after the other, all of them", () => {
  const leader = tracker();
  const asked: string[] = [];
  for (let attempt = 0; attempt < 6; attempt += 1) {
    asked.push(leader.current);
    leader.failed(leader.current, failure("connection_closed"));
  }
  assertEquals(asked, ["a:1", "b:1", "c:1", "a:1", "b:1", "c:1"]);
});

Deno.test("pauses double up to the longest and start again after a success", () => {
  const leader = tracker();
  const pauses = () => {
    const advice = leader.failed(leader.current, failure("unavailable"));
    assert(advice.kind === "retry");
    return advice.delayMs;
  };
  for (const longest of [10, 20, 40, 80, 80, 80]) {
    const pauseMs = pauses();
    assert(pauseMs >= longest / 2 && pauseMs <= longest, `${pauseMs} of ${longest}`);
  }
  leader.succeeded("a:1");
  assert(pauses() <= 10);
});

Deno.test("an overloaded server is asked again after a pause, without new metadata", () => {
  const leader = tracker();
  const advice = leader.failed("a:1", failure("overloaded"));
  assert(advice.kind === "retry" && advice.delayMs > 0 && !advice.refresh);
  assertEquals(leader.current, "a:1");
});

Deno.test("of many failures under way the first moves the choice and the others follow it", () => {
  const leader = tracker();
  leader.failed("a:1", failure("connection_closed"));
  assertEquals(leader.current, "b:1");
  const follow = { kind: "retry", delayMs: 0, refresh: false } as const;
  assertEquals(leader.failed("a:1", failure("connection_closed")), follow);
  assertEquals(leader.failed("a:1", failure("not_leader", "c:1")), follow);
  assertEquals(leader.current, "b:1");
});

Deno.test("an error that a repeat cannot mend is the answer", () => {
  for (const code of ["invalid_batch", "not_enough_brokers"] as const) {
    assertEquals(tracker().failed("a:1", failure(code)), { kind: "give_up" });
  }
});

Deno.test("a choice that is no longer a candidate is dropped, a leader that is news is taken", () => {
  const leader = tracker();
  leader.update(["b:1", "c:1"], null);
  assertEquals(leader.current, "b:1");
  leader.update(["b:1", "c:1"], "c:1");
  assertEquals(leader.current, "c:1");
  leader.update(["b:1", "c:1"], null);
  assertEquals(leader.current, "c:1");
});

Deno.test("after a hint that leads nowhere the candidates go on, not from the first again", () => {
  const leader = tracker();
  const asked: string[] = [];
  for (let attempt = 0; attempt < 6; attempt += 1) {
    asked.push(leader.current);
    const hint = leader.current === "dead:1" ? undefined : "dead:1";
    leader.failed(leader.current, failure(hint === undefined ? "unavailable" : "not_leader", hint));
  }
  assertEquals(asked, ["a:1", "dead:1", "b:1", "dead:1", "c:1", "dead:1"]);
});

Deno.test("addresses that a user gave stay candidates when the managers name others", async () => {
  const asked: string[] = [];
  const call = (address: string) => {
    asked.push(address);
    if (address !== "given:1") throw new TrilogError("unavailable", "Cannot call: moved away");
    return Promise.resolve(metadataMethod.answer.encode(METADATA));
  };
  const clock = new SimClock(new SimProcess(new Scheduler(), "client"));
  const managers = new Managers({ call }, clock, new Prng(1), ["given:1"]);
  managers.update([{ id: "m1", address: "old:1" }, { id: "m2", address: "old:2" }]);
  const request = { topics: [], consistency: "stale" } as const;
  const answer = await managers.request(metadataMethod, request, 5_000);
  assertEquals(answer.clusterId, METADATA.clusterId);
  assertEquals(asked, ["given:1"]);
});

const METADATA: ClusterMetadata = {
  clusterId: "00000000000000c1",
  version: 1,
  topics: [],
  brokers: [],
  managers: [],
};
