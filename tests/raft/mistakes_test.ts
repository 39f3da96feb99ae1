/**
 * The classic mistakes in Raft implementations that concern the core. Each test fails where the
 * mistake is made.
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { AppendRequest, Message, ReplicaId, VoteRequest } from "../../lib/raft/types.ts";
import { Cluster, commandAt, diskOf, ELECTION_MS, membershipOf, targetOf } from "./harness.ts";

function append(from: ReplicaId, to: ReplicaId, changes: Partial<AppendRequest>): AppendRequest {
  return {
    kind: "append_request",
    from,
    to,
    term: 1,
    prev: { index: 0, term: 0 },
    entries: [],
    commit: 0,
    round: 1,
    leaseMs: 0,
    ...changes,
  };
}

function ask(from: ReplicaId, to: ReplicaId, changes: Partial<VoteRequest>): VoteRequest {
  return {
    kind: "vote_request",
    from,
    to,
    term: 1,
    preVote: false,
    last: { index: 9, term: 9 },
    transfer: false,
    ...changes,
  };
}

/** Messages of a kind that wait in the network, from a node. */
function sent<K extends Message["kind"]>(cluster: Cluster, kind: K, from: ReplicaId) {
  return cluster.network.filter((message): message is Extract<Message, { kind: K }> =>
    message.kind === kind && message.from === from
  );
}

/** Everything a node has to say now, durable at once. */
function speak(cluster: Cluster, id: ReplicaId): void {
  while (cluster.take(id) !== null) cluster.sync(id);
}

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

Deno.test("mistake 6: a late append removes nothing that matches", () => {
  const cluster = new Cluster();
  const entries = [1, 2, 3, 4].map((index) => commandAt(index, 1));
  cluster.receive(append("1", "2", { entries, commit: 4 }));
  cluster.receive(append("1", "2", { entries: entries.slice(0, 2), commit: 2 }));
  cluster.receive(append("1", "2", { commit: 0 }));
  speak(cluster, "2");
  assertEquals(cluster.status("2").last, { index: 4, term: 1 });
  assertEquals(cluster.status("2").commit, 4);
  assertEquals(sent(cluster, "append_response", "2").map(({ match }) => match), [4, 4, 4]);
});

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

Deno.test("mistake 14: no membership change before the own no-op is committed", () => {
  const fresh = new Cluster({ voters: ["1", "2"] });
  fresh.onReady = (node, ready) => {
    if (node.id === "1" && ready.entries.length > 0) fresh.cut.add("1>2");
  };
  fresh.elect("1");
  assertEquals(fresh.status("1").readReady, false);
  const request = fresh.change("1", targetOf(["1"]));
  fresh.settle();
  const outcome = fresh.node("1").outcome(request);
  assertEquals(
    outcome?.kind === "rejected" && outcome.reason,
    "membership_change_in_progress",
  );
});

Deno.test("mistake 14: no second membership change while one is under way", () => {
  const cluster = new Cluster({ blanks: ["4"] });
  cluster.elect("1");
  const first = cluster.change("1", targetOf(["1", "2", "4"]));
  const second = cluster.change("1", targetOf(["1", "2"]));
  cluster.take("1");
  assertEquals(cluster.node("1").outcome(first)?.kind, "accepted");
  assertEquals(cluster.node("1").outcome(second)?.kind, "rejected");
  cluster.settle();
  assertEquals(cluster.status("1").membership.voters, ["1", "2", "4"]);
  assertEquals(cluster.status("1").membership.outgoing, []);
});

Deno.test("mistake 15: a membership counts from its append, on leaders and followers, and falls with it", () => {
  const cluster = new Cluster({ blanks: ["4", "5"] });
  cluster.elect("1");
  cluster.isolate("1");
  cluster.change("1", targetOf(["1", "4", "5"]));
  assertEquals(cluster.status("1").membership.voters, ["1", "4", "5"]);
  // Its own vote and one old voter's would be a majority of the old ones alone.
  cluster.settle();
  assertEquals(cluster.status("1").commit, 1);
  cluster.elect("2");
  cluster.heal();
  cluster.advance(300);
  assertEquals(cluster.status("1").membership.voters, ["1", "2", "3"]);
  assertEquals(cluster.status("1").membershipIndex, 0);
});

Deno.test("mistake 16: no read is answered before the leader's no-op is committed", () => {
  const cluster = new Cluster({ voters: ["1", "2"] });
  cluster.onReady = (node, ready) => {
    if (node.id === "1" && ready.entries.length > 0) cluster.cut.add("2>1");
  };
  cluster.elect("1");
  const read = cluster.read("1");
  // Round 1 is answered, and so is every later one; the append is not.
  const { term } = cluster.status("1");
  for (let round = 1; round <= 3; round += 1) {
    cluster.take("1");
    cluster.receive({
      kind: "heartbeat_response",
      from: "2",
      to: "1",
      term,
      round,
      lastSynced: 0,
    });
    cluster.nowMs += 20;
    cluster.step("1", { kind: "tick" });
  }
  cluster.take("1");
  assertEquals(cluster.node("1").outcome(read), undefined);
  cluster.cut.clear();
  cluster.advance(80);
  assertEquals(cluster.node("1").outcome(read)?.kind, "readable");
});

Deno.test("mistake 16: an answer to a round that was sent before the read confirms nothing", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  cluster.nowMs += 20;
  cluster.step("1", { kind: "tick" });
  cluster.take("1");
  const read = cluster.read("1");
  cluster.deliverAll();
  for (const id of ["2", "3"]) cluster.take(id);
  cluster.deliverAll((message) => message.to === "1");
  cluster.take("1");
  assertEquals(cluster.node("1").outcome(read), undefined);
  cluster.settle();
  assertEquals(cluster.node("1").outcome(read)?.kind, "readable");
});

Deno.test("mistake 17: after a pause the lease is not trusted, whatever answers were waiting", () => {
  const cluster = new Cluster({ options: { leaseMs: 60 } });
  cluster.elect("1");
  cluster.advance(100);
  const leader = cluster.node("1");
  assert(leader.raft.leaseValid(cluster.nowMs));
  cluster.nowMs += 20;
  cluster.step("1", { kind: "tick" });
  cluster.take("1");
  cluster.deliverAll();
  for (const id of ["2", "3"]) cluster.take(id);
  // The process stops here for a while; the answers wait in its sockets.
  cluster.nowMs += 70;
  assertEquals(leader.raft.leaseValid(cluster.nowMs), false);
  cluster.deliverAll((message) => message.to === "1");
  assertEquals(leader.raft.leaseValid(cluster.nowMs), false);
  const read = cluster.read("1");
  cluster.take("1");
  assertNotEquals(leader.outcome(read)?.kind, "readable");
  assertEquals(leader.status.role, "follower");
});

Deno.test("mistake 17: a lease is shorter by the assumed clock error, and counts from the sending", () => {
  const cluster = new Cluster({ options: { leaseMs: 60, clockErrorRatio: 0.1 } });
  cluster.elect("1");
  cluster.advance(100);
  cluster.nowMs += 20;
  const sentMs = cluster.nowMs;
  cluster.step("1", { kind: "tick" });
  cluster.take("1");
  cluster.nowMs += 9;
  cluster.settle();
  assertEquals(cluster.status("1").leaseUntilMs, sentMs + 54);
});

Deno.test("mistake 17: a new leader commits nothing while the old one may still hold its lease", () => {
  const cluster = new Cluster({ options: { leaseMs: 90 } });
  cluster.elect("1");
  cluster.advance(150);
  cluster.isolate("1");
  const until = cluster.status("1").leaseUntilMs!;
  for (const id of ["2", "3"]) cluster.step(id, { kind: "peer_unreachable", peer: "1" });
  while (cluster.status("2").commit === 1 && cluster.status("3").commit === 1) {
    assertEquals(cluster.node("1").raft.leaseValid(cluster.nowMs), cluster.nowMs < until);
    cluster.advance(1, undefined, 1);
  }
  assert(cluster.nowMs >= until, `committed at ${cluster.nowMs}, lease until ${until}`);
  assert(cluster.nowMs <= until + 10, "and it waits no longer than it must");
});

Deno.test("mistake 17: a transfer gives the lease up first and for the rest of the term, so the next leader need not wait", () => {
  const cluster = new Cluster({ options: { leaseMs: 90 } });
  cluster.elect("1");
  cluster.advance(150);
  cluster.isolate("3");
  cluster.step("1", { kind: "transfer_leadership", to: "3" });
  assertEquals(cluster.status("1").leaseUntilMs, null);
  cluster.advance(ELECTION_MS + 20, ["1", "2"]);
  assertEquals([cluster.status("1").transferTo, cluster.status("1").role], [null, "leader"]);
  assertEquals(
    cluster.status("1").leaseUntilMs,
    null,
    "the word to campaign may still be under way",
  );
  cluster.step("1", { kind: "transfer_leadership", to: "2" });
  cluster.settle(["1", "2"]);
  assertEquals(cluster.status("2").readReady, true, "in no time");
});

Deno.test("mistake 17: a node owes the whole lease from its start, for it may have forgotten one", () => {
  const cluster = new Cluster({ options: { leaseMs: 60 } });
  cluster.elect("1");
  cluster.advance(100);
  cluster.restart("2");
  cluster.step("2", { kind: "tick" });
  cluster.receive(ask("3", "2", { term: 9 }));
  speak(cluster, "2");
  assertEquals(sent(cluster, "vote_response", "2").map(({ owedLeaseMs }) => owedLeaseMs), [60]);
});

Deno.test("mistake 18: a low term with a long log and a high term with a short log agree on a leader", () => {
  const long = diskOf([1, 1, 1], { term: 1 });
  const short = diskOf([1], { term: 7 });
  const cluster = new Cluster({ disks: { "1": long, "2": short, "3": diskOf([1]) } });
  cluster.crash("3");
  cluster.advance(1_000);
  assertEquals(cluster.status("1").role, "leader");
  assertEquals(cluster.status("2").last, cluster.status("1").last);
});

Deno.test("mistake 19: a leader that sends but cannot hear does not stay leader", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  const { term } = cluster.status("1");
  cluster.cut.add("2>1").add("3>1");
  cluster.advance(1_000);
  assertNotEquals(cluster.status("1").role, "leader");
  const others = [cluster.status("2"), cluster.status("3")];
  assert(others.some((status) => status.role === "leader" && status.term > term));
});

Deno.test("mistake 20: in a bridge partition the leader stays and no term moves", () => {
  const cluster = new Cluster();
  cluster.elect("1");
  const { term } = cluster.status("1");
  cluster.cut.add("1>3").add("3>1");
  cluster.advance(2_000);
  assertEquals([cluster.status("1").role, cluster.status("1").term], ["leader", term]);
  assertEquals(cluster.status("3").term, term);
});

Deno.test("mistake 21: a removed node and a stranger disturb nobody", () => {
  const cluster = new Cluster({ blanks: ["9"] });
  cluster.elect("1");
  cluster.isolate("3");
  cluster.change("1", targetOf(["1", "2"]));
  cluster.settle();
  cluster.heal();
  const { term } = cluster.status("1");
  cluster.advance(1_000);
  assertEquals([cluster.status("1").role, cluster.status("1").term], ["leader", term]);
  for (const preVote of [true, false]) {
    cluster.receive(ask("9", "2", { term: 50, preVote }));
    cluster.receive(ask("9", "1", { term: 50, preVote }));
  }
  cluster.settle();
  assertEquals([cluster.status("1").role, cluster.status("1").term], ["leader", term]);
  assertEquals(cluster.status("2").term, term);
});
