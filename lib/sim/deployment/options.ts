/** What a seed decides about a deployment before it begins: its size and how bad its world is. */

import { Prng } from "../../base/prng.ts";
import type { LivenessSettings } from "../../manager/liveness.ts";
import type { UpkeepSettings } from "../../manager/upkeep_desk.ts";
import { goodLinks, type LinkQuality } from "../links.ts";

export interface TopicPlan {
  readonly name: string;
  readonly partitions: number;
  /** Bytes of each partition that are kept; 0: all. */
  readonly retentionBytes: number;
}

export interface DeploymentOptions {
  /** 1, 3 or 5. */
  readonly managers: number;
  /** From 3 to 5: each partition has three replicas. */
  readonly brokers: number;
  /** Brokers that may join later. */
  readonly spares: number;
  /** Racks that the brokers are spread over; 0: none. */
  readonly racks: number;
  readonly topics: readonly TopicPlan[];
  readonly producers: number;
  /** Members of the consumer group. */
  readonly consumers: number;
  readonly heartbeatMs: number;
  readonly electionTimeoutMs: number;
  readonly liveness: LivenessSettings;
  readonly upkeep: UpkeepSettings;
  readonly links: LinkQuality;
  /** Largest error of a monotonic clock's rate, such as 0.01. */
  readonly clockError: number;
  /** Length of an event-loop turn. */
  readonly turnMs: number;
  readonly syncMs: readonly [number, number];
  readonly segmentBytes: number;
  readonly managerSegmentBytes: number;
  readonly retentionEveryMs: number;
  /** Mean virtual time between two messages of a producer. */
  readonly messageEveryMs: number;
  /** Longest virtual time that a producer sends, and pauses, at a stretch. */
  readonly burstMs: number;
  readonly lullMs: number;
  /** Virtual time under faults. */
  readonly faultsMs: number;
  /** Mean virtual time from one fault to the next; null for none. */
  readonly faultEveryMs: number | null;
  /** Kinds of faults that may happen. */
  readonly kinds: readonly DeploymentFaultKind[];
}

export const DEPLOYMENT_FAULT_KINDS = [
  "crash",
  "power",
  "pause",
  "partition",
  "clog",
  "clock",
  "starve",
  "restart",
  "crash_point",
  "slow_disk",
  "disk_full",
  "sync_error",
  "read_error",
  "rot",
  "misdirected_write",
  "wipe",
  "lost_group",
  "consumer",
  "move",
  "drain",
  "rebalance",
  "alter",
  "grow",
  "short_topic",
  "join",
  "retire",
  "recover",
] as const;

export type DeploymentFaultKind = typeof DEPLOYMENT_FAULT_KINDS[number];

/** The options of a seed; `overrides` replace single ones. */
export function deploymentOptionsOf(
  seed: number,
  overrides: Partial<DeploymentOptions> = {},
): DeploymentOptions {
  const random = new Prng(seed ^ 0xde910);
  const heartbeatMs = random.pick([50, 100, 100]);
  const intervalMs = random.pick([300, 1_000]);
  const faultsMs = random.pick([10_000, 10_000, 10_000, 20_000, 20_000, 60_000, 180_000]);
  const drawn: DeploymentOptions = {
    managers: random.pick([1, 3, 3, 3, 5]),
    brokers: random.pick([3, 3, 4, 5]),
    spares: random.pick([0, 1, 2]),
    racks: random.pick([0, 2, 3]),
    topics: Array.from({ length: random.between(1, 2) }, (_, at) => ({
      name: `t${at + 1}`,
      partitions: random.between(1, 4),
      retentionBytes: random.pick([0, 0, 3_000, 20_000]),
    })),
    producers: random.between(1, 3),
    consumers: random.between(1, 3),
    heartbeatMs,
    electionTimeoutMs: heartbeatMs * random.between(4, 8),
    liveness: { intervalMs, timeToDeadMs: intervalMs * random.between(3, 10) },
    upkeep: {
      replaceAfterMs: random.pick([1_000, 5_000, 600_000]),
      rebalancing: random.pick(["auto", "off"]),
    },
    links: linksOf(random),
    clockError: random.pick([0, 0.001, 0.01]),
    turnMs: random.pick([0.01, 0.1, 1]),
    syncMs: random.pick([[0.1, 0.5], [0.5, 3], [1, 20]] as const),
    segmentBytes: random.pick([1_024, 4_096, 16_384, 65_536]),
    managerSegmentBytes: random.pick([512, 2_048, 65_536]),
    retentionEveryMs: random.pick([200, 2_000]),
    messageEveryMs: random.pick([20, 60, 200]) * (faultsMs > 20_000 ? 4 : 1),
    burstMs: random.pick([200, 2_000, 20_000]),
    lullMs: random.pick([0, 2_000, 8_000]),
    faultsMs,
    faultEveryMs: random.chance(0.1) ? null : random.pick([500, 1_500, 4_000]),
    kinds: random.chance(0.3)
      ? DEPLOYMENT_FAULT_KINDS
      : DEPLOYMENT_FAULT_KINDS.filter(() => random.chance(0.5)),
  };
  return { ...drawn, ...overrides };
}

function linksOf(random: Prng): LinkQuality {
  if (random.chance(0.4)) return goodLinks;
  return {
    loss: random.pick([0, 0.001, 0.02]),
    delayMs: random.pick([[0.1, 0.5], [1, 5], [1, 30]] as const),
    chop: random.pick([0, 0.2]),
  };
}
