/**
 * One listening port per process, for peers and clients alike: accepts, performs the handshake,
 * and routes each frame to the replicas or to the methods of this process. Whatever arrives, the
 * worst it can do is end its own connection.
 */

import { InvariantError } from "../base/assert.ts";
import { type Clock, sleep, type Timer } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import { type Packable, unpack } from "../base/msgpack.ts";
import type { ReplicaId } from "../raft/types.ts";
import { asFrame, asText, Channel, checkFrame, farewellFrame, malformedFrame } from "./channels.ts";
import { Connection, type FrameSink } from "./connection.ts";
import type { NetCounters } from "./counters.ts";
import {
  encodeAnswer,
  type HandshakePolicy,
  judgeHello,
  type RemoteIdentity,
} from "./handshake.ts";
import { type RpcServer, RpcSession } from "./rpc.ts";
import { type Listener, type Socket, type Sockets, tcpSockets } from "./tcp.ts";

/** Takes what comes in on connections that peers opened; `TcpPeers` is one. */
export interface InboundPeers {
  /** A frame addressed to this process, from the peer of its connection. */
  frame(from: ReplicaId, group: string, body: Packable): void;
  /** One more connection of that peer stands. */
  opened(peer: ReplicaId): void;
  /** One of its connections has ended. */
  closed(peer: ReplicaId): void;
}

export interface MuxOptions {
  readonly policy: HandshakePolicy;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly counters: NetCounters;
  readonly rpc: RpcServer;
  /** Null for a process without replicas. */
  readonly peers: InboundPeers | null;
  /** The machine's network by default. */
  readonly sockets?: Sockets | undefined;
  /** Largest number of open connections; `limits.connections` by default. */
  readonly maxConnections?: number;
}

/** Pause after the system refused to accept a connection (no file descriptors left). */
const ACCEPT_PAUSE_MS = 50;
/** A peer's connection without a ping for so long is closed; they come every second. */
const PEER_SILENCE_MS = 10_000;
/** Answers queued for one connection beyond this pause the reading of its requests. */
const PAUSE_READING_BYTES = limits.connectionQueueBytes / 4;

export class Mux {
  private listener: Listener | null = null;
  private closing = false;
  /** Accepted and not yet admitted, oldest first. */
  private readonly strangers = new Set<Connection>();
  private readonly admitted = new Map<Connection, RemoteIdentity>();
  private clients = 0;
  readonly maxConnections: number;

  constructor(readonly options: MuxOptions) {
    this.maxConnections = options.maxConnections ?? limits.connections;
  }

  /** Binds `host:port` and serves; returns the address really bound. Throws if it is taken. */
  listen(address: string): string {
    const { sockets = tcpSockets } = this.options;
    this.listener = sockets.listen(address);
    void this.acceptLoop(this.listener);
    return this.listener.address;
  }

  /** Connections that have been admitted, for status pages. */
  connections(): readonly RemoteIdentity[] {
    return [...this.admitted.values()];
  }

  /** Ends the connections that a peer opened, such as those of an identity now superseded. */
  disconnect(peer: ReplicaId, reason: TrilogError): void {
    for (const [connection, identity] of [...this.admitted]) {
      if (identity.role === "peer" && identity.replicaId === peer) connection.close(reason);
    }
  }

  /**
   * Stops accepting at once, lets running calls end for up to `graceMs` milliseconds, then ends
   * all connections, saying `shutting_down`.
   */
  async close(graceMs: number = 0): Promise<void> {
    this.closing = true;
    this.listener?.close();
    const { clock, rpc } = this.options;
    const until = clock.monotonicMs() + graceMs;
    while (rpc.running > 0 && clock.monotonicMs() < until) await sleep(clock, 5);
    const reason = new TrilogError("shutting_down", "Cannot keep connection: the node stops");
    const open = [...this.strangers, ...this.admitted.keys()];
    for (const connection of open) connection.close(reason);
    await Promise.all(open.map((connection) => connection.ended));
  }

  private async acceptLoop(listener: Listener): Promise<void> {
    while (!this.closing) {
      try {
        if (this.takeIn(await listener.accept()) === "full") await this.closings();
      } catch (thrown) {
        if (this.closing) return;
        this.options.logger.warn("cannot accept connections", { error: String(thrown) });
        this.dropOldestStranger();
        await sleep(this.options.clock, ACCEPT_PAUSE_MS);
      }
    }
  }

  /** Sockets that were closed keep their descriptors until reads that wait on them have ended. */
  private async closings(): Promise<void> {
    await sleep(this.options.clock, 0);
  }

  /** When there is no room, the stranger that has been silent longest makes some. */
  private takeIn(socket: Socket): "full" | "taken" {
    const { clock, counters } = this.options;
    const isFull = this.strangers.size + this.admitted.size >= this.maxConnections;
    if (isFull && !this.dropOldestStranger()) {
      counters.refused += 1;
      socket.close();
      return "full";
    }
    const welcome = new Welcome(this);
    const connection = new Connection({ socket, clock, counters, sink: welcome });
    this.strangers.add(connection);
    counters.connections += 1;
    welcome.start(connection);
    return isFull ? "full" : "taken";
  }

  private dropOldestStranger(): boolean {
    for (const oldest of this.strangers) {
      oldest.abort(overloaded("newer connections need its place"));
      return true;
    }
    return false;
  }

  /** The handshake was right: what follows is routed. Throws `overloaded`. */
  admit(connection: Connection, identity: RemoteIdentity): void {
    const isPeer = identity.role === "peer";
    const clientRoom = this.maxConnections - Math.min(
      limits.reservedConnections,
      Math.floor(this.maxConnections / 2),
    );
    if (!isPeer && this.clients >= clientRoom) throw overloaded("too many clients are connected");
    this.strangers.delete(connection);
    this.admitted.set(connection, identity);
    if (!isPeer) this.clients += 1;
    const bytesIn = isPeer ? limits.peerFrameBytes : limits.clientFrameBytes;
    connection.admit(bytesIn, limits.peerFrameBytes, new Router(this, connection, identity));
    if (!isPeer) return;
    this.options.peers?.opened(identity.replicaId!);
    this.dropEarlierStarts(identity);
  }

  /** A later start of a process proves that all connections of its earlier ones are dead. */
  private dropEarlierStarts(latest: RemoteIdentity): void {
    const state = "its process was started anew";
    const reason = new TrilogError("connection_closed", `Cannot keep connection: ${state}`);
    for (const [connection, { role, replicaId, startCounter }] of [...this.admitted]) {
      const earlier = role === "peer" && replicaId === latest.replicaId &&
        startCounter < latest.startCounter;
      if (earlier) connection.abort(reason);
    }
  }

  strangerLeft(connection: Connection, reason: TrilogError): void {
    const { counters, logger } = this.options;
    this.strangers.delete(connection);
    counters.connections -= 1;
    counters.refused += 1;
    logger.debug("connection refused", { code: reason.code, reason: reason.message });
  }

  admittedLeft(connection: Connection, identity: RemoteIdentity, reason: TrilogError): void {
    const { counters, logger, peers } = this.options;
    this.admitted.delete(connection);
    counters.connections -= 1;
    if (reason.code === "malformed" || reason.code === "frame_too_large") {
      counters.malformed += 1;
      logger.warn("connection closed", { name: identity.name, reason: reason.message });
    }
    if (identity.role === "peer") peers?.closed(identity.replicaId!);
    else this.clients -= 1;
  }
}

/** A connection before and during its handshake. */
class Welcome implements FrameSink {
  private connection: Connection | null = null;
  private timer: Timer | null = null;

  constructor(private readonly mux: Mux) {}

  start(connection: Connection): void {
    this.connection = connection;
    const late = new TrilogError("bad_handshake", "Cannot admit connection: it took too long");
    const clock = this.mux.options.clock;
    this.timer = clock.after(limits.handshakeMs, () => connection.close(late));
    connection.start();
  }

  async frame(payload: Uint8Array): Promise<void> {
    const { policy } = this.mux.options;
    const connection = this.connection!;
    const identity = await judgeHello(policy, payload);
    if (connection.closeReason !== null) return;
    this.mux.admit(connection, identity);
    this.timer?.cancel();
    connection.send(encodeAnswer(policy, null));
  }

  farewell(reason: TrilogError): Packable {
    return encodeAnswer(this.mux.options.policy, reason);
  }

  closed(reason: TrilogError): void {
    this.timer?.cancel();
    this.mux.strangerLeft(this.connection!, reason);
  }
}

/** A connection after its handshake: sends each frame where its channel says. */
class Router implements FrameSink {
  private readonly session: RpcSession;
  private readonly maxValues: number;
  /** Runs out when the other side, having pinged before, no longer does. */
  private silence: Timer | null = null;

  constructor(
    private readonly mux: Mux,
    private readonly connection: Connection,
    private readonly identity: RemoteIdentity,
  ) {
    this.session = new RpcSession(mux.options.rpc, connection, identity);
    this.maxValues = identity.role === "client" ? limits.clientFrameValues : Infinity;
  }

  frame(payload: Uint8Array): void | Promise<void> {
    const frame = asFrame(unpack(payload, this.maxValues));
    switch (frame[0]) {
      case Channel.peer:
        this.peerFrame(frame);
        break;
      case Channel.request:
        this.session.request(frame);
        break;
      case Channel.cancel:
        this.session.cancel(frame);
        break;
      case Channel.ping:
        this.ping();
        break;
      case Channel.farewell:
        break;
      default:
        throw malformedFrame("no handler listens on its channel");
    }
    if (this.connection.queuedBytes > PAUSE_READING_BYTES) {
      return this.connection.drained(PAUSE_READING_BYTES);
    }
  }

  farewell(reason: TrilogError): Packable {
    return farewellFrame(reason);
  }

  closed(reason: TrilogError): void {
    this.silence?.cancel();
    this.session.closed(reason);
    this.mux.admittedLeft(this.connection, this.identity, reason);
  }

  /** A peer that lost its power says no goodbye: its connection must not count for ever. */
  private ping(): void {
    this.connection.send([Channel.pong]);
    this.silence?.cancel();
    this.silence = this.mux.options.clock.after(PEER_SILENCE_MS, () => {
      const state = "the peer is silent";
      const reason = new TrilogError("connection_closed", `Cannot keep connection: ${state}`);
      this.connection.abort(reason);
    });
  }

  /**
   * Admitted by identity alone, never by the present membership (architecture, decision 3): both
   * sides are of the same cluster, and the frame is from whom it came and for this replica.
   */
  private peerFrame(frame: readonly Packable[]): void {
    const [, group, from, to, body] = checkFrame(frame, 5);
    const { policy, peers, counters } = this.mux.options;
    const { role, replicaId, clusterId } = this.identity;
    const local = policy.local();
    const right = role === "peer" && from === replicaId && to === local.replicaId &&
      clusterId !== null && clusterId === local.clusterId;
    if (right && peers !== null) this.deliver(peers, replicaId!, asText(group), body);
    else counters.misaddressed += 1;
  }

  /** A body that its taker stumbles over costs the connection, and never goes unnoticed. */
  private deliver(peers: InboundPeers, from: ReplicaId, group: string, body: Packable): void {
    try {
      peers.frame(from, group, body);
    } catch (thrown) {
      if (thrown instanceof InvariantError || thrown instanceof TrilogError) throw thrown;
      const error = thrown instanceof Error ? thrown.stack ?? thrown.message : String(thrown);
      this.mux.options.logger.error("a peer's frame failed unexpectedly", { from, group, error });
      throw malformedFrame("its body cannot be handled");
    }
  }
}

function overloaded(state: string): TrilogError {
  return new TrilogError("overloaded", `Cannot keep connection: ${state}`);
}
