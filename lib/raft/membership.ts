/**
 * Memberships as values: what is valid, the joint step towards a target, the step out of it, and
 * the bytes of a membership entry. Nothing here knows about logs or roles.
 */

import { TrilogError } from "../base/errors.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";
import type { Index, Membership, MembershipTarget, NodeInfo, ReplicaId } from "./types.ts";

/** Members of one configuration; hostile or mistaken lists end here. */
const MAX_MEMBERS = 255;

/** Whether a change to another configuration is under way. */
export function isJoint(membership: Membership): boolean {
  return membership.outgoing.length > 0;
}

/** Whether `id` votes and may campaign, in either half of a joint configuration. */
export function isVoter(membership: Membership, id: ReplicaId): boolean {
  return membership.voters.includes(id) || membership.outgoing.includes(id);
}

/** Everybody who receives entries, sorted, each once. */
export function membersOf(membership: Membership): ReplicaId[] {
  return sortedUnion(membership.voters, membership.outgoing, membership.learners);
}

/** What is wrong with a target, or null where nothing is. */
export function targetFault(target: MembershipTarget): string | null {
  const { voters, learners, nodes } = target;
  const all = [...voters, ...learners];
  if (voters.length === 0) return "it has no voters";
  if (all.length > MAX_MEMBERS) return `it has more than ${MAX_MEMBERS} members`;
  if (!all.every(isId)) return "an id is not a text";
  if (new Set(all).size !== all.length) return "a member is named twice";
  const names = new Set<string>();
  for (const id of all) {
    if (!Object.hasOwn(nodes, id)) return `member ${id} has no name and address`;
    names.add(nodes[id].name);
  }
  return names.size === all.length ? null : "two members have the same name";
}

/**
 * The first step from `current` to `target`. A change of voters goes through a joint
 * configuration (paper 6); one of learners or addresses alone needs none, because no majority
 * changes.
 */
export function enterMembership(current: Membership, target: MembershipTarget): Membership {
  const joint = jointMembership(current, target);
  return joint.voters.join() === joint.outgoing.join() ? leaveMembership(joint) : joint;
}

/**
 * The joint configuration between the two. Voters that become learners go on voting until it is
 * left, and are learners only then.
 */
export function jointMembership(current: Membership, target: MembershipTarget): Membership {
  const voters = [...target.voters].sort();
  const outgoing = current.voters;
  const learners = target.learners.filter((id) => !outgoing.includes(id)).sort();
  const learnersNext = target.learners.filter((id) => outgoing.includes(id)).sort();
  const nodes = { ...current.nodes, ...target.nodes };
  return withNodes({ voters, outgoing, learners, learnersNext }, nodes);
}

/** The configuration after a joint one. */
export function leaveMembership(joint: Membership): Membership {
  const learners = sortedUnion(joint.learners, joint.learnersNext);
  const next = { voters: joint.voters, outgoing: [], learners, learnersNext: [] };
  return withNodes(next, joint.nodes);
}

function withNodes(
  lists: Omit<Membership, "nodes">,
  known: Readonly<Record<ReplicaId, NodeInfo>>,
): Membership {
  const nodes: Record<ReplicaId, NodeInfo> = {};
  const members = sortedUnion(lists.voters, lists.outgoing, lists.learners, lists.learnersNext);
  for (const id of members) nodes[id] = known[id];
  return { ...lists, nodes };
}

function sortedUnion(...lists: readonly (readonly ReplicaId[])[]): ReplicaId[] {
  return [...new Set(lists.flat())].sort();
}

/** A membership as it travels and is stored: `[voters, outgoing, learners, learnersNext, nodes]`. */
export function membershipToWire(membership: Membership): Packable {
  const nodes = Object.keys(membership.nodes).sort().map((id) => {
    const node = membership.nodes[id];
    return [id, node.name, node.address];
  });
  const { voters, outgoing, learners, learnersNext } = membership;
  return [voters, outgoing, learners, learnersNext, nodes];
}

/** Reads the form of {@link membershipToWire}; throws `malformed` on anything else. */
export function membershipFromWire(wire: Packable): Membership {
  if (!Array.isArray(wire) || wire.length !== 5) throw malformed("it is not a list of five");
  const [voters, outgoing, learners, learnersNext] = wire.slice(0, 4).map(idsFromWire);
  const lists = { voters, outgoing, learners, learnersNext };
  const known = nodesFromWire(wire[4]);
  const membership = withNodes(lists, known);
  for (const id of Object.keys(membership.nodes)) {
    if (membership.nodes[id] === undefined) throw malformed(`member ${id} has no address`);
  }
  if (Object.keys(known).length !== Object.keys(membership.nodes).length) {
    throw malformed("it names a node that is no member");
  }
  const isLearner = (id: ReplicaId) => learners.includes(id);
  if (voters.some(isLearner) || outgoing.some(isLearner)) throw malformed("a voter is a learner");
  if (learnersNext.some((id) => !outgoing.includes(id) || voters.includes(id))) {
    throw malformed("a next learner is no outgoing voter");
  }
  return membership;
}

/** Data of an entry of kind `membership`. */
export function encodeMembership(membership: Membership): Uint8Array {
  return pack(membershipToWire(membership));
}

/** The membership in an entry's data; throws `malformed`. */
export function decodeMembership(data: Uint8Array): Membership {
  return membershipFromWire(unpack(data));
}

function idsFromWire(wire: Packable): ReplicaId[] {
  if (!Array.isArray(wire) || wire.length > MAX_MEMBERS) throw malformed("ids are not a list");
  for (let at = 0; at < wire.length; at += 1) {
    if (!isId(wire[at])) throw malformed("an id is not a text");
    if (at > 0 && wire[at - 1] >= wire[at]) throw malformed("ids are not sorted");
  }
  return wire as ReplicaId[];
}

/** Any short text will do, except for the one that objects do not take as a plain name. */
function isId(value: Packable): value is ReplicaId {
  return typeof value === "string" && value !== "" && value !== "__proto__";
}

function nodesFromWire(wire: Packable): Record<ReplicaId, NodeInfo> {
  if (!Array.isArray(wire) || wire.length > 4 * MAX_MEMBERS) throw malformed("nodes are no list");
  const nodes: Record<ReplicaId, NodeInfo> = {};
  for (const node of wire) {
    if (!Array.isArray(node) || node.length !== 3) throw malformed("a node is not a list of three");
    const [id, name, address] = node;
    if (!isId(id) || typeof name !== "string" || typeof address !== "string") {
      throw malformed("a node is not three texts");
    }
    if (Object.hasOwn(nodes, id)) throw malformed("a node is named twice");
    nodes[id] = { name, address };
  }
  return nodes;
}

function malformed(state: string): TrilogError {
  return new TrilogError("malformed", `Cannot decode membership: ${state}`);
}

/** The memberships of a log, newest last: each is effective from its entry on (paper 6). */
export class MembershipHistory {
  private base: Membership;
  private readonly changes: { readonly index: Index; readonly membership: Membership }[];

  constructor(
    base: Membership,
    changes: readonly { readonly index: Index; readonly membership: Membership }[],
  ) {
    this.base = base;
    this.changes = [...changes];
  }

  /** The latest membership in the log, committed or not. */
  get current(): Membership {
    return this.changes.length === 0 ? this.base : this.changes[this.changes.length - 1].membership;
  }

  /** What was in force before {@link current}. */
  get previous(): Membership {
    return this.changes.length < 2 ? this.base : this.changes[this.changes.length - 2].membership;
  }

  /** Index of the entry that set {@link current}; 0 for the base. */
  get index(): Index {
    return this.changes.length === 0 ? 0 : this.changes[this.changes.length - 1].index;
  }

  /** The newest membership at or before `commit`; index 0 for the base. */
  committedAt(commit: Index): { readonly index: Index; readonly membership: Membership } {
    const committed = this.changes.findLast(({ index }) => index <= commit);
    return committed ?? { index: 0, membership: this.base };
  }

  append(index: Index, membership: Membership): void {
    this.changes.push({ index, membership });
  }

  /** Falls back on what was in force before the entry `from`; tells whether that changed it. */
  truncate(from: Index): boolean {
    const before = this.changes.length;
    while (this.changes.length > 0 && this.index >= from) this.changes.pop();
    return this.changes.length !== before;
  }

  /** Forgets changes up to `index`: the newest of them, or `base` where given, is the new base. */
  compact(index: Index, base: Membership): void {
    while (this.changes.length > 0 && this.changes[0].index <= index) this.changes.shift();
    this.base = base;
  }
}
