/** PURE. The state of the whole cluster, for `cluster status` and for the HTTP API. */

import {
  type Codec,
  flag,
  label,
  list,
  name,
  nullable,
  record,
  token,
  whole,
  word,
} from "../base/codec.ts";
import { type Consistency, consistency } from "./protocol_metadata.ts";
import { method } from "./protocol_method.ts";

export interface ClusterStatusRequest {
  /** `stale` is answered by the manager that is asked, without what only the leader knows. */
  readonly consistency: Consistency;
}

export interface ManagerStatus {
  readonly id: string;
  readonly replicaId: string;
  readonly address: string;
  readonly role: "leader" | "follower" | "learner";
  /** Entries that it lacks, as the leader sees it; null where nobody can tell. */
  readonly behind: number | null;
  /** Milliseconds since it answered the leader; null for the leader and where nobody can tell. */
  readonly lastHeardMs: number | null;
}
const managerStatus: Codec<ManagerStatus> = record<ManagerStatus>({
  id: name,
  replicaId: token,
  address: token,
  role: word("leader", "follower", "learner"),
  behind: nullable(whole),
  lastHeardMs: nullable(whole),
});

export interface BrokerStatus {
  readonly id: string;
  readonly replicaId: string;
  readonly address: string;
  readonly rack: string;
  readonly alive: boolean;
  /** Milliseconds since its last heartbeat; null where none came to the answering leader yet. */
  readonly lastHeartbeatMs: number | null;
  /** Partitions whose known leader it is, and replicas that are placed on it. */
  readonly led: number;
  readonly hosted: number;
  /** Replicas that it may have data of: also those that are on their way elsewhere. */
  readonly held: number;
  /** Whether it is being emptied. */
  readonly draining: boolean;
  /** See `HeartbeatBrokerRequest`; null where it is not known. */
  readonly commitMs: number | null;
}
const brokerStatus: Codec<BrokerStatus> = record<BrokerStatus>({
  id: name,
  replicaId: token,
  address: token,
  rack: label,
  alive: flag,
  lastHeartbeatMs: nullable(whole),
  led: whole,
  hosted: whole,
  held: whole,
  draining: flag,
  commitMs: nullable(whole),
});

export interface PartitionStatus {
  readonly topic: string;
  readonly partition: number;
  readonly groupId: string;
  readonly epoch: number;
  /** Replica ids of brokers, as in `BrokerStatus`. */
  readonly leader: string | null;
  readonly leaderTerm: number;
  readonly replicas: readonly string[];
  /** Voters of the newest committed membership that was reported; empty before the first report. */
  readonly voters: readonly string[];
  /** Replica ids whose replica has rotted or is gone, and takes no part until it is rebuilt. */
  readonly quarantined: readonly string[];
  /** Replica ids that repair rotted entries; empty where the answering manager does not know. */
  readonly repairing: readonly string[];
  readonly startOffset: number;
  readonly endOffset: number;
  /** Bytes on the leader's disk; 0 where the answering manager does not know. */
  readonly sizeBytes: number;
}
const partitionStatus: Codec<PartitionStatus> = record<PartitionStatus>({
  topic: name,
  partition: whole,
  groupId: token,
  epoch: whole,
  leader: nullable(token),
  leaderTerm: whole,
  replicas: list(token),
  voters: list(token),
  quarantined: list(token),
  repairing: list(token),
  startOffset: whole,
  endOffset: whole,
  sizeBytes: whole,
});

export interface ClusterStatus {
  readonly clusterId: string;
  readonly version: number;
  readonly term: number;
  readonly managers: readonly ManagerStatus[];
  readonly brokers: readonly BrokerStatus[];
  readonly partitions: readonly PartitionStatus[];
  /** Replicas that brokers were told to delete and still have. */
  readonly tombstones: number;
  /** Milliseconds from one heartbeat of a broker to the next. */
  readonly heartbeatIntervalMs: number;
}

export const clusterStatusMethod = method<ClusterStatusRequest, ClusterStatus>(
  "manager.cluster_status",
  record<ClusterStatusRequest>({ consistency }),
  record<ClusterStatus>({
    clusterId: token,
    version: whole,
    term: whole,
    managers: list(managerStatus),
    brokers: list(brokerStatus),
    partitions: list(partitionStatus),
    tombstones: whole,
    heartbeatIntervalMs: whole,
  }),
);
