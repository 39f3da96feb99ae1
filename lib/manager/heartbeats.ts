/**
 * PURE. What brokers said in their last heartbeats: memory of the leading manager, empty after an
 * election. From it follows what is worth a replicated `report`.
 */

import {
  type Buried,
  isUnwanted,
  type PartitionReport,
  type ReplicaReport,
  reported,
  type ReportFields,
  type Retirement,
  withReplica,
} from "./reports.ts";

import type { MetadataView, Partition } from "./state.ts";

/** A partition that a broker leads. */
export interface LedPartition extends Omit<PartitionReport, "leader"> {
  /** Bytes on the leader's disk. */
  readonly sizeBytes: number;
}

export interface Heartbeat {
  /** Placement version that the broker knew before it looked at what it hosts. */
  readonly assignmentVersion: number;
  readonly led: readonly LedPartition[];
  readonly hosted: readonly {
    readonly groupId: string;
    readonly epoch: number;
    readonly quarantined: boolean;
    readonly repairing: boolean;
  }[];
  /** How long commits take there, in milliseconds; null where there were none. */
  readonly commitMs: number | null;
}

/** Offsets that grow are no news by themselves; they are reported once in this time. */
const OFFSETS_EVERY_MS = 10_000;

export class Heartbeats {
  private readonly last = new Map<string, Heartbeat>();
  /** What the latest leader of each partition said, by group, and which placement it knew. */
  private readonly latest = new Map<string, LedPartition & Pick<Heartbeat, "assignmentVersion">>();
  /** Brokers whose hosted replicas may be news: a heartbeat came, or a report is under way. */
  private readonly unchecked = new Set<string>();
  private offsetsReportedMs: number | null = null;

  startAfresh(): void {
    this.last.clear();
    this.unchecked.clear();
    this.latest.clear();
    this.offsetsReportedMs = null;
  }

  heard(replicaId: string, heartbeat: Heartbeat): void {
    this.last.set(replicaId, heartbeat);
    this.unchecked.add(replicaId);
    const { assignmentVersion } = heartbeat;
    for (const led of heartbeat.led) {
      if (led.term < (this.latest.get(led.groupId)?.term ?? 0)) continue;
      this.latest.set(led.groupId, { ...led, assignmentVersion });
    }
  }

  /** What a partition's latest leader last said; undefined where none said anything yet. */
  led(groupId: string): LedPartition | undefined {
    return this.latest.get(groupId);
  }

  /** How long commits take at a broker, as it last said; null where it said nothing. */
  commitMs(replicaId: string): number | null {
    return this.last.get(replicaId)?.commitMs ?? null;
  }

  /** By group: brokers that last said that they repair their replica of it. */
  repairing(): Map<string, string[]> {
    const repairing = new Map<string, string[]>();
    for (const [replicaId, { hosted }] of this.last) {
      for (const { groupId } of hosted.filter((replica) => replica.repairing)) {
        repairing.set(groupId, [...repairing.get(groupId) ?? [], replicaId].sort());
      }
    }
    return repairing;
  }

  /** What to report now, or null where there is no news. */
  due(state: MetadataView, nowMs: number): ReportFields | null {
    this.forgetGone(state);
    const waitedMs = nowMs - (this.offsetsReportedMs ?? nowMs);
    this.offsetsReportedMs ??= nowMs;
    const news = this.newReports(state);
    const urgent = news.filter((said) => isUrgent(state, said));
    const retired = this.retirements(state);
    const buried = this.burials(state);
    const replicas = this.replicaReports(state);
    const quiet = urgent.length + retired.length + buried.length + replicas.length === 0;
    if (quiet && (news.length === 0 || waitedMs < OFFSETS_EVERY_MS)) return null;
    if (waitedMs < OFFSETS_EVERY_MS) return { partitions: urgent, retired, buried, replicas };
    this.offsetsReportedMs = nowMs;
    return { partitions: news, retired, buried, replicas };
  }

  private forgetGone(state: MetadataView): void {
    for (const replicaId of this.last.keys()) {
      if (state.brokerOf(replicaId) !== undefined) continue;
      this.last.delete(replicaId);
      this.unchecked.delete(replicaId);
    }
    for (const groupId of this.latest.keys()) {
      if (state.partitionOf(groupId) === undefined) this.latest.delete(groupId);
    }
  }

  private newReports(state: MetadataView): PartitionReport[] {
    const news: PartitionReport[] = [];
    for (const [leader, { led }] of this.last) {
      for (const { sizeBytes: _, ...said } of led) {
        const partition = partitionOf(state, said.groupId);
        const report = { ...said, leader };
        if (partition !== null && reported(partition, report) !== partition) news.push(report);
      }
    }
    return news;
  }

  /** Replicas that have begun, or that were quarantined or rebuilt, under the present placement. */
  private replicaReports(state: MetadataView): ReplicaReport[] {
    const news: ReplicaReport[] = [];
    for (const replicaId of this.unchecked) {
      const { assignmentVersion, hosted } = this.last.get(replicaId)!;
      const before = news.length;
      for (const { groupId, epoch, quarantined } of hosted) {
        const partition = partitionOf(state, groupId);
        // An earlier heartbeat may list a replica that was deleted since.
        if (partition === null || assignmentVersion < partition.placedVersion) continue;
        const { placedVersion } = partition;
        const said = { groupId, epoch, replicaId, quarantined, placedVersion };
        if (withReplica(partition, said) !== partition) news.push(said);
      }
      if (news.length === before) this.unchecked.delete(replicaId);
    }
    return news;
  }

  private retirements(state: MetadataView): Retirement[] {
    const due: Retirement[] = [];
    for (const topic of state.topics.values()) {
      for (const partition of topic.partitions) {
        const { groupId, epoch, placedVersion } = partition;
        const unwanted = partition.placed.filter((id) =>
          isUnwanted(partition, id) && this.isLetGo(partition, id)
        );
        if (unwanted.length === 0 || !this.knownToAll(state, partition)) continue;
        for (const replicaId of unwanted) due.push({ groupId, epoch, replicaId, placedVersion });
      }
    }
    return due;
  }

  /**
   * Whether the latest leader, when it knew the placement, had a settled membership without a
   * replica. What the managers have recorded may be older: a leader may have carried out an earlier
   * wish, promoted that very replica, and lost its leadership before it could report that.
   */
  private isLetGo(partition: Partition, replicaId: string): boolean {
    const { groupId, epoch, placedVersion, leaderTerm, membershipIndex } = partition;
    const said = this.latest.get(groupId);
    return said !== undefined && said.epoch === epoch && said.term >= leaderTerm &&
      said.assignmentVersion >= placedVersion && said.membershipIndex >= membershipIndex &&
      !said.voters.includes(replicaId);
  }

  /**
   * Whether every broker that may lead the group knows its placement. One that does not could
   * still ask a replica back that is about to be deleted.
   */
  private knownToAll(state: MetadataView, partition: Partition): boolean {
    return [...partition.voters, ...partition.replicas].every((id) =>
      state.brokerOf(id) === undefined ||
      (this.last.get(id)?.assignmentVersion ?? 0) >= partition.placedVersion
    );
  }

  private burials(state: MetadataView): Buried[] {
    const due: Buried[] = [];
    for (const { groupId, replicaId, version } of state.tombstones.values()) {
      const heartbeat = this.last.get(replicaId);
      if (heartbeat === undefined || heartbeat.assignmentVersion < version) continue;
      if (heartbeat.hosted.some((replica) => replica.groupId === groupId)) continue;
      due.push({ groupId, replicaId, version });
    }
    return due;
  }
}

function partitionOf(state: MetadataView, groupId: string): Partition | null {
  const placed = state.partitionOf(groupId);
  return placed === undefined ? null : placed.topic.partitions[placed.partition];
}

function isUrgent(state: MetadataView, said: PartitionReport): boolean {
  const partition = partitionOf(state, said.groupId);
  if (partition === null) return false;
  const after = reported(partition, said);
  return after.leaderTerm !== partition.leaderTerm || after.voters !== partition.voters;
}
