/**
 * The classic mistakes in Raft implementations that concern the core, 1 to 10: votes and logs. Each test fails where
 * the mistake is made.
 */

import { assertEquals } from "@std/assert";
import type { Message, ReplicaId, VoteRequest } from "../../lib/raft/types.ts";
import { commandAt, diskOf, ELECTION_MS, membershipOf } from "./disks.ts";
import { Cluster } from "./harness.ts";
import { append, ask, sent, speak } from "./requests.ts";

Deno.test("mistake 1: an entry of an old term is not committed by counting copies (figure 8)", () => {
  const three = new Cluster({ disks: { "1": diskOf([1, 2], { term: 3 }) } });
  three.step("1", { kind: "tick" });
  three.nowMs = 2 * ELECTION_MS;
  three.step("1", { kind: "tick" });
  while (three.status("1").role !== "leader") {
    for (const id of ["1", "2", "3"]) speak(three, id);
    three.deliverAll();
  }
  const { term } = three.status("1");
  const held = (match: number) =>
    three.receive({
      kind: "append_response",
      from: "2",
      to: "1",
      term,
      round: 1,
      prevIndex: 0,
      match,
      hint: null,
    });
  held(2);
  assertEquals(three.status("1").commit, 0, "two of three hold entry 2, and it is not committed");
  speak(three, "1");
  held(3);
  assertEquals(three.status("1").commit, 3, "it is committed with the entry of this term");
});

Deno.test("mistake 2: nothing is answered before term and vote are durable", () => {
  const cluster = new Cluster();
  cluster.receive(ask("2", "1", { term: 5 }));
  cluster.take("1");
  assertEquals(sent(cluster, "vote_response", "1"), []);
  cluster.crash("1");
  cluster.restart("1");
  assertEquals([cluster.status("1").term, cluster.status("1").vote], [0, null]);
  cluster.receive(ask("3", "1", { term: 5 }));
  speak(cluster, "1");
  const [answer] = sent(cluster, "vote_response", "1");
  assertEquals([answer.to, answer.granted], ["3", true]);
  assertEquals(cluster.node("1").disk.hardState.vote, "3");
});

Deno.test("mistake 2: a candidate's own vote counts, and its request leaves, only when they are durable", () => {
  const cluster = new Cluster({ voters: ["1"] });
  cluster.step("1", { kind: "tick" });
  cluster.take("1");
  assertEquals(cluster.status("1").role, "candidate");
  cluster.sync("1");
  assertEquals(cluster.status("1").role, "leader");

  const three = new Cluster();
  three.step("1", { kind: "tick" });
  three.nowMs = 2 * ELECTION_MS;
  three.step("1", { kind: "tick" });
  three.take("1");
  three.receive({
    kind: "vote_response",
    from: "2",
    to: "1",
    term: 0,
    preVote: true,
    requestTerm: 1,
    granted: true,
    owedLeaseMs: 0,
  });
  three.take("1");
  const real = (message: VoteRequest) => !message.preVote;
  assertEquals(sent(three, "vote_request", "1").filter(real), []);
  three.sync("1");
  assertEquals(sent(three, "vote_request", "1").filter(real).length, 2);
});

Deno.test("mistake 2: an append is acknowledged when it is durable, a repeat of it no sooner", () => {
  const cluster = new Cluster();
  const request = append("1", "2", { entries: [commandAt(1, 1)] });
  cluster.receive(request);
  cluster.take("2");
  cluster.receive(request);
  cluster.take("2");
  assertEquals(sent(cluster, "append_response", "2"), []);
  cluster.sync("2");
  assertEquals(sent(cluster, "append_response", "2").map((answer) => answer.match), [1, 1]);
});

Deno.test("mistake 3: stepping down within a term keeps the vote", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  const { term } = cluster.status("1");
  cluster.isolate("1");
  cluster.nowMs += 2 * ELECTION_MS;
  cluster.step("1", { kind: "tick" });
  assertEquals([cluster.status("1").role, cluster.status("1").vote], ["follower", "1"]);
  cluster.heal();
  cluster.receive(ask("3", "1", { term }));
  speak(cluster, "1");
  assertEquals(sent(cluster, "vote_response", "1").map((answer) => answer.granted), [false]);
});

Deno.test("mistake 4: a pre-vote is no vote: it is not stored, binds nobody and elects nobody", () => {
  const cluster = new Cluster();
  cluster.receive(ask("2", "1", { preVote: true }));
  cluster.receive(ask("3", "1", { preVote: true }));
  const ready = cluster.take("1")!;
  assertEquals([ready.mustSync, ready.hardState], [false, null]);
  assertEquals(sent(cluster, "vote_response", "1").map((answer) => answer.granted), [true, true]);
  // Pre-votes that arrive at a candidate do not make it leader.
  cluster.nowMs = 1;
  cluster.drop();
  cluster.step("2", { kind: "tick" });
  cluster.nowMs = 2 * ELECTION_MS + 1;
  cluster.step("2", { kind: "tick" });
  cluster.take("2");
  cluster.deliverAll((message) => message.to === "1");
  speak(cluster, "1");
  cluster.deliverAll((message) => message.from === "1" && message.to === "2");
  cluster.take("2");
  cluster.sync("2");
  assertEquals(cluster.status("2").role, "candidate");
  const vote = {
    kind: "vote_response" as const,
    from: "3",
    to: "2",
    term: 1,
    requestTerm: 1,
    granted: true,
    owedLeaseMs: 0,
  };
  cluster.receive({ ...vote, preVote: true });
  cluster.receive({ ...vote, preVote: true, requestTerm: 2 });
  assertEquals(cluster.status("2").role, "candidate");
  cluster.receive({ ...vote, preVote: false });
  assertEquals(cluster.status("2").role, "leader");
});

Deno.test("mistake 5: a vote that arrives twice counts once, and one of an older campaign not at all", () => {
  const cluster = new Cluster({ voters: ["1", "2", "3", "4", "5"] });
  cluster.step("1", { kind: "tick" });
  cluster.nowMs = 2 * ELECTION_MS;
  cluster.step("1", { kind: "tick" });
  const answer = (from: ReplicaId, preVote: boolean, requestTerm: number): Message => ({
    kind: "vote_response",
    from,
    to: "1",
    term: 0,
    preVote,
    requestTerm,
    granted: true,
    owedLeaseMs: 0,
  });
  cluster.receive(answer("2", true, 1));
  cluster.receive(answer("2", true, 1));
  assertEquals(cluster.status("1").role, "pre_candidate");
  cluster.receive(answer("3", true, 1));
  assertEquals(cluster.status("1").role, "candidate");
  speak(cluster, "1");
  cluster.receive(answer("2", false, 1));
  cluster.receive(answer("2", false, 1));
  assertEquals(cluster.status("1").role, "candidate");
  // The next campaign starts from nothing.
  cluster.nowMs += 2 * ELECTION_MS;
  cluster.step("1", { kind: "tick" });
  cluster.receive(answer("2", true, 2));
  cluster.receive(answer("3", true, 2));
  speak(cluster, "1");
  cluster.receive(answer("3", false, 1));
  cluster.receive(answer("4", false, 1));
  assertEquals([cluster.status("1").role, cluster.status("1").term], ["candidate", 2]);
});

for (const commit of [0, 4]) {
  Deno.test(`mistake 6: a late append removes nothing that matches, with commit index ${commit}`, () => {
    const cluster = new Cluster();
    const entries = [1, 2, 3, 4].map((index) => commandAt(index, 1));
    cluster.receive(append("1", "2", { entries, commit }));
    cluster.receive(append("1", "2", { entries: entries.slice(0, 2), commit: 0 }));
    cluster.receive(append("1", "2", { commit: 0 }));
    speak(cluster, "2");
    assertEquals(cluster.status("2").last, { index: 4, term: 1 });
    assertEquals(cluster.status("2").commit, commit);
    // What follows the late message is not proved to match: only what it covers is acknowledged.
    const matches = commit === 0 ? [4, 2, 0] : [4, 4, 4];
    assertEquals(sent(cluster, "append_response", "2").map(({ match }) => match), matches);
  });
}

Deno.test("mistake 7: a previous index that is compacted is no conflict", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([1, 1, 1, 1, 1], { commit: 5 }) } });
  cluster.take("2");
  cluster.fetch("2");
  cluster.take("2");
  cluster.apply("2");
  cluster.compact("2", 4);
  cluster.receive(append("1", "2", {
    prev: { index: 2, term: 1 },
    entries: [3, 4, 5, 6].map((index) => commandAt(index, 1)),
  }));
  speak(cluster, "2");
  assertEquals(sent(cluster, "append_response", "2").map(({ match }) => match), [6]);
  assertEquals(cluster.status("2").last.index, 6);
});

Deno.test("mistake 8: a follower commits up to the last matched entry, not up to the leader's commit", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([1, 1, 1], { term: 1 }) } });
  cluster.receive(append("1", "2", { term: 2, prev: { index: 1, term: 1 }, commit: 3 }));
  assertEquals(cluster.status("2").commit, 1);
  cluster.receive({
    kind: "heartbeat_request",
    from: "1",
    to: "2",
    term: 2,
    commit: 99,
    round: 2,
    leaseMs: 0,
    synced: 3,
  });
  assertEquals(cluster.status("2").commit, 3, "never beyond the own last entry");
});

Deno.test("mistake 9: a late answer of another term moves no progress", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  const { term, last } = cluster.status("1");
  cluster.propose("1", "a");
  cluster.take("1");
  cluster.sync("1");
  const answer = { kind: "append_response" as const, from: "2", to: "1", round: 1, prevIndex: 0 };
  cluster.receive({ ...answer, term: term - 1, match: last.index + 1, hint: null });
  assertEquals(cluster.status("1").commit, last.index);
  const before = cluster.status("1").progress;
  cluster.receive({ ...answer, term: term - 1, match: null, hint: { index: 0, term: 0 } });
  assertEquals(cluster.status("1").progress, before);
  cluster.receive({ ...answer, term, match: last.index + 1, hint: null });
  assertEquals(cluster.status("1").commit, last.index + 1);
});

Deno.test("mistake 9: a late rejection of the same term does not undo what is known to match", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  const { term, progress } = cluster.status("1");
  cluster.receive({
    kind: "append_response",
    from: "2",
    to: "1",
    term,
    round: 1,
    prevIndex: 1,
    match: null,
    hint: { index: 0, term: 0 },
  });
  assertEquals(cluster.status("1").progress, progress);
});

for (
  const [name, terms, lastIndex] of [
    ["keeps what follows its last entry where that is in the log", [1, 1, 2, 2, 2], 5],
    ["drops the whole log where its last entry is not in it", [1, 1, 1, 1, 1], 3],
  ] as const
) {
  Deno.test(`mistake 10: an installed snapshot ${name}`, () => {
    const cluster = new Cluster({ disks: { "2": diskOf(terms, { term: 3 }) } });
    cluster.receive({
      kind: "snapshot_installed",
      from: "1",
      to: "2",
      term: 3,
      meta: {
        last: { index: 3, term: 2 },
        timeMs: 9,
        membership: membershipOf(["1", "2", "3"]),
      },
    });
    const { last, commit, firstIndex } = cluster.status("2");
    assertEquals([last.index, commit, firstIndex], [lastIndex, 3, 4]);
    speak(cluster, "2");
    assertEquals(cluster.node("2").disk.entries.length, lastIndex - 3);
  });
}

Deno.test("mistake 10: a snapshot that is not newer than the commit index changes nothing", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([1, 1, 1, 1], { commit: 3 }) } });
  const meta = {
    last: { index: 3, term: 1 },
    timeMs: 9,
    membership: membershipOf(["1", "2", "3"]),
  };
  cluster.receive({ kind: "snapshot_installed", from: "1", to: "2", term: 1, meta });
  assertEquals(cluster.take("2")?.snapshot, null);
  assertEquals(cluster.status("2").firstIndex, 1);
  assertEquals(sent(cluster, "append_response", "2").map(({ match }) => match), [3]);
});

Deno.test("mistake 10: a candidate whose log an installed snapshot cuts gives its campaign up", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([1, 1, 1, 1, 1]) } });
  cluster.step("2", {
    kind: "message",
    message: { kind: "timeout_now", from: "1", to: "2", term: 1 },
  });
  speak(cluster, "2");
  const meta = {
    last: { index: 3, term: 2 },
    timeMs: 9,
    membership: membershipOf(["1", "2", "3"]),
  };
  cluster.receive({ kind: "snapshot_installed", from: "1", to: "2", term: 2, meta });
  // A vote for the log that ended at 5/1 must not elect the log that ends at 3/2.
  cluster.receive({
    kind: "vote_response",
    from: "3",
    to: "2",
    term: 2,
    preVote: false,
    requestTerm: 2,
    granted: true,
    owedLeaseMs: 0,
  });
  assertEquals([cluster.status("2").role, cluster.status("2").last.index], ["follower", 3]);
});
