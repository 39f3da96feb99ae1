/**
 * A network of byte streams between simulated machines, as TCP makes one: what is written arrives
 * in order or not at all, whole or in pieces. It is the `Sockets` of every simulated process, so
 * that handshakes, calls and the connections between peers run as they are in production.
 *
 * - A lost segment arrives later: its sender repeats it. A cut link holds everything back, and the
 *   repetitions come with growing pauses, as a kernel makes them.
 * - A paused process keeps its connections: its kernel takes what arrives and answers new ones.
 * - A killed process closes its connections. A machine without power says nothing: the other side
 *   finds out when it is up again, or by its own probes.
 *
 * A machine is named by the host of its address (`b1:9000` is at machine `b1`).
 */

import { TrilogError } from "../base/errors.ts";
import type { Prng } from "../base/prng.ts";
import type { Listener, Socket, Sockets } from "../net/tcp.ts";
import { linkOf, Links } from "./links.ts";
import type { SimProcess } from "./process.ts";
import { type Endpoint, reset, SimSocket } from "./sim_socket.ts";

/** Pauses before a connection attempt is repeated; the attempt fails after the last. */
const CONNECT_PAUSES_MS = [1_000, 2_000, 4_000, 8_000];

class SimListener implements Listener {
  private readonly backlog: Socket[] = [];
  private waiting: PromiseWithResolvers<Socket> | null = null;
  private closed = false;

  constructor(
    readonly address: string,
    readonly process: SimProcess,
    private readonly onClose: () => void,
  ) {}

  accept(): Promise<Socket> {
    if (this.closed) return Promise.reject(new Error("the listener was closed"));
    const socket = this.backlog.shift();
    if (socket !== undefined) return Promise.resolve(socket);
    this.waiting = Promise.withResolvers();
    return this.waiting.promise;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.onClose();
    const waiting = this.waiting;
    this.waiting = null;
    waiting?.reject(new Error("the listener was closed"));
    for (const socket of this.backlog.splice(0)) socket.close();
  }

  /** The kernel made a connection; the process takes it when it runs. */
  push(socket: Socket): void {
    this.backlog.push(socket);
    this.process.deliver("accept", () => {
      const { waiting } = this;
      if (waiting === null || this.backlog.length === 0) return;
      this.waiting = null;
      waiting.resolve(this.backlog.shift()!);
    });
  }
}

export class SimStreams {
  private readonly listening = new Map<string, SimListener>();
  /** Connections that each process has, to be ended with it. */
  private readonly sockets = new Map<SimProcess, Set<SimSocket>>();

  constructor(readonly links: Links, private readonly random: Prng) {}

  /** The network as a process of a machine sees it. Everything closes with the process. */
  socketsOf(process: SimProcess): Sockets {
    this.sockets.set(process, new Set());
    process.onKill(() => this.ended(process));
    return {
      connect: (address) => this.connect(process, address),
      listen: (address) => this.listen(process, address),
    };
  }

  /** @internal A socket of a living process was closed. */
  forget(socket: SimSocket): void {
    this.sockets.get(socket.process)?.delete(socket);
  }

  private listen(process: SimProcess, address: string): Listener {
    if (this.listening.has(address)) {
      throw new TrilogError("invalid_argument", `Cannot listen on ${address}: it is in use`);
    }
    const listener = new SimListener(address, process, () => {
      if (this.listening.get(address) === listener) this.listening.delete(address);
    });
    this.listening.set(address, listener);
    return listener;
  }

  private connect(process: SimProcess, address: string): Promise<Socket> {
    const wanted = Promise.withResolvers<Socket>();
    if (process.alive) this.attempt(process, address, wanted, 0);
    return wanted.promise;
  }

  /** One try to reach the other machine's kernel; a lost packet either way is tried again. */
  private attempt(
    process: SimProcess,
    address: string,
    wanted: PromiseWithResolvers<Socket>,
    tries: number,
  ): void {
    const host = hostOf(address);
    const { links } = this;
    const { scheduler } = process;
    const leaveMs = process.nowMs - scheduler.nowMs;
    const arrive = () => {
      if (!process.alive) return;
      const reached = links.carries(process.name, host) && links.carries(host, process.name);
      if (!reached) {
        if (tries < CONNECT_PAUSES_MS.length) {
          const again = () => process.alive && this.attempt(process, address, wanted, tries + 1);
          scheduler.after(CONNECT_PAUSES_MS[tries], `syn ${process.name}`, again);
        } else process.deliver("timeout", () => wanted.reject(new Error("connection timed out")));
        return;
      }
      const listener = this.listening.get(address);
      const backMs = links.delayMs(host, process.name);
      if (listener === undefined) {
        const refused = () => process.deliver("refused", () => wanted.reject(reset("refused")));
        scheduler.after(backMs, `refuse ${process.name}`, refused);
      } else this.established(process, listener, backMs, wanted);
    };
    const delayMs = leaveMs + links.delayMs(process.name, host);
    scheduler.after(delayMs, `connect ${linkOf(process.name, host)}`, arrive);
  }

  private established(
    process: SimProcess,
    listener: SimListener,
    backMs: number,
    wanted: PromiseWithResolvers<Socket>,
  ): void {
    const here = this.newSocket(process);
    const there = this.newSocket(listener.process);
    here.join(there);
    there.join(here);
    listener.push(there);
    process.scheduler.after(backMs, `connected ${process.name}`, () => {
      process.deliver("connected", () => wanted.resolve(here));
    });
  }

  private newSocket(process: SimProcess): SimSocket {
    const endpoint: Endpoint = { process, links: this.links, random: this.random.fork() };
    const socket = new SimSocket(endpoint, () => this.forget(socket));
    this.sockets.get(process)?.add(socket);
    return socket;
  }

  /** Its kernel closes what the process had open, unless the whole machine is gone. */
  private ended(process: SimProcess): void {
    for (const [address, listener] of this.listening) {
      if (listener.process === process) this.listening.delete(address);
    }
    const powered = this.links.isUp(process.name);
    for (const socket of this.sockets.get(process) ?? []) socket.abandon(powered);
    this.sockets.delete(process);
  }
}

function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(":"));
}
