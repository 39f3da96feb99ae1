/** PURE. The status of a cluster as text to read at a glance, and as JSON for scripts. */

import { TrilogError } from "../lib/base/errors.ts";
import { limits } from "../lib/base/limits.ts";
import { type Column, tableLines } from "../lib/cli/table.ts";
import { groupedNumber, roundedDuration, roundedSize } from "../lib/cli/units.ts";
import type {
  BrokerStatus,
  ClusterStatus,
  ManagerStatus,
  PartitionStatus,
} from "../lib/client/protocol.ts";

/**
 * `ok`: every replica is there. `starting`: no leader was reported yet. `moving`: the voters are
 * not the wanted ones yet. `degraded`: a replica's broker is dead or the replica is quarantined, a majority lives. `stalled`: no
 * majority lives, or the leader's broker is dead and no other was reported yet.
 */
export type PartitionState = "ok" | "starting" | "moving" | "degraded" | "stalled";

/** The leader exchanges something with every manager about once a second. */
const SILENT_MS = 5_000;

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
        !stale && isSilent(manager) ? "SILENT" : manager.role,
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
        (broker.alive ? "alive" : "DEAD") + (broker.draining ? ", draining" : ""),
        ago(broker.lastHeartbeatMs),
        broker.led,
        broker.hosted,
      ]),
      width,
    ),
    ...topicLines(status, width),
  ];
}

/** Partitions with the names of their brokers, for tables and JSON. */
export function partitionRows(status: ClusterStatus, topic: string | null = null) {
  const names = new Map(status.brokers.map(({ id, replicaId }) => [replicaId, id]));
  const nameOf = (replicaId: string) => names.get(replicaId) ?? `(${replicaId})`;
  return status.partitions.filter((partition) => topic === null || partition.topic === topic)
    .map((partition) => ({
      topic: partition.topic,
      partition: partition.partition,
      state: partitionState(partition, status.brokers),
      leader: partition.leader === null ? null : nameOf(partition.leader),
      replicas: partition.replicas.map(nameOf),
      voters: partition.voters.map(nameOf),
      quarantined: partition.quarantined.map(nameOf),
      startOffset: partition.startOffset,
      endOffset: partition.endOffset,
      sizeBytes: partition.sizeBytes,
    }));
}

/** The status as one JSON object, brokers by their names. */
export function statusObject(status: ClusterStatus, stale: boolean) {
  const { clusterId, version, term, managers, brokers, tombstones } = status;
  const partitions = partitionRows(status);
  return { clusterId, version, term, stale, managers, brokers, partitions, tombstones };
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

function summary(status: ClusterStatus, stale: boolean): string {
  const { brokers } = status;
  const dead = brokers.filter((broker) => !broker.alive).map(({ id }) => id);
  const silent = stale ? [] : status.managers.filter(isSilent).map(({ id }) => id);
  const few = brokers.length < NEEDED;
  const rows = partitionRows(status);
  const counts = new Map<PartitionState, number>();
  for (const { state } of rows) counts.set(state, (counts.get(state) ?? 0) + 1);
  const states = [...counts].filter(([state]) => state !== "ok").map(([state, count]) =>
    `${count} ${state}`
  );
  const parts = [
    ...(silent.length === 0
      ? []
      : [`${silent.length} of ${status.managers.length} managers SILENT (${silent.join(", ")})`]),
    dead.length === 0
      ? `${counted(brokers.length, "broker")} alive${few ? `, topics need ${NEEDED}` : ""}`
      : `${dead.length} of ${brokers.length} brokers DEAD (${dead.join(", ")})`,
    states.length === 0
      ? `${counted(rows.length, "partition")} ok`
      : `${counted(rows.length, "partition")}: ${states.join(", ")}`,
  ];
  if (stale) parts.unshift("NO QUORUM of managers answers, this is what one of them knew last");
  const stalled = counts.get("stalled") ?? 0;
  const troubled = stale || silent.length + dead.length + stalled > 0;
  const busy = few || states.length > 0;
  return `${troubled ? "TROUBLE" : busy ? "BUSY" : "HEALTHY"}: ${parts.join("; ")}`;
}

/** `1 broker`, `2 brokers`. */
export function counted(count: number, noun: string): string {
  return `${groupedNumber(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function topicLines(status: ClusterStatus, width: number): string[] {
  const rows = partitionRows(status);
  const topics = [...new Set(rows.map(({ topic }) => topic))];
  if (topics.length === 0) return ["", "no topics yet"];
  const table = topics.map((topic) => {
    const own = rows.filter((row) => row.topic === topic);
    const messages = own.reduce((sum, row) => sum + row.endOffset - row.startOffset, 0);
    const sizeBytes = own.reduce((sum, row) => sum + row.sizeBytes, 0);
    const troubled = own.filter(({ state }) => state !== "ok");
    const state = troubled.map(stateOf).join(", ");
    return [topic, own.length, groupedNumber(messages), roundedSize(sizeBytes), state || "ok"];
  });
  const columns = ["TOPIC", right("PARTITIONS"), right("MESSAGES"), right("SIZE"), "STATE"];
  return ["", ...tableLines(columns, table, width)];
}

/** `0 degraded (quarantined on b1)`. */
function stateOf(row: ReturnType<typeof partitionRows>[number]): string {
  const { partition, state, quarantined } = row;
  const why = quarantined.length === 0 ? "" : ` (quarantined on ${quarantined.join(", ")})`;
  return `${partition} ${state}${why}`;
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
