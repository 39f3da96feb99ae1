/** How a simulation ends. */

import type { Operations } from "./system.ts";

export interface SimResult {
  readonly seed: number;
  /** An invariant broke, nothing went on after healing, or a node's code failed. */
  readonly outcome: "ok" | "invariant" | "no_progress" | "crash";
  /** What failed, for people; empty when nothing did. */
  readonly detail: string;
  readonly traceHash: string;
  readonly steps: number;
  /** Virtual milliseconds. */
  readonly virtualMs: number;
  /** Kinds of faults that the seed, or the caller, allowed. */
  readonly kinds: readonly string[];
  /** How often each kind of fault really happened. */
  readonly faultsFired: Readonly<Record<string, number>>;
  readonly operations: Operations;
}

/** Something that a healed cluster has to do was not done in time. */
export class NoProgress extends Error {
  override readonly name = "NoProgress";
}
