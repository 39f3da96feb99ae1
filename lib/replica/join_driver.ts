/**
 * The leader's side of joining: it takes the requests of nodes that want a place or have moved, and
 * carries out one membership change after another, as `join_plan.ts` decides.
 */

import { binary, record, token } from "../base/codec.ts";
import type { Clock } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Packable } from "../base/msgpack.ts";
import { encodeMembership } from "../raft/membership.ts";
import type { MembershipTarget, RaftStatus, ReplicaId } from "../raft/types.ts";
import type { Invitations } from "./invitations.ts";
import {
  ALIVE_TIMEOUTS,
  type JoinRequest,
  type JoinStep,
  planJoin,
  planRemoval,
} from "./join_plan.ts";
import type { Replica } from "./replica.ts";

export const JOIN_METHOD = "node.join";

/** The members as the leader knows them: the one that asks must be able to answer them. */
export const joinAnswerCodec = record({ membership: binary });

export const joinCodec = record<JoinRequest>({ name: token, replicaId: token, address: token });

export interface JoinDriverOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly electionTimeoutMs: number;
  /** See `JoinView`. */
  readonly takeoverMs: number;
  readonly replica: () => Replica | null;
  readonly invitations: () => Invitations;
}

/** Carries requests out one after another for as long as this node leads. */
export class JoinDriver {
  private readonly requests = new Map<string, JoinRequest>();
  /** Members to be removed, and when they were named: an answer after that is a sign of life. */
  private readonly removals = new Map<string, number>();
  private changing = false;

  constructor(private readonly options: JoinDriverOptions) {}

  /**
   * Serves {@link JOIN_METHOD} on any member. Answers the membership when this node is the leader
   * and has noted the request; throws `not_leader` with the leader's address, or the refusal.
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
    // A node that hears that its request was taken belongs to the cluster for good.
    const isMember = replica.raft.membership.nodes[request.replicaId] !== undefined;
    if (step.kind === "wait" && !isMember) {
      const message = `Cannot take in ${request.name} yet: the members are changing`;
      throw new TrilogError("unavailable", message);
    }
    this.requests.set(request.name, request);
    return joinAnswerCodec.encode({ membership: encodeMembership(replica.raft.membership) });
  }

  /** Whether one of these identities may be alive: it was heard, or could not be heard, lately. */
  isAlive(ids: readonly ReplicaId[], replica: Replica): boolean {
    if (replica.resting) {
      wake(replica);
      return true;
    }
    const status = replica.status();
    const aliveMs = ALIVE_TIMEOUTS * this.options.electionTimeoutMs;
    return ids.some((id) => id === status.id || this.silentMs(id, status, replica) < aliveMs);
  }

  /** Takes one step of removing a member; throws the refusal. */
  remove(name: string, replica: Replica): void {
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
    const { electionTimeoutMs, takeoverMs, invitations } = this.options;
    const status = replica.status();
    return planJoin(request, {
      status,
      silentMs: (id) => this.silentMs(id, status, replica),
      electionTimeoutMs,
      takeoverMs,
      invitation: invitations().valid(request.name, replica.raft.lastTimeMs) ?? null,
    });
  }

  /** Silence counts from when this leader began to listen: in a group at rest no member speaks. */
  private silentMs(id: ReplicaId, status: RaftStatus, replica: Replica): number {
    const progress = status.progress.find((other) => other.id === id);
    const sinceMs = Math.max(
      progress?.lastHeardMs ?? 0,
      progress?.sinceMs ?? 0,
      replica.awakeSinceMs,
    );
    return this.options.clock.monotonicMs() - sinceMs;
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

/** In a group at rest no member answers another: a read has all of them speak again. */
function wake(replica: Replica): void {
  replica.readBarrier().catch(() => {});
}
