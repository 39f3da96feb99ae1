/**
 * Makes what this broker hosts as the managers want it: takes in assignments, has `reconcile.ts`
 * plan, and carries the plan out piece by piece, so that a thousand new replicas do not keep the
 * ones that serve waiting. Nothing depends on a plan being finished: it is made anew all the time.
 */

import { type Clock, sleep } from "../base/clock.ts";
import { toTrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { AssignedReplica, Assignments, LedPartition, Peer } from "../client/protocol.ts";
import type { Membership, NodeInfo, ReplicaId } from "../raft/types.ts";
import { formerName } from "../replica/join_plan.ts";
import type { Hosted, Hosting } from "./hosting.ts";
import { leadingOf, ledReport, type SettledMembership, settledOf } from "./leading.ts";
import { type Action, type HostedGroup, reconcile } from "./reconcile.ts";
import type { ServedPartition } from "./served_partition.ts";

export interface SteeringOptions {
  readonly self: ReplicaId;
  readonly hosting: Hosting;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly electionTimeoutMs: number;
  /** Something happened that the managers should hear of before the next heartbeat. */
  readonly onNews: () => void;
  /** A fenced replica may be rebuilt, if its group lets it begin anew. */
  readonly rebuild: (hosted: Hosted, assigned: AssignedReplica) => void;
  /** A replica of an older epoch goes on in the wanted one. */
  readonly succeed: (hosted: Hosted, assigned: AssignedReplica) => void;
}

/** How often leaderships are looked at, and how often everything is reconciled. */
const LOOK_MS = 100;
const RECONCILE_MS = 500;
/** Creating and opening replicas may keep the process this long at a stretch. */
const STRETCH_MS = 10;
/** A timer that fires so much too late shows that the process has enough to do. */
const LATE_MS = 10;
const LONGEST_PAUSE_MS = 200;
/** A leader of less than this age stays, and hands over no more often than this. */
const SETTLE_MS = 1_000;
const TRANSFER_PAUSE_MS = 5_000;

/** What is remembered of a partition while this process runs. */
interface Memory {
  /** Term that this replica leads in, or 0. */
  ledTerm: number;
  ledSinceMs: number;
  settled: SettledMembership;
  transferredMs: number;
}

export class Steering {
  private assignments: Assignments | null = null;
  private peers = new Map<ReplicaId, Peer>();
  private wanted = new Map<string, AssignedReplica>();
  /** Elections of partitions that this broker has won since it started. */
  leaderships = 0;
  private readonly memories = new WeakMap<ServedPartition, Memory>();
  private running = false;
  private reconciledMs = -Infinity;
  private stopped = false;

  constructor(private readonly options: SteeringOptions) {}

  start(): void {
    this.options.clock.after(LOOK_MS, () => {
      if (this.stopped) return;
      this.look();
      this.start();
    });
  }

  stop(): void {
    this.stopped = true;
  }

  /** Version of the assignments that are being made so; 0 before the first. */
  get version(): number {
    return this.assignments?.version ?? 0;
  }

  /** What is wanted of a group here; undefined where nothing is, or where it is not known yet. */
  assigned(groupId: string): AssignedReplica | undefined {
    return this.wanted.get(groupId);
  }

  /** Where a replica is to be found, as the managers say. */
  addressOf(id: ReplicaId): string | undefined {
    return this.peers.get(id)?.address;
  }

  /** Takes in newer assignments. Older ones are passed over: placements never go back. */
  take(assignments: Assignments): void {
    if (assignments.version <= this.version) return;
    this.assignments = assignments;
    this.peers = new Map(assignments.peers.map((peer) => [peer.replicaId, peer]));
    this.wanted = new Map(assignments.replicas.map((replica) => [replica.groupId, replica]));
    this.reconcileSoon();
  }

  /** What a heartbeat says of the partitions that are led here. */
  led(): LedPartition[] {
    const led: LedPartition[] = [];
    for (const partition of this.options.hosting.partitions()) {
      const { replica } = partition;
      if (!replica.isLeader) continue;
      const status = replica.status();
      if (!status.readReady) continue;
      const settled = settledOf(status);
      if (settled !== null) this.memoryOf(partition).settled = settled;
      led.push(ledReport(partition, status.term, settled));
    }
    return led;
  }

  private look(): void {
    const nowMs = this.options.clock.monotonicMs();
    let news = false;
    for (const partition of this.options.hosting.partitions()) {
      news = this.noticeChange(partition, nowMs) || news;
    }
    if (news) this.options.onNews();
    if (news || nowMs - this.reconciledMs >= RECONCILE_MS) this.reconcileSoon();
  }

  /** Whether the managers should hear of this partition at once. */
  private noticeChange(partition: ServedPartition, nowMs: number): boolean {
    const { replica } = partition;
    const memory = this.memoryOf(partition);
    const ledTerm = replica.isLeader ? replica.raft.term : 0;
    let news = false;
    if (ledTerm !== memory.ledTerm) {
      if (ledTerm !== 0 && !replica.status().readReady) return false;
      memory.ledTerm = ledTerm;
      memory.ledSinceMs = nowMs;
      news = ledTerm !== 0;
      this.leaderships += Number(news);
    }
    if (ledTerm === 0) {
      // Whoever waits for messages here is told where to go.
      partition.wakeAll();
      return false;
    }
    const settled = settledOf(replica.status());
    if (settled !== null && settled.index !== memory.settled.index) {
      memory.settled = settled;
      news = true;
    }
    return news;
  }

  private memoryOf(partition: ServedPartition): Memory {
    let memory = this.memories.get(partition);
    if (memory === undefined) {
      const { voters } = partition.replica.raft.membership;
      const settled = { index: 0, voters };
      memory = { ledTerm: 0, ledSinceMs: 0, settled, transferredMs: -Infinity };
      this.memories.set(partition, memory);
    }
    return memory;
  }

  private reconcileSoon(): void {
    this.reconciledMs = this.options.clock.monotonicMs();
    if (this.running || this.stopped) return;
    this.running = true;
    void this.run().finally(() => {
      this.running = false;
    });
  }

  /**
   * Plans and acts. What is quick comes first; making and removing replicas takes long, so others
   * get their turn after each stretch, and after a while the plan is made anew.
   */
  private async run(): Promise<void> {
    const { clock, self, hosting } = this.options;
    for (let finished = false; !finished && !this.stopped;) {
      const { assignments } = this;
      const plannedMs = clock.monotonicMs();
      const hosted = this.hostedGroups(plannedMs);
      const wanted = { replicas: assignments?.replicas ?? [], tombstones: this.tombstones() };
      const plan = reconcile(self, wanted, hosted);
      for (const action of plan.filter(isQuick)) this.attempt(action);
      this.closeOutlived(hosting);
      finished = true;
      let stretchMs = clock.monotonicMs();
      for (const action of plan.filter((one) => !isQuick(one)).sort(removalsFirst)) {
        if (!this.attempt(action)) return this.admit();
        const busyMs = clock.monotonicMs() - stretchMs;
        if (busyMs < STRETCH_MS) continue;
        this.admit();
        await this.pause(busyMs);
        stretchMs = clock.monotonicMs();
        finished = assignments === this.assignments && stretchMs - plannedMs < RECONCILE_MS;
        if (!finished || this.stopped) break;
      }
      this.admit();
    }
  }

  /** Replicas that this stretch made take part from now on. */
  private admit(): void {
    try {
      this.options.hosting.admit();
    } catch (thrown) {
      const reason = toTrilogError(thrown).message;
      this.options.logger.warn("new replicas cannot take part yet", { reason });
    }
  }

  /**
   * Leaves the process to messages and heartbeats for as long as it was kept from them, and longer
   * while they are late: groups that lose their leaders over it make more work than they save.
   */
  private async pause(busyMs: number): Promise<void> {
    const { clock } = this.options;
    for (let pauseMs = busyMs;;) {
      const startMs = clock.monotonicMs();
      await sleep(clock, pauseMs);
      const lateMs = clock.monotonicMs() - startMs - pauseMs;
      if (lateMs < LATE_MS) return;
      pauseMs = Math.min(lateMs * 2, LONGEST_PAUSE_MS);
    }
  }

  /** False where going on makes no sense for now. */
  private attempt(action: Action): boolean {
    try {
      this.carryOut(action);
    } catch (thrown) {
      const error = toTrilogError(thrown);
      this.options.logger.warn("could not do what is wanted", {
        action: action.kind,
        group: action.groupId,
        reason: error.message,
      });
      return error.code !== "disk_full";
    }
    return true;
  }

  /** A tombstone is about the replica that was there when it was made, not about a later one. */
  private tombstones(): Assignments["tombstones"] {
    if (this.assignments === null) return [];
    const { version, tombstones } = this.assignments;
    return tombstones.filter(({ groupId }) => {
      const hosted = this.options.hosting.get(groupId);
      return hosted !== undefined && hosted.notes.assignedVersion < version;
    });
  }

  private hostedGroups(nowMs: number): HostedGroup[] {
    const { hosting, electionTimeoutMs } = this.options;
    return [...hosting.all()].map(({ notes: { groupId, epoch }, partition }) => {
      const led = partition === null ? null : leadingOf(partition, nowMs, electionTimeoutMs);
      return { groupId, epoch, open: partition !== null, leading: led?.leading ?? null };
    });
  }

  /** A replica of an epoch that was given up must not go on serving; its files stay. */
  private closeOutlived(hosting: Hosting): void {
    for (const hosted of hosting.all()) {
      const wanted = this.wanted.get(hosted.notes.groupId);
      if (wanted !== undefined && wanted.epoch > hosted.notes.epoch) hosting.close(hosted);
    }
  }

  private carryOut(action: Action): void {
    const { hosting } = this.options;
    const { groupId } = action;
    const hosted = hosting.get(groupId);
    switch (action.kind) {
      case "create":
        if (hosted === undefined) this.create(this.wanted.get(groupId)!);
        break;
      case "open":
        if (hosted?.notes.state === "fenced") this.rebuild(hosted);
        else if (hosted !== undefined) hosting.open(hosted);
        break;
      case "succeed":
        if (hosted !== undefined) this.options.succeed(hosted, this.wanted.get(groupId)!);
        break;
      case "give_up":
        if (hosted !== undefined) hosting.giveUp(hosted);
        break;
      case "delete":
        if (hosted !== undefined) hosting.delete(hosted);
        break;
      case "change_members":
        this.changeMembers(hosted!.partition!, action.voters, action.learners);
        break;
      case "transfer_leadership":
        this.transferLeadership(hosted!.partition!, action.to);
        break;
    }
  }

  private create(assigned: AssignedReplica): void {
    const { groupId, epoch, topic, partition, bootstrap, founders } = assigned;
    if (assigned.begun) {
      this.options.hosting.recordLost({ groupId, epoch, topic, partition });
      return;
    }
    this.options.hosting.make({
      groupId,
      epoch,
      topic,
      partition,
      bootstrap: bootstrap ? this.firstMembership(founders) : null,
      assignedVersion: this.version,
      floor: bootstrap
        ? { index: 0, term: 0 }
        : { index: assigned.membershipIndex, term: assigned.leaderTerm },
    });
  }

  private rebuild(hosted: Hosted): void {
    const assigned = this.wanted.get(hosted.notes.groupId);
    if (assigned?.replicas.includes(this.options.self)) this.options.rebuild(hosted, assigned);
  }

  private firstMembership(founders: readonly ReplicaId[]): Membership {
    const voters = [...founders].sort();
    const nodes = Object.fromEntries(voters.map((id) => [id, this.nodeOf(id)]));
    return { voters, outgoing: [], learners: [], learnersNext: [], nodes };
  }

  private changeMembers(
    partition: ServedPartition,
    voters: readonly ReplicaId[],
    learners: readonly ReplicaId[],
  ): void {
    if (partition.changingMembers) return;
    partition.changingMembers = true;
    const { replica } = partition;
    const nodes = Object.fromEntries(
      [...voters, ...learners].map((
        id,
      ) => [id, this.nodeOf(id, replica.raft.membership.nodes[id])]),
    );
    const { logger } = this.options;
    const fields = {
      partition: partition.label,
      voters: voters.map((id) => nodes[id].name).join(","),
      learners: learners.map((id) => nodes[id].name).join(","),
    };
    logger.info("changing the members of a partition", fields);
    replica.changeMembers({ voters, learners, nodes }).catch((thrown) => {
      logger.debug("members not changed yet", { ...fields, reason: toTrilogError(thrown).message });
    }).finally(() => {
      partition.changingMembers = false;
    });
  }

  private transferLeadership(partition: ServedPartition, to: ReplicaId): void {
    const memory = this.memoryOf(partition);
    const nowMs = this.options.clock.monotonicMs();
    if (memory.ledTerm === 0 || nowMs - memory.ledSinceMs < SETTLE_MS) return;
    if (nowMs - memory.transferredMs < TRANSFER_PAUSE_MS) return;
    memory.transferredMs = nowMs;
    this.options.logger.debug("handing over to the preferred leader", {
      partition: partition.label,
      to: this.peers.get(to)?.id,
    });
    partition.replica.transferLeadership(to);
  }

  /** Names are unique within a membership: an identity that was replaced carries its id's start. */
  private nodeOf(id: ReplicaId, known?: NodeInfo): NodeInfo {
    const peer = this.peers.get(id);
    if (peer === undefined) return known ?? { name: id, address: "unknown:0" };
    const replaced = this.assignments?.superseded.includes(id) ?? false;
    return { name: replaced ? formerName(peer.id, id) : peer.id, address: peer.address };
  }
}

/** On a full disk nothing is made until something was removed. */
function removalsFirst(left: Action, right: Action): number {
  return Number(right.kind === "delete") - Number(left.kind === "delete");
}

function isQuick({ kind }: Action): boolean {
  return kind === "change_members" || kind === "transfer_leadership";
}
