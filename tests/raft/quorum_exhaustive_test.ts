/**
 * Quorums and membership changes against their definitions, for every configuration of a few
 * voters: what a majority is, in a simple and in a joint configuration, is counted here naively.
 */

import { assert, assertEquals } from "@std/assert";
import {
  enterMembership,
  isJoint,
  isVoter,
  jointMembership,
  leaveMembership,
  membersOf,
  targetFault,
} from "../../lib/raft/membership.ts";
import { type Electorate, quorumValue, quorumVote } from "../../lib/raft/quorum.ts";
import type { Membership, MembershipTarget, ReplicaId } from "../../lib/raft/types.ts";
import { targetOf } from "./disks.ts";

/** Most voters in one half. */
const HALF = 4;

/** Indexes that voters may have reached: as many as half of the voters has ranks. */
const indexes = [0, 1, 2, 3];

/** Every list of `length` values out of `values`. */
function* lists<T>(values: readonly T[], length: number): Generator<T[]> {
  if (length === 0) yield [];
  else for (const rest of lists(values, length - 1)) for (const one of values) yield [...rest, one];
}

/**
 * Every configuration up to the names of its voters: how many vote in the incoming half only, in
 * the outgoing half only, and in both. The order of a list must not matter, so ids are spread.
 */
function* electorates(): Generator<{ electorate: Electorate; ids: ReplicaId[] }> {
  for (const [incoming, outgoing, both] of lists([0, 1, 2, 3, 4], 3)) {
    const simple = outgoing === 0 && both === 0;
    if (incoming + both === 0 || incoming + both > HALF || outgoing + both > HALF) continue;
    const named = (prefix: string, count: number) =>
      Array.from({ length: count }, (_, at) => `${prefix}${at}`);
    const shared = named("b", both);
    const voters = [...named("i", incoming), ...shared];
    const left = simple ? [] : [...shared, ...named("o", outgoing)];
    yield {
      electorate: { voters, outgoing: left },
      ids: [...new Set([...voters, ...left])],
    };
  }
}

/** The definition: more than half of each list that decides. */
function isQuorum({ voters, outgoing }: Electorate, agrees: (id: ReplicaId) => boolean): boolean {
  return [voters, outgoing].filter((half) => half.length > 0)
    .every((half) => 2 * half.filter(agrees).length > half.length);
}

Deno.test("a quorum's value is the highest that a majority of both halves has reached", () => {
  let cases = 0;
  for (const { electorate, ids } of electorates()) {
    for (const values of lists(indexes, ids.length)) {
      const valueOf = (id: ReplicaId) => values[ids.indexOf(id)];
      const expected = indexes.findLast((index) =>
        isQuorum(electorate, (id) => valueOf(id) >= index)
      );
      if (quorumValue(electorate, valueOf) !== expected) {
        assertEquals(quorumValue(electorate, valueOf), expected, JSON.stringify(electorate));
      }
      cases += 1;
    }
  }
  assert(cases > 10_000, `${cases} cases`);
});

Deno.test("votes win by a majority of both halves, and lose when that cannot come any more", () => {
  let cases = 0;
  for (const { electorate, ids } of electorates()) {
    for (const votes of lists([true, false, undefined], ids.length)) {
      const voteOf = (id: ReplicaId) => votes[ids.indexOf(id)];
      const won = isQuorum(electorate, (id) => voteOf(id) === true);
      const open = isQuorum(electorate, (id) => voteOf(id) !== false);
      const expected = won ? "won" : open ? "pending" : "lost";
      if (quorumVote(electorate, voteOf) !== expected) {
        assertEquals(quorumVote(electorate, voteOf), expected, JSON.stringify([electorate, votes]));
      }
      cases += 1;
    }
  }
  assert(cases > 10_000, `${cases} cases`);
});

type Place = "voter" | "learner" | "outside";

/** Every target among four nodes that is valid. */
function* targets(): Generator<{ target: MembershipTarget; places: Map<ReplicaId, Place> }> {
  const ids = ["1", "2", "3", "4"];
  for (const list of lists<Place>(["voter", "learner", "outside"], ids.length)) {
    const places = new Map(ids.map((id, at) => [id, list[at]]));
    const of = (place: Place) => ids.filter((id) => places.get(id) === place);
    const target = targetOf(of("voter"), of("learner"));
    if (of("voter").length > 0) yield { target, places };
  }
}

function simpleOf({ voters, learners, nodes }: MembershipTarget): Membership {
  return { voters, outgoing: [], learners, learnersNext: [], nodes };
}

Deno.test("a change of members goes through the joint configuration of its two ends", () => {
  let joints = 0;
  for (const { target: from, places: before } of targets()) {
    for (const { target: to, places: after } of targets()) {
      const where = `${[...before.values()]} -> ${[...after.values()]}`;
      const first = enterMembership(simpleOf(from), to);
      const sameVoters = from.voters.join() === to.voters.join();
      assertEquals(isJoint(first), !sameVoters, where);
      const last = isJoint(first) ? leaveMembership(first) : first;
      assertEquals(last, simpleOf(to), where);
      if (sameVoters) continue;
      joints += 1;
      assertEquals(first, jointMembership(simpleOf(from), to), where);
      assertEquals([first.voters, first.outgoing], [to.voters, from.voters], where);
      for (const id of before.keys()) {
        const [was, is] = [before.get(id)!, after.get(id)!];
        // A member of either end, and what it may do until the joint configuration is left.
        const votes = was === "voter" || is === "voter";
        const learns = is === "learner";
        assertEquals(isVoter(first, id), votes, where);
        assertEquals(first.learners.includes(id), learns && !votes, where);
        assertEquals(first.learnersNext.includes(id), learns && was === "voter", where);
        assertEquals(membersOf(first).includes(id), votes || learns, where);
        assertEquals(id in first.nodes, votes || learns, where);
      }
    }
  }
  assert(joints > 1_000, `${joints} joint configurations`);
});

Deno.test("any two quorums of a configuration and its successor share a replica", () => {
  const ids = ["1", "2", "3", "4"];
  const subsets = [...lists([false, true], ids.length)]
    .map((list) => new Set(ids.filter((_, at) => list[at])));
  const quorumsOf = (membership: Membership) =>
    subsets.filter((subset) => isQuorum(membership, (id) => subset.has(id)));
  for (const { target: from } of targets()) {
    if (from.learners.length > 0) continue;
    for (const { target: to } of targets()) {
      if (to.learners.length > 0) continue;
      const first = enterMembership(simpleOf(from), to);
      const steps = [simpleOf(from), first, isJoint(first) ? leaveMembership(first) : first];
      for (let at = 1; at < steps.length; at += 1) {
        for (const left of quorumsOf(steps[at - 1])) {
          for (const right of quorumsOf(steps[at])) {
            assert(!left.isDisjointFrom(right), `${[...left]} and ${[...right]}`);
          }
        }
      }
    }
  }
});

Deno.test("a target without voters, or with a member named twice, is refused", () => {
  assertEquals(targetFault(targetOf(["1"], ["2"])), null);
  assert(targetFault(targetOf([], ["2"])) !== null);
  assert(targetFault(targetOf(["1"], ["1"])) !== null);
  assert(targetFault(targetOf(["1", "1"])) !== null);
  const { nodes } = targetOf(["1", "2"]);
  assert(targetFault({ voters: ["1", "3"], learners: [], nodes }) !== null);
  const twins = { ...nodes, "2": { ...nodes["2"], name: nodes["1"].name } };
  assert(targetFault({ voters: ["1", "2"], learners: [], nodes: twins }) !== null);
});
