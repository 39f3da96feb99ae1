/** The Raft paper (extended version), figure 2 and section 5, sentence by sentence: a test's name is what it says. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { EntryKind, type ReplicaId } from "../../lib/raft/types.ts";
import { commandAt, diskOf, ELECTION_MS, HEARTBEAT_MS } from "./disks.ts";
import { Cluster } from "./harness.ts";
import { answers, askEmpty, votes } from "./requests.ts";

const appendOf = (to: ReplicaId, index: number, term: number, entryTerms: readonly number[]) => ({
  kind: "append_request" as const,
  from: "1",
  to,
  term: 9,
  prev: { index, term },
  entries: entryTerms.map((entryTerm, at) => commandAt(index + 1 + at, entryTerm)),
  commit: 0,
  round: 1,
  leaseMs: 0,
});

Deno.test("figure 2, RequestVote 1: reply false if term < currentTerm", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([], { term: 10 }) } });
  cluster.receive(askEmpty("1", "2"));
  const [answer] = answers(cluster, "vote_response", "2");
  assertEquals([answer.granted, answer.term], [false, 10]);
});

Deno.test("figure 2, RequestVote 2: if votedFor is null or candidateId and the candidate's log is at least as up-to-date, grant the vote", () => {
  const cluster = new Cluster();
  assertEquals(votes(cluster, askEmpty("1", "2")), true);
  assertEquals(votes(cluster, askEmpty("1", "2")), true);
  assertEquals(votes(cluster, askEmpty("3", "2")), false);
});

Deno.test("figure 2, AppendEntries 1: reply false if term < currentTerm", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([], { term: 10 }) } });
  cluster.receive(appendOf("2", 0, 0, [9]));
  const [answer] = answers(cluster, "append_response", "2");
  assertEquals([answer.match, answer.term], [null, 10]);
  assertEquals(cluster.terms("2"), []);
});

Deno.test("figure 2, AppendEntries 2: reply false if the log has no entry at prevLogIndex whose term matches prevLogTerm", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([1, 1]) } });
  cluster.receive(appendOf("2", 2, 2, [9]));
  cluster.receive(appendOf("2", 3, 1, [9]));
  const match = answers(cluster, "append_response", "2").map((answer) => answer.match);
  assertEquals(match, [null, null]);
});

Deno.test("figure 2, AppendEntries 3: an entry that conflicts with a new one is deleted, and all that follow it", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([1, 2, 2, 2]) } });
  cluster.receive(appendOf("2", 1, 1, [3]));
  answers(cluster, "append_response", "2");
  assertEquals(cluster.terms("2"), [1, 3]);
});

Deno.test("figure 2, AppendEntries 4: entries not already in the log are appended", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([1, 2]) } });
  cluster.receive(appendOf("2", 1, 1, [2, 2, 3]));
  assertEquals(answers(cluster, "append_response", "2")[0].match, 4);
  assertEquals(cluster.terms("2"), [1, 2, 2, 3]);
});

Deno.test("figure 2, AppendEntries 5: commitIndex becomes min(leaderCommit, index of the last new entry)", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([1, 1, 1, 1]) } });
  cluster.receive({ ...appendOf("2", 1, 1, [1]), commit: 4 });
  assertEquals(cluster.status("2").commit, 2);
  cluster.receive({ ...appendOf("2", 2, 1, [1, 1]), commit: 3 });
  assertEquals(cluster.status("2").commit, 3);
});

Deno.test("figure 2, all servers: if commitIndex > lastApplied, the log is applied in order, once each", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  for (const text of ["a", "b", "c"]) cluster.propose("1", text);
  cluster.advance(40);
  for (const id of ["1", "2", "3"]) {
    assertEquals(cluster.node(id).applied.map((entry) => entry.index), [1, 2, 3, 4]);
  }
});

Deno.test("figure 2, all servers: a request or response with a higher term makes a follower of that term", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  cluster.receive({
    kind: "heartbeat_response",
    from: "2",
    to: "1",
    term: 7,
    round: 1,
    lastSynced: 0,
  });
  assertEquals([cluster.status("1").role, cluster.status("1").term], ["follower", 7]);
  cluster.receive(appendOf("3", 0, 0, []));
  assertEquals([cluster.status("3").role, cluster.status("3").term], ["follower", 9]);
});

Deno.test("figure 2, candidates: on an AppendEntries from a new leader of its term it becomes a follower", () => {
  const cluster = new Cluster();
  cluster.step("2", { kind: "tick" });
  cluster.step("2", {
    kind: "message",
    message: { kind: "timeout_now", from: "1", to: "2", term: 0 },
  });
  const { role, term } = cluster.status("2");
  assertEquals(role, "candidate");
  cluster.receive({ ...appendOf("2", 0, 0, []), term });
  assertEquals([cluster.status("2").role, cluster.status("2").leader], ["follower", "1"]);
});

Deno.test("figure 2, leaders: heartbeats go out at once when the term is won, and in idle times", () => {
  const cluster = new Cluster();
  const sentMs: number[] = [];
  cluster.onReady = (node, ready) => {
    const beats = ready.messages.filter((message) => message.kind === "heartbeat_request");
    if (node.id === "1" && beats.length > 0) sentMs.push(cluster.nowMs);
  };
  cluster.elect("1");
  const electedMs = cluster.nowMs;
  cluster.advance(3 * HEARTBEAT_MS);
  assertEquals(sentMs, [0, 1, 2, 3].map((beat) => electedMs + beat * HEARTBEAT_MS));
});

Deno.test("5.2: servers start up as followers, and stay so while they hear from a leader", () => {
  const cluster = new Cluster();
  assert([...cluster.nodes.values()].every((node) => node.status.role === "follower"));
  cluster.elect("1");
  const { term } = cluster.status("1");
  cluster.advance(20 * ELECTION_MS);
  assertEquals(cluster.status("2").term, term);
  assertEquals(cluster.status("2").role, "follower");
});

Deno.test("5.2: a follower that hears nothing until its timer runs out becomes a candidate", () => {
  const cluster = new Cluster();
  cluster.step("1", { kind: "tick" });
  cluster.nowMs = ELECTION_MS - 1;
  cluster.step("1", { kind: "tick" });
  assertEquals(cluster.status("1").role, "follower");
  cluster.nowMs = 2 * ELECTION_MS;
  cluster.step("1", { kind: "tick" });
  assertEquals(cluster.status("1").role, "pre_candidate");
});

Deno.test("5.2: each server votes for at most one candidate in a term, first come first served", () => {
  const cluster = new Cluster({ voters: ["1", "2", "3", "4", "5"] });
  const granted = ["2", "3", "4", "5"].map((from) => votes(cluster, askEmpty(from, "1")));
  assertEquals(granted, [true, false, false, false]);
});

Deno.test("5.2: a majority is needed to win, so one candidate at most wins a term", () => {
  const cluster = new Cluster({ voters: ["1", "2", "3", "4"] });
  cluster.isolate("3");
  cluster.isolate("4");
  cluster.advance(20 * ELECTION_MS);
  assertEquals(cluster.leader(), undefined);
});

Deno.test("5.2: timeouts are chosen at random from [t, 2t), so that split votes are rare and end", () => {
  const cluster = new Cluster({ voters: ["1", "2", "3", "4", "5"] });
  const deadlines = [...cluster.nodes.values()].map((node) => {
    cluster.step(node.id, { kind: "tick" });
    return node.status.nextDeadlineMs;
  });
  assert(deadlines.every((deadline) => deadline >= ELECTION_MS && deadline < 2 * ELECTION_MS));
  assertEquals(new Set(deadlines).size, 5);
  cluster.advance(10 * ELECTION_MS);
  assertNotEquals(cluster.leader(), undefined);
});

Deno.test("5.3: a command is committed when the leader has replicated it on a majority", () => {
  const cluster = new Cluster({ voters: ["1", "2", "3", "4", "5"] });
  cluster.elect("1");
  for (const id of ["4", "5"]) cluster.isolate(id);
  cluster.propose("1", "a");
  cluster.settle();
  assertEquals(cluster.status("1").commit, 2);
  cluster.isolate("3");
  cluster.propose("1", "b");
  cluster.settle();
  assertEquals(cluster.status("1").commit, 2);
});

Deno.test("5.3: if followers crash or packets are lost, the leader tries again without end", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  cluster.isolate("3");
  for (const text of ["a", "b", "c"]) cluster.propose("1", text);
  cluster.advance(500);
  cluster.heal();
  cluster.advance(100);
  assertEquals(cluster.status("3").commit, cluster.status("1").commit);
});

Deno.test("5.3: a leader never overwrites or deletes entries in its own log", () => {
  const cluster = new Cluster({ disks: { "1": diskOf([1, 2, 2]), "2": diskOf([1, 1]) } });
  cluster.elect("1");
  cluster.advance(100);
  assertEquals(cluster.terms("1").slice(0, 3), [1, 2, 2]);
});

for (
  const [name, terms] of [
    ["a", [1, 1, 1, 4, 4, 5, 5, 6, 6]],
    ["b", [1, 1, 1, 4]],
    ["c", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
    ["d", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
    ["e", [1, 1, 1, 4, 4, 4, 4]],
    ["f", [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
  ] as const
) {
  Deno.test(`5.3, figure 7 (${name}): the follower's log is made equal to the leader's`, () => {
    const leading = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    const cluster = new Cluster({
      disks: {
        "1": diskOf(leading, { term: 7 }),
        "2": diskOf(terms, { term: 7 }),
        "3": diskOf(leading, { term: 7 }),
      },
    });
    cluster.isolate("2");
    cluster.elect("1");
    cluster.heal();
    cluster.advance(200);
    const leader = cluster.leader()!;
    assertEquals(leader.id, "1");
    assertEquals(cluster.node("2").disk.entries, leader.disk.entries);
    assertEquals(cluster.status("2").commit, leader.status.commit);
  });
}

Deno.test("5.3: with the hint of the conflicting term, one rejected AppendEntries per term is enough", () => {
  const cluster = new Cluster({
    disks: {
      "1": diskOf([1, 1, 1, ...new Array(50).fill(5)], { term: 5 }),
      "2": diskOf([1, 1, 1, ...new Array(20).fill(3), ...new Array(40).fill(4)], { term: 4 }),
      "3": diskOf([1, 1, 1, ...new Array(50).fill(5)], { term: 5 }),
    },
  });
  let rejected = 0;
  cluster.onReady = (_node, ready) => {
    rejected +=
      ready.messages.filter((message) =>
        message.kind === "append_response" && message.match === null
      ).length;
  };
  cluster.elect("1");
  cluster.advance(100);
  assertEquals(cluster.terms("2"), cluster.terms("1"));
  assert(rejected <= 3, `${rejected} rejections`);
});

Deno.test("5.4.1: a voter denies its vote if its own log is more up-to-date: the later last term wins", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([1, 3]) } });
  assertEquals(votes(cluster, askEmpty("1", "2", { last: { index: 9, term: 2 } })), false);
  assertEquals(votes(cluster, askEmpty("1", "2", { term: 10, last: { index: 1, term: 4 } })), true);
});

Deno.test("5.4.1: if the logs end with the same term, the longer log is more up-to-date", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([1, 3]) } });
  assertEquals(votes(cluster, askEmpty("1", "2", { last: { index: 1, term: 3 } })), false);
  assertEquals(votes(cluster, askEmpty("1", "2", { term: 10, last: { index: 2, term: 3 } })), true);
});

Deno.test("5.4.2: a leader commits entries of older terms with one of its own", () => {
  const cluster = new Cluster({
    disks: { "1": diskOf([1, 2, 2]), "2": diskOf([1, 2, 2]), "3": diskOf([1]) },
  });
  cluster.elect("1");
  assertEquals(cluster.terms("1"), [1, 2, 2, cluster.status("1").term]);
  assertEquals(cluster.status("1").commit, 4);
});

Deno.test("5.4.3: who is elected later holds every entry that was committed", () => {
  const cluster = new Cluster({ voters: ["1", "2", "3", "4", "5"] });
  for (const id of ["1", "2", "3", "4", "5", "1"]) {
    cluster.elect(id);
    const request = cluster.propose(id, `from ${id}`);
    cluster.settle();
    assertEquals(cluster.node(id).outcome(request)?.kind, "accepted");
    cluster.isolate(id);
    cluster.advance(3 * ELECTION_MS);
    cluster.heal();
    cluster.advance(3 * ELECTION_MS);
  }
  const texts = cluster.leader()!.applied.filter((entry) => entry.kind === EntryKind.command)
    .map((entry) => new TextDecoder().decode(entry.data));
  assertEquals(texts, ["1", "2", "3", "4", "5", "1"].map((id) => `from ${id}`));
});
