/**
 * The connection from here to one peer: dialled at once, redialled for ever with growing pauses,
 * and the judgement when the peer's process is most likely dead.
 */

import type { Clock, Timer } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { type Packable, unpack } from "../base/msgpack.ts";
import type { Random } from "../base/prng.ts";
import type { ReplicaId } from "../raft/types.ts";
import { Backoff } from "../base/backoff.ts";
import { asFrame, Channel, farewellFrame, malformedFrame } from "./channels.ts";
import type { Connection, FrameSink } from "./connection.ts";
import { LinkProbe } from "./link_probe.ts";
import type { NetCounters } from "./counters.ts";
import { dial, type DialResult } from "./dial.ts";
import type { HandshakePolicy, RemoteIdentity } from "./handshake.ts";
import type { Sockets } from "./tcp.ts";

export interface PeerLinkOptions {
  readonly self: ReplicaId;
  readonly policy: HandshakePolicy;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly counters: NetCounters;
  readonly onIdentity?: (address: string, found: RemoteIdentity) => void;
  readonly onRefused?: (error: TrilogError) => void;
  readonly sockets?: Sockets | undefined;
  readonly connected: () => void;
  readonly unreachable: () => void;
}

const SMALLEST_PAUSE_MS = 20;
const LARGEST_PAUSE_MS = 1_000;
/** Shorter than a lost first packet's second repeat: after a cut, a fresh dial is quicker. */
const DIAL_MS = 2_000;
/** A connection that ended sooner is redialled after a pause, lest two sides spin. */
const STABLE_MS = 1_000;

export class PeerLink {
  /** Where the peer may be, the likeliest first; empty: it is not wanted. */
  private addresses: readonly string[] = [];
  /** Position of the address that is dialled. */
  private at = 0;
  /** Address of the present or last connection: a refusal there says that the process ended. */
  private connectedTo: string | null = null;
  private connection: Connection | null = null;
  private connectedAt = 0;
  /** The cluster id told in the connection's handshake: the other side judges frames by it. */
  private toldClusterId: string | null = null;
  /** Number of the dial under way or, if none is, of the last one: results of others are stale. */
  private dialNumber = 0;
  private dialling = false;
  private pause: Timer | null = null;
  private probe: LinkProbe | null = null;
  private readonly backoff: Backoff;
  /** A connection stood since the peer was last called unreachable. */
  private wasConnected: boolean;

  constructor(
    private readonly peer: ReplicaId,
    private inbound: number,
    private readonly options: PeerLinkOptions,
  ) {
    this.backoff = new Backoff(options.random, SMALLEST_PAUSE_MS, LARGEST_PAUSE_MS);
    this.wasConnected = inbound > 0;
  }

  get isConnected(): boolean {
    return this.connection !== null;
  }

  get queuedBytes(): number {
    return this.connection?.queuedBytes ?? 0;
  }

  /** `addresses`: the likeliest first. Another first one ends the present connection. */
  setAddresses(addresses: readonly string[]): void {
    const [former] = this.addresses;
    const dialled = this.addresses[this.at];
    this.addresses = addresses;
    if (addresses[0] === former) {
      this.at = Math.max(0, addresses.indexOf(dialled));
      return;
    }
    this.at = 0;
    this.connectedTo = null;
    this.backoff.reset();
    this.dropConnection("its address has changed");
    this.dialNow();
  }

  /** The peer has this many connections to here: while it has any, its process lives. */
  setInbound(count: number): void {
    this.inbound = count;
    if (count > 0) this.wasConnected = true;
    else if (this.connection === null && !this.dialling) this.dialNow();
  }

  /** Whether the frame was queued. */
  send(group: string, body: Packable): boolean {
    const { self, policy } = this.options;
    if (this.connection === null) return false;
    if (policy.local().clusterId !== this.toldClusterId) {
      this.dropConnection("this node has joined a cluster since");
      this.dialNow();
      return false;
    }
    return this.connection.send([Channel.peer, group, self, this.peer, body]);
  }

  close(): void {
    this.addresses = [];
    this.dropConnection("the peer is no longer wanted");
  }

  private dropConnection(state: string): void {
    this.dialNumber += 1;
    this.dialling = false;
    this.pause?.cancel();
    this.probe?.stop();
    const connection = this.connection;
    this.connection = null;
    connection?.close(new TrilogError("connection_closed", `Cannot keep connection: ${state}`));
  }

  private dialNow(): void {
    const address = this.addresses[this.at];
    if (address === undefined) return;
    this.pause?.cancel();
    this.dialling = true;
    const number = ++this.dialNumber;
    const { policy, clock, counters, sockets } = this.options;
    const { clusterId } = policy.local();
    void dial({
      address,
      role: "peer",
      to: this.peer,
      timeoutMs: DIAL_MS,
      policy,
      clock,
      counters,
      sockets,
      sink: (connection) => this.sinkOf(connection),
    }).then((result) => {
      if (number === this.dialNumber) this.dialled(result, address, clusterId);
      else if (result.ok) result.connection.abort(stale);
    });
  }

  private dialled(result: DialResult, address: string, toldClusterId: string | null): void {
    this.dialling = false;
    if (!result.ok) return this.failed(result, address);
    if (result.connection.closeReason !== null) return this.redialLater();
    this.connection = result.connection;
    this.connectedTo = address;
    this.probe = new LinkProbe(result.connection, this.options.clock);
    this.connectedAt = this.options.clock.monotonicMs();
    this.toldClusterId = toldClusterId;
    this.wasConnected = true;
    this.options.connected();
  }

  private failed(result: DialResult & { ok: false }, address: string): void {
    const { logger, onIdentity, onRefused, unreachable } = this.options;
    const ended = result.refused && address === (this.connectedTo ?? this.addresses[0]);
    this.at = (this.at + 1) % this.addresses.length;
    this.redialLater();
    logger.debug("cannot dial peer", { peer: this.peer, address, reason: result.error.message });
    if (result.identity !== null && result.identity.replicaId !== this.peer) {
      onIdentity?.(address, result.identity);
    }
    // A refusal by this side names whom it refuses; one by the other side names nobody.
    const refusedByPeer = result.identity === null && result.error.code !== "unavailable";
    if (refusedByPeer) onRefused?.(result.error);
    if (!ended || !this.wasConnected || this.inbound > 0) return;
    this.wasConnected = false;
    unreachable();
  }

  private redialLater(): void {
    this.pause?.cancel();
    this.pause = this.options.clock.after(this.backoff.next(), () => this.dialNow());
  }

  /** Nothing comes back on a connection from here but pongs and a farewell. */
  private sinkOf(connection: Connection): FrameSink {
    return {
      frame: (payload) => {
        const frame = asFrame(unpack(payload));
        if (frame[0] === Channel.pong) this.probe?.answered();
        else if (frame[0] !== Channel.farewell) throw malformedFrame("peers answer on their own");
      },
      farewell: (reason) => farewellFrame(reason),
      closed: () => {
        if (this.connection === connection) this.lost();
      },
    };
  }

  private lost(): void {
    this.connection = null;
    this.probe?.stop();
    const stableFor = this.options.clock.monotonicMs() - this.connectedAt;
    if (stableFor < STABLE_MS) return this.redialLater();
    this.backoff.reset();
    this.dialNow();
  }
}

const stale = new TrilogError("connection_closed", "Cannot keep connection: it is not wanted");
