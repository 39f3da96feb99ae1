/**
 * The seam between the replicas of a process and the network. `peers.ts` implements it over TCP,
 * `lib/sim/network.ts` over a virtual network that loses, delays, reorders and repeats.
 */

import type { Packable } from "../base/msgpack.ts";
import type { ReplicaId } from "../raft/types.ts";

/** Takes what arrives. Handlers must not throw: a malformed body is theirs to refuse. */
export interface PeerHandler {
  /**
   * A frame of a peer whose handshake was right (token, cluster id) and that is not superseded,
   * addressed to this process's replica id. `group` tells whose it is; nobody's is refused there.
   */
  frame(from: ReplicaId, group: string, body: Packable): void;
  /** A connection to the peer stands (again), in the direction from here to there. */
  connected(peer: ReplicaId): void;
  /**
   * The last connection is gone and a redial was refused or closed at once: the process is most
   * likely dead. Told once; a peer that merely does not answer is never called unreachable.
   */
  unreachable(peer: ReplicaId): void;
}

export interface PeerTransport {
  /** This process's own replica id: the `from` of all it sends. */
  readonly self: ReplicaId;
  /** Where frames go and arrive; set once, before the first frame. */
  setHandler(handler: PeerHandler): void;
  /**
   * Names the address (`host:port`) to dial for a peer; a new address replaces the old one.
   * `others` are dialled in turn when that fails: a peer may have moved.
   */
  setAddress(peer: ReplicaId, address: string, others?: readonly string[]): void;
  /** Closes the connections to a peer and stops redialling. */
  forget(peer: ReplicaId): void;
  /**
   * Queues a frame; all frames of one turn leave in one write. Lost without notice when there is
   * no connection or the peer's bounded queue is full: Raft repeats what matters.
   */
  send(to: ReplicaId, group: string, body: Packable): void;
  /** Bytes queued for a peer and not yet taken by its socket: bulk senders wait on it. */
  queuedBytes(to: ReplicaId): number;
}
