/**
 * What runs on a simulated cluster, seen from the cluster: a machine for each replica, what answers
 * clients at each node, the clients themselves, and books to judge what they were told.
 */

import type { Clock } from "../base/clock.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Prng } from "../base/prng.ts";
import type { Caller } from "../net/rpc_client.ts";
import type { Index } from "../raft/types.ts";
import type { Replica } from "../replica/replica.ts";
import type { StateMachine } from "../replica/state_machine.ts";
import type { SimProcess } from "./process.ts";

/** What the machine of one replica needs beyond it, in the replica's process. */
export interface Seat {
  readonly replica: Replica;
  /** Whether this process answers reads under leases. */
  readonly leases: boolean;
  readonly clock: Clock;
  /** For the seat alone. */
  readonly random: Prng;
  /** Calls to the same group at other nodes. */
  readonly caller: Caller;
  /** Ends the process: its replica cannot go on. */
  readonly fail: (error: unknown) => void;
}

/** Answers a request of a client, or of another node; rejects with a `TrilogError`. */
export type Serve = (method: string, params: Packable) => Promise<Packable>;

/** The part of a system in one replica, for the life of its process. */
export interface SystemReplica {
  readonly machine: StateMachine;
  /** The replica is open. */
  serve(seat: Seat): Serve;
  /**
   * What this replica serves agrees with the log; else throws `BrokenInvariant`, or `corrupt` where
   * its disk has rotted.
   */
  audit(): void;
}

/** The cluster as clients reach it, and what only the simulation can tell about it. */
export interface Reach {
  /** Of all nodes. */
  readonly addresses: readonly string[];
  /** Names of all groups. */
  readonly groupNames: readonly string[];
  /** Longest time that a client waits for one answer. */
  readonly callMs: number;
  /** Rejects with a `TrilogError`; its code says whether anything may have happened. */
  call(
    client: SimProcess,
    address: string,
    group: number,
    method: string,
    params: Packable,
  ): Promise<Packable>;
  /** Highest index of a group that any replica has applied. */
  highest(group: number): Index;
}

export interface SimClient {
  /** Whether an operation is under way. */
  readonly busy: boolean;
  start(): void;
  /** Begins nothing new. */
  stop(): void;
  /** Resolves when a group has taken one more change and shown it. */
  prove(group: number): Promise<void>;
}

/** How much the clients got done, and what else must have happened for a run to mean much. */
export interface Operations {
  readonly acknowledged: number;
  readonly reads: number;
  readonly [other: string]: number;
}

export interface System {
  readonly compaction: "previous" | "manual";
  /** A new replica of a group. */
  open(group: number): SystemReplica;
  /** A machine that nobody watches. */
  blank(): StateMachine;
  newClient(process: SimProcess, random: Prng, reach: Reach): SimClient;
  /** Checks everything that clients of one group were told; throws `BrokenInvariant`. */
  audit(group: number): void;
  readonly operations: Operations;
}
