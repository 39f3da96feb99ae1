/** How a replica is opened, and what it answers. */

import type { Index, LogId, RaftOptions } from "../raft/types.ts";
import type { LogStore } from "../storage/store.ts";
import type { Compaction } from "./checkpoints.ts";
import type { StateMachine } from "./state_machine.ts";
import type { ReplicaObserver } from "./story.ts";

/** A command that is committed and applied on this replica. */
export interface Applied {
  readonly id: LogId;
  /** The entry's stamp, milliseconds since 1970. */
  readonly timeMs: number;
  /** What the state machine answered. */
  readonly answer: Uint8Array;
}

export interface ReplicaOptions {
  readonly group: string;
  readonly machine: StateMachine;
  readonly store: LogStore;
  readonly raft: Omit<RaftOptions, "id">;
  readonly compaction: Compaction;
  /** Bytes of a checkpoint that are written at a time; for tests. */
  readonly sliceBytes?: number | undefined;
  /**
   * Committed position at or after which this replica was made anew under an identity that may
   * have been a member before: see `floor.ts`.
   */
  readonly floor?: LogId | undefined;
  /** Sees what goes into the core and what comes out of it. */
  readonly observer?: ReplicaObserver | undefined;
}

/** Called after this replica applied entries; `applied` is the highest index. */
export type AppliedListener = (applied: Index) => void;
