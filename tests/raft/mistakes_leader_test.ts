/**
 * The classic mistakes in Raft implementations that concern the core, 14 to 21: members, reads, leases, unrest. Each test fails where
 * the mistake is made.
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { diskOf, ELECTION_MS, targetOf } from "./disks.ts";
import { Cluster } from "./harness.ts";
import { ask, sent, speak } from "./requests.ts";

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
  assertEquals(outcome?.kind === "rejected" && outcome.reason, "not_ready");
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

Deno.test("mistake 17: a voter that was just added and has answered nothing grants no lease", () => {
  const cluster = new Cluster({ voters: ["1"], blanks: ["2", "3"], options: { leaseMs: 60 } });
  cluster.step("1", { kind: "tick" });
  cluster.advance(100);
  assertNotEquals(cluster.status("1").leaseUntilMs, null);
  cluster.change("1", targetOf(["1", "2", "3"]));
  assertEquals(cluster.status("1").leaseUntilMs, null);
  assertEquals(cluster.status("1").role, "leader", "but it is given the time to answer");
  cluster.advance(100);
  assertNotEquals(cluster.status("1").leaseUntilMs, null);
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

Deno.test("mistake 17: a node without leases waits for those that its voters promised", () => {
  for (const leaseless of [["2"], ["2", "3"]]) {
    const optionsById = Object.fromEntries(leaseless.map((id) => [id, { leaseMs: 0 }]));
    const cluster = new Cluster({ options: { leaseMs: 3 * ELECTION_MS }, optionsById });
    cluster.elect("1");
    cluster.advance(100);
    cluster.isolate("1");
    const committed = cluster.status("2").commit;
    cluster.step("2", { kind: "peer_unreachable", peer: "1" });
    cluster.step("3", { kind: "peer_unreachable", peer: "1" });
    for (let ms = 0; cluster.status("2").role !== "leader" && ms < 500; ms += 5) {
      cluster.nowMs += 5;
      cluster.step("2", { kind: "tick" });
      cluster.settle(["2", "3"]);
    }
    assertEquals(cluster.status("2").role, "leader");
    cluster.propose("2", "new");
    cluster.settle(["2", "3"]);
    assert(cluster.node("1").raft.leaseValid(cluster.nowMs), "the old leader may still answer");
    assertEquals(cluster.status("2").commit, committed);
    cluster.advance(3 * ELECTION_MS, ["2", "3"]);
    assert(cluster.status("2").commit > committed);
  }
});

Deno.test("mistake 17: a node that gave up leases honours from its start what it may have promised", () => {
  const former = { leaseMs: 0, formerLeaseMs: 3 * ELECTION_MS };
  const optionsById = { "2": former, "3": former };
  const cluster = new Cluster({ options: { leaseMs: 3 * ELECTION_MS }, optionsById });
  cluster.elect("1");
  cluster.advance(100);
  cluster.isolate("1");
  const committed = cluster.status("2").commit;
  for (const id of ["2", "3"]) cluster.restart(id);
  cluster.step("3", { kind: "tick" });
  for (let ms = 0; cluster.status("2").role !== "leader" && ms < 500; ms += 5) {
    cluster.nowMs += 5;
    cluster.step("2", { kind: "tick" });
    cluster.settle(["2", "3"]);
    if (cluster.node("1").raft.leaseValid(cluster.nowMs)) {
      assertEquals(cluster.status("2").commit, committed);
    }
  }
  assertEquals(cluster.status("2").role, "leader");
});
