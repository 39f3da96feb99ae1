/**
 * The replicas' transport over TCP. Each process dials each of its peers once and sends on that
 * connection; what it receives comes in on the connections that the peers dialled.
 */

import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Random } from "../base/prng.ts";
import type { ReplicaId } from "../raft/types.ts";
import type { NetCounters } from "./counters.ts";
import type { HandshakePolicy, RemoteIdentity } from "./handshake.ts";
import type { InboundPeers } from "./mux.ts";
import { PeerLink } from "./peer_link.ts";
import type { Sockets } from "./tcp.ts";
import type { PeerHandler, PeerTransport } from "./transport.ts";

export interface TcpPeersOptions {
  /** This process's own replica id. */
  readonly self: ReplicaId;
  readonly policy: HandshakePolicy;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly counters: NetCounters;
  /** The machine's network by default. */
  readonly sockets?: Sockets | undefined;
  /** Another replica than the expected one answers at an address: a node that was wiped. */
  readonly onIdentity?: (address: string, found: RemoteIdentity) => void;
  /** A peer refuses this process, for example as `superseded` or `rolled_back`. */
  readonly onRefused?: (error: TrilogError) => void;
}

export class TcpPeers implements PeerTransport, InboundPeers {
  readonly self: ReplicaId;
  private handler: PeerHandler | null = null;
  private readonly links = new Map<ReplicaId, PeerLink>();
  /** Connections that each peer has opened to here. */
  private readonly inbound = new Map<ReplicaId, number>();

  constructor(private readonly options: TcpPeersOptions) {
    this.self = options.self;
  }

  setHandler(handler: PeerHandler): void {
    assert(this.handler === null, "the peer handler is set once");
    this.handler = handler;
  }

  setAddress(peer: ReplicaId, address: string, others: readonly string[] = []): void {
    assert(peer !== this.self, "a process does not dial itself");
    let link = this.links.get(peer);
    if (link === undefined) {
      link = new PeerLink(peer, this.inbound.get(peer) ?? 0, {
        ...this.options,
        connected: () => this.handler?.connected(peer),
        unreachable: () => this.handler?.unreachable(peer),
      });
      this.links.set(peer, link);
    }
    link.setAddresses([address, ...others.filter((other) => other !== address)]);
  }

  forget(peer: ReplicaId): void {
    this.links.get(peer)?.close();
    this.links.delete(peer);
  }

  send(to: ReplicaId, group: string, body: Packable): void {
    const sent = this.links.get(to)?.send(group, body) ?? false;
    if (!sent) this.options.counters.dropped += 1;
  }

  queuedBytes(to: ReplicaId): number {
    return this.links.get(to)?.queuedBytes ?? 0;
  }

  /** Peers whose connection from here stands, for status pages. */
  connectedPeers(): readonly ReplicaId[] {
    return [...this.links].filter(([, link]) => link.isConnected).map(([peer]) => peer);
  }

  /** Closes all connections from here and dials no more. */
  close(): void {
    for (const peer of [...this.links.keys()]) this.forget(peer);
  }

  frame(from: ReplicaId, group: string, body: Packable): void {
    this.handler?.frame(from, group, body);
  }

  opened(peer: ReplicaId): void {
    this.countInbound(peer, 1);
  }

  closed(peer: ReplicaId): void {
    this.countInbound(peer, -1);
  }

  private countInbound(peer: ReplicaId, change: number): void {
    const count = (this.inbound.get(peer) ?? 0) + change;
    if (count === 0) this.inbound.delete(peer);
    else this.inbound.set(peer, count);
    this.links.get(peer)?.setInbound(count);
  }
}
