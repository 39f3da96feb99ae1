/** What a replica needs of the host it lives in. */

import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Random } from "../base/prng.ts";
import type { Membership, Message, NodeInfo, ReplicaId } from "../raft/types.ts";
import type { Replica } from "./replica.ts";
import type { SteadyTime } from "./stamps.ts";

export interface ReplicaContext {
  readonly self: ReplicaId;
  readonly clock: Clock;
  /** What stamps are made from. */
  readonly time: SteadyTime;
  readonly random: Random;
  readonly logger: Logger;
  /** Sends a message of this group's core. */
  sendMessage(group: string, message: Message): void;
  /** Sends a frame of this group that is none of its core's. */
  sendFrame(to: ReplicaId, group: string, body: Packable): void;
  /** Asks for a turn. */
  markDirty(replica: Replica): void;
  /** The replica has something to make durable. */
  markUnsynced(replica: Replica): void;
  /** Input arrived for a replica that was at rest. */
  wake(replica: Replica): void;
  startSnapshotTransfer(replica: Replica, to: ReplicaId): void;
  /** A membership is in force, committed or not: its members must be reachable. */
  membershipChanged(membership: Membership): void;
  membershipCommitted(replica: Replica, membership: Membership, previous: Membership): void;
  /** Where a member is dialled from here. */
  addressOf(id: ReplicaId, node: NodeInfo): string;
  /** Milliseconds since a member's process was last heard, or since this one started. */
  silentMs(id: ReplicaId): number;
  /** This replica's files have rotted beyond repair, or something worse happened. */
  failed(replica: Replica, error: unknown): void;
  /** Something happened after which this process must not go on. */
  fatal(error: unknown): void;
}
