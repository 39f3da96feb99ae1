/** Which members keep a group without a leader, for the errors of requests that need one. */

import { listed } from "../base/listed.ts";
import type { Membership, ReplicaId } from "../raft/types.ts";

/** A group without a leader for this long is more than an election under way. */
export const LEADERLESS_MS = 1_000;

export interface Hearing {
  readonly self: ReplicaId;
  readonly membership: Membership;
  /** Milliseconds since a member's process was last heard here. */
  readonly silentMs: (id: ReplicaId) => number;
}

/**
 * The voters that are missing for a majority, such as `b2 (127.0.0.1:9102) and b3
 * (127.0.0.1:9103) not heard for 14 s`; null where enough of them are heard.
 */
export function missingQuorum({ self, membership, silentMs }: Hearing): string | null {
  for (const voters of [membership.voters, membership.outgoing]) {
    const silent = voters.filter((id) => id !== self && silentMs(id) > LEADERLESS_MS);
    if (silent.length === 0 || 2 * (voters.length - silent.length) > voters.length) continue;
    const names = silent.map((id) => label(membership, id)).sort();
    const shortestMs = Math.min(...silent.map(silentMs));
    const seconds = Math.max(1, Math.round(shortestMs / 1_000));
    return `${listed(names)} not heard for ${seconds} s`;
  }
  return null;
}

function label({ nodes }: Membership, id: ReplicaId): string {
  const node = nodes[id];
  return node === undefined ? id : `${node.name} (${node.address})`;
}
