/** PURE. The status of a cluster as text to read at a glance, and as JSON for scripts. */

import { TrilogError } from "../lib/base/errors.ts";
import { limits } from "../lib/base/limits.ts";
import { type Column, tableLines } from "../lib/cli/table.ts";
import { counted, groupedNumber, roundedDuration, roundedSize } from "../lib/cli/units.ts";
import type {
  BrokerStatus,
  ClusterStatus,
  ManagerStatus,
  PartitionStatus,
} from "../lib/client/protocol.ts";

/** Where the cluster is; the words that scripts see, with the exit status of `cluster status`. */
export const CLUSTER_STATES = {
  /** All is well. */
  healthy: 0,
  /** Partitions are on their way, or about to start; nothing is wrong. */
  busy: 0,
  /** Something may be wrong: a broker that is late or slow. */
  suspect: 1,
  /** A dead broker, a silent manager, a degraded or stalled partition, too few brokers. */
  trouble: 1,
  /** No majority of the managers answers. */
  no_quorum: 3,
} as const;
export type ClusterState = keyof typeof CLUSTER_STATES;

/**
 * `alive`: heard in time. `late`: not heard for two heartbeats, or never by this leading manager.
 * `slow`: commits take longer than {@link SLOW_COMMIT_MS} there.
 */
export type BrokerState = "alive" | "late" | "slow" | "dead" | "unknown";

/**
 * `unknown`: only a manager that cannot ask the others answers. `ok`: every replica is there.
 * `starting`: no leader was reported yet. `moving`: the voters are not the wanted ones yet.
 * `degraded`: a replica's broker is dead or the replica is quarantined, a majority lives. `stalled`: no
 * majority lives, or the leader's broker is dead and no other was reported yet.
 */
export type PartitionState = "unknown" | "ok" | "starting" | "moving" | "degraded" | "stalled";

/** The leader exchanges something with every manager about once a second. */
const SILENT_MS = 5_000;

/** A broker is late when this many heartbeats are missing, and a little more. */
const MISSED_HEARTBEATS = 2;
const HEARTBEAT_SLACK_MS = 200;

/** A commit that takes longer than this says that a broker or its disk is overloaded. */
export const SLOW_COMMIT_MS = 1_000;

/** Registered brokers that a topic needs. */
const NEEDED = limits.partitionReplicas;

const right = (title: string): Column => ({ title, align: "right" });

/** Lines for a terminal of that width. `stale`: told by a manager that cannot ask the others. */
export function statusLines(status: ClusterStatus, stale: boolean, width: number): string[] {
  const { clusterId, version, term } = status;
  return [
    summary(status, stale),
    `cluster ${clusterId}, metadata version ${version}, managers' term ${term}`,
    "",
    ...tableLines(
      ["MANAGER", "ADDRESS", "ROLE", right("BEHIND"), right("HEARD")],
      status.managers.map((manager) => [
        manager.id,
        manager.address,
        stale ? "unknown" : isSilent(manager) ? "SILENT" : manager.role,
        manager.behind ?? "-",
        ago(manager.lastHeardMs),
      ]),
      width,
    ),
    "",
    ...tableLines(
      ["BROKER", "ADDRESS", "RACK", "STATE", right("HEARTBEAT"), right("LEADS"), right("HOLDS")],
      status.brokers.map((broker) => [
        broker.id,
        broker.address,
        broker.rack || "-",
        shownBrokerState(broker, status, stale) + (broker.draining ? ", draining" : ""),
        ago(broker.lastHeartbeatMs),
        broker.led,
        broker.hosted,
      ]),
      width,
    ),
    ...topicLines(status, stale, width),
  ];
}

/** What a broker's last heartbeats say of it. */
export function brokerState(
  { alive, lastHeartbeatMs, commitMs }: BrokerStatus,
  { heartbeatIntervalMs }: Pick<ClusterStatus, "heartbeatIntervalMs">,
  stale: boolean,
): BrokerState {
  if (stale) return "unknown";
  if (!alive) return "dead";
  const patienceMs = MISSED_HEARTBEATS * heartbeatIntervalMs + HEARTBEAT_SLACK_MS;
  if (lastHeartbeatMs === null || lastHeartbeatMs > patienceMs) return "late";
  return (commitMs ?? 0) > SLOW_COMMIT_MS ? "slow" : "alive";
}

function shownBrokerState(broker: BrokerStatus, status: ClusterStatus, stale: boolean): string {
  const state = brokerState(broker, status, stale);
  if (state === "slow") return `SLOW (${roundedDuration(broker.commitMs!)} a commit)`;
  return state === "late" || state === "dead" ? state.toUpperCase() : state;
}

/** What the first line of the status says in one word. */
export function clusterState(status: ClusterStatus, stale: boolean): ClusterState {
  if (stale) return "no_quorum";
  const brokers = status.brokers.map((broker) => brokerState(broker, status, stale));
  const partitions = partitionRows(status).map(({ state }) => state);
  const troubled = brokers.includes("dead") || brokers.length < NEEDED ||
    status.managers.some(isSilent) || partitions.includes("stalled") ||
    partitions.includes("degraded");
  if (troubled) return "trouble";
  if (brokers.some((state) => state !== "alive")) return "suspect";
  return partitions.some((state) => state !== "ok") ? "busy" : "healthy";
}

/** Partitions with the names of their brokers, for tables and JSON. */
export function partitionRows(
  status: ClusterStatus,
  topic: string | null = null,
  stale: boolean = false,
) {
  const names = new Map(status.brokers.map(({ id, replicaId }) => [replicaId, id]));
  const nameOf = (replicaId: string) => names.get(replicaId) ?? `(${replicaId})`;
  return status.partitions.filter((partition) => topic === null || partition.topic === topic)
    .map((partition) => ({
      topic: partition.topic,
      partition: partition.partition,
      state: stale ? "unknown" : partitionState(partition, status.brokers),
      leader: partition.leader === null ? null : nameOf(partition.leader),
      replicas: partition.replicas.map(nameOf),
      voters: partition.voters.map(nameOf),
      quarantined: partition.quarantined.map(nameOf),
      repairing: partition.repairing.map(nameOf),
      startOffset: partition.startOffset,
      endOffset: partition.endOffset,
      sizeBytes: partition.sizeBytes,
    }));
}

/** The status as one JSON object, brokers by their names. */
export function statusObject(status: ClusterStatus, stale: boolean) {
  const { brokers, partitions: _, ...rest } = status;
  return {
    state: clusterState(status, stale),
    stale,
    ...rest,
    brokers: brokers.map((broker) => ({ ...broker, state: brokerState(broker, status, stale) })),
    partitions: partitionRows(status, null, stale),
  };
}

export function partitionState(
  partition: PartitionStatus,
  brokers: readonly BrokerStatus[],
): PartitionState {
  const alive = new Set(brokers.filter((broker) => broker.alive).map(({ replicaId }) => replicaId));
  const { leader, replicas, voters, quarantined } = partition;
  const living = voters.filter((id) => alive.has(id) && !quarantined.includes(id)).length;
  if (leader !== null && !alive.has(leader)) return "stalled";
  if (voters.length > 0 && living * 2 <= voters.length) return "stalled";
  if (leader === null || voters.length === 0) return "starting";
  if ([...voters].sort().join() !== [...replicas].sort().join()) return "moving";
  return living < voters.length ? "degraded" : "ok";
}

/** Whether the leader has not heard a manager for so long that it is most likely down. */
function isSilent({ role, lastHeardMs }: ManagerStatus): boolean {
  return role !== "leader" && (lastHeardMs === null || lastHeardMs > SILENT_MS);
}

const HEADLINES: Readonly<Record<ClusterState, string>> = {
  healthy: "HEALTHY",
  busy: "BUSY",
  suspect: "SUSPECT",
  trouble: "TROUBLE",
  no_quorum: "TROUBLE",
};

function summary(status: ClusterStatus, stale: boolean): string {
  const parts = stale ? lastKnown(status) : [
    ...managersPart(status.managers),
    brokersPart(status),
    partitionsPart(partitionRows(status).map(({ state }) => state)),
  ];
  return `${HEADLINES[clusterState(status, stale)]}: ${parts.join("; ")}`;
}

function lastKnown({ managers, brokers, partitions }: ClusterStatus): string[] {
  return [
    `NO QUORUM of the ${managers.length} managers answers`,
    `the state of ${counted(brokers.length, "broker")} and ` +
    `${counted(partitions.length, "partition")} is unknown, this is what one manager knew last`,
  ];
}

function managersPart(managers: readonly ManagerStatus[]): string[] {
  const silent = managers.filter(isSilent).map(({ id }) => id);
  if (silent.length === 0) return [];
  return [`${silent.length} of ${managers.length} managers SILENT (${silent.join(", ")})`];
}

function brokersPart(status: ClusterStatus): string {
  const { brokers } = status;
  const inState = (state: BrokerState) =>
    brokers.filter((broker) => brokerState(broker, status, false) === state).map(({ id }) => id);
  const parts = (["dead", "late", "slow"] as const).flatMap((state) => {
    const ids = inState(state);
    if (ids.length === 0) return [];
    return [
      `${ids.length} of ${brokers.length} brokers ${state.toUpperCase()} (${ids.join(", ")})`,
    ];
  });
  if (parts.length === 0) parts.push(`${counted(brokers.length, "broker")} alive`);
  if (brokers.length < NEEDED) parts.push(`topics need ${NEEDED}`);
  return parts.join(", ");
}

function partitionsPart(states: readonly PartitionState[]): string {
  const counts = new Map<PartitionState, number>();
  for (const state of states) counts.set(state, (counts.get(state) ?? 0) + 1);
  const troubled = [...counts].filter(([state]) => state !== "ok");
  const all = counted(states.length, "partition");
  if (troubled.length === 0) return `${all} ok`;
  return `${all}: ${troubled.map(([state, count]) => `${count} ${state}`).join(", ")}`;
}

function topicLines(status: ClusterStatus, stale: boolean, width: number): string[] {
  const rows = partitionRows(status, null, stale);
  const topics = [...new Set(rows.map(({ topic }) => topic))];
  if (topics.length === 0) return ["", "no topics yet"];
  const table = topics.map((topic) => {
    const own = rows.filter((row) => row.topic === topic);
    const messages = own.reduce((sum, row) => sum + row.endOffset - row.startOffset, 0);
    const sizeBytes = own.reduce((sum, row) => sum + row.sizeBytes, 0);
    const size = stale ? "-" : roundedSize(sizeBytes);
    return [topic, own.length, groupedNumber(messages), size, topicState(own, stale)];
  });
  const columns = ["TOPIC", right("PARTITIONS"), right("MESSAGES"), right("SIZE"), "STATE"];
  return ["", ...tableLines(columns, table, width)];
}

/** `ok`, or the partitions in each other state: `degraded: 0-2, 7; moving: 5`. */
function topicState(
  rows: readonly Pick<
    ReturnType<typeof partitionRows>[number],
    "partition" | "state" | "quarantined" | "repairing"
  >[],
  stale: boolean,
): string {
  if (stale) return "unknown";
  const states = [...new Set(rows.map(({ state }) => state))].filter((state) => state !== "ok");
  const on = (field: "quarantined" | "repairing") =>
    rows.flatMap((row) => row[field].map((broker) => `${row.partition} on ${broker}`));
  const [quarantined, repairing] = [on("quarantined"), on("repairing")];
  const texts = states.map((state) => {
    const numbers = rows.filter((row) => row.state === state).map(({ partition }) => partition);
    if (numbers.length === rows.length && numbers.length > 1) return `${state}: all`;
    return `${state}: ${ranges(numbers)}`;
  });
  if (quarantined.length > 0) texts.push(`quarantined: ${firstOf(quarantined)}`);
  if (repairing.length > 0) texts.push(`repairing rot: ${firstOf(repairing)}`);
  return texts.join("; ") || "ok";
}

/** Ranges and replicas that are written out; the rest is a number. */
const MOST_RANGES = 6;

/** Ascending numbers as `0-2, 7`, the first few ranges only. */
function ranges(numbers: readonly number[]): string {
  const all: [from: number, to: number][] = [];
  for (const number of numbers) {
    const last = all.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else all.push([number, number]);
  }
  const shown = all.slice(0, MOST_RANGES);
  const left = all.slice(MOST_RANGES).reduce((sum, [from, to]) => sum + to - from + 1, 0);
  const texts = shown.map(([from, to]) => from === to ? `${from}` : `${from}-${to}`);
  return texts.join(", ") + (left === 0 ? "" : ` and ${left} more`);
}

function firstOf(texts: readonly string[]): string {
  const left = texts.length - MOST_RANGES;
  return texts.slice(0, MOST_RANGES).join(", ") + (left > 0 ? ` and ${left} more` : "");
}

function ago(durationMs: number | null): string {
  return durationMs === null ? "-" : `${roundedDuration(durationMs)} ago`;
}

/** `TOPIC/PARTITION` as typed; throws `usage`. */
export function parsePartition(text: string): { topic: string; partition: number } {
  const match = /^([^/]+)\/(\d{1,9})$/.exec(text);
  if (match !== null) return { topic: match[1], partition: Number(match[2]) };
  throw new TrilogError(
    "usage",
    `Cannot use ${JSON.stringify(text)}: expected TOPIC/PARTITION, such as logs/0`,
  );
}
