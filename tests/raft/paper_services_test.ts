/** The Raft paper (extended version), sections 6 to 8, sentence by sentence: a test's name is what it says. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { EntryKind } from "../../lib/raft/types.ts";
import { diskOf, ELECTION_MS, targetOf } from "./disks.ts";
import { Cluster } from "./harness.ts";
import { askEmpty, votes } from "./requests.ts";

Deno.test("6: in joint consensus both majorities are needed to win a term and to commit", () => {
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
  assertEquals(votes(cluster, askEmpty("2", "4", { last: { index: 9, term: 9 } })), true);
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
  assertEquals(votes(cluster, askEmpty("3", "2", { last: { index: 9, term: 9 } })), false);
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

Deno.test("thesis 3.10: leadership goes to a server of choice without waiting for a timer to run out", () => {
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
