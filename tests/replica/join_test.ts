import { assertEquals, assertMatch } from "@std/assert";
import type { Membership, RaftStatus } from "../../lib/raft/types.ts";
import {
  identitiesOf,
  type JoinRequest,
  type JoinView,
  planJoin,
  planRemoval,
} from "../../lib/replica/join_plan.ts";

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
      sinceMs: 0,
    })),
  };
}

const TAKEOVER_MS = 60_000;

function plan(
  request: JoinRequest,
  status: RaftStatus,
  invitation: JoinView["invitation"] = null,
) {
  return planJoin(request, {
    status,
    silentMs: (id) => NOW_MS - (status.progress.find((other) => other.id === id)?.lastHeardMs ?? 0),
    electionTimeoutMs: TIMEOUT_MS,
    takeoverMs: TAKEOVER_MS,
    invitation,
  });
}

function codeOf(step: ReturnType<typeof plan>): string | null {
  return step.kind === "refuse" ? step.error.code : null;
}

const silent = { cccc3333: { lastHeardMs: NOW_MS - 1_000 } };

/** The membership after the first step: the wiped node learns beside its old identity. */
const learning: Membership = {
  ...full,
  learners: ["dddd4444"],
  nodes: {
    ...nodes,
    cccc3333: { name: "a3~cccc3333", address: "h:3" },
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
  assertEquals(codeOf(step), "unavailable");
  assertMatch(step.kind === "refuse" ? step.error.message : "", /cccc3333.* is alive$/);
});

Deno.test("the leader's own name is never given away", () => {
  const step = plan({ ...wiped, name: "a1", address: "h:1" }, statusOf(full, silent));
  assertEquals(codeOf(step), "unavailable");
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
  assertEquals(codeOf(plan(wiped, statusOf(learning))), "unavailable");
  const back = plan({ name: "a3", replicaId: "cccc3333", address: "h:3" }, statusOf(learning));
  assertEquals(back.kind === "change" && back.target, {
    voters: full.voters,
    learners: [],
    nodes: { ...learning.nodes, cccc3333: nodes.cccc3333 },
  });
});

const elsewhere: JoinRequest = { ...wiped, address: "h:33" };

Deno.test("a blank node at another address takes a name only after a long silence", () => {
  const paused = { cccc3333: { lastHeardMs: NOW_MS - TAKEOVER_MS + 1 } };
  const step = plan(elsewhere, statusOf(full, paused));
  assertEquals(codeOf(step), "unavailable");
  assertMatch(step.kind === "refuse" ? step.error.message : "", /silent.* after 60 s .*a3=h:33$/);
  const dead = { cccc3333: { lastHeardMs: NOW_MS - TAKEOVER_MS } };
  assertEquals(plan(elsewhere, statusOf(full, dead)).kind, "change");
});

Deno.test("a command lets a blank node at its address take the name of a dead member at once", () => {
  const invitation = { address: "h:33", replaced: ["cccc3333"] };
  assertEquals(plan(elsewhere, statusOf(full, silent), invitation).kind, "change");
  assertEquals(codeOf(plan(elsewhere, statusOf(full), invitation)), "unavailable");
  const another = { ...elsewhere, address: "h:34" };
  assertEquals(codeOf(plan(another, statusOf(full, silent), invitation)), "unavailable");
  const former = { address: "h:33", replaced: ["99999999"] };
  assertEquals(codeOf(plan(elsewhere, statusOf(full, silent), former)), "unavailable");
});

const again: JoinRequest = { name: "a3", replicaId: "0000eeee", address: "h:3" };

Deno.test("a second blank node takes the place of a silent first one, whatever their order by id", () => {
  for (const second of [again, { ...again, replicaId: "eeee0000" }]) {
    assertEquals(
      codeOf(plan(second, statusOf(learning, silent))),
      "unavailable",
      "the first lives",
    );
    const both = { ...silent, dddd4444: { lastHeardMs: NOW_MS - 1_000, match: 3 } };
    const step = plan(second, statusOf(learning, both));
    const { dddd4444: _, ...rest } = learning.nodes;
    assertEquals(step.kind === "change" && step.target.learners, [second.replicaId]);
    const names = step.kind === "change" ? step.target.nodes : {};
    assertEquals(names[second.replicaId], { name: "a3", address: "h:3" });
    assertEquals(names.cccc3333, rest.cccc3333);
  }
});

Deno.test("a learner that votes takes the place of every other identity of its name", () => {
  const crowded: Membership = {
    ...learning,
    voters: [...full.voters, "ffff6666"],
    learners: ["dddd4444", "eeee5555"],
    nodes: {
      ...learning.nodes,
      eeee5555: { name: "a3~eeee5555", address: "h:3" },
      ffff6666: { name: "a3~ffff", address: "h:3" },
    },
  };
  const dead = { lastHeardMs: NOW_MS - 1_000 };
  const heard = { cccc3333: dead, eeee5555: dead, ffff6666: dead };
  const step = plan(wiped, statusOf(crowded, heard));
  assertEquals(step.kind === "change" && step.target.voters, ["aaaa1111", "bbbb2222", "dddd4444"]);
  assertEquals(step.kind === "change" && step.target.learners, []);
  assertEquals(identitiesOf(crowded, "a3").sort(), [
    "cccc3333",
    "dddd4444",
    "eeee5555",
    "ffff6666",
  ]);
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
  const invited = plan(newcomer, statusOf(full), { address: "h:4", replaced: [] });
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
  const step = plan(newcomer, statusOf(full), { address: "h:5", replaced: [] });
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

Deno.test("a name is removed with all its identities", () => {
  const step = removal("a3", statusOf(learning));
  assertEquals(step.kind === "change" && step.target.voters, ["aaaa1111", "bbbb2222"]);
  assertEquals(step.kind === "change" && step.target.learners, []);
});

Deno.test("neither a stranger nor the last voter is removed, nor anybody during a change", () => {
  assertEquals(removal("a9", statusOf(full)).kind, "refuse");
  const lone = { ...full, voters: ["aaaa1111"], nodes: { aaaa1111: nodes.aaaa1111 } };
  assertEquals(removal("a1", statusOf(lone)).kind, "refuse");
  assertEquals(removal("a3", statusOf({ ...full, outgoing: ["aaaa1111"] })).kind, "wait");
  assertEquals(removal("a3", { ...statusOf(full), membershipIndex: 101 }).kind, "wait");
});
