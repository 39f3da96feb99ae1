/** The words of the module: what a service gives to it and what it gets back. */

import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/prng.ts";

/** The way to one other server. */
export interface Peer {
  /**
   * Sends a request to the server's {@link RaftServer.handle} and resolves with its answer, or
   * with null where none came, for whatever reason and however late. It never rejects, and it may
   * deliver requests out of order or more than once.
   */
  call(request: Uint8Array): Promise<Uint8Array | null>;
}

/** What a server tells its service, in order and each exactly once per start of the server. */
export type ApplyMessage =
  | {
    readonly kind: "command";
    /** Number of the command: the first is 1, and each follows the one before. */
    readonly index: number;
    /** Term of the leader that appended it. */
    readonly term: number;
    readonly command: Uint8Array;
  }
  | {
    readonly kind: "snapshot";
    /** The service's state after the command of this number: it replaces whatever there was. */
    readonly index: number;
    readonly term: number;
    readonly snapshot: Uint8Array;
  };

export interface StartResult {
  /** Number that the command has if it is ever committed; 0 where this server does not lead. */
  readonly index: number;
  readonly term: number;
  /** False: the command was not taken. True is a belief: a newer leader may exist already. */
  readonly isLeader: boolean;
}

export interface ServerState {
  readonly term: number;
  readonly isLeader: boolean;
}

export interface ServerOptions {
  /** Default: the machine's clock. */
  readonly clock?: Clock;
  /** Spreads the election timeouts. Default: the machine's randomness. */
  readonly random?: Random;
  /** A follower campaigns after t to 2t of silence (paper 5.2). Default 500 milliseconds. */
  readonly electionTimeoutMs?: number;
  /** Default 65 milliseconds; a few must fit into an election timeout, for some may get lost. */
  readonly heartbeatMs?: number;
}
