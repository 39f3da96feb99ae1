/** Nodes on 127.0.0.1 for the tests of `lib/net`, and raw sockets for what is not well-behaved. */

import { Prng } from "../../lib/base/prng.ts";
import { silentLogger } from "../../lib/base/logger.ts";
import { type Packable, unpack } from "../../lib/base/msgpack.ts";
import { systemClock } from "../../lib/base/system_clock.ts";
import type { Clock, Timer } from "../../lib/base/clock.ts";
import { newCounters } from "../../lib/net/counters.ts";
import { FrameDecoder, FrameEncoder } from "../../lib/net/frame.ts";
import {
  clientPolicy,
  type HandshakePolicy,
  type RemoteIdentity,
} from "../../lib/net/handshake.ts";
import { Mux } from "../../lib/net/mux.ts";
import { TcpPeers } from "../../lib/net/peers.ts";
import { RpcServer } from "../../lib/net/rpc.ts";
import { RpcClient } from "../../lib/net/rpc_client.ts";
import type { PeerHandler } from "../../lib/net/transport.ts";
import type { TrilogError } from "../../lib/base/errors.ts";

export const LOOPBACK = "127.0.0.1:0";

/** Waits until `condition` holds; fails after five seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 2_500; tries += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`waited in vain until ${what}`);
}

/** The machine's clock, but timers of `heldMs` run only when the test says so. */
export class HeldClock implements Clock {
  readonly monotonicMs = systemClock.monotonicMs;
  readonly wallMs = systemClock.wallMs;
  readonly nextTurn = systemClock.nextTurn;
  private held = new Set<() => void>();

  constructor(private readonly heldMs: number) {}

  after(delayMs: number, run: () => void): Timer {
    if (delayMs !== this.heldMs) return systemClock.after(delayMs, run);
    this.held.add(run);
    return { cancel: () => this.held.delete(run) };
  }

  get count(): number {
    return this.held.size;
  }

  runHeld(): void {
    const due = [...this.held];
    this.held.clear();
    for (const run of due) run();
  }
}

/** The machine's clock ahead at will; timers run as usual. */
export class ShiftedClock implements Clock {
  shiftMs = 0;
  readonly wallMs = systemClock.wallMs;
  readonly nextTurn = systemClock.nextTurn;
  readonly after = systemClock.after;
  monotonicMs(): number {
    return systemClock.monotonicMs() + this.shiftMs;
  }
}

export interface NodeOptions {
  readonly replicaId?: string;
  readonly clusterId?: string | null;
  readonly startCounter?: number;
  readonly token?: string;
  readonly admitPeer?: (peer: RemoteIdentity) => TrilogError | null;
  readonly maxConnections?: number;
  readonly clock?: Clock;
  readonly listen?: string;
}

/** One process's worth of network: a mux, its methods, its peers, and what they were told. */
export class TestNode implements PeerHandler {
  readonly id: string;
  clusterId: string | null;
  readonly policy: HandshakePolicy;
  readonly counters = newCounters();
  readonly rpc: RpcServer;
  readonly peers: TcpPeers;
  readonly mux: Mux;
  readonly address: string;
  readonly frames: { from: string; group: string; body: Packable }[] = [];
  readonly events: string[] = [];
  readonly found: string[] = [];
  readonly refusals: string[] = [];

  constructor(options: NodeOptions = {}) {
    this.id = options.replicaId ?? "r1";
    this.clusterId = options.clusterId === undefined ? "c1" : options.clusterId;
    const clock = options.clock ?? systemClock;
    const startCounter = options.startCounter ?? 1;
    this.policy = {
      local: () => ({
        clusterId: this.clusterId,
        replicaId: this.id,
        name: `n-${this.id}`,
        startCounter,
      }),
      token: options.token ?? "",
      admitPeer: options.admitPeer ?? (() => null),
    };
    const { counters, policy } = this;
    this.rpc = new RpcServer({ clock, logger: silentLogger });
    this.rpc.handle("echo", (params) => params);
    this.peers = new TcpPeers({
      self: this.id,
      policy,
      clock,
      random: new Prng(7),
      logger: silentLogger,
      counters,
      onRefused: (error) => this.refusals.push(error.code),
      onIdentity: (address, identity) => this.found.push(`${address} ${identity.replicaId}`),
    });
    this.peers.setHandler(this);
    this.mux = new Mux({
      policy,
      clock,
      logger: silentLogger,
      counters,
      rpc: this.rpc,
      peers: this.peers,
      ...(options.maxConnections === undefined ? {} : { maxConnections: options.maxConnections }),
    });
    this.address = this.mux.listen(options.listen ?? LOOPBACK);
  }

  frame(from: string, group: string, body: Packable): void {
    this.frames.push({ from, group, body });
  }

  connected(peer: string): void {
    this.events.push(`connected ${peer}`);
  }

  unreachable(peer: string): void {
    this.events.push(`unreachable ${peer}`);
  }

  async close(): Promise<void> {
    this.peers.close();
    await this.mux.close();
  }
}

/** A well-behaved client. */
export function newClient(options: { policy?: HandshakePolicy; clock?: Clock } = {}): RpcClient {
  return new RpcClient({
    policy: options.policy ?? clientPolicy("tester"),
    role: "client",
    clock: options.clock ?? systemClock,
    random: new Prng(1),
    counters: newCounters(),
  });
}

export function encodeFrames(...values: Packable[]): Uint8Array {
  const encoder = new FrameEncoder(Infinity);
  for (const value of values) encoder.append(value);
  return encoder.take();
}

/** A socket without manners: writes any bytes, reads frames until the other side closes. */
export class RawSocket {
  private constructor(private readonly socket: Deno.TcpConn) {}

  static async connect(address: string): Promise<RawSocket> {
    const [hostname, port] = address.split(":");
    return new RawSocket(await Deno.connect({ hostname, port: Number(port) }));
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length;) at += await this.socket.write(bytes.subarray(at));
    } catch {
      // The other side may close before it has read everything: `framesUntilClosed` tells.
    }
  }

  /** All frames that arrive until the connection is closed by the other side. */
  async framesUntilClosed(): Promise<Packable[]> {
    const frames: Packable[] = [];
    const decoder = new FrameDecoder(Infinity);
    try {
      for (;;) {
        const chunk = new Uint8Array(65_536);
        const count = await this.socket.read(chunk);
        if (count === null) break;
        decoder.push(chunk.subarray(0, count));
        for (let next = decoder.next(); next !== null; next = decoder.next()) {
          frames.push(unpack(next));
        }
      }
    } catch {
      // A reset is a closed connection too.
    }
    this.socket.close();
    return frames;
  }

  close(): void {
    this.socket.close();
  }
}

/** A hello that is right for a {@link TestNode}, with fields changed at will. */
export function hello(changes: Record<number, Packable> = {}): Packable {
  const fields: Packable[] = ["trilog", 2, null, null, "raw", 1, 0, "", null];
  for (const [index, value] of Object.entries(changes)) fields[Number(index)] = value;
  return fields;
}
