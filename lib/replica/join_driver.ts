/**
 * The leader's side of joining: a node with a new identity is taken in as a learner, and when it
 * has caught up it takes the place of the identity that had its name before, if that one has no
 * live connection; under a name that no member has it must have been invited. A member whose
 * address changed is entered with the new one.
 */

import { record, token } from "../base/codec.ts";
import type { Clock } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Packable } from "../base/msgpack.ts";
import { isJoint } from "../raft/membership.ts";
import type { MembershipTarget, NodeInfo, RaftStatus, ReplicaId } from "../raft/types.ts";
import type { Replica } from "./replica.ts";

export const JOIN_METHOD = "node.join";

/** Who wants in, and where it is reached. */
export interface JoinRequest {
  readonly name: string;
  readonly replicaId: ReplicaId;
  readonly address: string;
}

export const joinCodec = record<JoinRequest>({ name: token, replicaId: token, address: token });

/** A learner that lacks no more entries than this may vote. */
const CAUGHT_UP_ENTRIES = 64;
/** A member that was heard within this many election timeouts is alive. */
const ALIVE_TIMEOUTS = 2;

/** An invitation that nobody took up is forgotten after this long. */
const INVITATION_MS = 10 * 60_000;

/** What the leader does next for a request; pure, so that every case can be tested. */
export type JoinStep =
  | { readonly kind: "nothing" }
  | { readonly kind: "refuse"; readonly error: TrilogError }
  | { readonly kind: "wait" }
  | { readonly kind: "change"; readonly target: MembershipTarget; readonly why: string };

/** `invitedAt`: the address under which a new name was invited; null: it was not. */
export function planJoin(
  request: JoinRequest,
  status: RaftStatus,
  nowMs: number,
  electionTimeoutMs: number,
  invitedAt: string | null = null,
): JoinStep {
  const { membership } = status;
  if (isJoint(membership)) return { kind: "wait" };
  const { voters, learners, nodes } = membership;
  const known = nodes[request.replicaId];
  const info: NodeInfo = { name: request.name, address: request.address };
  if (voters.includes(request.replicaId)) {
    if (known.address === request.address) return { kind: "nothing" };
    const target = { voters, learners, nodes: { ...nodes, [request.replicaId]: info } };
    return { kind: "change", target, why: "address changed" };
  }
  const old = Object.keys(nodes).find((id) => predecessorOf(nodes[id], request, id));
  if (old === undefined) return planNewcomer(request, status, invitedAt);
  if (isAlive(old, status, nowMs, electionTimeoutMs)) {
    const message = `Cannot take in ${request.name}: the identity that has its name is alive`;
    return { kind: "refuse", error: new TrilogError("superseded", message) };
  }
  if (!learners.includes(request.replicaId)) {
    const target = {
      voters,
      learners: [...learners, request.replicaId],
      nodes: { ...nodes, [old]: retired(nodes[old], old), [request.replicaId]: info },
    };
    return { kind: "change", target, why: "taken in as a learner" };
  }
  if (!hasCaughtUp(request.replicaId, status)) return { kind: "wait" };
  const target = {
    voters: voters.filter((id) => id !== old).concat(request.replicaId),
    learners: learners.filter((id) => id !== request.replicaId && id !== old),
    nodes: { ...nodes, [request.replicaId]: info },
  };
  return { kind: "change", target, why: `takes the place of ${old}` };
}

/** A name that no other member has or had: first a learner, then a voter more. */
function planNewcomer(
  { name, replicaId, address }: JoinRequest,
  status: RaftStatus,
  invitedAt: string | null,
): JoinStep {
  const { voters, learners, nodes: known } = status.membership;
  const nodes = { ...known, [replicaId]: { name, address } };
  if (learners.includes(replicaId)) {
    if (!hasCaughtUp(replicaId, status)) return { kind: "wait" };
    const others = learners.filter((id) => id !== replicaId);
    const target = { voters: [...voters, replicaId], learners: others, nodes };
    return { kind: "change", target, why: "a new voter" };
  }
  if (invitedAt === address) {
    const target = { voters, learners: [...learners, replicaId], nodes };
    return { kind: "change", target, why: "a new member, taken in as a learner" };
  }
  const state = invitedAt === null
    ? "no member has that name"
    : `it says that it is at ${address}, and it was added at ${invitedAt}`;
  const message = `Cannot take in ${name}: ${state}`;
  return { kind: "refuse", error: new TrilogError("invalid_membership", message) };
}

/** Whether a learner may vote: it lacks next to nothing. */
function hasCaughtUp(id: ReplicaId, status: RaftStatus): boolean {
  const progress = status.progress.find((other) => other.id === id);
  const lag = status.last.index - (progress?.match ?? 0);
  return progress?.state === "replicate" && lag <= CAUGHT_UP_ENTRIES;
}

/**
 * The membership without a member, if those that stay can go on: a majority of their voters must
 * have answered since `askedMs`, within an election timeout. `wait` until then, and while another
 * change is under way.
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
  const { nodes } = membership;
  const leaving = Object.keys(nodes).find((id) => nodes[id].name === name);
  if (leaving === undefined) return refuseRemoval(name, "no member has that name");
  const stays = (id: ReplicaId) => id !== leaving;
  const voters = membership.voters.filter(stays);
  if (voters.length === 0) return refuseRemoval(name, "it is the last voter");
  const alive = voters.filter((id) => {
    const heardMs = status.progress.find((progress) => progress.id === id)?.lastHeardMs ?? null;
    return id === status.id || (heardMs !== null && heardMs >= askedMs);
  }).length;
  if (2 * alive <= voters.length) {
    if (nowMs < askedMs + electionTimeoutMs) return { kind: "wait" };
    const state = `of the ${voters.length} voters that stay only ${alive} answer`;
    return refuseRemoval(name, state);
  }
  const target = { voters, learners: membership.learners.filter(stays), nodes };
  return { kind: "change", target, why: "removed" };
}

function refuseRemoval(name: string, state: string): JoinStep {
  const message = `Cannot remove ${name}: ${state}`;
  return { kind: "refuse", error: new TrilogError("invalid_membership", message) };
}

/** Names are unique among members: while both identities are, the old one's says that it goes. */
function retired(node: NodeInfo, id: ReplicaId): NodeInfo {
  return { name: retiredName(node.name, id), address: node.address };
}

function retiredName(name: string, id: ReplicaId): string {
  return name.includes("~") ? name : `${name}~${id.slice(0, 4)}`;
}

function predecessorOf(node: NodeInfo, request: JoinRequest, id: ReplicaId): boolean {
  if (id === request.replicaId) return false;
  return node.name === request.name || node.name === retiredName(request.name, id);
}

function isAlive(
  id: ReplicaId,
  status: RaftStatus,
  nowMs: number,
  electionTimeoutMs: number,
): boolean {
  if (id === status.id) return true;
  const heardMs = status.progress.find((progress) => progress.id === id)?.lastHeardMs ?? null;
  return heardMs !== null && nowMs - heardMs < electionTimeoutMs * ALIVE_TIMEOUTS;
}

/** Carries requests out one after another for as long as this node leads. */
export class JoinDriver {
  private readonly requests = new Map<string, JoinRequest>();
  /** Names that no member has yet, to be taken in when they ask at that address. */
  private readonly invitations = new Map<string, { address: string; untilMs: number }>();
  /** Members to be removed, and when they were named: who is alive answers after that. */
  private readonly removals = new Map<string, number>();
  private changing = false;

  constructor(
    private readonly options: {
      readonly clock: Clock;
      readonly logger: Logger;
      readonly electionTimeoutMs: number;
      readonly replica: () => Replica | null;
    },
  ) {}

  /**
   * Serves {@link JOIN_METHOD} on any member. Answers null when this node is the leader and has
   * noted the request; throws `not_leader` with the leader's address, or the refusal.
   */
  request(params: Packable): Packable {
    const request = joinCodec.decode(params, "join request");
    const replica = this.options.replica();
    if (replica === null || !replica.isLeader) {
      throw new TrilogError("not_leader", `Cannot take in ${request.name}: not the leader`, {
        leader: replica?.leaderAddress(),
      });
    }
    if (replica.resting) {
      wake(replica);
      const message = `Cannot take in ${request.name} yet: the group was at rest`;
      throw new TrilogError("unavailable", message);
    }
    const step = this.plan(request, replica);
    if (step.kind === "refuse") throw step.error;
    this.requests.set(request.name, request);
    return null;
  }

  /** Lets a node with a new name in when it asks; this leader remembers it for ten minutes. */
  invite({ name, address }: NodeInfo): void {
    const untilMs = this.options.clock.monotonicMs() + INVITATION_MS;
    this.invitations.set(name, { address, untilMs });
  }

  /** Takes one step of removing a member; throws the refusal. */
  remove(name: string, replica: Replica): void {
    this.invitations.delete(name);
    this.requests.delete(name);
    if (this.changing) return;
    const nowMs = this.options.clock.monotonicMs();
    const { electionTimeoutMs } = this.options;
    const earlierMs = this.removals.get(name) ?? -Infinity;
    const asked = nowMs < earlierMs + 2 * electionTimeoutMs;
    const askedMs = asked ? earlierMs : nowMs;
    if (!asked) {
      this.removals.set(name, askedMs);
      wake(replica);
    }
    const step = planRemoval(name, replica.status(), askedMs, nowMs, electionTimeoutMs);
    if (step.kind === "wait") return;
    this.removals.delete(name);
    if (step.kind === "refuse") throw step.error;
    if (step.kind === "change") this.change(replica, step.target, name, step.why);
  }

  /** Takes the next step of every request; call it a few times a second. */
  tick(): void {
    const replica = this.options.replica();
    if (replica === null || !replica.isLeader) {
      this.requests.clear();
      this.invitations.clear();
      this.removals.clear();
      return;
    }
    for (const [name, request] of this.requests) {
      if (this.changing) return;
      const step = this.plan(request, replica);
      if (step.kind === "nothing" || step.kind === "refuse") this.requests.delete(name);
      else if (step.kind === "change") this.change(replica, step.target, name, step.why);
    }
  }

  private plan(request: JoinRequest, replica: Replica): JoinStep {
    const nowMs = this.options.clock.monotonicMs();
    const { electionTimeoutMs } = this.options;
    const invitation = this.invitations.get(request.name);
    const invitedAt = invitation !== undefined && nowMs < invitation.untilMs
      ? invitation.address
      : null;
    return planJoin(request, replica.status(), nowMs, electionTimeoutMs, invitedAt);
  }

  private change(replica: Replica, target: MembershipTarget, name: string, why: string): void {
    this.changing = true;
    this.options.logger.info("changing the membership", { node: name, why });
    replica.changeMembers(target).catch((error) => {
      this.options.logger.warn("membership change failed", { node: name, error: String(error) });
    }).finally(() => {
      this.changing = false;
    });
  }
}

/** In a group at rest nobody answers anybody: a read has everybody speak again. */
function wake(replica: Replica): void {
  replica.readBarrier().catch(() => {});
}
