/**
 * The words of the Raft core and its one seam: inputs in, {@link Ready} out. "Paper" is Ongaro and
 * Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended version); "thesis" is
 * Ongaro's dissertation of 2014.
 */

/** Identity of one replica: the random id of its data directory (16 hexadecimal digits). */
export type ReplicaId = string;

/** Paper 5.1: terms number elections, from 1; 0 is before the first. Below 2^53. */
export type Term = number;

/** Position in the log, from 1; 0 is before the first entry. Below 2^53. */
export type Index = number;

/** Names an entry: two logs that hold the same log id hold the same prefix (paper 5.3). */
export interface LogId {
  readonly index: Index;
  readonly term: Term;
}

/** What an entry's data means. The numbers are stored and sent: never reuse one. */
export const EntryKind = {
  /** Appended by every new leader (paper 8); `data` is empty. */
  noop: 0,
  /** A command of the state machine; `data` is its own. */
  command: 1,
  /** A membership, effective as soon as it is in the log (paper 6). */
  membership: 2,
} as const;
export type EntryKind = typeof EntryKind[keyof typeof EntryKind];

export interface Entry {
  readonly index: Index;
  readonly term: Term;
  readonly kind: EntryKind;
  /**
   * Milliseconds since 1970 stamped by the leader that appended it: its own clock, or the previous
   * entry's time where that is later. Never goes back along a log.
   */
  readonly timeMs: number;
  readonly data: Uint8Array;
}

/** Who a replica is to people and to the network. */
export interface NodeInfo {
  /** Node name such as `a1`: unique among the members, kept when a node's identity changes. */
  readonly name: string;
  /** `host:port` that others dial. */
  readonly address: string;
}

/**
 * A configuration (paper 6, thesis 4.3). All lists are sorted and without duplicates. Joint while
 * `outgoing` is not empty: then decisions need a majority of `voters` and one of `outgoing`.
 */
export interface Membership {
  readonly voters: readonly ReplicaId[];
  /** Voters of the old configuration while a change is under way; else empty. */
  readonly outgoing: readonly ReplicaId[];
  /** Receive entries, never count and never campaign. Disjoint from voters and outgoing. */
  readonly learners: readonly ReplicaId[];
  /** Outgoing voters that become learners when the joint configuration is left. */
  readonly learnersNext: readonly ReplicaId[];
  /** Name and address of everybody above. */
  readonly nodes: Readonly<Record<ReplicaId, NodeInfo>>;
}

/** The membership somebody asks for; the core derives the joint step to it. */
export interface MembershipTarget {
  readonly voters: readonly ReplicaId[];
  readonly learners: readonly ReplicaId[];
  readonly nodes: Readonly<Record<ReplicaId, NodeInfo>>;
}

/** Paper figure 2, "persistent state", with the commit index as a hint for a quick restart. */
export interface HardState {
  readonly term: Term;
  /** Candidate that got this node's vote in `term`, or null. */
  readonly vote: ReplicaId | null;
  /** Highest index known to be committed; may lag behind, never runs ahead. */
  readonly commit: Index;
}

/** Describes a snapshot: the state after applying everything up to and including `last`. */
export interface SnapshotMeta {
  readonly last: LogId;
  /** `timeMs` of entry `last.index`, so that time never goes back after the log was cut. */
  readonly timeMs: number;
  /** The newest membership at or before `last.index`. */
  readonly membership: Membership;
}

/** `[term, first index of that term]`, ascending: the terms of the whole log in little space. */
export type TermRun = readonly [term: Term, first: Index];

/** A node's role (paper 5.1); a pre-candidate asks before it disturbs anybody (thesis 9.6). */
export type Role = "follower" | "pre_candidate" | "candidate" | "leader";

/**
 * Messages between replicas of one group. Every message says who sent it, to whom, and the
 * sender's term (for a pre-vote request: the term it would campaign in).
 */
export type Message =
  | VoteRequest
  | VoteResponse
  | AppendRequest
  | AppendResponse
  | HeartbeatRequest
  | HeartbeatResponse
  | SnapshotInstalled
  | ReadIndexRequest
  | ReadIndexResponse
  | TimeoutNow
  | RemovalNotice;

interface Envelope {
  readonly from: ReplicaId;
  readonly to: ReplicaId;
  readonly term: Term;
}

/** RequestVote (paper figure 2), or with `preVote` a question that changes nothing. */
export interface VoteRequest extends Envelope {
  readonly kind: "vote_request";
  readonly preVote: boolean;
  readonly last: LogId;
  /** Campaign on the leader's own wish (thesis 3.10): overrides leader stickiness. */
  readonly transfer: boolean;
}

export interface VoteResponse extends Envelope {
  readonly kind: "vote_response";
  readonly preVote: boolean;
  /** Term of the request answered: an answer to an older campaign never counts. */
  readonly requestTerm: Term;
  readonly granted: boolean;
  /** Longest leader lease that the voter still owes, in milliseconds; 0 without leases. */
  readonly owedLeaseMs: number;
}

/** AppendEntries with entries, or an empty probe (paper figure 2). */
export interface AppendRequest extends Envelope {
  readonly kind: "append_request";
  readonly prev: LogId;
  readonly entries: readonly Entry[];
  readonly commit: Index;
  /**
   * Number of the leader's latest round in this term. A round is a moment: an answer to round n
   * proves that its sender followed this leader at or after the moment when n was first sent.
   * Reads, check-quorum and leases all rest on it; numbers are never reused within a term.
   */
  readonly round: number;
  /** Lease that the leader asks its followers to honour, in milliseconds; 0 without leases. */
  readonly leaseMs: number;
}

export interface AppendResponse extends Envelope {
  readonly kind: "append_response";
  readonly round: number;
  /** `prev.index` of the request answered. */
  readonly prevIndex: Index;
  /**
   * Accepted: highest index known to match the leader's log **and to be durable here**.
   * Rejected: null, and `hint` says where the leader may look next.
   */
  readonly match: Index | null;
  /** Rejected: the follower's last possibly matching log id (end of the conflicting term's run). */
  readonly hint: LogId | null;
}

/** Keeps followers from campaigning and carries the commit index; no log position is checked. */
export interface HeartbeatRequest extends Envelope {
  readonly kind: "heartbeat_request";
  /** min(leader's commit, follower's known match): safe for the follower to take over. */
  readonly commit: Index;
  readonly round: number;
  readonly leaseMs: number;
  /** The leader's own last durable index; 0 while its term is not durable. Commits may be beyond. */
  readonly synced: Index;
}

export interface HeartbeatResponse extends Envelope {
  readonly kind: "heartbeat_response";
  readonly round: number;
  /** The follower's last durable index: a leader notices lost appends without a timeout. */
  readonly lastSynced: Index;
}

/** Told to the core of a receiver when all chunks of a snapshot are stored, never sent itself. */
export interface SnapshotInstalled extends Envelope {
  readonly kind: "snapshot_installed";
  readonly meta: SnapshotMeta;
}

/** A follower asks its leader for a read index (thesis 6.4). */
export interface ReadIndexRequest extends Envelope {
  readonly kind: "read_index_request";
  /** The follower's own number for the batch of reads that waits; never reused by it. */
  readonly context: number;
}

export interface ReadIndexResponse extends Envelope {
  readonly kind: "read_index_response";
  readonly context: number;
  /** State at or after this index may answer; null: the sender cannot tell (any more). */
  readonly index: Index | null;
}

/** Leadership transfer (thesis 3.10): campaign now, without a pre-vote. */
export interface TimeoutNow extends Envelope {
  readonly kind: "timeout_now";
}

/** Answer to a candidate that a committed membership leaves out; see removal.ts. */
export interface RemovalNotice extends Envelope {
  readonly kind: "removal_notice";
  /** Position of that membership in the log, or of the snapshot that holds it. */
  readonly membership: LogId;
}

/** What a host that was kept from running adds to a tick; see `Input`. */
export interface Starvation {
  /** Time since the last tick in which the host did not run, in milliseconds. */
  readonly lateMs: number;
  /** What election timeout and check-quorum window are longer by at the moment. */
  readonly patienceMs: number;
}

/** All that may happen to a core. A run is a list of these and their times: it can be replayed. */
export type Input =
  /**
   * Time passed; call it every few milliseconds while {@link RaftStatus.idle} is not used. Of the
   * time in which the host did not run, nothing counts as silence of others; leases count it.
   */
  | { readonly kind: "tick"; readonly starvation?: Starvation | undefined }
  | { readonly kind: "message"; readonly message: Message }
  /** `timeMs`: the host's wall clock, which becomes the entry's stamp. */
  | {
    readonly kind: "propose";
    readonly requestId: number;
    readonly data: Uint8Array;
    readonly timeMs: number;
  }
  | {
    readonly kind: "change_members";
    readonly requestId: number;
    readonly next: MembershipTarget;
    readonly timeMs: number;
  }
  /** Asks for a linearizable read; on a follower it is passed to the leader. */
  | { readonly kind: "read"; readonly requestId: number }
  | { readonly kind: "transfer_leadership"; readonly to: ReplicaId }
  /** The disk answered: everything in every Ready up to this `sequence` is durable. */
  | { readonly kind: "synced"; readonly sequence: number }
  /** The state machine has applied everything up to `index`. */
  | { readonly kind: "applied"; readonly index: Index }
  /** Entries asked for in `Ready.fetches` (possibly fewer); empty: they are gone (compacted). */
  | { readonly kind: "fetched"; readonly to: ReplicaId; readonly entries: readonly Entry[] }
  /** The log now starts after `snapshot`, which any follower behind it needs. */
  | { readonly kind: "compacted"; readonly snapshot: SnapshotMeta }
  /** A snapshot transfer to a follower ended. */
  | { readonly kind: "snapshot_sent"; readonly to: ReplicaId; readonly ok: boolean }
  /** The last connection to a process is gone and a redial was refused: a hint, not a proof. */
  | { readonly kind: "peer_unreachable"; readonly peer: ReplicaId }
  /**
   * The host stopped ticking an idle group and now goes on: a follower counts its election
   * timeout, and a leader its check-quorum window, from this moment.
   */
  | { readonly kind: "resume" };

export type RejectReason =
  | "not_leader"
  /** Leadership is being handed over; try the leader again in a moment. */
  | "transferring"
  /** Too many bytes proposed and not yet committed. */
  | "overloaded"
  /** A change of members before the new leader's no-op is committed. */
  | "not_ready"
  /** Another change is not committed yet, or its joint configuration is not left yet. */
  | "membership_change_in_progress"
  | "invalid_membership"
  /** A read: leadership was lost before it could be confirmed. */
  | "leadership_lost";

/** Answers to `propose`, `change_members` and `read`. */
export type Outcome =
  /** In this leader's log at `id`; done when an entry with that very id is applied. */
  | { readonly kind: "accepted"; readonly requestId: number; readonly id: LogId }
  /** May be served once `index` is applied. */
  | { readonly kind: "readable"; readonly requestId: number; readonly index: Index }
  | {
    readonly kind: "rejected";
    readonly requestId: number;
    readonly reason: RejectReason;
    readonly leader: ReplicaId | null;
  };

/** A read of old entries that the core asks its host to make. */
export interface Fetch {
  /** For whom; the core's own id: to apply them here. At most one is under way per `to`. */
  readonly to: ReplicaId;
  readonly from: Index;
  /** At least one entry is wanted, however large; after it, stop at this many bytes of data. */
  readonly maxBytes: number;
}

/** What the host must do now; empty parts are empty lists or null. */
export interface Ready {
  /** Number of this Ready, from 1, for `synced`. A log id would not do: a vote has none. */
  readonly sequence: number;
  /** Changed term, vote or commit, to be written into the same ordered log, before `entries`. */
  readonly hardState: HardState | null;
  /**
   * Whether this Ready must be made durable and answered with `synced`: it changes the term, the
   * vote, the log or the snapshot, or it carries `messagesAfterSync` while an earlier Ready is
   * not yet synced (then it may have nothing to write). Without it `messagesAfterSync` may leave
   * at once.
   */
  readonly mustSync: boolean;
  /** Adopt this received snapshot: restore the machine from it, drop the log it replaces. */
  readonly snapshot: SnapshotMeta | null;
  /** To append; `entries[0].index` at or below the last index replaces the log from there. */
  readonly entries: readonly Entry[];
  /** May leave at once. */
  readonly messages: readonly Message[];
  /** Leave when all of this Ready is durable: votes, append and snapshot acknowledgements. */
  readonly messagesAfterSync: readonly Message[];
  /** To apply, in order, exactly once. */
  readonly committed: readonly Entry[];
  readonly fetches: readonly Fetch[];
  /** Followers that need the group's snapshot; answer each with `snapshot_sent`. */
  readonly snapshotsToSend: readonly ReplicaId[];
  readonly outcomes: readonly Outcome[];
}

export interface RaftOptions {
  readonly id: ReplicaId;
  /** Election timeout in milliseconds, randomised in [t, 2t) (paper 5.2). */
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  /**
   * Leader lease in milliseconds, 0 for none. The leader counts it from the sending of the round
   * that a quorum answered, shortened by `clockErrorRatio`.
   */
  readonly leaseMs: number;
  /**
   * Longest lease in milliseconds that this node may have promised before it started, under other
   * settings; default `leaseMs`. It is honoured from the start on.
   */
  readonly formerLeaseMs?: number | undefined;
  /** Assumed largest rate error between two monotonic clocks, such as 0.01. */
  readonly clockErrorRatio: number;
  readonly maxAppendBytes: number;
  readonly maxInflightMessages: number;
  readonly maxInflightBytes: number;
  readonly maxUncommittedBytes: number;
  /** Entries that are synced, applied and older than this many bytes leave the memory. */
  readonly entryCacheBytes: number;
  /** A leader whose own disk made no progress for this long, while others commit, steps down. */
  readonly diskStallMs: number;
}

/** What storage recovered, for a core to start from. */
export interface InitialState {
  readonly hardState: HardState;
  /** Null: the log starts at index 1. */
  readonly snapshot: SnapshotMeta | null;
  /** Highest index that the state machine, as restored, already contains. */
  readonly applied: Index;
  /** Last entry of the log, or the snapshot's, or zero; all of it durable. */
  readonly last: LogId;
  /** Runs of the terms from the snapshot's `last` to `last`. */
  readonly termRuns: readonly TermRun[];
  /** `timeMs` of the last entry. */
  readonly lastTimeMs: number;
  /** Every membership in the log after the snapshot, ascending; a truncation falls back on it. */
  readonly memberships: readonly { readonly index: Index; readonly membership: Membership }[];
  /** The membership before all of those: the snapshot's or the bootstrap's. */
  readonly baseMembership: Membership;
}

/** How far one replica is known to be, as the leader sees it. */
export interface ProgressStatus {
  readonly id: ReplicaId;
  readonly match: Index;
  readonly next: Index;
  readonly state: "probe" | "replicate" | "snapshot";
  readonly inflightMessages: number;
  /** Monotonic time when it last answered in this term, or null. */
  readonly lastHeardMs: number | null;
  /** Monotonic time since which the leader of this term listens to it. */
  readonly sinceMs: number;
}

export interface RaftStatus {
  readonly id: ReplicaId;
  readonly role: Role;
  readonly term: Term;
  readonly vote: ReplicaId | null;
  readonly leader: ReplicaId | null;
  readonly commit: Index;
  readonly applied: Index;
  readonly last: LogId;
  readonly synced: Index;
  readonly firstIndex: Index;
  readonly membership: Membership;
  /** Index of the entry that set `membership`; 0 for the base. */
  readonly membershipIndex: Index;
  /**
   * Nothing to do until something arrives: a leader whose every member matches and knows the
   * commit index, with no read, change or transfer waiting; a follower that has applied all it
   * has, knows its leader, and has commit equal to last.
   */
  readonly idle: boolean;
  /** Leader only: whether its own no-op is committed, so that it may answer reads. */
  readonly readReady: boolean;
  /** Leader with leases: monotonic time until which it may serve reads alone; else null. */
  readonly leaseUntilMs: number | null;
  readonly transferTo: ReplicaId | null;
  /** A committed membership leaves this replica out, as another one said: it does not campaign. */
  readonly removed: boolean;
  /** Leader only. */
  readonly progress: readonly ProgressStatus[];
  /** Monotonic time at which a tick has something to do, for a host that sleeps precisely. */
  readonly nextDeadlineMs: number;
}
