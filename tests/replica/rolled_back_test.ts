/** A data directory that was put back to an earlier state although its start counter looks right. */

import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import type { AppendResponse, HeartbeatResponse, VoteResponse } from "../../lib/raft/types.ts";
import { Acknowledged } from "../../lib/replica/acknowledged.ts";
import { type Node, TestCluster } from "./cluster.ts";

async function put(cluster: TestCluster, leader: Node, count: number): Promise<void> {
  for (let at = 0; at < count; at += 1) {
    await cluster.settle(cluster.replica(leader).propose(utf8(`v${at}`)));
  }
}

function followerOf(cluster: TestCluster, leader: Node): Node {
  return cluster.running.find((node) => node !== leader)!;
}

/** Runs until `node` ended; its reason. */
async function ended(cluster: TestCluster, node: Node): Promise<TrilogError> {
  const done = await cluster.scheduler.runUntil(
    cluster.scheduler.nowMs + 5_000,
    () => node.fatal !== null,
  );
  assert(done, `${node.id} goes on`);
  const { fatal } = node;
  node.fatal = null;
  assert(fatal instanceof TrilogError, String(fatal));
  return fatal;
}

Deno.test("a copy taken while a follower ran and put back before its next start is refused", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  const follower = followerOf(cluster, leader);
  await put(cluster, leader, 10);
  const copy = follower.disk.snapshotState();
  await put(cluster, leader, 20);
  await cluster.level();
  const { index } = cluster.replica(follower).status().last;
  cluster.kill(follower);
  follower.disk.restoreState(copy);
  cluster.restart(follower);
  const error = await ended(cluster, follower);
  assertEquals(error.code, "rolled_back");
  assert(error.message.includes(`stored entry ${index} in term`), error.message);
});

Deno.test("a copy taken while a leader ran and put back before its next start is refused", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  await put(cluster, leader, 10);
  const copy = leader.disk.snapshotState();
  await put(cluster, leader, 20);
  await cluster.level();
  const { index } = cluster.replica(leader).status().last;
  await cluster.run(100);
  cluster.kill(leader);
  leader.disk.restoreState(copy);
  cluster.restart(leader);
  const error = await ended(cluster, leader);
  assertEquals(error.code, "rolled_back");
  assert(error.message.includes(`it stored entry ${index} in term`), error.message);
});

Deno.test("a former leader that is put back is refused by the next one, which had its vote", async () => {
  const cluster = new TestCluster(3);
  const old = await cluster.elected();
  const copy = old.disk.snapshotState();
  await put(cluster, old, 5);
  cluster.kill(old);
  await cluster.until("another leads", () => cluster.leader() !== undefined);
  const next = await cluster.elected();
  cluster.restart(old);
  await cluster.level();
  await put(cluster, next, 5);
  await cluster.level();
  cluster.kill(old);
  old.disk.restoreState(copy);
  cluster.restart(old);
  assertEquals((await ended(cluster, old)).code, "rolled_back");
});

Deno.test("restarts after kills and power losses are no rolled-back directories", async () => {
  const cluster = new TestCluster(3);
  for (let round = 0; round < 6; round += 1) {
    const leader = await cluster.elected();
    await put(cluster, leader, 5);
    const victim = round % 2 === 0 ? followerOf(cluster, leader) : leader;
    cluster.kill(victim, round % 3 === 0 ? "power" : "kill");
    cluster.restart(victim);
    await cluster.run(500);
    await cluster.level();
  }
});

const between = { from: "f", to: "l" };

function accepted(term: number, match: number): AppendResponse {
  return {
    kind: "append_response",
    ...between,
    term,
    round: 1,
    prevIndex: 0,
    match,
    hint: null,
  };
}

function voted(term: number): VoteResponse {
  const vote = { kind: "vote_response", preVote: false, granted: true, owedLeaseMs: 0 } as const;
  return { ...vote, ...between, term, requestTerm: term };
}

function synced(term: number, lastSynced: number): HeartbeatResponse {
  return { kind: "heartbeat_response", ...between, term, round: 1, lastSynced };
}

Deno.test("what was promised counts within its term, and against what the log was opened with", () => {
  const leader = new Acknowledged({ index: 0, term: 0 });
  leader.heard(accepted(3, 50));
  leader.heard(accepted(3, 40));
  leader.heard(accepted(2, 90));
  assertEquals(leader.of("f"), [{ index: 50, term: 3 }, { index: 90, term: 2 }]);
  assertEquals([leader.heard(synced(3, 50)), leader.heard(synced(3, 49))], [false, true]);
  assertEquals(leader.heard(synced(4, 10)), false, "another leader may have replaced them");
  const [claim] = leader.of("f");
  const openedWith = (term: number, index: number) => new Acknowledged({ index, term });
  assertEquals(openedWith(3, 50).isForgotten(claim), false);
  assertEquals(openedWith(3, 49).isForgotten(claim), true);
  assertEquals(openedWith(2, 90).isForgotten(claim), true, "it forgot a term");
  assertEquals(
    openedWith(4, 10).isForgotten(claim),
    false,
    "a later leader may have replaced them",
  );
});

Deno.test("a claim about this start's own promises, or those of an earlier life, is no accusation", () => {
  const follower = new Acknowledged({ index: 10, term: 3 });
  follower.sent(accepted(3, 70));
  assertEquals(follower.isForgotten({ index: 70, term: 3 }), false);
  assertEquals(follower.isForgotten({ index: 71, term: 3 }), true);
  const again = new Acknowledged({ index: 0, term: 0 }, { index: 60, term: 5 });
  assertEquals(again.isForgotten({ index: 59, term: 5 }), false);
  assertEquals(again.isForgotten({ index: 900, term: 4 }), false);
  assertEquals(again.isForgotten({ index: 61, term: 5 }), true);
});

Deno.test("a leader's heartbeat promises what it has stored, and nothing while its term is not durable", () => {
  const beat = { kind: "heartbeat_request", ...between, round: 1, leaseMs: 0, commit: 0 } as const;
  const follower = new Acknowledged({ index: 0, term: 0 });
  follower.heard({ ...beat, term: 4, synced: 0 });
  assertEquals(follower.of("f"), []);
  follower.heard({ ...beat, term: 4, synced: 30 });
  const [claim] = follower.of("f");
  assertEquals(new Acknowledged({ index: 29, term: 4 }).isForgotten(claim), true);
  assertEquals(new Acknowledged({ index: 30, term: 4 }).isForgotten(claim), false);
  assertEquals(new Acknowledged({ index: 29, term: 5 }).isForgotten(claim), false);
});

Deno.test("promises of a later term hide none of an earlier one", () => {
  const member = new Acknowledged({ index: 0, term: 0 });
  const back = new Acknowledged({ index: 10, term: 3 });
  member.heard(accepted(3, 50));
  back.sent(accepted(4, 60));
  member.heard(accepted(4, 60));
  assertEquals(member.of("f").map((claim) => back.isForgotten(claim)), [true, false]);
});

Deno.test("promises of eight terms are remembered, and one that was forgotten is no accusation", () => {
  const terms = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const member = new Acknowledged({ index: 0, term: 0 });
  const back = new Acknowledged({ index: 0, term: 1 });
  for (const term of terms) {
    member.heard(accepted(term, term));
    back.sent(accepted(term, term));
  }
  assertEquals(member.of("f").map(({ term }) => term), terms.slice(1));
  assertEquals(back.isForgotten({ index: 1, term: 1 }), false);
});

Deno.test("a vote is remembered as well", () => {
  const candidate = new Acknowledged({ index: 0, term: 0 });
  candidate.heard(voted(7));
  const [claim] = candidate.of("f");
  assertEquals(new Acknowledged({ index: 90, term: 6 }).isForgotten(claim), true);
  assertEquals(new Acknowledged({ index: 90, term: 7 }).isForgotten(claim), false);
});
