/**
 * The state that all parts of the core act on, what they have to say since the last Ready, and
 * the one transition that every part may need: to follower. Nobody outside this folder touches it.
 */

import type { Random } from "../base/prng.ts";
import { Durability } from "./durability.ts";
import { Log } from "./log.ts";
import { isVoter, MembershipHistory } from "./membership.ts";
import { Progress } from "./progress.ts";
import { failReads, Reads } from "./reads.ts";
import { Rounds } from "./rounds.ts";
import type {
  Entry,
  Fetch,
  HardState,
  Index,
  InitialState,
  Membership,
  Message,
  Outcome,
  RaftOptions,
  RejectReason,
  ReplicaId,
  Role,
  SnapshotMeta,
  Term,
} from "./types.ts";

/** What the parts have produced since the last Ready. */
export interface Outbox {
  messages: Message[];
  messagesAfterSync: Message[];
  outcomes: Outcome[];
  fetches: Fetch[];
  snapshotsToSend: ReplicaId[];
  snapshot: SnapshotMeta | null;
}

export function emptyOutbox(): Outbox {
  return {
    messages: [],
    messagesAfterSync: [],
    outcomes: [],
    fetches: [],
    snapshotsToSend: [],
    snapshot: null,
  };
}

/** A leadership transfer under way (thesis 3.10). */
export interface Transfer {
  readonly to: ReplicaId;
  /** When it is given up. */
  readonly deadlineMs: number;
  /** Whether the target was told to campaign. */
  told: boolean;
}

/** What only a leader has; made afresh for each term. */
export class Leadership {
  /** Everybody else in the membership. */
  readonly progress: Map<ReplicaId, Progress> = new Map();
  readonly rounds: Rounds = new Rounds();
  /** Index of its own no-op: until that is committed it answers no read and changes no member. */
  readonly noop: Index;
  heartbeatDueMs: number;
  /** Check-quorum does not look back beyond this moment. */
  watchedFromMs: number;
  /** Bytes of entries in memory that are not yet committed. */
  uncommittedBytes = 0;
  transfer: Transfer | null = null;
  /** Old leaders' leases may last until then: nothing is committed before. */
  readonly leaseWaitUntilMs: number;
  /** A transfer gave the lease up, for the rest of the term. */
  leaseGivenUp = false;
  /** A member was added: what is sent to it belongs to a round of its own. */
  roundWanted = false;
  /** Something may have to be sent to followers. */
  sendPending = true;

  constructor(noop: Index, nowMs: number, leaseWaitUntilMs: number) {
    this.noop = noop;
    this.heartbeatDueMs = nowMs;
    this.watchedFromMs = nowMs;
    this.leaseWaitUntilMs = leaseWaitUntilMs;
  }
}

export class Core {
  readonly options: RaftOptions;
  readonly id: ReplicaId;
  readonly random: Random;
  readonly log: Log;
  readonly memberships: MembershipHistory;
  readonly durability: Durability;
  readonly reads: Reads;

  role: Role = "follower";
  term: Term;
  vote: ReplicaId | null;
  leader: ReplicaId | null = null;
  /** Set exactly while the role is leader. */
  leadership: Leadership | null = null;

  /** The time of the step under way. */
  nowMs = 0;
  started = false;
  electionDeadlineMs = 0;
  /** Added to timeouts while the host is short of running time. */
  patienceMs = 0;
  /** When the present leader was last heard; minus infinity: there is no reason to wait for it. */
  leaderContactMs = -Infinity;
  /** The last leader's process is most likely dead: campaign soon and retry soon. */
  hinted = false;
  /** Quick campaigns since the hint, for the backoff. */
  hintedCampaigns = 0;
  /** A committed membership leaves this node out, as another node said: no campaigns. */
  removed = false;
  /** Until when a leader may rely on this node not to help another (leases). */
  owedLeaseUntilMs = 0;

  /** Answers to the campaign under way; a set of ids, so none counts twice. */
  readonly votes: Map<ReplicaId, boolean> = new Map();
  /** The campaign under way is the old leader's own wish. */
  campaignTransfer = false;
  /** Latest end of a lease that the granting voters owe. */
  votesLeaseUntilMs = 0;

  out: Outbox = emptyOutbox();
  /** The hard state as last handed to storage. */
  stored: HardState;
  /** For whom a fetch of old entries is under way; this node itself: to apply them. */
  readonly fetching: Set<ReplicaId> = new Set();
  /** Old entries fetched to be applied here. */
  fetchedSelf: readonly Entry[] = [];

  /** `quorumValue` arguments, made once so that counting allocates nothing. */
  readonly matchOf = (id: ReplicaId): number =>
    id === this.id ? this.durability.index : this.leadership!.progress.get(id)?.match ?? 0;
  readonly roundOf = (id: ReplicaId): number =>
    id === this.id ? this.leadership!.rounds.latest : this.leadership!.progress.get(id)?.round ?? 0;
  /** When the latest answered round was sent. */
  readonly contactOf = (id: ReplicaId): number =>
    id === this.id ? this.nowMs : this.leadership!.progress.get(id)?.roundSentMs ?? -Infinity;
  /** The same, but a replica that could not yet answer counts from when it was added. */
  readonly graceContactOf = (id: ReplicaId): number => {
    if (id === this.id) return this.nowMs;
    const progress = this.leadership!.progress.get(id);
    return progress === undefined ? -Infinity : Math.max(progress.roundSentMs, progress.sinceMs);
  };

  constructor(options: RaftOptions, initial: InitialState, random: Random) {
    const { hardState } = initial;
    this.options = options;
    this.id = options.id;
    this.random = random;
    this.log = new Log(initial);
    this.memberships = new MembershipHistory(initial.baseMembership, initial.memberships);
    this.durability = new Durability(initial.last.index, hardState.term, hardState.vote);
    this.reads = new Reads(random);
    this.term = hardState.term;
    this.vote = hardState.vote;
    this.stored = hardState;
  }

  get membership(): Membership {
    return this.memberships.current;
  }

  get isVoter(): boolean {
    return isVoter(this.membership, this.id);
  }

  /**
   * Whether this node may campaign: as a voter, or where its log ends with a membership that is
   * not known to be committed and takes its vote away. The others may not have that entry, and
   * then cannot win against a longer log: this node must lead until it is committed, without
   * counting itself (thesis 4.2.2).
   */
  get mayCampaign(): boolean {
    if (this.removed) return false;
    return this.isVoter ||
      (this.memberships.index > this.log.commit && isVoter(this.memberships.previous, this.id));
  }

  /** May leave at once. */
  send(message: Message): void {
    this.out.messages.push(message);
  }

  /** Leaves when everything decided so far is durable. */
  sendAfterSync(message: Message): void {
    this.out.messagesAfterSync.push(message);
  }

  reject(requestId: number, reason: RejectReason): void {
    this.out.outcomes.push({ kind: "rejected", requestId, reason, leader: this.leader });
  }

  /** A new election timeout, at random in [t, 2t) (paper 5.2). */
  resetElectionTimer(): void {
    const timeout = this.options.electionTimeoutMs;
    this.electionDeadlineMs = this.nowMs + timeout + this.random.next() * timeout;
  }

  /**
   * Follows `leader`, or nobody yet, in `term`. A vote given in the present term stays given:
   * stepping down within it must not free it (paper 5.2, at most one vote per term).
   */
  becomeFollower(term: Term, leader: ReplicaId | null): void {
    const moved = term > this.term;
    if (moved) {
      this.term = term;
      this.vote = null;
    }
    const led = this.role === "leader";
    const changedLeader = this.leader !== leader;
    this.role = "follower";
    this.leader = leader;
    if (changedLeader || moved) failReads(this);
    this.leadership = null;
    this.votes.clear();
    if (led || leader !== null) this.endHint();
    if (leader !== null) this.heardLeader();
    else if (led) this.resetElectionTimer();
    if (led || (moved && leader === null)) this.leaderContactMs = -Infinity;
  }

  /** The present leader spoke: no election is wanted for a while. */
  heardLeader(): void {
    this.removed = false;
    this.leaderContactMs = this.nowMs;
    this.endHint();
    this.resetElectionTimer();
  }

  endHint(): void {
    this.hinted = false;
    this.hintedCampaigns = 0;
  }

  /** Takes a membership into use: from its append on, not its commit (paper 6). */
  membershipChanged(): void {
    const leadership = this.leadership;
    if (leadership === null) return;
    const { voters, outgoing, learners } = this.membership;
    const members = new Set([...voters, ...outgoing, ...learners]);
    members.delete(this.id);
    for (const id of leadership.progress.keys()) {
      if (!members.has(id)) leadership.progress.delete(id);
    }
    for (const id of members) {
      if (leadership.progress.has(id)) continue;
      const sinceRound = leadership.rounds.latest + 1;
      const progress = new Progress(id, this.log.last.index + 1, this.nowMs, sinceRound);
      leadership.progress.set(id, progress);
      leadership.roundWanted = true;
    }
  }
}
