/** The Raft paper (extended version), sentence by sentence: each test is named after what it says. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { Message, ReplicaId, VoteRequest } from "../../lib/raft/types.ts";
import { EntryKind } from "../../lib/raft/types.ts";
import { Cluster, commandAt, diskOf, ELECTION_MS, HEARTBEAT_MS, targetOf } from "./harness.ts";

function ask(from: ReplicaId, to: ReplicaId, changes: Partial<VoteRequest> = {}): VoteRequest {
  return {
    kind: "vote_request",
    from,
    to,
    term: 9,
    preVote: false,
    last: { index: 0, term: 0 },
    transfer: false,
    ...changes,
  };
}

function answers<K extends Message["kind"]>(cluster: Cluster, kind: K, from: ReplicaId) {
  while (cluster.take(from) !== null) cluster.sync(from);
  const found = cluster.network.filter((message): message is Extract<Message, { kind: K }> =>
    message.kind === kind && message.from === from
  );
  cluster.drop((message) => message.from === from);
  return found;
}

/** Whether `to` votes for a candidate that asks so. */
function votes(cluster: Cluster, request: VoteRequest): boolean {
  cluster.receive(request);
  return answers(cluster, "vote_response", request.to)[0].granted;
}

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
  cluster.receive(ask("1", "2"));
  const [answer] = answers(cluster, "vote_response", "2");
  assertEquals([answer.granted, answer.term], [false, 10]);
});

Deno.test("figure 2, RequestVote 2: if votedFor is null or candidateId and the candidate's log is at least as up-to-date, grant the vote", () => {
  const cluster = new Cluster();
  assertEquals(votes(cluster, ask("1", "2")), true);
  assertEquals(votes(cluster, ask("1", "2")), true);
  assertEquals(votes(cluster, ask("3", "2")), false);
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

Deno.test("figure 2, leaders: heartbeats go out at once after the election and in idle times", () => {
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

Deno.test("5.2: a follower that hears nothing over the election timeout begins an election", () => {
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
  const granted = ["2", "3", "4", "5"].map((from) => votes(cluster, ask(from, "1")));
  assertEquals(granted, [true, false, false, false]);
});

Deno.test("5.2: a majority is needed to win, so one candidate at most wins a term", () => {
  const cluster = new Cluster({ voters: ["1", "2", "3", "4"] });
  cluster.isolate("3");
  cluster.isolate("4");
  cluster.advance(20 * ELECTION_MS);
  assertEquals(cluster.leader(), undefined);
});

Deno.test("5.2: election timeouts are chosen at random from [t, 2t), so that split votes are rare and end", () => {
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
  assertEquals(votes(cluster, ask("1", "2", { last: { index: 9, term: 2 } })), false);
  assertEquals(votes(cluster, ask("1", "2", { term: 10, last: { index: 1, term: 4 } })), true);
});

Deno.test("5.4.1: if the logs end with the same term, the longer log is more up-to-date", () => {
  const cluster = new Cluster({ disks: { "2": diskOf([1, 3]) } });
  assertEquals(votes(cluster, ask("1", "2", { last: { index: 1, term: 3 } })), false);
  assertEquals(votes(cluster, ask("1", "2", { term: 10, last: { index: 2, term: 3 } })), true);
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

Deno.test("6: in joint consensus both majorities are needed for elections and for commits", () => {
  const cluster = new Cluster({ blanks: ["4", "5"] });
  cluster.elect("1");
  for (const id of ["4", "5"]) cluster.isolate(id);
  cluster.change("1", targetOf(["1", "4", "5"]));
  cluster.settle();
  assertEquals(cluster.status("1").commit, 1, "the old majority alone commits nothing");
  cluster.advance(20 * ELECTION_MS);
  assertEquals(cluster.leader(), undefined, "and elects nobody who has the joint entry");
  cluster.heal();
  cluster.advance(10 * ELECTION_MS);
  const { voters, outgoing } = cluster.leader()!.status.membership;
  assertEquals([voters, outgoing], [["1", "4", "5"], []]);
});

Deno.test("6: new servers join as non-voting members and do not count before they are voters", () => {
  const cluster = new Cluster({ voters: ["1"], blanks: ["2", "3"] });
  cluster.elect("1");
  cluster.change("1", targetOf(["1"], ["2", "3"]));
  cluster.settle();
  for (const id of ["2", "3"]) cluster.isolate(id);
  cluster.propose("1", "a");
  cluster.settle();
  assertEquals(cluster.status("1").commit, cluster.status("1").last.index);
  cluster.heal();
  cluster.advance(100);
  cluster.change("1", targetOf(["1", "2", "3"]));
  cluster.advance(100);
  assertEquals(cluster.status("3").membership.voters, ["1", "2", "3"]);
});

Deno.test("6: a learner never campaigns, and grants its vote when asked", () => {
  const cluster = new Cluster({ learners: ["4"] });
  cluster.elect("1");
  cluster.isolate("4");
  cluster.advance(10 * ELECTION_MS);
  assertEquals(cluster.status("4").role, "follower");
  cluster.heal();
  assertEquals(votes(cluster, ask("2", "4", { last: { index: 9, term: 9 } })), true);
});

Deno.test("6: a leader that is not in the new configuration steps down once that is committed", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  cluster.advance(40);
  cluster.isolate("3");
  cluster.change("1", targetOf(["2", "3"]));
  cluster.settle();
  assertEquals(cluster.status("1").membership.voters, ["2", "3"]);
  assertEquals(cluster.status("1").role, "leader", "2 alone is no majority of the new ones");
  cluster.propose("1", "while it manages a cluster that leaves it out");
  cluster.heal();
  cluster.advance(100);
  assertEquals(cluster.status("1").role, "follower");
  cluster.advance(10 * ELECTION_MS);
  assert(["2", "3"].includes(cluster.leader()!.id));
});

Deno.test("6: a change is carried on by the next leader, which leaves the joint configuration itself", () => {
  const cluster = new Cluster({ blanks: ["4"] });
  cluster.elect("1");
  cluster.advance(40);
  cluster.change("1", targetOf(["1", "2", "4"]));
  for (const id of ["1", "2", "3"]) {
    cluster.take(id);
    cluster.sync(id);
  }
  cluster.deliverAll();
  for (const id of ["2", "3", "4"]) {
    cluster.take(id);
    cluster.sync(id);
  }
  cluster.crash("1");
  cluster.drop();
  cluster.advance(20 * ELECTION_MS);
  const { membership } = cluster.leader()!.status;
  assertEquals([membership.voters, membership.outgoing], [["1", "2", "4"], []]);
});

Deno.test("6: who an uncommitted configuration leaves out may still have to lead until it is committed", () => {
  const disk = () => diskOf([1], {}, ["1", "2"]);
  const cluster = new Cluster({ voters: ["1", "2"], disks: { "1": disk(), "2": disk() } });
  cluster.elect("1");
  cluster.change("1", targetOf(["2"]));
  cluster.onReady = (node, ready) => {
    // The final configuration reaches nobody else.
    if (node.id === "1" && node.status.membership.outgoing.length === 0) {
      assert(ready.entries.length > 0);
      cluster.cut.add("1>2");
    }
  };
  while (!cluster.cut.has("1>2")) {
    for (const id of ["1", "2"]) {
      cluster.take(id);
      cluster.sync(id);
    }
    cluster.deliverAll();
  }
  cluster.onReady = () => {};
  cluster.sync("1");
  cluster.restart("1");
  cluster.restart("2");
  cluster.heal();
  assertEquals(cluster.status("1").membership.voters, ["2"]);
  assertEquals(cluster.status("2").membership.outgoing, ["1", "2"]);
  cluster.advance(10 * ELECTION_MS);
  assertEquals([cluster.status("2").role, cluster.status("1").role], ["leader", "follower"]);
  assertEquals(cluster.status("2").membership.outgoing, []);
});

Deno.test("6: servers disregard RequestVote when they believe a current leader exists", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  const { term } = cluster.status("2");
  assertEquals(votes(cluster, ask("3", "2", { last: { index: 9, term: 9 } })), false);
  assertEquals(cluster.status("2").term, term);
});

Deno.test("7: the leader sends a snapshot to a follower that needs discarded entries, and goes on behind it", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  cluster.isolate("3");
  for (let count = 0; count < 10; count += 1) cluster.propose("1", "a");
  cluster.settle();
  cluster.compact("1", 8);
  cluster.propose("1", "b");
  cluster.settle();
  cluster.heal();
  cluster.advance(200);
  assertEquals(cluster.status("3").firstIndex, 9);
  assertEquals(cluster.status("3").applied, cluster.status("1").applied);
});

Deno.test("7: a snapshot carries the latest configuration at its last included index", () => {
  const cluster = new Cluster({ blanks: ["4"] });
  cluster.elect("1");
  cluster.isolate("4");
  cluster.change("1", targetOf(["1", "2", "3"], ["4"]));
  cluster.settle();
  cluster.propose("1", "a");
  cluster.settle();
  cluster.compact("1", 3);
  cluster.heal();
  cluster.advance(200);
  assertEquals(cluster.status("4").firstIndex, 4);
  assertEquals(cluster.status("4").membership.learners, ["4"]);
});

Deno.test("8: a leader commits a blank no-op at the start of its term", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  const [entry] = cluster.node("1").disk.entries;
  assertEquals([entry.kind, entry.data.length, entry.term], [
    EntryKind.noop,
    0,
    cluster.status("1").term,
  ]);
});

Deno.test("8: before a read-only request a leader checks that it was not deposed", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  cluster.isolate("1");
  const read = cluster.read("1");
  cluster.elect("2");
  cluster.propose("2", "newer");
  cluster.settle();
  assertNotEquals(cluster.node("1").outcome(read)?.kind, "readable");
  cluster.heal();
  cluster.advance(100);
  const outcome = cluster.node("1").outcome(read);
  assertEquals(outcome?.kind === "rejected" && outcome.reason, "leadership_lost");
});

Deno.test("thesis 3.10: leadership goes to a server of choice without a gap of an election timeout", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  cluster.advance(40);
  const before = cluster.nowMs;
  cluster.step("1", { kind: "transfer_leadership", to: "3" });
  cluster.settle();
  assertEquals([cluster.status("3").role, cluster.nowMs], ["leader", before]);
});

Deno.test("a group of one leads at once and serves alone", () => {
  const cluster = new Cluster({ voters: ["1"] });
  cluster.step("1", { kind: "tick" });
  cluster.settle();
  const request = cluster.propose("1", "a");
  const read = cluster.read("1");
  cluster.settle();
  const { outcomes } = cluster.node("1");
  assertEquals(outcomes.map((outcome) => [outcome.requestId, outcome.kind]), [
    [request, "accepted"],
    [read, "readable"],
  ]);
  assertEquals(cluster.status("1").applied, 2);
});

Deno.test("too many uncommitted bytes are refused, one command always fits", () => {
  const cluster = new Cluster({ options: { maxUncommittedBytes: 100 } });
  cluster.elect("1");
  const big = cluster.propose("1", "x".repeat(500));
  const next = cluster.propose("1", "y");
  cluster.settle();
  const after = cluster.propose("1", "z");
  cluster.settle();
  const kinds = [big, next, after].map((request) => cluster.node("1").outcome(request)?.kind);
  assertEquals(kinds, ["accepted", "rejected", "accepted"]);
});

Deno.test("a node that restarts with a log far larger than its cache applies all of it", () => {
  const cluster = new Cluster({ options: { entryCacheBytes: 2_000 } });
  cluster.elect("1");
  for (let turn = 0; turn < 50; turn += 1) {
    for (let count = 0; count < 20; count += 1) cluster.propose("1", "x".repeat(50));
    cluster.advance(5);
  }
  cluster.restart("3");
  cluster.advance(300);
  assertEquals(cluster.status("3").applied, cluster.status("1").applied);
  assertEquals(cluster.status("1").last.index, 1_001);
});
