/**
 * Remote calls, asking side: one kept connection per address, any number of calls on it at a time.
 * Every failure says whether the call may have taken effect: `unavailable` means that the request
 * never left this process, `connection_closed` and `deadline_exceeded` that nobody knows.
 */

import type { Clock, Timer } from "../base/clock.ts";
import { errorFromWire, toTrilogError, TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type Packable, unpack } from "../base/msgpack.ts";
import type { Random } from "../base/prng.ts";
import { Backoff } from "../base/backoff.ts";
import {
  asCount,
  asFrame,
  Channel,
  checkFrame,
  farewellFrame,
  malformedFrame,
} from "./channels.ts";
import type { Connection, FrameSink } from "./connection.ts";
import type { NetCounters } from "./counters.ts";
import { dial, type DialResult } from "./dial.ts";
import { type ConnectionRole, type HandshakePolicy, readWireError } from "./handshake.ts";
import type { Sockets } from "./tcp.ts";

export interface CallOptions {
  /** Milliseconds after which the caller gives up; a whole number above 0. */
  readonly deadlineMs: number;
  /** Gives the call up early: it fails with `cancelled`. */
  readonly signal?: AbortSignal | undefined;
}

/** What callers need of {@link RpcClient}; tests put their own in its place. */
export interface Caller {
  /** The method's answer, or rejects with a `TrilogError` of either side. */
  call(
    address: string,
    method: string,
    params: Packable,
    options: CallOptions,
  ): Promise<Packable>;
}

export interface RpcClientOptions {
  readonly policy: HandshakePolicy;
  /** `peer` for calls between processes with replicas, which may carry larger frames. */
  readonly role: ConnectionRole;
  readonly clock: Clock;
  readonly random: Random;
  readonly counters: NetCounters;
  /** The machine's network by default. */
  readonly sockets?: Sockets | undefined;
}

/** Pauses between attempts to reach an address that does not answer; calls fail at once in them. */
const SMALLEST_PAUSE_MS = 20;
const LARGEST_PAUSE_MS = 1_000;
/**
 * A call that waited this long in vain, while the connection brought nothing else either, ends the
 * connection: after a cut of the network a fresh one is there sooner than TCP's next attempt.
 */
const SILENCE_MS = 1_000;
/** Deadlines that are looked at so much too late are given as much again to read what waits. */
const LATE_MS = 30;

export class RpcClient implements Caller {
  private readonly lines = new Map<string, Line>();
  private closed = false;

  constructor(private readonly options: RpcClientOptions) {}

  call(
    address: string,
    method: string,
    params: Packable,
    options: CallOptions,
  ): Promise<Packable> {
    if (this.closed) return Promise.reject(clientClosed(address));
    let line = this.lines.get(address);
    if (line === undefined) {
      line = new Line(address, this.options);
      this.lines.set(address, line);
    }
    return line.call(method, params, options);
  }

  /** Closes the connection to an address that is no longer of interest. */
  forget(address: string): void {
    this.lines.get(address)?.close(unavailable(address, "its connection was given up"));
    this.lines.delete(address);
  }

  /** Ends all calls and connections, so that the process may exit. */
  close(): void {
    this.closed = true;
    for (const [address, line] of this.lines) line.close(clientClosed(address));
    this.lines.clear();
  }
}

/** A call that is not answered yet. */
interface Pending {
  readonly id: number;
  readonly method: string;
  readonly params: Packable;
  readonly deadlineAt: number;
  /** When it was called, in monotonic milliseconds. */
  readonly calledAt: number;
  /** Where its frame begins in the connection's stream; -1: not even queued there. */
  position: number;
  resolve(result: Packable): void;
  reject(error: TrilogError): void;
  /** Stops listening to the caller's signal. */
  release(): void;
}

/** All calls to one address, and the connection to it while there is one. */
class Line implements FrameSink {
  private readonly pending = new Map<number, Pending>();
  private readonly backoff: Backoff;
  private connection: Connection | null = null;
  private dialling = false;
  /** Why it was closed. */
  private stopped: TrilogError | null = null;
  private lastId = 0;
  private lastFailure: TrilogError | null = null;
  private retryAt = -Infinity;
  /** When the connection last brought a frame, in monotonic milliseconds. */
  private heardAt = 0;
  private sweepTimer: Timer | null = null;
  private sweepAt = Infinity;
  /** The sweep came late, and is made a moment later. */
  private postponed = false;

  constructor(private readonly address: string, private readonly options: RpcClientOptions) {
    this.backoff = new Backoff(options.random, SMALLEST_PAUSE_MS, LARGEST_PAUSE_MS);
  }

  call(method: string, params: Packable, options: CallOptions): Promise<Packable> {
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(this.cancelled(method));
    const now = this.options.clock.monotonicMs();
    const pausing = this.connection === null && !this.dialling && now < this.retryAt;
    if (pausing && this.lastFailure !== null) return Promise.reject(this.lastFailure);
    return new Promise((resolve, reject) => {
      const id = ++this.lastId;
      const cancel = () => this.giveUp(id, this.cancelled(method));
      signal?.addEventListener("abort", cancel, { once: true });
      const release = () => signal?.removeEventListener("abort", cancel);
      const deadlineAt = now + options.deadlineMs;
      this.pending.set(id, {
        id,
        method,
        params,
        deadlineAt,
        calledAt: now,
        position: -1,
        resolve,
        reject,
        release,
      });
      this.sweepBy(deadlineAt);
      if (this.connection !== null) this.transmit(this.connection, this.pending.get(id)!);
      else this.connect();
    });
  }

  close(reason: TrilogError): void {
    this.stopped = reason;
    this.sweepTimer?.cancel();
    if (this.connection === null) this.failAll(reason);
    else this.connection.close(reason);
  }

  frame(payload: Uint8Array): void {
    const frame = asFrame(unpack(payload));
    this.heardAt = this.options.clock.monotonicMs();
    if (frame[0] === Channel.farewell) throw errorFromWire(readWireError(checkFrame(frame, 2)[1]));
    if (frame[0] !== Channel.response) throw malformedFrame("it is not an answer");
    checkFrame(frame, 4);
    const call = this.settle(asCount(frame[1]));
    if (call === null) return;
    if (frame[2] === null) call.resolve(frame[3]);
    else call.reject(errorFromWire(readWireError(frame[2])));
  }

  farewell(reason: TrilogError): Packable {
    return farewellFrame(reason);
  }

  closed(reason: TrilogError): void {
    const text = `Cannot reach ${this.address}: ${reason.message}`;
    this.failAll(new TrilogError("unavailable", text, { cause: reason }));
  }

  /** What had not left is certainly not done and fails with `reason`; of the rest nobody knows. */
  private failAll(reason: TrilogError): void {
    const left = this.connection?.handedOverPosition ?? 0;
    this.connection = null;
    for (const call of [...this.pending.values()]) {
      this.settle(call.id);
      call.reject(call.position >= 0 && call.position < left ? this.lost(call, reason) : reason);
    }
  }

  private lost(call: Pending, reason: TrilogError): TrilogError {
    const text =
      `Cannot determine the outcome of ${call.method} at ${this.address}: ${reason.message}`;
    return new TrilogError("connection_closed", text, { cause: reason });
  }

  private connect(): void {
    if (this.dialling) return;
    this.dialling = true;
    const { policy, role, clock, counters, sockets } = this.options;
    void dial({
      address: this.address,
      role,
      to: null,
      timeoutMs: limits.handshakeMs,
      policy,
      clock,
      counters,
      sockets,
      sink: () => this,
    }).then((result) => this.dialled(result));
  }

  private dialled(result: DialResult): void {
    this.dialling = false;
    if (!result.ok) {
      this.retryAt = this.options.clock.monotonicMs() + this.backoff.next();
      this.lastFailure = result.error;
      return this.failAll(result.error);
    }
    const { connection } = result;
    if (connection.closeReason !== null) return this.closed(connection.closeReason);
    if (this.stopped !== null) return connection.close(this.stopped);
    this.backoff.reset();
    this.connection = connection;
    connection.unref();
    for (const call of [...this.pending.values()]) this.transmit(connection, call);
  }

  private transmit(connection: Connection, call: Pending): void {
    const remainingMs = Math.max(1, Math.ceil(call.deadlineAt - this.options.clock.monotonicMs()));
    const position = connection.sentPosition;
    try {
      const frame = [Channel.request, call.id, call.method, remainingMs, call.params];
      if (connection.send(frame)) call.position = position;
      else this.refuse(call, this.queueFull());
    } catch (thrown) {
      this.refuse(call, toTrilogError(thrown));
    }
  }

  private refuse(call: Pending, error: TrilogError): void {
    this.settle(call.id);
    call.reject(error);
  }

  /** The caller no longer waits; the server need not go on either. */
  private giveUp(id: number, error: TrilogError): void {
    const call = this.settle(id);
    if (call === null) return;
    if (call.position >= 0) this.connection?.send([Channel.cancel, id]);
    call.reject(error);
  }

  private settle(id: number): Pending | null {
    const call = this.pending.get(id);
    if (call === undefined) return null;
    this.pending.delete(id);
    call.release();
    return call;
  }

  /**
   * One timer serves all deadlines: it stands at the earliest one known, and is left standing when
   * that call is answered, so that a call costs no timer of its own.
   */
  private sweepBy(deadlineAt: number): void {
    if (deadlineAt >= this.sweepAt) return;
    this.sweepTimer?.cancel();
    this.sweepAt = deadlineAt;
    const { clock } = this.options;
    const delayMs = Math.max(0, deadlineAt - clock.monotonicMs());
    this.sweepTimer = clock.after(delayMs, () => this.sweep());
  }

  private sweep(): void {
    const { clock } = this.options;
    const now = clock.monotonicMs();
    // This process did not run for a while: the answers may wait unread.
    const late = now - this.sweepAt > LATE_MS;
    if (late && !this.postponed) {
      this.postponed = true;
      this.sweepTimer = clock.after(LATE_MS, () => this.sweep());
      return;
    }
    this.postponed = false;
    this.sweepAt = Infinity;
    let earliest = Infinity;
    let silent = false;
    for (const call of [...this.pending.values()]) {
      if (call.deadlineAt > now) {
        earliest = Math.min(earliest, call.deadlineAt);
        continue;
      }
      silent ||= this.heardAt < call.calledAt && now - call.calledAt >= SILENCE_MS;
      this.giveUp(call.id, this.tooLate(call));
    }
    if (silent) this.connection?.abort(unavailable(this.address, "it has fallen silent"));
    if (earliest < Infinity) this.sweepBy(earliest);
  }

  private tooLate(call: Pending): TrilogError {
    if (call.position < 0) return unavailable(this.address, "it did not answer in time");
    const text = `Cannot call ${call.method} at ${this.address}: no answer in time`;
    return new TrilogError("deadline_exceeded", text);
  }

  private queueFull(): TrilogError {
    const text = `Cannot call ${this.address}: too many bytes wait for it already`;
    return new TrilogError("overloaded", text);
  }

  private cancelled(method: string): TrilogError {
    return new TrilogError(
      "cancelled",
      `Cannot call ${method} at ${this.address}: the caller gave up`,
    );
  }
}

/** Not to be repeated: loops of retries end with it, and the process may exit. */
function clientClosed(address: string): TrilogError {
  return new TrilogError("unavailable", `Cannot reach ${address}: this client was closed`, {
    retryable: false,
  });
}

function unavailable(address: string, state: string): TrilogError {
  return new TrilogError("unavailable", `Cannot reach ${address}: ${state}`);
}
