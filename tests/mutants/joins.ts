/** Mutants of founding, joining and replacing members. */

import type { Mutant } from "./mutant.ts";

const BOOTSTRAP = "tests/replica/bootstrap_test.ts";
const JOIN = "tests/replica/join_test.ts";
const MEMBERS = "tests/replica/members_test.ts";

export const joinMutants: readonly Mutant[] = [
  {
    name: "prepare-accepted-by-a-member",
    file: "lib/replica/bootstrap.ts",
    find: "    if (store.isMember()) {\n      throw",
    put: "    if (store === null) {\n      throw",
    breaks: "A node that belongs to a cluster takes part in founding another one.",
    killers: [BOOTSTRAP],
  },
  {
    name: "prepare-of-others-accepted",
    file: "lib/replica/bootstrap.ts",
    find: "if (!decoded.voters.includes(store.replicaId)) {",
    put: "if (decoded.voters.length === 0) {",
    breaks: "A node stores a founding that it is not in.",
    killers: [BOOTSTRAP],
  },
  {
    name: "founded-while-a-peer-is-silent",
    file: "lib/replica/bootstrap.ts",
    find: 'if (missing.length > 0) return this.tell(`waiting for ${missing.join(", ")}`);',
    put: "",
    breaks: "A cluster is founded without hearing every node: another one may exist already.",
    killers: [BOOTSTRAP],
  },
  {
    name: "founders-need-not-agree",
    file: "lib/replica/bootstrap.ts",
    find: "hellos.find((hello) => hello.peers.join() !== names);",
    put: "hellos.find((hello) => hello.peers === null);",
    breaks: "Nodes with different --peers found different clusters.",
    killers: [BOOTSTRAP],
  },
  {
    name: "join-does-not-follow-the-leader",
    file: "lib/replica/bootstrap.ts",
    find: "next = [...new Set(named)].filter((address) => !asked.has(address));",
    put: "next = [];",
    breaks: "A node that joins needs the leader in its --peers.",
    killers: [BOOTSTRAP],
  },
  {
    name: "name-taken-after-a-short-pause",
    file: "lib/replica/join_plan.ts",
    find: "return !isVoter || isGone ? shortMs : Math.max(shortMs, takeoverMs);",
    put: "return shortMs;",
    breaks: "A second process takes the name of a living node that paused for seconds.",
    killers: [JOIN],
  },
  {
    name: "one-predecessor-stays",
    file: "lib/replica/join_plan.ts",
    find: "const leaving = [...others, request.replicaId];",
    put: "const leaving = [...others.slice(0, 1), request.replicaId];",
    breaks: "A replacement leaves other identities of its name behind as dead voters.",
    killers: [JOIN],
  },
  {
    name: "removal-of-the-plain-name-only",
    file: "lib/replica/join_plan.ts",
    find: "plainName(nodes[id].name) === plainName(name));",
    put: "nodes[id].name === name);",
    breaks: "Removing a name leaves its former identities behind.",
    killers: [JOIN, MEMBERS],
  },
  {
    name: "join-during-a-change",
    file: "lib/replica/join_plan.ts",
    find: 'if (isJoint(membership) || membershipIndex > commit) return { kind: "wait" };',
    put: "",
    breaks: "A join is planned from a membership that is not committed.",
    killers: [JOIN],
  },
  {
    name: "learner-votes-before-it-caught-up",
    file: "lib/replica/join_plan.ts",
    find: 'if (!hasCaughtUp(request.replicaId, status)) return { kind: "wait" };',
    put: "",
    breaks: "A blank learner becomes a voter at once.",
    killers: [JOIN],
  },
  {
    name: "uninvited-node-joins",
    file: "lib/replica/join_plan.ts",
    find:
      "if (holders.length === 0 && !isInvited && !isBack) return refuseUninvited(request, view);",
    put: "",
    breaks: "Any node may join without an invitation.",
    killers: [JOIN],
  },
  {
    name: "leader-removes-itself",
    file: "lib/replica/member_service.ts",
    find: "if (ids.includes(replica.status().id) && replica.raft.membership.voters.length > 1) {",
    put: "if (ids === null) {",
    breaks: "A leader removes itself, and the others cannot learn how it ended.",
    killers: [MEMBERS],
  },
  {
    name: "removed-node-still-invited",
    file: "lib/replica/member_service.ts",
    find: "        await this.propose(revokeContent(name), replica);\n",
    put: "",
    breaks: "A removed node is taken in again by its old invitation.",
    killers: [MEMBERS],
  },
];
