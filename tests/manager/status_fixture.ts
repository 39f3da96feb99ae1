/** A cluster's status in which all is well, to be changed field by field. */

import type {
  BrokerStatus,
  ClusterStatus,
  ManagerStatus,
  PartitionStatus,
} from "../../lib/client/protocol.ts";

export function manager(id: string, more: Partial<ManagerStatus> = {}): ManagerStatus {
  const base = { id, replicaId: `r-${id}`, address: `${id}:9001`, role: "follower" } as const;
  return { ...base, behind: 0, lastHeardMs: 20, ...more };
}

export function broker(id: string, more: Partial<BrokerStatus> = {}): BrokerStatus {
  const base = { id, replicaId: `r-${id}`, address: `${id}:9101`, rack: "", alive: true };
  const healthy = { lastHeartbeatMs: 400, commitMs: null, draining: false };
  return { ...base, ...healthy, led: 1, hosted: 2, held: 2, ...more };
}

export function partition(more: Partial<PartitionStatus> = {}): PartitionStatus {
  return {
    topic: "logs",
    partition: 0,
    groupId: "p/1/0",
    epoch: 1,
    leader: "r-b1",
    leaderTerm: 2,
    replicas: ["r-b1", "r-b2", "r-b3"],
    voters: ["r-b3", "r-b1", "r-b2"],
    quarantined: [],
    repairing: [],
    startOffset: 10,
    endOffset: 1_510,
    sizeBytes: 3 * 2 ** 20,
    ...more,
  };
}

export function cluster(more: Partial<ClusterStatus> = {}): ClusterStatus {
  return {
    clusterId: "c1",
    version: 9,
    term: 3,
    managers: [manager("m1", { role: "leader", behind: null, lastHeardMs: null }), manager("m2")],
    brokers: [broker("b1"), broker("b2"), broker("b3")],
    partitions: [partition()],
    tombstones: 0,
    heartbeatIntervalMs: 1_000,
    ...more,
  };
}
