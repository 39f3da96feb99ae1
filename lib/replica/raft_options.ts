/** The settings of a core in production. */

import { limits } from "../base/limits.ts";
import type { RaftOptions } from "../raft/types.ts";

/** See `RaftOptions`. */
export type LeaseOptions = Pick<RaftOptions, "leaseMs" | "clockErrorRatio" | "formerLeaseMs">;

/** Raft settings for one election timeout and heartbeat interval, with the limits filled in. */
export function raftOptions(
  timing: { readonly electionTimeoutMs: number; readonly heartbeatMs: number },
  lease: LeaseOptions = { leaseMs: 0, clockErrorRatio: 0 },
): Omit<RaftOptions, "id"> {
  return {
    electionTimeoutMs: timing.electionTimeoutMs,
    heartbeatMs: timing.heartbeatMs,
    leaseMs: lease.leaseMs,
    clockErrorRatio: lease.clockErrorRatio,
    formerLeaseMs: lease.formerLeaseMs,
    maxAppendBytes: limits.appendBytes,
    maxInflightMessages: limits.inflightMessages,
    maxInflightBytes: limits.inflightBytes,
    maxUncommittedBytes: limits.uncommittedBytes,
    entryCacheBytes: limits.entryCacheBytes,
    diskStallMs: timing.electionTimeoutMs * 3,
  };
}
