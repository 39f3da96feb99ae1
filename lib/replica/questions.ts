/**
 * The questions of a replica that was opened: it asks every member what it acknowledged to them
 * before, and answers theirs (acknowledged.ts). A question is repeated while a member does not
 * answer, a few times: connections may have to be made first, and a member that is down remembers
 * nothing when it comes back.
 */

import { TrilogError } from "../base/errors.ts";
import type { Message, ReplicaId } from "../raft/types.ts";
import { type Acknowledged, type Claim, NO_CLAIM } from "./acknowledged.ts";
import { claimCodec, FrameKind } from "./frames.ts";
import type { Replica } from "./replica.ts";
import type { ReplicaContext } from "./replica_context.ts";

/** Time to the second question; it doubles with each one up to {@link LONGEST_PAUSE_MS}. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
const MOST_QUESTIONS = 12;

export class Questions {
  private readonly answered = new Set<ReplicaId>();
  private asked = 0;
  private nextMs = -Infinity;

  constructor(
    private readonly context: ReplicaContext,
    private readonly replica: Replica,
    private readonly acknowledged: Acknowledged,
  ) {}

  /** Asks the members that have not answered yet, from time to time. */
  tick(nowMs: number): void {
    if (this.asked >= MOST_QUESTIONS || nowMs < this.nextMs) return;
    const { group, raft } = this.replica;
    const silent = Object.keys(raft.membership.nodes).filter((id) =>
      id !== this.context.self && !this.answered.has(id)
    );
    if (silent.length === 0) return;
    this.nextMs = nowMs + Math.min(FIRST_PAUSE_MS * 2 ** this.asked, LONGEST_PAUSE_MS);
    this.asked += 1;
    for (const id of silent) this.context.sendFrame(id, group, [FrameKind.opened, null]);
  }

  /** What a member promised here, by term; zeros where there is nothing. */
  claimsOf(peer: ReplicaId): readonly Claim[] {
    const claims = this.acknowledged.of(peer);
    return claims.length > 0 ? claims : [NO_CLAIM];
  }

  /** A member asks what it promised here. */
  answer(peer: ReplicaId): void {
    for (const claim of this.claimsOf(peer)) {
      const body = [FrameKind.acknowledged, claimCodec.encode(claim)];
      this.context.sendFrame(peer, this.replica.group, body);
    }
  }

  /** A message leaves for a member. */
  sent(message: Message): void {
    this.acknowledged.sent(message);
  }

  /** A member's message arrived; if it lacks what it acknowledged, the claim goes to it unasked. */
  heard(message: Message): void {
    if (this.acknowledged.heard(message)) this.answer(message.from);
  }

  /** A member says what this replica acknowledged; throws `rolled_back` where it has forgotten. */
  take(peer: ReplicaId, claim: Claim): void {
    this.answered.add(peer);
    if (!this.acknowledged.isForgotten(claim)) return;
    const { raft, group } = this.replica;
    const { name } = raft.membership.nodes[peer] ?? { name: peer };
    const promised = claim.index === 0
      ? `it voted in term ${claim.term}`
      : `it stored entry ${claim.index} in term ${claim.term}`;
    const state = `${name} knows that ${promised}, and it was opened with less`;
    throw new TrilogError("rolled_back", `Cannot take part in ${group}: ${state}`);
  }
}
