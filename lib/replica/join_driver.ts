/**
 * The leader's side of joining: a node with a new identity is taken in as a learner, and when it
 * has caught up it takes the place of the identity that had its name before, if that one has no
 * live connection. A member whose address changed is entered with the new one.
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

/** What the leader does next for a request; pure, so that every case can be tested. */
export type JoinStep =
  | { readonly kind: "nothing" }
  | { readonly kind: "refuse"; readonly error: TrilogError }
  | { readonly kind: "wait" }
  | { readonly kind: "change"; readonly target: MembershipTarget; readonly why: string };

export function planJoin(
  request: JoinRequest,
  status: RaftStatus,
  nowMs: number,
  electionTimeoutMs: number,
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
  if (old === undefined) {
    const message = `Cannot take in ${request.name}: no member has that name`;
    return { kind: "refuse", error: new TrilogError("invalid_membership", message) };
  }
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
  const progress = status.progress.find(({ id }) => id === request.replicaId);
  const lag = status.last.index - (progress?.match ?? 0);
  if (progress?.state !== "replicate" || lag > CAUGHT_UP_ENTRIES) return { kind: "wait" };
  const target = {
    voters: voters.filter((id) => id !== old).concat(request.replicaId),
    learners: learners.filter((id) => id !== request.replicaId && id !== old),
    nodes: { ...nodes, [request.replicaId]: info },
  };
  return { kind: "change", target, why: `takes the place of ${old}` };
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
    const step = this.plan(request, replica);
    if (step.kind === "refuse") throw step.error;
    this.requests.set(request.name, request);
    return null;
  }

  /** Takes the next step of every request; call it a few times a second. */
  tick(): void {
    const replica = this.options.replica();
    if (replica === null || !replica.isLeader) {
      this.requests.clear();
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
    return planJoin(request, replica.status(), nowMs, this.options.electionTimeoutMs);
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
