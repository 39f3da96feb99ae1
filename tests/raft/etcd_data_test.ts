/**
 * The quorum and membership cases of etcd's raft, where they lie beside the repository. Its
 * membership tests speak in operation lists; here they become targets and joint steps.
 */

import { assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import { join } from "@std/path";
import {
  enterMembership,
  isJoint,
  jointMembership,
  leaveMembership,
  targetFault,
} from "../../lib/raft/membership.ts";
import { quorumValue, quorumVote } from "../../lib/raft/quorum.ts";
import type { Membership, ReplicaId } from "../../lib/raft/types.ts";
import { membershipOf, targetOf } from "./disks.ts";

const DATA = join(import.meta.dirname!, "../../../shared/data/etcd-raft");
const MISSING = !existsSync(DATA);

interface Case {
  readonly command: string;
  readonly operations: string;
  readonly expected: readonly string[];
}

/** Commands, `----`, and the expected lines up to an empty one. */
function casesOf(folder: string, file: string): Case[] {
  const text = Deno.readTextFileSync(join(DATA, folder, file)).replace(/^#.*\n/gm, "");
  return [...text.matchAll(/(?<=^|\n)([^\n]+)\n((?:(?!----)[^\n]*\n)*)----\n((?:[^\n]+\n?)*)/g)]
    .map(([, command, operations, expected]) => ({
      command,
      operations: operations.trim(),
      expected: expected.trim().split("\n"),
    }));
}

/** The list of an argument such as `cfg=(1, 2)`; null where it is not given. */
function listOf(command: string, name: string): string[] | null {
  const found = command.match(new RegExp(`\\b${name}=\\(([^)]*)\\)`));
  return found === null ? null : found[1].split(/[,\s]+/).filter((item) => item !== "");
}

/** Values in the order in which the voters are first named. */
function assign(voters: readonly ReplicaId[], values: readonly string[]): Map<ReplicaId, string> {
  const known = new Map<ReplicaId, string>();
  for (const id of new Set(voters)) {
    const value = values[known.size];
    if (value !== undefined) known.set(id, value);
  }
  return known;
}

function answerQuorum({ command }: Case): string {
  const voters = listOf(command, "cfg") ?? [];
  const outgoing = listOf(command, "cfgj") ?? [];
  const electorate = { voters, outgoing };
  const named = [...voters, ...outgoing];
  if (command.startsWith("vote")) {
    const votes = assign(named, listOf(command, "votes") ?? []);
    const answers = { y: true, n: false } as Record<string, boolean | undefined>;
    const result = quorumVote(electorate, (id) => answers[votes.get(id) ?? ""]);
    return { won: "VoteWon", lost: "VoteLost", pending: "VotePending" }[result];
  }
  const indexes = assign(named, listOf(command, "idx") ?? []);
  const value = quorumValue(electorate, (id) => Number(indexes.get(id)?.replace("_", "0") ?? 0));
  return value === Infinity ? "∞" : String(value);
}

Deno.test({
  name: "all 127 quorum cases of etcd's raft are answered as there",
  ignore: MISSING,
  fn() {
    let count = 0;
    for (
      const file of ["joint_commit", "joint_vote", "majority_commit", "majority_vote"]
    ) {
      for (const one of casesOf("quorum", `${file}.txt`)) {
        const expected = one.expected[one.expected.length - 1].replace(/^<.*>/, "");
        assertEquals(answerQuorum(one), expected, `${file}: ${one.command}`);
        count += 1;
      }
    }
    assertEquals(count, 127);
  },
});

/** Where a list of operations leads: `v` voter, `l` learner, `r` removed, `u` nothing. */
function targetFrom(current: Membership, operations: string) {
  const voters = new Set(current.voters);
  const learners = new Set(current.learners);
  for (const [, kind, id] of operations.matchAll(/([vlru])(\d+)/g)) {
    if (id === "0" || kind === "u") continue;
    voters.delete(id);
    learners.delete(id);
    if (kind === "v") voters.add(id);
    if (kind === "l") learners.add(id);
  }
  return targetOf([...voters], [...learners]);
}

/** The next membership, or null: refused. */
function change(current: Membership, { command, operations }: Case): Membership | null {
  if (command.startsWith("leave-joint")) return isJoint(current) ? leaveMembership(current) : null;
  if (isJoint(current)) return null;
  const target = targetFrom(current, operations);
  if (command.startsWith("enter-joint")) {
    if (current.voters.length === 0 || targetFault(target) !== null) return null;
    return jointMembership(current, target);
  }
  const changed = new Set(current.voters).symmetricDifference(new Set(target.voters)).size;
  if (targetFault(target) !== null || changed > 1) return null;
  const next = enterMembership(current, target);
  return isJoint(next) ? leaveMembership(next) : next;
}

function describe({ voters, outgoing, learners, learnersNext }: Membership): string {
  const list = (ids: readonly ReplicaId[]) =>
    `(${[...ids].sort((left, right) => Number(left) - Number(right)).join(" ")})`;
  return `voters=${list(voters)}` + (outgoing.length > 0 ? `&&${list(outgoing)}` : "") +
    (learners.length > 0 ? ` learners=${list(learners)}` : "") +
    (learnersNext.length > 0 ? ` learners_next=${list(learnersNext)}` : "");
}

const CHANGE_FILES = [
  "joint_autoleave",
  "joint_idempotency",
  "joint_learners_next",
  "joint_safety",
  "simple_idempotency",
  "simple_promote_demote",
  "simple_safety",
  "update",
  "zero",
];

Deno.test({
  name: "all 58 membership cases of etcd's raft lead to the same members and refusals",
  ignore: MISSING,
  fn() {
    let count = 0;
    for (const file of CHANGE_FILES) {
      let current = membershipOf([]);
      for (const one of casesOf("confchange", `${file}.txt`)) {
        const next = change(current, one);
        const expected = one.expected[0].replace(" autoleave", "");
        const refusal = !expected.startsWith("voters=");
        const where = `${file}: ${one.command} ${one.operations}`;
        if (refusal) assertEquals(next, null, where);
        else assertEquals(next === null ? "refused" : describe(next), expected, where);
        current = next ?? current;
        count += 1;
      }
    }
    assertEquals(count, 58);
  },
});
