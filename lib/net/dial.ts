/** Opens a connection to an address and performs the dialling side of the handshake. */

import type { Clock, Timer } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { ReplicaId } from "../raft/types.ts";
import { Connection, type FrameSink } from "./connection.ts";
import type { NetCounters } from "./counters.ts";
import {
  type ConnectionRole,
  encodeHello,
  type HandshakePolicy,
  judgeAnswer,
  type RemoteIdentity,
} from "./handshake.ts";
import { isRefusal, type Socket, type Sockets, tcpSockets } from "./tcp.ts";

export interface DialOptions {
  /** `host:port`. */
  readonly address: string;
  readonly role: ConnectionRole;
  /** The replica wanted at that address, or null for whoever is there. */
  readonly to: ReplicaId | null;
  /** Milliseconds until the attempt is given up. */
  readonly timeoutMs: number;
  readonly policy: HandshakePolicy;
  readonly clock: Clock;
  readonly counters: NetCounters;
  /** The machine's network by default. */
  readonly sockets?: Sockets | undefined;
  /** Makes the taker of the frames that follow the handshake. */
  readonly sink: (connection: Connection, identity: RemoteIdentity) => FrameSink;
}

export type DialResult =
  | { readonly ok: true; readonly connection: Connection; readonly identity: RemoteIdentity }
  | {
    readonly ok: false;
    readonly error: TrilogError;
    /** Nobody is there: the connection was refused, or closed before the handshake's answer. */
    readonly refused: boolean;
    /** Who answered, where it said so. */
    readonly identity: RemoteIdentity | null;
  };

/** Never rejects; ends within `timeoutMs`. */
export function dial(options: DialOptions): Promise<DialResult> {
  return new Promise((resolve) => new Dial(options, resolve).start());
}

class Dial implements FrameSink {
  private connection: Connection | null = null;
  private identity: RemoteIdentity | null = null;
  private timer: Timer | null = null;
  private settled = false;

  constructor(
    private readonly options: DialOptions,
    private readonly resolve: (result: DialResult) => void,
  ) {}

  start(): void {
    this.timer = this.options.clock.after(this.options.timeoutMs, () => this.timeOut());
    const { address, sockets = tcpSockets } = this.options;
    sockets.connect(address).then(
      (socket) => this.opened(socket),
      (thrown) => {
        if (thrown instanceof TrilogError) return this.refuse(thrown, false);
        this.refuse(this.unavailable(messageOf(thrown), thrown), isRefusal(thrown));
      },
    );
  }

  private opened(socket: Socket): void {
    if (this.settled) return socket.close();
    const { clock, counters, policy, role, to } = this.options;
    this.connection = new Connection({ socket, clock, counters, sink: this });
    this.connection.start();
    this.connection.send(encodeHello(policy, role, to));
  }

  async frame(payload: Uint8Array): Promise<void> {
    const { policy, role, to } = this.options;
    const answer = await judgeAnswer(policy, role, to, payload);
    const connection = this.connection!;
    if (connection.closeReason !== null) return;
    this.identity = answer.identity;
    if (answer.refusal !== null) throw answer.refusal;
    const identity = answer.identity!;
    const bytesOut = role === "peer" ? limits.peerFrameBytes : limits.clientFrameBytes;
    connection.admit(limits.peerFrameBytes, bytesOut, this.options.sink(connection, identity));
    this.settle({ ok: true, connection, identity });
  }

  farewell(): null {
    return null;
  }

  /** The connection ended before the handshake did. */
  closed(reason: TrilogError): void {
    const silent = reason.code === "connection_closed";
    this.refuse(silent ? this.unavailable(reason.message, reason) : reason, silent);
  }

  private timeOut(): void {
    this.refuse(this.unavailable("it did not answer in time"), false);
  }

  private refuse(error: TrilogError, refused: boolean): void {
    this.settle({ ok: false, error, refused, identity: this.identity });
    this.connection?.abort(error);
  }

  private settle(result: DialResult): void {
    if (this.settled) return;
    this.settled = true;
    this.timer?.cancel();
    this.resolve(result);
  }

  private unavailable(state: string, cause?: unknown): TrilogError {
    const address = this.options.address;
    return new TrilogError("unavailable", `Cannot connect to ${address}: ${state}`, { cause });
  }
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
