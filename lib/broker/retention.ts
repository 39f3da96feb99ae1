/**
 * Keeps partitions to their limits of size and age. Every replica ends its segments by age, too.
 * The leader proposes where the log shall begin, and an entry where nothing is written any more;
 * every replica, when it has applied that, drops what lies before its own last checkpoint at or
 * before that place, so that the checkpoint a follower would be sent still brings everything kept.
 */

import type { Clock } from "../base/clock.ts";
import { toTrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { TopicSettings } from "../client/protocol.ts";
import { encodeCommand, type PartitionCommand } from "./partition_commands.ts";
import {
  type ClockWatch,
  isStampDue,
  isWorthATrim,
  type RetainedSegment,
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

  constructor(private readonly options: RetentionOptions) {}

  /** Looks after one partition; call it every few seconds. */
  lookAfter(partition: ServedPartition, settings: TopicSettings): void {
    const { replica } = partition;
    replica.store.rollAfterMs = rollAfterMs(settings);
    if (!replica.isLeader || this.proposing.has(partition)) return;
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
    if (plan.trimTo === null || !drops(partition, plan.trimTo)) {
      const holdsMessages = lastSegmentHoldsMessages(partition);
      if (isStampDue(holdsMessages, replica.raft.lastTimeMs, settings, nowMs)) {
        this.propose(partition, { kind: "stamp" });
      }
      return;
    }
    logger.info("dropping old messages", {
      partition: partition.label,
      reason: plan.reason,
      before: partition.machine.offsetFrom(plan.trimTo),
    });
    this.propose(partition, { kind: "trim", index: plan.trimTo });
  }

  private propose(partition: ServedPartition, command: PartitionCommand): void {
    this.proposing.add(partition);
    partition.replica.propose(encodeCommand(command)).catch((thrown) => {
      const reason = toTrilogError(thrown).message;
      this.options.logger.debug("could not drop old messages", { reason });
    }).finally(() => this.proposing.delete(partition));
  }
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
  const { trimmedTo } = machine;
  const { store } = replica;
  if (trimmedTo <= store.firstIndex()) return;
  const base = replica.checkpoints.list().findLast(({ last }) => last.index < trimmedTo);
  if (base !== undefined && base.last.index >= store.firstIndex()) replica.trimTo(base);
}
