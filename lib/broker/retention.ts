/**
 * Keeps partitions to their limits of size and age. Every replica ends its segments by age, too.
 * The leader proposes where the log shall begin, and an entry where nothing is written any more;
 * every replica, when it has applied that, drops what lies before its own last checkpoint at or
 * before that place, so that the checkpoint a follower would be sent still brings everything kept.
 *
 * On a full disk that decision would wait for the room that it makes. A replica whose entries wait
 * for room therefore drops by itself what the limits allow of its own files: compaction, which Raft
 * leaves to each replica, of entries that are applied. What the group agrees on follows when it can
 * write again: the leader proposes the trim that its own log has anticipated. Until then a replica
 * with more of the log may still hand out messages beyond the limits, and none lacks any within.
 */

import type { Clock } from "../base/clock.ts";
import { toTrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { TopicSettings } from "../client/protocol.ts";
import type { Replica } from "../replica/replica.ts";
import { encodeCommand, type PartitionCommand } from "./partition_commands.ts";
import {
  type ClockWatch,
  isStampDue,
  isWorthATrim,
  type RetainedSegment,
  type RetentionPlan,
  retentionPlan,
  rollAfterMs,
  trustedNowMs,
  watchClock,
} from "./partition_retention.ts";
import type { ServedPartition } from "./served_partition.ts";

export interface RetentionOptions {
  readonly clock: Clock;
  readonly logger: Logger;
}

export class Retention {
  /** Per partition that is led here; a new leadership looks at the clock afresh. */
  private readonly watches = new WeakMap<
    ServedPartition,
    { readonly term: number; readonly watch: ClockWatch }
  >();
  private readonly proposing = new WeakSet<ServedPartition>();
  private readonly known = new WeakSet<ServedPartition>();

  constructor(private readonly options: RetentionOptions) {}

  /** Whether a partition was looked after: its log ends segments as its limits ask for it. */
  knows(partition: ServedPartition): boolean {
    return this.known.has(partition);
  }

  /** Looks after one partition; call it every few seconds. */
  lookAfter(partition: ServedPartition, settings: TopicSettings): void {
    const { replica } = partition;
    this.known.add(partition);
    replica.store.rollAfterMs = rollAfterMs(settings);
    replica.store.segmentSize.retainedBytes = settings.retentionBytes;
    if (this.proposing.has(partition) || !(replica.isLeader || replica.diskFull)) return;
    const { clock, logger } = this.options;
    const now = { wallMs: replica.stampMs(), monotonicMs: clock.monotonicMs() };
    const { term } = replica.raft;
    const known = this.watches.get(partition);
    const previous = known?.term === term ? known.watch : null;
    // Stamps of this leader's own say nothing about its clock.
    const stampMs = partition.machine.stampBefore(term) || now.wallMs;
    const watch = watchClock(previous, now, stampMs);
    this.watches.set(partition, { term, watch });
    if (watch.distrustUntilMs !== null && (previous?.distrustUntilMs ?? null) === null) {
      logger.warn("the time is far ahead of the log's last entry: retention by age waits", {
        partition: partition.label,
      });
    }
    const nowMs = trustedNowMs(watch);
    const plan = retentionPlan(segmentsOf(partition), settings, nowMs);
    if (replica.diskFull) return this.makeRoom(partition, plan);
    const { trimTo } = plan;
    const planned = trimTo !== null && drops(partition, trimTo) ? trimTo : 0;
    const index = Math.max(planned, anticipated(partition));
    if (index > 0) {
      logger.info("dropping old messages", {
        partition: partition.label,
        reason: plan.reason ?? "disk_full",
        before: partition.machine.offsetFrom(index),
      });
      return this.propose(partition, { kind: "trim", index });
    }
    const holdsMessages = lastSegmentHoldsMessages(partition);
    if (isStampDue(holdsMessages, replica.raft.lastTimeMs, settings, nowMs)) {
      this.propose(partition, { kind: "stamp" });
    }
  }

  private propose(partition: ServedPartition, command: PartitionCommand): void {
    this.proposing.add(partition);
    partition.replica.propose(encodeCommand(command)).catch((thrown) => {
      const reason = toTrilogError(thrown).message;
      this.options.logger.debug("could not drop old messages", { reason });
    }).finally(() => this.proposing.delete(partition));
  }

  private makeRoom(partition: ServedPartition, { trimTo, reason }: RetentionPlan): void {
    if (trimTo === null || !dropBefore(partition.replica, trimTo)) return;
    this.options.logger.warn("the disk is full: what the limits allow is dropped at once", {
      partition: partition.label,
      reason,
      before: partition.startOffset,
    });
  }
}

/** Where the log begins here, if that is beyond what the group has agreed on; else 0. */
function anticipated({ startOffset, machine, replica }: ServedPartition): number {
  return startOffset > machine.startOffset ? replica.store.firstIndex() : 0;
}

/** Whether a trim to this entry drops enough. */
function drops({ machine, replica: { store } }: ServedPartition, trimTo: number): boolean {
  const dropped = store.segmentStarts().filter(({ first }) => first < trimTo);
  const bytes = dropped.reduce((sum, segment) => sum + segment.bytes, 0);
  return isWorthATrim(machine.offsetFrom(trimTo) - machine.startOffset, bytes);
}

function lastSegmentHoldsMessages({ machine, replica: { store } }: ServedPartition): boolean {
  const last = store.segmentStarts().at(-1);
  return last !== undefined && machine.offsetFrom(last.first) < machine.endOffset;
}

function segmentsOf({ replica: { checkpoints, store } }: ServedPartition): RetainedSegment[] {
  const stamps = new Map(checkpoints.list().map((meta) => [meta.last.index + 1, meta.timeMs]));
  return store.segmentStarts().map(({ first, bytes }) => ({
    first,
    bytes,
    stampBeforeMs: stamps.get(first) ?? null,
  }));
}

/** Drops what an applied trim allows; cheap where there is nothing. */
export function dropTrimmed({ machine, replica }: ServedPartition): void {
  dropBefore(replica, machine.trimmedTo);
}

/** Begins to drop what lies before the last checkpoint below `index`; false: there is nothing. */
function dropBefore(replica: Replica, index: number): boolean {
  const { store } = replica;
  if (index <= store.firstIndex()) return false;
  const base = replica.checkpoints.list().findLast(({ last }) => last.index < index);
  if (base === undefined || base.last.index < store.firstIndex()) return false;
  replica.trimTo(base);
  return true;
}
