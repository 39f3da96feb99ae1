import { assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { Raft } from "../../lib/raft/raft.ts";
import type { AppendRequest, Entry, Input, Message } from "../../lib/raft/types.ts";
import { commandAt, diskOf, ELECTION_MS, initialOf, membershipOf, optionsOf } from "./disks.ts";

Deno.test("a read of the own log that ends after its tail was replaced applies nothing of that tail", () => {
  const disk = {
    ...diskOf([1, 1, 1], { commit: 1 }),
    baseMembership: membershipOf(["a", "b", "c"]),
  };
  const raft = new Raft(optionsOf("a"), initialOf(disk), new Prng(1));
  const applied: [index: number, term: number][] = [];
  /** Takes what is to be done, and answers for the disk; returns the reads that were asked for. */
  const work = (input: Input): number[] => {
    raft.step(input, 1);
    const reads: number[] = [];
    for (let ready = raft.takeReady(); ready !== null; ready = raft.takeReady()) {
      applied.push(...ready.committed.map(({ index, term }): [number, number] => [index, term]));
      reads.push(...ready.fetches.map(({ from }) => from));
      if (ready.mustSync) raft.step({ kind: "synced", sequence: ready.sequence }, 1);
      const last = ready.committed.at(-1);
      if (last !== undefined) raft.step({ kind: "applied", index: last.index }, 1);
    }
    return reads;
  };
  const append = (entries: readonly Entry[], commit: number): Input => {
    const prev = { index: 1, term: 1 };
    const envelope = { from: "c", to: "a", term: 2, round: 1, leaseMs: 0 };
    const message: AppendRequest = { kind: "append_request", ...envelope, prev, entries, commit };
    return { kind: "message", message };
  };
  assertEquals(work({ kind: "tick" }), [1]);
  const old = [1, 2, 3].map((index) => commandAt(index, 1));
  // Meanwhile a new leader replaces the entries 2 and 3, and they are committed.
  work(append([commandAt(2, 2), commandAt(3, 2)], 3));
  assertEquals(applied, []);
  work({ kind: "fetched", to: "a", entries: old });
  const rest = [commandAt(2, 2), commandAt(3, 2)];
  work({ kind: "fetched", to: "a", entries: rest });
  assertEquals(applied, [[1, 1], [2, 2], [3, 2]]);
});

Deno.test("a read for a follower that ends after the tail was replaced sends nothing of that tail", () => {
  const disk = { ...diskOf([1, 1, 1]), baseMembership: membershipOf(["a", "b", "c"]) };
  const raft = new Raft(optionsOf("a"), initialOf(disk), new Prng(1));
  let nowMs = 0;
  const sent: AppendRequest[] = [];
  /** Takes what is to be done, and answers for the disk; returns for whom reads were asked. */
  const work = (...inputs: Input[]): string[] => {
    for (const input of inputs) raft.step(input, nowMs);
    const reads: string[] = [];
    for (let ready = raft.takeReady(); ready !== null; ready = raft.takeReady()) {
      const messages = [...ready.messages, ...ready.messagesAfterSync];
      sent.push(...messages.filter((message) => message.kind === "append_request"));
      reads.push(...ready.fetches.map(({ to }) => to));
      if (ready.mustSync) raft.step({ kind: "synced", sequence: ready.sequence }, nowMs);
    }
    return reads;
  };
  const from = (id: string, message: object): Input => ({
    kind: "message",
    message: { from: id, to: "a", ...message } as Message,
  });
  const electedBy = (id: string, term: number): void => {
    for (const preVote of [true, false]) {
      nowMs += 2 * ELECTION_MS;
      if (preVote) work({ kind: "tick" });
      const vote = { kind: "vote_response", preVote, granted: true, owedLeaseMs: 0 };
      work(from(id, { ...vote, term: term - 1, requestTerm: term }));
    }
    assertEquals([raft.role, raft.term], ["leader", term]);
  };
  const answer = (match: number | null, prevIndex: number): Input => {
    const { term } = raft;
    const hint = match === null ? { index: 0, term: 0 } : null;
    return from("c", { kind: "append_response", term, round: 1, prevIndex, match, hint });
  };
  work({ kind: "tick" });
  electedBy("b", 2);
  // Nothing of c's log matches, and what it lacks is not in memory.
  work(answer(null, 3));
  assertEquals(work(answer(0, 0)), ["c"]);
  const old = [1, 2, 3].map((index) => commandAt(index, 1));
  // Meanwhile b replaces the whole log, and this replica leads again.
  const envelope = { kind: "append_request", term: 3, round: 1, leaseMs: 0, commit: 0 };
  const prev = { index: 0, term: 0 };
  work(from("b", { ...envelope, prev, entries: [commandAt(1, 3), commandAt(2, 3)] }));
  electedBy("c", 4);
  sent.length = 0;
  work(answer(null, 2));
  work(answer(0, 0), { kind: "fetched", to: "c", entries: old });
  const terms = new Map(
    sent.flatMap(({ to, entries }) =>
      to === "c" ? entries.map(({ index, term }): [number, number] => [index, term]) : []
    ),
  );
  assertEquals([...terms], [[1, 3], [2, 3], [3, 4]]);
});
