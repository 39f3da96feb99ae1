import { assertEquals } from "@std/assert";
import type { Input, LogId, Message } from "../../lib/raft/types.ts";
import { isBelowFloor, isHiddenBy } from "../../lib/replica/floor.ts";

const FLOOR: LogId = { index: 40, term: 5 };
const NONE: LogId = { index: 0, term: 0 };

function vote(term: number, index: number, lastTerm: number, preVote = false): Message {
  const last = { index, term: lastTerm };
  return { kind: "vote_request", from: "a", to: "b", term, preVote, last, transfer: false };
}

function append(term: number): Message {
  const prev = { index: 1, term: 1 };
  const rest = { prev, entries: [], commit: 0, round: 1, leaseMs: 0 };
  return { kind: "append_request", from: "a", to: "b", term, ...rest };
}

function granted(term: number, preVote: boolean): Message {
  const rest = { preVote, requestTerm: 9, granted: true, owedLeaseMs: 0 };
  return { kind: "vote_response", from: "a", to: "b", term, ...rest };
}

Deno.test("a replica made anew does not hear leaders from before its removal", () => {
  assertEquals([4, 5, 6].map((term) => isBelowFloor(FLOOR, append(term), NONE)), [
    true,
    false,
    false,
  ]);
});

Deno.test("a replica made anew elects nobody whose log ends before its removal", () => {
  for (const preVote of [false, true]) {
    const judged = [[39, 5], [400, 4], [40, 5], [41, 5], [7, 6]].map(([index, term]) =>
      isBelowFloor(FLOOR, vote(9, index, term, preVote), NONE)
    );
    assertEquals(judged, [true, true, false, false, false]);
  }
});

Deno.test("a replica made anew does not lead before its log holds its removal", () => {
  for (const preVote of [false, true]) {
    const judged = [[0, 0], [39, 5], [400, 4], [40, 5], [7, 6]].map(([index, term]) =>
      isBelowFloor(FLOOR, granted(9, preVote), { index, term })
    );
    assertEquals(judged, [true, true, true, false, false]);
  }
});

Deno.test("a replica made anew counts the votes of replicas that have heard no leader yet", () => {
  assertEquals(isBelowFloor(FLOOR, granted(0, true), { index: 41, term: 5 }), false);
});

Deno.test("messages from below the fence are hidden from a replica made anew, and from no other", () => {
  const inputs: Input[] = [vote(9, 39, 5), granted(9, false), append(4)].map((message) => ({
    kind: "message",
    message,
  }));
  assertEquals(inputs.map((input) => isHiddenBy(FLOOR, input, NONE)), [true, true, true]);
  assertEquals(inputs.map((input) => isHiddenBy(undefined, input, NONE)), [false, false, false]);
  assertEquals(isHiddenBy(FLOOR, { kind: "tick" }, NONE), false);
});
