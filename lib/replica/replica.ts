/**
 * One replica of one group: the Raft core, its storage and its state machine, and the requests
 * that wait for them. The host calls {@link Replica.process} once a turn; everything that
 * arrived since the last turn has been stepped into the core by then, so that one write and one
 * sync serve all of it.
 */

import { assert } from "../base/assert.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import type { Timer } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { decodeMembership } from "../raft/membership.ts";
import { Raft } from "../raft/raft.ts";
import {
  type Entry,
  EntryKind,
  type Fetch,
  type Index,
  type Input,
  type LogId,
  type Membership,
  type MembershipTarget,
  type Message,
  type Outcome,
  type RaftStatus,
  type Ready,
  type ReplicaId,
  type SnapshotMeta,
} from "../raft/types.ts";
import type { LogStore } from "../storage/store.ts";
import { Acknowledged } from "./acknowledged.ts";
import { isActivity, isEcho } from "./activity.ts";
import { Checkpoints } from "./checkpoints.ts";
import { isHiddenBy } from "./floor.ts";
import { LEADERLESS_MS, missingQuorum } from "./missing_quorum.ts";
import { LogFetches } from "./log_fetches.ts";
import { PendingRequests } from "./pending.ts";
import { Questions } from "./questions.ts";
import { Repair } from "./repair.ts";
import type { ReplicaContext } from "./replica_context.ts";
import type { Applied, AppliedListener, ReplicaOptions } from "./replica_types.ts";
import type { StateMachine } from "./state_machine.ts";
import type { ReplicaObserver } from "./story.ts";
import { Stamps } from "./stamps.ts";
import { WriteQueue } from "./write_queue.ts";

export type { Applied, AppliedListener, ReplicaOptions };

export class Replica {
  readonly group: string;
  readonly store: LogStore;
  readonly machine: StateMachine;
  readonly raft: Raft;
  readonly checkpoints: Checkpoints;
  /** What this replica and its peers acknowledged to each other. */
  readonly questions: Questions;
  /** Entries of the log that have rotted, and their repair. */
  readonly repair: Repair;
  /** Neither ticked nor heartbeating on its own: the process's beats stand for it. */
  resting = false;
  /** Host's time when this replica was opened or last stopped resting. */
  awakeSinceMs: number;
  /** Host's time when more than ticks and heartbeats last happened here. */
  lastActiveMs: number;

  private readonly pending: PendingRequests;
  private readonly writes: WriteQueue;
  private readonly stamps: Stamps;
  private readonly listeners = new Set<AppliedListener>();
  private readonly logger: Logger;
  private readonly floor: LogId | undefined;
  private readonly observer: ReplicaObserver | undefined;
  private applied: Index;
  /** The entry applied last, or the snapshot's last; null before the first. */
  private lastApplied: Pick<Entry, "index" | "term" | "timeMs"> | null = null;
  private appliedMembership: Membership;
  /** The membership that the host was last told of. */
  private knownMembership: Membership | null = null;
  /** Committed behind a snapshot that waits to be adopted: applied after it. */
  private committedAfterSnapshot: readonly Entry[] = [];
  private wasLeaderInTerm = 0;
  /** Since when no leader is known here; null while one is. */
  private leaderlessSinceMs: number | null = null;
  private readonly fetches: LogFetches;
  private retryTimer: Timer | null = null;
  private closed = false;

  constructor(private readonly context: ReplicaContext, options: ReplicaOptions) {
    this.group = options.group;
    this.store = options.store;
    this.machine = options.machine;
    this.floor = options.floor;
    this.observer = options.observer;
    this.logger = context.logger.with({ group: options.group });
    this.lastActiveMs = context.clock.monotonicMs();
    this.awakeSinceMs = this.lastActiveMs;
    this.checkpoints = new Checkpoints({
      store: this.store,
      compaction: options.compaction,
      clock: context.clock,
      logger: this.logger,
      sliceBytes: options.sliceBytes ?? limits.checkpointSliceBytes,
      onTrimmed: (snapshot) => this.step({ kind: "compacted", snapshot }),
      onFailed: (error) => context.fatal(error),
    });
    const restored = this.checkpoints.restoreNewest(this.machine);
    const recovered = this.store.recovered;
    this.applied = restored?.last.index ?? 0;
    if (restored !== null) this.lastApplied = { ...restored.last, timeMs: restored.timeMs };
    this.appliedMembership = restored?.membership ?? recovered.baseMembership;
    this.raft = new Raft(
      { ...options.raft, id: context.self },
      { ...recovered, applied: this.applied },
      context.random,
    );
    const { hardState, last } = recovered;
    const opened = { index: last.index, term: hardState.term };
    this.repair = new Repair(context, this, this.store, this.logger);
    this.questions = new Questions(context, this, new Acknowledged(opened, options.floor));
    this.stamps = new Stamps(context.time, context.clock);
    this.writes = new WriteQueue(this.store, hardState, (meta) => this.adopted(meta));
    const { clock } = context;
    this.fetches = new LogFetches((one) => this.fetch(one), clock, () => context.markDirty(this));
    this.pending = new PendingRequests((id) => this.addressOf(id));
    this.noticeMembership();
  }

  /** Highest index that the state machine contains. */
  get appliedIndex(): Index {
    return this.applied;
  }

  get isLeader(): boolean {
    return this.raft.role === "leader";
  }

  /**
   * Whether a question may be answered at this very moment from this replica's state and clock
   * alone (thesis 6.4.1): the lease is valid now, and the machine contains all that is committed.
   */
  get mayAnswerAlone(): boolean {
    return !this.closed && this.applied >= this.raft.commitIndex &&
      this.raft.leaseValid(this.context.clock.monotonicMs());
  }

  /**
   * The stamp of an entry that this replica would append now as the leader, milliseconds since
   * 1970: what leaders compare expiries with.
   */
  stampMs(): number {
    return this.stamps.nowMs(this.raft.lastTimeMs);
  }

  status(): RaftStatus {
    return this.raft.status();
  }

  /** Address of the leader as far as this replica knows, or undefined. */
  leaderAddress(): string | undefined {
    return this.addressOf(this.raft.leader);
  }

  addressOf(replica: ReplicaId | null): string | undefined {
    const node = replica === null ? undefined : this.raft.membership.nodes[replica];
    return node === undefined ? undefined : this.context.addressOf(replica!, node);
  }

  /**
   * Which voters are missing where this group has had no leader for a while, such as `b2
   * (127.0.0.1:9102) not heard for 14 s`; null while it has one or may get one.
   */
  missingQuorum(): string | null {
    const nowMs = this.context.clock.monotonicMs();
    const sinceMs = this.leaderlessSinceMs;
    if (sinceMs === null || nowMs - sinceMs < LEADERLESS_MS) return null;
    const { self } = this.context;
    const silentMs = (id: ReplicaId) => this.context.silentMs(id);
    return missingQuorum({ self, membership: this.raft.membership, silentMs });
  }

  /** Whether the disk refused this replica's last entries for want of space. */
  get diskFull(): boolean {
    return this.writes.blocked;
  }

  /**
   * Replicates a command. Resolves when it is committed and applied here. Rejects with
   * `not_leader`, `overloaded`, `disk_full` or `unavailable` when it certainly had and will have no
   * effect, with `outcome_unknown` when leadership was lost in between.
   */
  propose(data: Uint8Array): Promise<Applied> {
    const refusal = this.refusal();
    if (refusal !== null) return Promise.reject(refusal);
    return this.pending.open((requestId) =>
      this.step({ kind: "propose", requestId, data, timeMs: this.stampMs() })
    );
  }

  /**
   * Hands a command to the log and resolves when this leader has it there: whether it will be
   * committed, and what the machine says to it, remains open. Rejects like {@link propose}.
   */
  proposeLogged(data: Uint8Array): Promise<LogId> {
    const refusal = this.refusal();
    if (refusal !== null) return Promise.reject(refusal);
    return this.pending.openLogged((requestId) =>
      this.step({ kind: "propose", requestId, data, timeMs: this.stampMs() })
    );
  }

  /** Resolves when the new membership (the final one of a joint change) is on its way. */
  changeMembers(next: MembershipTarget): Promise<Applied> {
    return this.pending.open((requestId) =>
      this.step({
        kind: "change_members",
        requestId,
        next,
        timeMs: this.stampMs(),
      })
    );
  }

  /**
   * Resolves when the state machine here contains everything that was committed anywhere before
   * the call (thesis 6.4): a query after it is linearizable. Rejects with `not_leader`.
   */
  readBarrier(): Promise<Index> {
    if (this.closed) return Promise.reject(this.closedError());
    return this.pending.openRead((requestId) => this.step({ kind: "read", requestId }));
  }

  /** Hands leadership to a voter, if this is the leader; watch `status` for the effect. */
  transferLeadership(to: ReplicaId): void {
    this.step({ kind: "transfer_leadership", to });
  }

  /**
   * Committed entries from `from` on, at most `maxBytes` of data but at least one. Throws
   * `unavailable` while they are repaired after rot, `corrupt` where nothing can repair them.
   */
  readCommitted(from: Index, maxBytes: number): Entry[] {
    const entries = this.repair.read(from, maxBytes);
    if (entries === null) {
      const state = "they have rotted here and are being repaired from another replica";
      throw new TrilogError("unavailable", `Cannot read entries of ${this.group}: ${state}`);
    }
    while (entries.length > 0 && entries[entries.length - 1].index > this.applied) entries.pop();
    return entries;
  }

  /** Calls `listener` after every application; the returned function ends that. */
  onApplied(listener: AppliedListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Drops the log before a stored checkpoint; followers behind it get that checkpoint. */
  trimTo(checkpoint: SnapshotMeta): void {
    this.checkpoints.trimTo(checkpoint);
  }

  /** Takes one input into the core; what follows from it happens in the host's next turn. */
  step(input: Input): void {
    if (
      this.closed || (this.resting && isEcho(input, this.raft)) ||
      isHiddenBy(this.floor, input, this.raft.last)
    ) {
      return;
    }
    const nowMs = this.context.clock.monotonicMs();
    if (input.kind === "tick") this.questions.tick(nowMs);
    else {
      if (input.kind === "message") this.questions.heard(input.message);
      if (isActivity(input)) this.lastActiveMs = nowMs;
      if (this.resting) this.context.wake(this);
    }
    this.raft.step(input, nowMs);
    this.observer?.stepped(input, this.raft, nowMs);
    this.context.markDirty(this);
  }

  /** Carries out everything the core wants done; see the file's head. */
  process(): void {
    if (this.closed) return;
    this.fetches.retry();
    for (let ready = this.raft.takeReady(); ready !== null; ready = this.raft.takeReady()) {
      this.carryOut(ready);
      if (this.closed) return;
    }
    this.noticeLostLeadership();
    this.noticeMembership();
    if (this.raft.leader !== null) this.leaderlessSinceMs = null;
    else this.leaderlessSinceMs ??= this.context.clock.monotonicMs();
  }

  /** Whether something waits to be made durable and no sync is on its way. */
  get wantsSync(): boolean {
    return !this.closed && this.writes.wantsSync;
  }

  /** Makes everything written so far durable while the process waits. */
  syncNow(): void {
    const batch = this.writes.startSync();
    this.store.syncNow();
    this.finishSync(batch);
  }

  /** The same in the background; the host goes on meanwhile. */
  async syncLater(): Promise<void> {
    const batch = this.writes.startSync();
    try {
      await this.store.sync();
    } catch (error) {
      if (!this.closed) this.context.fatal(error);
      return;
    }
    if (this.closed) return;
    this.finishSync(batch);
    if (this.wantsSync) this.context.markUnsynced(this);
  }

  /** Rejects what waits and closes the store. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.retryTimer?.cancel();
    this.repair.close();
    this.checkpoints.close();
    this.pending.rejectAll(this.closedError());
    this.store.close();
  }

  private refusal(): TrilogError | null {
    if (this.closed) return this.closedError();
    if (!this.diskFull) return null;
    return new TrilogError("disk_full", `Cannot write to ${this.group}: the disk is full`);
  }

  private closedError(): TrilogError {
    return new TrilogError("shutting_down", `Cannot use ${this.group}: its replica is closing`);
  }

  private carryOut(ready: Ready): void {
    this.observer?.ready(ready, this.raft);
    for (const message of ready.messages) this.send(message);
    for (const outcome of ready.outcomes) this.settle(outcome);
    if (ready.snapshot !== null) this.committedAfterSnapshot = [];
    this.write(ready);
    if (!this.writes.adopting) this.apply(ready.committed);
    else if (ready.committed.length > 0) this.committedAfterSnapshot = ready.committed;
    this.fetches.take(ready.fetches);
    for (const to of ready.snapshotsToSend) this.context.startSnapshotTransfer(this, to);
  }

  private send(message: Message): void {
    this.questions.sent(message);
    this.context.sendMessage(this.group, message);
  }

  /** Old entries for a follower or for this replica; where they have rotted, after their repair. */
  private fetch(fetch: Fetch): void {
    const { to, from, maxBytes } = fetch;
    const entries = this.repair.read(from, maxBytes, () => this.fetches.take([fetch]));
    if (entries !== null) this.step({ kind: "fetched", to, entries });
  }

  private settle(outcome: Outcome): void {
    if (outcome.kind === "readable") this.pending.readable(outcome, this.applied);
    else if (outcome.kind === "accepted") this.pending.accepted(outcome);
    else this.pending.rejected(outcome, this.group);
  }

  private write(ready: Ready): void {
    const held = ready.messagesAfterSync;
    const result = this.writes.take(ready);
    if (result === "nothing_unsynced") {
      for (const message of held) this.send(message);
      return;
    }
    if (this.writes.blocked) this.retryWritesLater();
    if (this.writes.wantsSync) this.context.markUnsynced(this);
    // A segment that has just begun behind all that is applied: the state as of it is here now.
    if (ready.entries.length > 0) this.checkpoint();
  }

  /** The disk was full: try again until there is room, then everything resumes by itself. */
  private retryWritesLater(): void {
    if (this.retryTimer !== null) return;
    this.logger.warn("the disk is full: entries wait in memory until there is room");
    const retry = () => {
      this.retryTimer = null;
      if (this.closed) return;
      if (this.writes.retry()) this.logger.info("the disk has room again: waiting entries written");
      else this.retryTimer = this.context.clock.after(DISK_FULL_RETRY_MS, retry);
      if (this.writes.wantsSync) this.context.markUnsynced(this);
    };
    this.retryTimer = this.context.clock.after(DISK_FULL_RETRY_MS, retry);
  }

  private finishSync(batch: { sequence: number; messages: readonly Message[] }): void {
    this.writes.finishSync();
    for (const message of batch.messages) this.send(message);
    if (batch.sequence > 0) this.step({ kind: "synced", sequence: batch.sequence });
  }

  /** A received snapshot has replaced the log that it covers; now the state (paper figure 13). */
  private adopted(meta: SnapshotMeta): void {
    this.checkpoints.adopted(meta, this.machine);
    this.applied = meta.last.index;
    this.lastApplied = { ...meta.last, timeMs: meta.timeMs };
    this.context.membershipCommitted(this, meta.membership, this.appliedMembership);
    this.appliedMembership = meta.membership;
    this.pending.supersededBySnapshot(meta.last.index);
    this.logger.info("installed a snapshot", { index: meta.last.index, term: meta.last.term });
    this.step({ kind: "applied", index: this.applied });
    this.notify();
    this.apply(this.committedAfterSnapshot);
    this.committedAfterSnapshot = [];
  }

  private apply(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    for (const entry of entries) {
      assert(entry.index === this.applied + 1, "entries are applied in order, each once");
      let answer = EMPTY_BYTES;
      if (entry.kind === EntryKind.command) answer = this.applyCommand(entry);
      else if (entry.kind === EntryKind.membership) this.applyMembership(entry);
      this.applied = entry.index;
      this.lastApplied = entry;
      this.pending.applied(entry, answer);
      this.checkpoint();
    }
    this.step({ kind: "applied", index: this.applied });
    this.pending.readsUpTo(this.applied);
    this.notify();
  }

  private applyCommand(entry: Entry): Uint8Array {
    return this.machine.apply(entry.data, {
      index: entry.index,
      term: entry.term,
      timeMs: entry.timeMs,
    });
  }

  private applyMembership(entry: Entry): void {
    const previous = this.appliedMembership;
    this.appliedMembership = decodeMembership(entry.data);
    this.context.membershipCommitted(this, this.appliedMembership, previous);
  }

  /** At a segment's first index the state before it is kept (decision 7 in DESIGN.md). */
  private checkpoint(): void {
    const at = this.lastApplied;
    if (at === null || this.writes.adopting || !this.checkpoints.dueAfter(at.index)) return;
    this.checkpoints.begin(this.machine, {
      last: { index: at.index, term: at.term },
      timeMs: at.timeMs,
      membership: this.appliedMembership,
    });
  }

  /** A membership is effective as soon as it is in the log: addresses are needed then. */
  private noticeMembership(): void {
    const { membership } = this.raft;
    if (membership === this.knownMembership) return;
    this.knownMembership = membership;
    this.context.membershipChanged(membership);
  }

  private notify(): void {
    for (const listener of this.listeners) listener(this.applied);
  }

  /**
   * Requests that a deposed leader had accepted may or may not survive: say so at once, so that
   * clients repeat them elsewhere under the same session and sequence.
   */
  private noticeLostLeadership(): void {
    const { role, term } = this.raft;
    if (role === "leader") {
      const isNews = this.wasLeaderInTerm !== term && this.observer?.logsLeadership !== true;
      if (isNews) this.logger.info("became leader", { term });
      this.wasLeaderInTerm = term;
      return;
    }
    if (this.wasLeaderInTerm === 0) return;
    this.wasLeaderInTerm = 0;
    this.logger.info("is no longer leader", { term });
    this.pending.leadershipLost(this.group, this.leaderAddress());
  }
}

const DISK_FULL_RETRY_MS = 200;
