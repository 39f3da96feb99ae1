import { assertEquals } from "@std/assert";
import type { Membership, RaftStatus } from "../../lib/raft/types.ts";
import { type JoinRequest, planJoin, planRemoval } from "../../lib/replica/join_driver.ts";

const TIMEOUT_MS = 300;
const NOW_MS = 10_000;

const nodes = {
  aaaa1111: { name: "a1", address: "h:1" },
  bbbb2222: { name: "a2", address: "h:2" },
  cccc3333: { name: "a3", address: "h:3" },
};

const full: Membership = {
  voters: ["aaaa1111", "bbbb2222", "cccc3333"],
  outgoing: [],
  learners: [],
  learnersNext: [],
  nodes,
};

const wiped: JoinRequest = { name: "a3", replicaId: "dddd4444", address: "h:3" };

interface Heard {
  readonly [id: string]: { readonly lastHeardMs: number | null; readonly match?: number };
}

/** The leader aaaa1111 of a log of 100 entries. */
function statusOf(membership: Membership, heard: Heard = {}): RaftStatus {
  const ids = Object.keys(membership.nodes).filter((id) => id !== "aaaa1111");
  return {
    id: "aaaa1111",
    role: "leader",
    term: 1,
    vote: null,
    leader: "aaaa1111",
    commit: 100,
    applied: 100,
    last: { index: 100, term: 1 },
    synced: 100,
    firstIndex: 1,
    membership,
    membershipIndex: 0,
    idle: false,
    readReady: true,
    leaseUntilMs: null,
    transferTo: null,
    removed: false,
    nextDeadlineMs: 0,
    progress: ids.map((id) => ({
      id,
      match: heard[id]?.match ?? 100,
      next: 101,
      state: "replicate",
      inflightMessages: 0,
      lastHeardMs: heard[id] === undefined ? NOW_MS : heard[id].lastHeardMs,
    })),
  };
}

function plan(request: JoinRequest, status: RaftStatus) {
  return planJoin(request, status, NOW_MS, TIMEOUT_MS);
}

const silent = { cccc3333: { lastHeardMs: NOW_MS - 1_000 } };

/** The membership after the first step: the wiped node learns beside its old identity. */
const learning: Membership = {
  ...full,
  learners: ["dddd4444"],
  nodes: {
    ...nodes,
    cccc3333: { name: "a3~cccc", address: "h:3" },
    dddd4444: { name: "a3", address: "h:3" },
  },
};

Deno.test("a wiped node is taken in as a learner while its old identity is dead", () => {
  const step = plan(wiped, statusOf(full, silent));
  assertEquals(step.kind === "change" && step.target, {
    voters: full.voters,
    learners: ["dddd4444"],
    nodes: learning.nodes,
  });
});

Deno.test("an identity that is alive keeps its place", () => {
  const step = plan(wiped, statusOf(full));
  assertEquals(step.kind === "refuse" && step.error.code, "superseded");
});

Deno.test("the leader's own name is never given away", () => {
  const step = plan({ ...wiped, name: "a1" }, statusOf(full, silent));
  assertEquals(step.kind === "refuse" && step.error.code, "superseded");
});

Deno.test("a name that no member has is not taken in", () => {
  const step = plan({ ...wiped, name: "a9" }, statusOf(full, silent));
  assertEquals(step.kind === "refuse" && step.error.code, "invalid_membership");
});

Deno.test("a learner waits until it has caught up, then takes the old identity's place", () => {
  const behind = { ...silent, dddd4444: { lastHeardMs: NOW_MS, match: 3 } };
  assertEquals(plan(wiped, statusOf(learning, behind)).kind, "wait");
  const step = plan(wiped, statusOf(learning, silent));
  assertEquals(step.kind === "change" && step.target.voters, ["aaaa1111", "bbbb2222", "dddd4444"]);
  assertEquals(step.kind === "change" && step.target.learners, []);
});

Deno.test("the old identity that comes back before the swap keeps its vote", () => {
  const step = plan(wiped, statusOf(learning));
  assertEquals(step.kind === "refuse" && step.error.code, "superseded");
});

Deno.test("nothing is begun while a joint configuration is in force", () => {
  const joint = { ...full, outgoing: ["aaaa1111"] };
  assertEquals(plan(wiped, statusOf(joint, silent)).kind, "wait");
});

Deno.test("a voter at its known address needs nothing, one that moved is entered anew", () => {
  const same = { name: "a2", replicaId: "bbbb2222", address: "h:2" };
  assertEquals(plan(same, statusOf(full)).kind, "nothing");
  const step = plan({ ...same, address: "h:22" }, statusOf(full));
  assertEquals(step.kind === "change" && step.target.nodes.bbbb2222.address, "h:22");
});

const newcomer: JoinRequest = { name: "a4", replicaId: "eeee5555", address: "h:4" };

Deno.test("an invited name is taken in as a learner, then as one voter more", () => {
  const invited = planJoin(newcomer, statusOf(full), NOW_MS, TIMEOUT_MS, "h:4");
  assertEquals(invited.kind === "change" && invited.target.learners, ["eeee5555"]);
  const withLearner: Membership = {
    ...full,
    learners: ["eeee5555"],
    nodes: { ...nodes, eeee5555: { name: "a4", address: "h:4" } },
  };
  const behind = { eeee5555: { lastHeardMs: NOW_MS, match: 3 } };
  assertEquals(plan(newcomer, statusOf(withLearner, behind)).kind, "wait");
  // A later leader knows of no invitation, but of the learner.
  const step = plan(newcomer, statusOf(withLearner));
  assertEquals(step.kind === "change" && step.target.voters, [...full.voters, "eeee5555"]);
  assertEquals(step.kind === "change" && step.target.learners, []);
});

Deno.test("an invitation is for one address", () => {
  const step = planJoin(newcomer, statusOf(full), NOW_MS, TIMEOUT_MS, "h:5");
  assertEquals(step.kind === "refuse" && step.error.code, "invalid_membership");
});

function removal(name: string, status: RaftStatus, askedMs = NOW_MS - 10) {
  return planRemoval(name, status, askedMs, NOW_MS, TIMEOUT_MS);
}

Deno.test("a member is removed when a majority of those that stay has answered", () => {
  const step = removal("a3", statusOf(full));
  assertEquals(step.kind === "change" && step.target.voters, ["aaaa1111", "bbbb2222"]);
  const dead = { bbbb2222: { lastHeardMs: NOW_MS - 20 } };
  assertEquals(removal("a3", statusOf(full, dead)).kind, "wait");
  const late = removal("a3", statusOf(full, { bbbb2222: { lastHeardMs: 1 } }), NOW_MS - TIMEOUT_MS);
  assertEquals(late.kind === "refuse" && late.error.code, "invalid_membership");
  assertEquals(removal("a2", statusOf(full, dead)).kind, "change");
});

Deno.test("neither a stranger nor the last voter is removed, nor anybody during a change", () => {
  assertEquals(removal("a9", statusOf(full)).kind, "refuse");
  const lone = { ...full, voters: ["aaaa1111"], nodes: { aaaa1111: nodes.aaaa1111 } };
  assertEquals(removal("a1", statusOf(lone)).kind, "refuse");
  assertEquals(removal("a3", statusOf({ ...full, outgoing: ["aaaa1111"] })).kind, "wait");
  assertEquals(removal("a3", { ...statusOf(full), membershipIndex: 101 }).kind, "wait");
});
