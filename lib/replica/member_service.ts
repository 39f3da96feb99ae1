/**
 * Adding and removing members while everything runs. Any node takes the request and hands it to
 * the leader, which carries it out one membership change after another (`join_driver.ts`).
 */

import { type Clock, sleep } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Caller } from "../net/rpc_client.ts";
import { isJoint } from "../raft/membership.ts";
import type { RaftStatus, ReplicaId } from "../raft/types.ts";
import type { JoinDriver } from "./join_driver.ts";
import {
  MEMBER_METHOD,
  type MemberChange,
  memberChangeCodec,
  type MemberState,
  memberStateCodec,
} from "./node_protocol.ts";
import type { Replica } from "./replica.ts";

export interface MemberServiceOptions {
  readonly clock: Clock;
  readonly caller: Caller;
  readonly joins: JoinDriver;
  /** The group's replica here; null while the node has not joined a cluster yet. */
  readonly replica: () => Replica | null;
  /** Address to dial for a member of the group. */
  readonly addressOf: (id: ReplicaId) => string | undefined;
  /** Hands leadership to another member. */
  readonly handOver: () => void;
}

/** Pause between two looks at what became of a change. */
const LOOK_MS = 25;
/** Left of a call's time for the way back. */
const WAY_MS = 100;

export class MemberService {
  constructor(private readonly options: MemberServiceOptions) {}

  /** Serves {@link MEMBER_METHOD}. */
  async serve(params: Packable): Promise<Packable> {
    const { deadlineMs, ...change } = memberChangeCodec.decode(params, "member change");
    return memberStateCodec.encode(await this.change(change, deadlineMs));
  }

  /**
   * Adds or removes a member; resolves with what became of it by then. Repeating it is harmless.
   * Throws `invalid_membership`, or `unavailable` when no leader carried it out in time; a removal
   * may take effect after that.
   */
  async change(change: MemberChange, timeoutMs: number): Promise<MemberState> {
    const endMs = this.options.clock.monotonicMs() + timeoutMs;
    const wasMember = this.memberOf(change.name) !== null;
    let last: TrilogError | null = null;
    while (true) {
      const leftMs = endMs - this.options.clock.monotonicMs();
      try {
        const state = await this.attempt(change, leftMs);
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
      if (leftMs <= LOOK_MS) throw unavailable(change, last?.message ?? "it goes on");
      await sleep(this.options.clock, LOOK_MS);
    }
  }

  /** One step on the leader, or all of it where the leader is another node; null: it goes on. */
  private async attempt(change: MemberChange, leftMs: number): Promise<MemberState | null> {
    const replica = this.options.replica();
    if (replica === null) throw unavailable(change, "this node has not joined a cluster yet");
    if (!replica.isLeader) return await this.forward(change, replica, leftMs);
    return change.action === "add" ? this.add(change, replica) : this.remove(change.name, replica);
  }

  private async forward(
    change: MemberChange,
    replica: Replica,
    leftMs: number,
  ): Promise<MemberState> {
    const id = replica.raft.leader;
    const leader = id === null ? undefined : this.options.addressOf(id);
    if (leader === undefined) throw unavailable(change, "no leader is known");
    const deadlineMs = Math.max(1, Math.floor(leftMs - WAY_MS));
    const params = memberChangeCodec.encode({ ...change, deadlineMs });
    const { caller } = this.options;
    const answer = await caller.call(leader, MEMBER_METHOD, params, {
      deadlineMs: deadlineMs + WAY_MS,
    });
    return memberStateCodec.decode(answer, "member state");
  }

  private add({ name, address }: MemberChange, replica: Replica): MemberState {
    if (address === null) {
      throw new TrilogError("invalid_membership", `Cannot add ${name}: its address is missing`);
    }
    const status = replica.status();
    const id = this.memberOf(name);
    if (id === null) {
      this.options.joins.invite({ name, address });
      return "invited";
    }
    const known = status.membership.nodes[id].address;
    if (known !== address) {
      const message = `Cannot add ${name}: a member at ${known} has that name`;
      throw new TrilogError("invalid_membership", message);
    }
    return isSettled(status) && status.membership.voters.includes(id) ? "voter" : "learner";
  }

  private remove(name: string, replica: Replica): MemberState | null {
    const id = this.memberOf(name);
    if (id === null && !isSettled(replica.status())) return null;
    if (id === replica.status().id && replica.raft.membership.voters.length > 1) {
      // A leader does not remove itself: the others could not tell how it ended.
      this.options.handOver();
      return null;
    }
    this.options.joins.remove(name, replica);
    return this.isGone(name) ? "removed" : null;
  }

  private memberOf(name: string): ReplicaId | null {
    const nodes = this.options.replica()?.raft.membership.nodes ?? {};
    return Object.keys(nodes).find((id) => nodes[id].name === name) ?? null;
  }

  private isGone(name: string): boolean {
    const replica = this.options.replica();
    return replica !== null && isSettled(replica.status()) && this.memberOf(name) === null;
  }
}

/** Whether the membership in force is committed and final. */
function isSettled({ membership, membershipIndex, commit }: RaftStatus): boolean {
  return !isJoint(membership) && membershipIndex <= commit;
}

function unavailable({ action, name }: MemberChange, state: string): TrilogError {
  return new TrilogError("unavailable", `Cannot ${action} ${name}: ${state}`);
}
