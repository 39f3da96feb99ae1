/**
 * Adding, replacing and removing members while everything runs. Any node takes the request and
 * hands it to the leader, which carries it out one membership change after another
 * (`join_driver.ts`).
 */

import { type Clock, sleep } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Call } from "../net/rpc.ts";
import type { Caller } from "../net/rpc_client.ts";
import { isJoint } from "../raft/membership.ts";
import type { NodeInfo, RaftStatus, ReplicaId } from "../raft/types.ts";
import {
  type Invitations,
  inviteContent,
  type InviteFields,
  revokeContent,
} from "./invitations.ts";
import type { JoinDriver } from "./join_driver.ts";
import { identitiesOf } from "./join_plan.ts";
import {
  MEMBER_METHOD,
  type MemberChange,
  memberChangeCodec,
  type MemberState,
  memberStateCodec,
} from "./node_protocol.ts";
import type { Replica } from "./replica.ts";
import { invitationCommand } from "./sessions.ts";

export interface MemberServiceOptions {
  readonly clock: Clock;
  readonly caller: Caller;
  readonly joins: JoinDriver;
  /** The group's invitations as applied here. */
  readonly invitations: () => Invitations;
  /** The group's replica here; null while the node has not joined a cluster yet. */
  readonly replica: () => Replica | null;
  /** Address to dial for a member of the group. */
  readonly addressOf: (id: ReplicaId) => string | undefined;
  /** Hands leadership to another member. */
  readonly handOver: () => void;
}

/** Pause between two looks at what became of a change. */
const LOOK_MS = 25;
/** An invitation that ends sooner is renewed. */
const RENEW_MS = 5 * 60_000;
/** Left of a call's time for the way back. */
const WAY_MS = 100;

export class MemberService {
  constructor(private readonly options: MemberServiceOptions) {}

  /** Serves {@link MEMBER_METHOD}. */
  async serve(params: Packable, { signal }: Pick<Call, "signal">): Promise<Packable> {
    const { deadlineMs, ...change } = memberChangeCodec.decode(params, "member change");
    return memberStateCodec.encode(await this.change(change, deadlineMs, signal));
  }

  /**
   * Adds, replaces or removes a member; resolves with what became of it by then. Repeating it is harmless.
   * Throws `invalid_membership`, or `unavailable` when no leader carried it out in time; a removal
   * may take effect after that. Once `signal` is aborted nothing more is tried: its caller has
   * gone, and may have asked elsewhere and been refused.
   */
  async change(
    change: MemberChange,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<MemberState> {
    const endMs = this.options.clock.monotonicMs() + timeoutMs;
    const wasMember = this.identities(change.name).length > 0;
    let last: TrilogError | null = null;
    while (true) {
      const leftMs = endMs - this.options.clock.monotonicMs();
      if (signal?.aborted) throw unavailable(change, "its caller has gone");
      try {
        const state = await this.attempt(change, leftMs, signal);
        if (state === "voter" || state === "removed") return state;
        if (leftMs <= LOOK_MS && state !== null) return state;
      } catch (thrown) {
        last = toTrilogError(thrown);
        if (!last.retryable) {
          const gone = change.action === "remove" && wasMember && this.isGone(change.name);
          if (gone) return "removed";
          throw last;
        }
      }
      if (leftMs <= LOOK_MS) throw lastRefusal(change, last);
      await sleep(this.options.clock, LOOK_MS);
    }
  }

  /** One step on the leader, or all of it where the leader is another node; null: it goes on. */
  private async attempt(
    change: MemberChange,
    leftMs: number,
    signal: AbortSignal | undefined,
  ): Promise<MemberState | null> {
    const replica = this.options.replica();
    if (replica === null) throw unavailable(change, "this node has not joined a cluster yet");
    if (!replica.isLeader) return await this.forward(change, replica, leftMs, signal);
    if (change.action === "remove") return await this.remove(change.name, replica);
    const { name, address, replaces } = change;
    if (address === null) throw refused(change, "its address is missing");
    if (change.action === "add") return await this.add(change, { name, address }, replica);
    if (replaces === null) throw refused(change, "the member that it replaces is missing");
    return await this.replace(change, { name, address, replaces }, replica);
  }

  private async forward(
    change: MemberChange,
    replica: Replica,
    leftMs: number,
    signal: AbortSignal | undefined,
  ): Promise<MemberState> {
    const id = replica.raft.leader;
    const leader = id === null ? undefined : this.options.addressOf(id);
    if (leader === undefined) throw unavailable(change, "no leader is known");
    const deadlineMs = Math.max(1, Math.floor(leftMs - WAY_MS));
    const params = memberChangeCodec.encode({ ...change, deadlineMs });
    const { caller } = this.options;
    const answer = await caller.call(leader, MEMBER_METHOD, params, {
      deadlineMs: deadlineMs + WAY_MS,
      signal,
    });
    return memberStateCodec.decode(answer, "member state");
  }

  private async add(
    change: MemberChange,
    { name, address }: NodeInfo,
    replica: Replica,
  ): Promise<MemberState> {
    const [id] = this.identities(name);
    if (id !== undefined) {
      const known = replica.raft.membership.nodes[id].address;
      if (known === address) return stateOf(id, replica.status());
      const state = `a member at ${known} has that name; replace ${name} with ${name}=${address} ` +
        "where it is dead";
      throw refused(change, state);
    }
    await this.invite({ name, address, replaces: null, replaced: [] }, replica);
    return "invited";
  }

  /** The invitation's record distinguishes a repeat from a new command. */
  private async replace(
    change: MemberChange,
    { name, address, replaces }: NodeInfo & { readonly replaces: string },
    replica: Replica,
  ): Promise<MemberState> {
    const record = this.options.invitations().get(name);
    const isFormer = (id: ReplicaId) => record?.replaced.includes(id) === true;
    const { nodes } = replica.raft.membership;
    const old = this.identities(replaces);
    const isDone = name === replaces && old.every((id) => nodes[id].address === address);
    const isRepeat = record?.address === address && record.replaces === replaces &&
      (old.every(isFormer) || isDone);
    const joined = this.identities(name).find((id) => !isFormer(id));
    if (isRepeat && joined !== undefined) return stateOf(joined, replica.status());
    if (isRepeat) {
      await this.invite(record, replica);
      return "invited";
    }
    if (old.length === 0) {
      const members = Object.values(nodes).map((node) => node.name).sort().join(", ");
      throw refused(change, `there is no member ${replaces}; the members are ${members}`);
    }
    if (name !== replaces && this.identities(name).length > 0) {
      throw refused(change, `${name} is a member already`);
    }
    if (name === replaces && this.options.joins.isAlive(old, replica)) {
      throw unavailable(change, `${name} is alive; stop it first`);
    }
    await this.invite({ name, address, replaces, replaced: old }, replica);
    return "invited";
  }

  /** Has an invitation replicated unless there is one that admits for a while. */
  private async invite(fields: InviteFields, replica: Replica): Promise<void> {
    const valid = this.options.invitations()
      .valid(fields.name, replica.raft.lastTimeMs, RENEW_MS);
    const same = valid?.address === fields.address && valid.replaces === fields.replaces &&
      fields.replaced.every((id) => valid.replaced.includes(id));
    if (!same) await this.propose(inviteContent(fields), replica);
  }

  /** Repeated without harm, so an unknown outcome is none. */
  private async propose(content: Uint8Array, replica: Replica): Promise<void> {
    try {
      await replica.propose(invitationCommand(content));
    } catch (thrown) {
      const { message } = toTrilogError(thrown);
      throw new TrilogError("unavailable", message, { cause: thrown });
    }
  }

  private async remove(name: string, replica: Replica): Promise<MemberState | null> {
    const ids = this.identities(name);
    if (ids.length === 0) {
      if (!isSettled(replica.status())) return null;
      if (this.options.invitations().get(name) !== undefined) {
        // Else the node would be taken in again as long as its invitation lasts.
        await this.propose(revokeContent(name), replica);
        return "removed";
      }
    }
    if (ids.includes(replica.status().id) && replica.raft.membership.voters.length > 1) {
      // A leader does not remove itself: the others could not learn how it ended.
      this.options.handOver();
      return null;
    }
    this.options.joins.remove(name, replica);
    return null;
  }

  private identities(name: string): readonly ReplicaId[] {
    const replica = this.options.replica();
    return replica === null ? [] : identitiesOf(replica.raft.membership, name);
  }

  private isGone(name: string): boolean {
    const replica = this.options.replica();
    return replica !== null && isSettled(replica.status()) &&
      this.identities(name).length === 0;
  }
}

/** Whether the membership in force is committed and final. */
function isSettled({ membership, membershipIndex, commit }: RaftStatus): boolean {
  return !isJoint(membership) && membershipIndex <= commit;
}

function stateOf(id: ReplicaId, status: RaftStatus): MemberState {
  return isSettled(status) && status.membership.voters.includes(id) ? "voter" : "learner";
}

function refused(change: MemberChange, state: string): TrilogError {
  return new TrilogError("invalid_membership", `Cannot ${actOf(change)}: ${state}`);
}

/** `replace a2 with a4`, to follow "Cannot". */
function actOf({ action, name, replaces }: MemberChange): string {
  return action === "replace" ? `replace ${replaces} with ${name}` : `${action} ${name}`;
}

/** Why the time was up. */
function lastRefusal(change: MemberChange, last: TrilogError | null): TrilogError {
  if (last === null) return unavailable(change, "it goes on");
  const isOwn = last.message.startsWith(`Cannot ${actOf(change)}: `);
  return isOwn ? last : unavailable(change, last.message);
}

function unavailable(change: MemberChange, state: string): TrilogError {
  return new TrilogError("unavailable", `Cannot ${actOf(change)}: ${state}`);
}
