/**
 * A replica that was removed, made anew under the same identity and added again within one leader's
 * term: answers of its former life that arrive late count for nothing.
 */

import { assert, assertEquals } from "@std/assert";
import type { Message } from "../../lib/raft/types.ts";
import { blankDisk, membershipOf, targetOf } from "./disks.ts";
import { Cluster } from "./harness.ts";

function matchOf(cluster: Cluster, id: string): number {
  return cluster.status("1").progress.find((other) => other.id === id)!.match;
}

/** 3 is removed and added again, blank and unreachable; `late`: what its former life answered. */
function addedAgain(compacted: boolean): { cluster: Cluster; late: Message[] } {
  const cluster = new Cluster();
  cluster.elect("1");
  const late: Message[] = [];
  cluster.onDeliver = (message) => {
    if (message.from === "3" && message.to === "1") late.push(message);
  };
  for (let at = 0; at < 10; at += 1) cluster.propose("1", `v${at}`);
  cluster.advance(100);
  assert(matchOf(cluster, "3") > 10);
  cluster.change("1", targetOf(["1", "2"]));
  cluster.advance(100);
  if (compacted) cluster.compact("1", cluster.status("1").commit);
  cluster.onDeliver = () => {};
  cluster.crash("3");
  cluster.drop((message) => message.from === "3" || message.to === "3");
  cluster.node("3").disk = blankDisk(membershipOf([]));
  cluster.change("1", targetOf(["1", "2"], ["3"]));
  cluster.advance(100);
  assertEquals(matchOf(cluster, "3"), 0);
  return { cluster, late: late.filter(({ kind }) => kind !== "read_index_request") };
}

Deno.test("late answers of a removed replica are none of the one that was added again", () => {
  const { cluster, late } = addedAgain(false);
  const kinds = new Set(late.map(({ kind }) => kind));
  assert(kinds.has("append_response") && kinds.has("heartbeat_response"), [...kinds].join());
  for (const message of late) cluster.receive(message);
  cluster.settle(["1", "2"]);
  assertEquals(matchOf(cluster, "3"), 0);
  for (const message of cluster.network) {
    const commit = message.kind === "heartbeat_request" && message.to === "3" ? message.commit : 0;
    assertEquals(commit, 0, "a commit index that the blank log does not reach");
  }
  cluster.restart("3");
  cluster.advance(500);
  assertEquals(matchOf(cluster, "3"), cluster.status("1").last.index);
});

Deno.test("an answer to a snapshot is no acknowledgement: its sender may be the former life", () => {
  const { cluster } = addedAgain(true);
  const { term } = cluster.status("1");
  const index = cluster.status("1").firstIndex - 1;
  // The blank one is to get the snapshot; the former life had answered that it has it.
  cluster.cut.add("1>3");
  for (let at = 0; at < 5; at += 1) {
    cluster.receive({
      kind: "append_response",
      from: "3",
      to: "1",
      term,
      round: 0,
      prevIndex: index,
      match: index,
      hint: null,
    });
    cluster.advance(50, ["1", "2"]);
  }
  assertEquals(matchOf(cluster, "3"), 0);
  cluster.cut.clear();
  cluster.restart("3");
  cluster.advance(500);
  assertEquals(matchOf(cluster, "3"), cluster.status("1").last.index);
});
