/**
 * What an application implements to be replicated. `apply` must be a pure function of the state
 * and its arguments: no clock, no randomness, no I/O. The same commands in the same order give
 * the same state and the same answers on every replica.
 */

import type { Index, Term } from "../raft/types.ts";

export interface ApplyContext {
  readonly index: Index;
  readonly term: Term;
  /** The leader's stamp of the entry, milliseconds since 1970; never goes back. */
  readonly timeMs: number;
}

export interface StateMachine {
  /**
   * Takes one committed command. A refusal of the business (insufficient funds) is an answer, not
   * an error, and so is a malformed command; throwing is a bug and stops the node.
   */
  apply(command: Uint8Array, context: ApplyContext): Uint8Array;
  /** Answers a question about the present state; must not change it. */
  query(question: Uint8Array): Uint8Array;
  /** The whole state, such that `restore` of it gives an equal machine. */
  snapshot(): Uint8Array;
  /** Replaces the whole state; nothing of the old one remains. */
  restore(snapshot: Uint8Array): void;
  /**
   * For machines whose state may be large, together with `restoreParts`: the bytes of `snapshot`
   * in parts of about 64 KiB. The call takes no longer than a command; the parts are made while
   * they are taken, and show the state of the call whatever is applied in between.
   */
  freeze?(): Iterable<Uint8Array>;
  /**
   * Replaces the whole state by one in parts of any size. After a failure the machine may be blank:
   * it must be restored again before it is used.
   */
  restoreParts?(parts: Iterable<Uint8Array>): void;
}

/** `machine` with each command passed to `apply`; the rest as it is. */
export function withApply(machine: StateMachine, apply: StateMachine["apply"]): StateMachine {
  return {
    apply,
    query: (question) => machine.query(question),
    snapshot: () => machine.snapshot(),
    restore: (snapshot) => machine.restore(snapshot),
    ...(machine.freeze === undefined ? {} : { freeze: () => machine.freeze!() }),
    ...(machine.restoreParts === undefined
      ? {}
      : { restoreParts: (parts: Iterable<Uint8Array>) => machine.restoreParts!(parts) }),
  };
}
