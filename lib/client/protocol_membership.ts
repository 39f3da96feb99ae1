/** PURE. Methods of managers for brokers: registration and heartbeats. */

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
} from "../base/codec.ts";
import { method } from "./protocol_method.ts";
import { type TopicSettings, topicSettings } from "./protocol_metadata.ts";

export interface RegisterBrokerRequest {
  readonly id: string;
  readonly replicaId: string;
  readonly address: string;
  readonly rack: string;
  /** Cluster that the broker's data directory belongs to; null while it is blank. */
  readonly clusterId: string | null;
}

export interface RegisterBrokerAnswer {
  readonly clusterId: string;
  readonly heartbeatIntervalMs: number;
}

export const registerBrokerMethod = method<RegisterBrokerRequest, RegisterBrokerAnswer>(
  "manager.register_broker",
  record<RegisterBrokerRequest>({
    id: name,
    replicaId: token,
    address: token,
    rack: label,
    clusterId: nullable(token),
  }),
  record<RegisterBrokerAnswer>({ clusterId: token, heartbeatIntervalMs: whole }),
);

/** What the leader of a partition says of it. */
export interface LedPartition {
  readonly groupId: string;
  readonly epoch: number;
  readonly term: number;
  /**
   * Index of the **committed** membership in force, and its voters. The group's first membership
   * has index 1; 0 says that a change of members is under way, and voters mean nothing.
   */
  readonly membershipIndex: number;
  readonly voters: readonly string[];
  readonly startOffset: number;
  /** Offset after the last committed message. */
  readonly endOffset: number;
  /** Bytes on the leader's disk. */
  readonly sizeBytes: number;
}
export const ledPartition: Codec<LedPartition> = record<LedPartition>({
  groupId: token,
  epoch: whole,
  term: whole,
  membershipIndex: whole,
  voters: list(token),
  startOffset: whole,
  endOffset: whole,
  sizeBytes: whole,
});

/** Any replica that a broker has on its disk, wanted or not: its files are durable. */
export interface HostedReplica {
  readonly groupId: string;
  readonly epoch: number;
  /** It has rotted or is gone, and takes no part in its group until it is rebuilt. */
  readonly quarantined: boolean;
  /** Entries of its log have rotted and are being repaired from other replicas; it takes part. */
  readonly repairing: boolean;
}
const hostedReplica: Codec<HostedReplica> = record<HostedReplica>({
  groupId: token,
  epoch: whole,
  quarantined: flag,
  repairing: flag,
});

/** A replica that a broker may delete. */
export interface BuriedReplica {
  readonly groupId: string;
  readonly epoch: number;
}
const buriedReplica: Codec<BuriedReplica> = record<BuriedReplica>({
  groupId: token,
  epoch: whole,
});

export interface HeartbeatBrokerRequest {
  readonly replicaId: string;
  /**
   * Version of the newest assignments that this broker knows, once nothing that older ones asked
   * for is still being done; 0 for none yet.
   */
  readonly assignmentVersion: number;
  readonly led: readonly LedPartition[];
  /** Everything on its disk at a moment when `assignmentVersion` was already known to it. */
  readonly hosted: readonly HostedReplica[];
  /**
   * The answer may be held back this long while there are no newer assignments, so that these
   * arrive at once; 0 for an answer without delay.
   */
  readonly maxWaitMs: number;
  /**
   * How long commits of batches take here, in milliseconds: the slowest that ended since the last
   * heartbeat, or the age of the oldest that has not ended; null where there was none.
   */
  readonly commitMs: number | null;
}

/**
 * What is wanted of a group that concerns a broker: to host a replica, or where it is not among
 * `replicas` any more, to serve (and to lead the change) until the group has let it go.
 */
export interface AssignedReplica {
  readonly groupId: string;
  readonly epoch: number;
  readonly topic: string;
  readonly partition: number;
  /** Wanted voters; the first is the preferred leader. */
  readonly replicas: readonly string[];
  /**
   * Voters of the group's first membership. A broker that has no replica yet opens one with this
   * membership if `bootstrap` is set; else it opens a blank one and waits for the leader.
   */
  readonly founders: readonly string[];
  readonly bootstrap: boolean;
  /**
   * Whether this broker has reported that its replica's files were durable. Where it has none now,
   * it lost them: votes and acknowledged entries may be forgotten, so it neither founds nor joins
   * before its group has let the former replica go.
   */
  readonly begun: boolean;
  /**
   * Last known term of a leader, and index of the newest membership known to be committed: a
   * blank replica hears nobody who is behind (`lib/replica/floor.ts`).
   */
  readonly leaderTerm: number;
  readonly membershipIndex: number;
  readonly settings: TopicSettings;
  /**
   * Set for the one broker whose replica of an earlier epoch goes on in this one: its offsets then
   * go on at `endOffset` at the lowest.
   */
  readonly recovery: { readonly endOffset: number } | null;
}
export const assignedReplica: Codec<AssignedReplica> = record<AssignedReplica>({
  groupId: token,
  epoch: whole,
  topic: name,
  partition: whole,
  replicas: list(token),
  founders: list(token),
  bootstrap: flag,
  begun: flag,
  leaderTerm: whole,
  membershipIndex: whole,
  settings: topicSettings,
  recovery: nullable(record<{ readonly endOffset: number }>({ endOffset: whole })),
});

/** Where a replica id is or was to be found. */
export interface Peer {
  readonly replicaId: string;
  readonly id: string;
  readonly address: string;
}
const peer: Codec<Peer> = record<Peer>({ replicaId: token, id: name, address: token });

export interface Assignments {
  /** Rises with each change; a broker ignores assignments older than those it has. */
  readonly version: number;
  /** Sorted by group id. */
  readonly replicas: readonly AssignedReplica[];
  /** The only replicas that this broker may delete. Absence from `replicas` never allows it. */
  readonly tombstones: readonly BuriedReplica[];
  /** All brokers, and superseded identities that memberships may still name. */
  readonly peers: readonly Peer[];
  /** Identities that lost their disk: nobody may speak to Raft under them any more. */
  readonly superseded: readonly string[];
}

export interface HeartbeatBrokerAnswer {
  readonly intervalMs: number;
  /** Null where the broker has the newest. */
  readonly assignments: Assignments | null;
}

export const heartbeatBrokerMethod = method<HeartbeatBrokerRequest, HeartbeatBrokerAnswer>(
  "manager.heartbeat_broker",
  record<HeartbeatBrokerRequest>({
    replicaId: token,
    assignmentVersion: whole,
    led: list(ledPartition),
    hosted: list(hostedReplica),
    maxWaitMs: whole,
    commitMs: nullable(whole),
  }),
  record<HeartbeatBrokerAnswer>({
    intervalMs: whole,
    assignments: nullable(record<Assignments>({
      version: whole,
      replicas: list(assignedReplica),
      tombstones: list(buriedReplica),
      peers: list(peer),
      superseded: list(token),
    })),
  }),
);
