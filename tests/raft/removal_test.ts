import { assert, assertEquals } from "@std/assert";
import { ELECTION_MS, targetOf } from "./disks.ts";
import { Cluster } from "./harness.ts";

/** 3 is removed while it is cut off, so that it never receives the final configuration. */
function removedUnheard(): Cluster {
  const cluster = new Cluster();
  cluster.elect("1");
  cluster.advance(40);
  cluster.isolate("3");
  cluster.change("1", targetOf(["1", "2"]));
  cluster.advance(100);
  assertEquals(cluster.status("1").membership.voters, ["1", "2"]);
  assert(cluster.status("3").membership.voters.includes("3"));
  return cluster;
}

function voteRequestsOf(cluster: Cluster, id: string, durationMs: number): number {
  let asked = 0;
  cluster.onDeliver = (message) => {
    if (message.from === id && message.kind === "vote_request") asked += 1;
  };
  cluster.advance(durationMs);
  return asked;
}

Deno.test("a replica that missed its removal hears of it when it asks for votes, and asks no more", () => {
  const cluster = removedUnheard();
  cluster.heal();
  const terms = ["1", "2"].map((id) => cluster.status(id).term);
  assert(voteRequestsOf(cluster, "3", 5 * ELECTION_MS) > 0);
  assert(cluster.status("3").removed);
  assertEquals(voteRequestsOf(cluster, "3", 20 * ELECTION_MS), 0);
  assertEquals(["1", "2"].map((id) => cluster.status(id).term), terms);
  assertEquals(cluster.status("1").role, "leader");
});

Deno.test("a restarted replica asks again and hears of its removal again", () => {
  const cluster = removedUnheard();
  cluster.heal();
  cluster.advance(5 * ELECTION_MS);
  cluster.restart("3");
  assertEquals(cluster.status("3").removed, false);
  cluster.advance(5 * ELECTION_MS);
  assert(cluster.status("3").removed);
});

Deno.test("a replica that is added again follows its leader and may campaign again", () => {
  const cluster = removedUnheard();
  cluster.heal();
  cluster.advance(5 * ELECTION_MS);
  cluster.change("1", targetOf(["1", "2", "3"]));
  cluster.advance(5 * ELECTION_MS);
  assertEquals(cluster.status("3").removed, false);
  cluster.isolate("1");
  cluster.isolate("2");
  cluster.heal();
  cluster.crash("1");
  cluster.elect("3");
});

Deno.test("a notice of a replica that lags behind a later membership is ignored", () => {
  // 4 was added after 2 was cut off: as far as 2 knows it is no member.
  const cluster = new Cluster({ blanks: ["4"] });
  cluster.elect("1");
  cluster.advance(40);
  cluster.isolate("2");
  cluster.change("1", targetOf(["1", "2", "3", "4"]));
  cluster.advance(100);
  assertEquals(cluster.status("4").membership.voters.length, 4);
  assertEquals(cluster.status("2").membership.voters.length, 3);
  cluster.heal();
  cluster.isolate("1");
  cluster.cut.add("4>3");
  let notices = 0;
  cluster.onDeliver = (message) => {
    if (message.kind === "removal_notice") notices += 1;
  };
  for (let tries = 0; tries < 20 && notices === 0; tries += 1) {
    cluster.nowMs += 2 * ELECTION_MS;
    cluster.step("4", { kind: "tick" });
    cluster.settle(["2", "4"]);
  }
  assert(notices > 0);
  assertEquals(cluster.status("4").removed, false);
});

Deno.test("the notice counts the position of a compacted membership, too", () => {
  const cluster = removedUnheard();
  cluster.propose("1", "later");
  cluster.advance(100);
  for (const id of ["1", "2"]) cluster.compact(id, cluster.status(id).commit);
  cluster.heal();
  cluster.advance(5 * ELECTION_MS);
  assert(cluster.status("3").removed);
});
