/**
 * A network between simulated processes: it loses, delays, reorders and repeats frames, and is cut
 * in any direction. Bodies cross it as bytes, so that the codec takes part and nothing is shared.
 *
 * Connections behave as those of the real transport do: they are made to an address whose process
 * has the wanted identity, end with the process at either end, and tell `unreachable` once when a
 * redial is refused. A cut path refuses nothing: whatever is sent into it is gone.
 */

import {
  errorFromWire,
  errorToWire,
  toTrilogError,
  TrilogError,
  type WireError,
} from "../base/errors.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";
import type { Prng } from "../base/prng.ts";
import type { PeerHandler, PeerTransport } from "../net/transport.ts";
import type { ReplicaId } from "../raft/types.ts";
import { carriedText } from "./frame_text.ts";
import type { SimProcess } from "./process.ts";
import type { Scheduler } from "./scheduler.ts";

export interface LinkOptions {
  /** Probability that a frame is lost. */
  readonly loss: number;
  /** Probability that a frame arrives a second time. */
  readonly replay: number;
  /** A repeated frame arrives up to this much later than the first. */
  readonly replayDelayMs: number;
  /** Shortest and longest time a frame takes. */
  readonly delayMs: readonly [number, number];
  /** Whether a frame may overtake an earlier one. */
  readonly reorder: boolean;
}

export const perfectLink: LinkOptions = {
  loss: 0,
  replay: 0,
  replayDelayMs: 0,
  delayMs: [0.1, 0.3],
  reorder: false,
};

/** Answers requests of clients; rejects with a `TrilogError` to refuse. */
export type RequestHandler = (method: string, params: Packable) => Promise<Packable>;

/** Longest time until a process redials a peer that it has no connection to. */
const REDIAL_MS = 200;

interface Connection {
  address: string;
  /** The endpoint at the other end while the connection stands. */
  to: SimEndpoint | null;
  queuedBytes: number;
}

export class SimNetwork {
  readonly scheduler: Scheduler;
  /** Frames lost, repeated and cut so far. */
  readonly faultsFired = new Map<string, number>();
  private readonly random: Prng;
  private options: LinkOptions;
  private readonly listening = new Map<string, SimEndpoint>();
  private readonly endpoints: SimEndpoint[] = [];
  private readonly cuts = new Set<string>();
  private readonly clogs = new Map<string, number>();
  /** When the last frame of a link arrives, where frames may not overtake. */
  private readonly lastArrivalMs = new Map<string, number>();

  constructor(scheduler: Scheduler, random: Prng, options: LinkOptions = perfectLink) {
    this.scheduler = scheduler;
    this.random = random;
    this.options = options;
  }

  /** Changes loss, replay and delay of every link, such as to heal the network. */
  setOptions(options: LinkOptions): void {
    this.options = options;
  }

  /** Opens a process's port. It closes with the process. */
  listen(process: SimProcess, self: ReplicaId, address: string): SimEndpoint {
    const endpoint = new SimEndpoint(this, process, self, address);
    this.listening.set(address, endpoint);
    this.endpoints.push(endpoint);
    process.onKill(() => this.close(endpoint));
    for (const other of this.endpoints) this.redialSoon(other);
    return endpoint;
  }

  /** Stops frames from one node to another; the other direction stays as it is. */
  cut(from: string, to: string): void {
    this.cuts.add(linkOf(from, to));
  }

  /** Ends the cut of one direction. */
  mend(from: string, to: string): void {
    this.cuts.delete(linkOf(from, to));
  }

  /** Frames from one node to another take this much longer; none is lost. */
  clog(from: string, to: string, extraMs: number): void {
    this.clogs.set(linkOf(from, to), extraMs);
  }

  /** Ends every cut and every clog. */
  heal(): void {
    this.cuts.clear();
    this.clogs.clear();
    for (const endpoint of this.endpoints) this.redialSoon(endpoint);
  }

  isCut(from: string, to: string): boolean {
    return this.cuts.has(linkOf(from, to));
  }

  /**
   * Asks the process at an address, from the client's process. Rejects with `unavailable` when
   * nobody listens there, `connection_closed` when it dies meanwhile, `deadline_exceeded` when
   * request or answer was lost, and with what the handler refused.
   */
  call(
    client: SimProcess,
    address: string,
    method: string,
    params: Packable,
    deadlineMs: number,
  ): Promise<Packable> {
    const bytes = pack([method, params]);
    return new Promise((resolve, reject) => {
      const server = this.listening.get(address);
      const finish = (settle: () => void) => {
        timer.cancel();
        server?.calls.delete(closed);
        settle();
      };
      const fail = (code: "unavailable" | "connection_closed" | "deadline_exceeded") => {
        const state = code.replace("_", " ");
        finish(() => reject(new TrilogError(code, `Cannot call ${address}: ${state}`)));
      };
      const closed = () => client.after(this.delayMs(), "closed", () => fail("connection_closed"));
      const timer = client.after(deadlineMs, "deadline", () => fail("deadline_exceeded"));
      if (server === undefined) {
        client.after(this.delayMs(), "refused", () => fail("unavailable"));
        return;
      }
      server.calls.add(closed);
      this.carry(client, server.process, bytes, "request", () => {
        server.answer(unpack(bytes.slice())).then((reply) => {
          this.carry(server.process, client, reply, "reply", () => {
            finish(() => settleReply(unpack(reply), resolve, reject));
          });
        });
      });
    });
  }

  /**
   * Carries bytes from one process to another, or loses them: `arrive` runs in the receiver, as
   * often as they arrive. `ended` runs once, when they have left the link or are lost.
   */
  carry(
    from: SimProcess,
    to: SimProcess,
    bytes: Uint8Array,
    label: string,
    arrive: () => void,
    ended: () => void = () => {},
  ): void {
    this.scheduler.trace.bytes(bytes);
    const link = linkOf(from.name, to.name);
    const details = () => carriedText(label, bytes);
    const drop = (fault: string) => {
      if (this.scheduler.traced) this.scheduler.note(`${fault} ${label} ${link} ${details()}`);
      this.fired(fault);
      ended();
    };
    if (this.cuts.has(link)) return drop("cut");
    if (this.random.chance(this.options.loss)) return drop("loss");
    // What a process sends after a synchronous call leaves when that call has ended.
    const delayMs = from.nowMs - this.scheduler.nowMs + this.linkDelayMs(link);
    const land = () => {
      // A link cut meanwhile delivers nothing, and of a dead sender's last words only some.
      if (this.cuts.has(link) || (!from.alive && this.random.chance(0.5))) return;
      to.deliver(label, arrive);
    };
    const arrival = () => {
      ended();
      land();
    };
    this.scheduler.after(delayMs, `${label} ${link}`, arrival, details);
    // A call's connection is its own: its request is carried out once or never.
    if (label === "frame" && this.random.chance(this.options.replay)) {
      this.fired("replay");
      const laterMs = delayMs + this.random.next() * this.options.replayDelayMs;
      this.scheduler.after(laterMs, `${label} again ${link}`, land, details);
    }
  }

  /** @internal Lets an endpoint dial whom it has no connection to, after a moment. */
  redialSoon(endpoint: SimEndpoint): void {
    endpoint.process.after(1 + this.random.next() * REDIAL_MS, "dial", () => {
      endpoint.dial((address) => this.listening.get(address) ?? null);
    });
  }

  private close(endpoint: SimEndpoint): void {
    if (this.listening.get(endpoint.address) === endpoint) this.listening.delete(endpoint.address);
    this.endpoints.splice(this.endpoints.indexOf(endpoint), 1);
    for (const closed of endpoint.calls) closed();
    // The others notice the closed connection and dial at once.
    for (const other of this.endpoints) {
      if (!other.isConnectedTo(endpoint)) continue;
      other.process.after(this.delayMs(), "closed", () => {
        other.dial((address) => this.listening.get(address) ?? null);
      });
    }
  }

  private delayMs(): number {
    const [low, high] = this.options.delayMs;
    return low + this.random.next() * (high - low);
  }

  private linkDelayMs(link: string): number {
    const delayMs = this.delayMs() + (this.clogs.get(link) ?? 0);
    if (this.options.reorder) return delayMs;
    const atMs = Math.max(this.scheduler.nowMs + delayMs, this.lastArrivalMs.get(link) ?? 0);
    this.lastArrivalMs.set(link, atMs);
    return atMs - this.scheduler.nowMs;
  }

  private fired(fault: string): void {
    this.faultsFired.set(fault, (this.faultsFired.get(fault) ?? 0) + 1);
  }
}

/** One process's port: its peers' frames and its clients' requests. */
export class SimEndpoint implements PeerTransport {
  readonly self: ReplicaId;
  readonly process: SimProcess;
  readonly address: string;
  /** Tells each call under way that the connection is gone. */
  readonly calls = new Set<() => void>();
  private readonly network: SimNetwork;
  private handler: PeerHandler | null = null;
  private requestHandler: RequestHandler | null = null;
  private readonly connections = new Map<ReplicaId, Connection>();

  constructor(network: SimNetwork, process: SimProcess, self: ReplicaId, address: string) {
    this.network = network;
    this.process = process;
    this.self = self;
    this.address = address;
  }

  setHandler(handler: PeerHandler): void {
    this.handler = handler;
  }

  /** Who answers clients; without one every request is refused. */
  setRequestHandler(handler: RequestHandler): void {
    this.requestHandler = handler;
  }

  setAddress(peer: ReplicaId, address: string): void {
    const known = this.connections.get(peer);
    if (known?.address === address || peer === this.self) return;
    this.connections.set(peer, { address, to: null, queuedBytes: 0 });
    this.network.redialSoon(this);
  }

  forget(peer: ReplicaId): void {
    this.connections.delete(peer);
  }

  send(to: ReplicaId, group: string, body: Packable): void {
    const connection = this.connections.get(to);
    const receiver = connection?.to;
    if (connection === undefined || receiver === null || receiver === undefined) return;
    const bytes = pack([group, body]);
    connection.queuedBytes += bytes.length;
    const arrive = () => receiver.take(this.self, bytes);
    this.network.carry(this.process, receiver.process, bytes, "frame", arrive, () => {
      connection.queuedBytes -= bytes.length;
    });
  }

  queuedBytes(to: ReplicaId): number {
    return this.connections.get(to)?.queuedBytes ?? 0;
  }

  /** @internal */
  isConnectedTo(other: SimEndpoint): boolean {
    return this.connections.get(other.self)?.to === other;
  }

  /** @internal Makes the connections that can be made, and tells of those that are lost. */
  dial(listening: (address: string) => SimEndpoint | null): void {
    let again = false;
    for (const [peer, connection] of this.connections) {
      const found = listening(connection.address);
      if (found !== null && !this.canReach(found)) {
        again ||= found !== connection.to;
        continue;
      }
      const next = found !== null && found.self === peer ? found : null;
      if (next === connection.to) continue;
      connection.to = next;
      if (next === null) this.handler?.unreachable(peer);
      else this.handler?.connected(peer);
    }
    if (again) this.network.redialSoon(this);
  }

  /** @internal */
  take(from: ReplicaId, bytes: Uint8Array): void {
    const [group, body] = unpack(bytes.slice()) as [string, Packable];
    this.handler?.frame(from, group, body);
  }

  /** @internal The packed answer to a request: `[true, result]` or `[false, code, text, ...]`. */
  async answer(request: Packable): Promise<Uint8Array> {
    const [method, params] = request as [string, Packable];
    try {
      if (this.requestHandler === null) {
        throw new TrilogError("unavailable", `Cannot answer ${method}: not ready`);
      }
      return pack([true, await this.requestHandler(method, params)]);
    } catch (thrown) {
      return pack([false, errorToWire(toTrilogError(thrown))]);
    }
  }

  /** A handshake goes both ways, and a paused process does not answer one. */
  private canReach(other: SimEndpoint): boolean {
    const [here, there] = [this.process.name, other.process.name];
    return !this.network.isCut(here, there) && !this.network.isCut(there, here) &&
      !other.process.paused;
  }
}

function linkOf(from: string, to: string): string {
  return `${from}>${to}`;
}

function settleReply(
  reply: Packable,
  resolve: (result: Packable) => void,
  reject: (error: TrilogError) => void,
): void {
  const [ok, value] = reply as [boolean, Packable];
  if (ok) resolve(value);
  else reject(errorFromWire(value as unknown as WireError));
}
