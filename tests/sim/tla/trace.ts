/** The lines of a trace that `trilog sim --tla` writes; lib/sim/tla_trace.ts makes them. */

/** Term and value of an entry. */
export type SpecEntry = readonly [term: number, value: string];
/** Index and term. */
export type Position = readonly [index: number, term: number];

export interface SpecMessage {
  readonly mtype: string;
  readonly msource: string;
  readonly mdest: string;
  readonly mterm: number;
  readonly mlastLogIndex?: number;
  readonly mlastLogTerm?: number;
  readonly mvoteGranted?: boolean;
  readonly mprevLogIndex?: number;
  readonly mprevLogTerm?: number;
  readonly mentries?: readonly SpecEntry[];
  readonly mcommitIndex?: number;
  readonly msuccess?: boolean;
  readonly mmatchIndex?: number;
  readonly mlastIndex?: number;
  readonly mlastTerm?: number;
}

export type SpecState = "Follower" | "Candidate" | "Leader";

/** The specification's variables of one server; its log as the position of the last entry. */
export interface Variables {
  readonly currentTerm: number;
  readonly votedFor: string | null;
  readonly state: SpecState;
  readonly commitIndex: number;
  readonly last: Position;
}

export type StepInput =
  | { readonly kind: "Receive"; readonly message: SpecMessage }
  | { readonly kind: "ClientRequest"; readonly value: string }
  | { readonly kind: "Synced"; readonly sequence: number }
  | { readonly kind: string };

export interface Init {
  readonly event: "Init";
  readonly servers: readonly string[];
}

export interface Restart extends Variables {
  readonly event: "Restart";
  readonly server: string;
  /** The position before the first entry; the term may be unknown. */
  readonly base: readonly [index: number, term: number | null];
  readonly log: readonly SpecEntry[];
}

export interface Step extends Variables {
  readonly event: "Step";
  readonly server: string;
  readonly input: StepInput;
}

export interface ReadyEvent {
  readonly event: "Ready";
  readonly server: string;
  readonly sequence: number;
  readonly mustSync: boolean;
  /** Term and vote, where they are written. */
  readonly stored?: readonly [term: number, vote: string | null];
  readonly snapshot?: Position;
  readonly entries: readonly (readonly [index: number, term: number, value: string])[];
  readonly sent: readonly SpecMessage[];
}

export type TraceEvent = Init | Restart | Step | ReadyEvent;
