/**
 * What a leader does about a node that asks for a place, and about a member that has to go. Pure,
 * so that every case can be tested. DESIGN.md has the states of a name.
 *
 * A name may have several identities for a while: the voter that holds it, and blank ones that
 * want it, of which one at most is a learner. The holder's entry is renamed to `NAME~ID` meanwhile,
 * because names are unique in a membership.
 */

import { TrilogError } from "../base/errors.ts";
import { isJoint } from "../raft/membership.ts";
import type { InviteFields } from "./invitations.ts";
import type {
  Membership,
  MembershipTarget,
  NodeInfo,
  RaftStatus,
  ReplicaId,
} from "../raft/types.ts";

/** A node that wants a place, and where it is reached. */
export interface JoinRequest {
  readonly name: string;
  readonly replicaId: ReplicaId;
  readonly address: string;
}

/** What the leader does next for a request. */
export type JoinStep =
  | { readonly kind: "nothing" }
  | { readonly kind: "refuse"; readonly error: TrilogError }
  | { readonly kind: "wait" }
  | { readonly kind: "change"; readonly target: MembershipTarget; readonly why: string };

/** What the leader knows when it plans. */
export interface JoinView {
  readonly status: RaftStatus;
  /** For how long this leader has listened and not heard a member, in milliseconds. */
  readonly silentMs: (id: ReplicaId) => number;
  readonly electionTimeoutMs: number;
  /** Silence after which a blank node at another address takes a voter's name. */
  readonly takeoverMs: number;
  /** The invitation of the name that still admits; null: there is none. */
  readonly invitation: Pick<InviteFields, "address" | "replaced"> | null;
}

/** A learner that lacks no more entries than this may vote. */
const CAUGHT_UP_ENTRIES = 64;
/** A member that was heard within this many election timeouts is alive. */
export const ALIVE_TIMEOUTS = 2;
/** Between a name and the part of an identity that marks a former holder; in no valid name. */
const MARK = "~";
const MARK_LENGTH = 8;

/** The name of a member without the mark of a former holder. */
export function plainName(name: string): string {
  const at = name.indexOf(MARK);
  return at < 0 ? name : name.slice(0, at);
}

/** What an identity is called while another one is to take its name. */
export function formerName(name: string, id: ReplicaId): string {
  return `${plainName(name)}${MARK}${id.slice(0, MARK_LENGTH)}`;
}

/** Every identity that has or had `name` and is still a member. */
export function identitiesOf({ nodes }: Pick<Membership, "nodes">, name: string): ReplicaId[] {
  return Object.keys(nodes).filter((id) => plainName(nodes[id].name) === plainName(name));
}

export function planJoin(request: JoinRequest, view: JoinView): JoinStep {
  const { membership, membershipIndex, commit } = view.status;
  if (isJoint(membership) || membershipIndex > commit) return { kind: "wait" };
  const others = identitiesOf(membership, request.name).filter((id) => id !== request.replicaId);
  if (membership.voters.includes(request.replicaId)) return planVoter(request, membership, others);
  const alive = others.find((id) => view.silentMs(id) < patienceMs(id, request, view));
  if (alive !== undefined) return refuseTaken(request, alive, view);
  if (membership.learners.includes(request.replicaId)) return planPromotion(request, view, others);
  return planLearner(request, view, others);
}

/** A voter: its address changed, or it came back while another identity was taking its name. */
function planVoter(
  request: JoinRequest,
  { voters, learners, nodes }: Membership,
  others: readonly ReplicaId[],
): JoinStep {
  const known = nodes[request.replicaId];
  const isHeld = others.some((id) => voters.includes(id) && nodes[id].name === request.name);
  const name = isHeld ? known.name : request.name;
  if (known.name === name && known.address === request.address) return { kind: "nothing" };
  const info: NodeInfo = { name, address: request.address };
  const back = known.name !== name;
  const target = {
    voters,
    learners: back ? learners.filter((id) => !others.includes(id)) : learners,
    nodes: { ...nodes, [request.replicaId]: info },
  };
  return { kind: "change", target, why: back ? "came back and keeps its name" : "address changed" };
}

/** The first step of a blank node: it learns. */
function planLearner(
  request: JoinRequest,
  view: JoinView,
  others: readonly ReplicaId[],
): JoinStep {
  const { voters, learners, nodes } = view.status.membership;
  const holders = others.filter((id) => voters.includes(id));
  const isInvited = view.invitation?.address === request.address;
  const isBack = others.some((id) => nodes[id].address === request.address);
  if (holders.length === 0 && !isInvited && !isBack) return refuseUninvited(request, view);
  const former = holders.map((id) => [id, formerHolder(nodes[id], id)]);
  const target = {
    voters,
    learners: [...learners.filter((id) => !others.includes(id)), request.replicaId],
    nodes: { ...nodes, ...Object.fromEntries(former), [request.replicaId]: infoOf(request) },
  };
  const what = holders.length === 0 ? "a new member, " : "";
  return { kind: "change", target, why: `${what}taken in as a learner` };
}

/** The second step: the learner votes, in the place of every other identity of its name. */
function planPromotion(
  request: JoinRequest,
  { status }: JoinView,
  others: readonly ReplicaId[],
): JoinStep {
  if (!hasCaughtUp(request.replicaId, status)) return { kind: "wait" };
  const { voters, learners, nodes } = status.membership;
  const leaving = [...others, request.replicaId];
  const stays = (id: ReplicaId) => !leaving.includes(id);
  const holders = others.filter((id) => voters.includes(id));
  const target = {
    voters: [...voters.filter(stays), request.replicaId],
    learners: learners.filter(stays),
    nodes: { ...nodes, [request.replicaId]: infoOf(request) },
  };
  const why = holders.length === 0 ? "a new voter" : `takes the place of ${holders.join(", ")}`;
  return { kind: "change", target, why };
}

/**
 * For how long another identity of the name must be silent. A learner never voted. A holder's own
 * address, taken by the asking process, shows that the holder's process is gone; so does a command.
 * Elsewhere the holder may be alive and cut off, or paused.
 */
function patienceMs(id: ReplicaId, request: JoinRequest, view: JoinView): number {
  const { status, electionTimeoutMs, takeoverMs, invitation } = view;
  if (id === status.id) return Infinity;
  const shortMs = electionTimeoutMs * ALIVE_TIMEOUTS;
  const { voters, nodes } = status.membership;
  const isVoter = voters.includes(id);
  const isReplaced = invitation?.address === request.address && invitation.replaced.includes(id);
  const isGone = nodes[id].address === request.address || isReplaced;
  return !isVoter || isGone ? shortMs : Math.max(shortMs, takeoverMs);
}

/** Whether a learner may vote: it lacks next to nothing. */
function hasCaughtUp(id: ReplicaId, status: RaftStatus): boolean {
  const progress = status.progress.find((other) => other.id === id);
  const lag = status.last.index - (progress?.match ?? 0);
  return progress?.state === "replicate" && lag <= CAUGHT_UP_ENTRIES;
}

function infoOf({ name, address }: JoinRequest): NodeInfo {
  return { name, address };
}

function formerHolder({ name, address }: NodeInfo, id: ReplicaId): NodeInfo {
  return { name: formerName(name, id), address };
}

function refuseTaken(request: JoinRequest, id: ReplicaId, view: JoinView): JoinStep {
  const { name, address } = request;
  const node = view.status.membership.nodes[id];
  const holder = `identity ${id} at ${node.address} has that name`;
  const silentMs = view.silentMs(id);
  const isAlive = silentMs < view.electionTimeoutMs * ALIVE_TIMEOUTS || id === view.status.id;
  const state = isAlive
    ? `${holder} and is alive`
    : `${holder}; it is silent, and is replaced after ${seconds(view.takeoverMs)} of that, or at ` +
      `once by replacing ${name} with ${name}=${address}`;
  return refuse("unavailable", `Cannot take in ${name}: ${state}`);
}

function refuseUninvited({ name, address }: JoinRequest, { invitation }: JoinView): JoinStep {
  const state = invitation === null
    ? `no member has that name; add ${name}=${address} first`
    : `it says that it is at ${address}, and it was added at ${invitation.address}`;
  return refuse("invalid_membership", `Cannot take in ${name}: ${state}`);
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1_000)} s`;
}

/**
 * The membership without all identities of a name, if those that stay can go on: a majority of
 * their voters must have answered since `askedMs`, within an election timeout. `wait` until then,
 * and while another change is under way.
 */
export function planRemoval(
  name: string,
  status: RaftStatus,
  askedMs: number,
  nowMs: number,
  electionTimeoutMs: number,
): JoinStep {
  const { membership } = status;
  if (isJoint(membership) || status.membershipIndex > status.commit) return { kind: "wait" };
  const leaving = identitiesOf(membership, name);
  if (leaving.length === 0) return refuseRemoval(name, "no member has that name");
  const stays = (id: ReplicaId) => !leaving.includes(id);
  const voters = membership.voters.filter(stays);
  if (voters.length === 0) return refuseRemoval(name, "it is the last voter");
  const alive = voters.filter((id) => {
    const heardMs = status.progress.find((progress) => progress.id === id)?.lastHeardMs ?? null;
    return id === status.id || (heardMs !== null && heardMs >= askedMs);
  });
  if (2 * alive.length <= voters.length) {
    if (nowMs < askedMs + electionTimeoutMs) return { kind: "wait" };
    const silent = voters.filter((id) => !alive.includes(id))
      .map((id) => membership.nodes[id].name).sort().join(", ");
    const state = `of the ${voters.length} voters that stay only ${alive.length} answer, ` +
      `${silent} do not`;
    return refuseRemoval(name, state);
  }
  const learners = membership.learners.filter(stays);
  return {
    kind: "change",
    target: { voters, learners, nodes: membership.nodes },
    why: "removed",
  };
}

function refuseRemoval(name: string, state: string): JoinStep {
  return refuse("invalid_membership", `Cannot remove ${name}: ${state}`);
}

function refuse(code: "unavailable" | "invalid_membership", message: string): JoinStep {
  return { kind: "refuse", error: new TrilogError(code, message) };
}
