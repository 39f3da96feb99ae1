import { assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { Raft } from "../../lib/raft/raft.ts";
import type { AppendRequest, Entry, Input } from "../../lib/raft/types.ts";
import { commandAt, diskOf, initialOf, membershipOf, optionsOf } from "./disks.ts";

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
