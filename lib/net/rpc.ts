/**
 * Remote calls, serving side. Many calls run on one connection at a time and are answered in any
 * order. A handler that answers at once costs no promise, no timer and no entry in a table.
 */

import { InvariantError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { errorToWire, toTrilogError, TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import type { Packable } from "../base/msgpack.ts";
import { asCount, asText, Channel, checkFrame, malformedFrame } from "./channels.ts";
import type { Connection } from "./connection.ts";
import type { RemoteIdentity } from "./handshake.ts";

/** What a handler may know of the call it answers. */
export interface Call {
  readonly method: string;
  /** Who asks, and whether as a peer or as a client. */
  readonly caller: RemoteIdentity;
  /** Milliseconds until the caller gives up; 0 when it has. */
  readonly deadlineMs: number;
  /** Aborted when the caller cancels, its deadline passes or the connection ends. */
  readonly signal: AbortSignal;
  /** The caller's connection, for bulk answers that watch its queue. */
  readonly connection: Connection;
}

/**
 * Answers a call, at once or later. A `TrilogError` thrown reaches the caller as it is, anything
 * else as `internal`; an `InvariantError` stops the process. Binary parts of `params` keep the
 * chunk they arrived in alive.
 */
export type Handler = (params: Packable, call: Call) => Packable | Promise<Packable>;

export interface RpcServerOptions {
  readonly clock: Clock;
  readonly logger: Logger;
}

/** First words of methods that only one kind of server has. */
const SERVER_KINDS = ["manager", "broker"];

export class RpcServer {
  private readonly handlers = new Map<string, Handler>();
  /** Calls that run now, on all connections. */
  running = 0;

  constructor(readonly options: RpcServerOptions) {}

  /** Names the handler of a method; one that is there already is replaced. */
  handle(method: string, handler: Handler): void {
    this.handlers.set(method, handler);
  }

  /** What a caller of an unknown method has reached, such as `it is a broker`. */
  get kind(): string {
    const kinds = [...this.handlers.keys()].map((method) => method.split(".")[0]);
    const known = SERVER_KINDS.find((kind) => kinds.includes(kind));
    return known === undefined ? "there is no such method" : `it is a ${known}`;
  }

  handler(method: string): Handler | undefined {
    return this.handlers.get(method);
  }
}

/** The calls of one connection. */
export class RpcSession {
  private readonly calls = new Map<number, RunningCall>();

  constructor(
    private readonly server: RpcServer,
    private readonly connection: Connection,
    private readonly caller: RemoteIdentity,
  ) {}

  /** Takes `[1, id, method, deadlineMs, params]`; throws `malformed`. */
  request(frame: readonly Packable[]): void {
    checkFrame(frame, 5);
    const id = asCount(frame[1]);
    const method = asText(frame[2]);
    const deadlineMs = asCount(frame[3]);
    if (this.calls.has(id)) throw malformedFrame("a call has the id of one that still runs");
    if (this.calls.size >= limits.connectionCalls) {
      return this.fail(id, refusal("overloaded", method, "too many calls on one connection"));
    }
    const handler = this.server.handler(method);
    if (handler === undefined) {
      return this.fail(id, refusal("unknown_method", method, this.server.kind));
    }
    this.run(id, handler, frame[4], this.newCall(method, deadlineMs));
  }

  /** Takes `[3, id]`; a call that is answered already is nothing to cancel. */
  cancel(frame: readonly Packable[]): void {
    const id = asCount(checkFrame(frame, 2)[1]);
    const call = this.calls.get(id);
    if (call === undefined) return;
    this.finish(id);
    call.abort(refusal("cancelled", call.method, "the caller no longer waits"));
  }

  /** The connection has ended: nobody waits for any of its calls. */
  closed(reason: TrilogError): void {
    const calls = [...this.calls];
    for (const [id, call] of calls) {
      this.finish(id);
      call.abort(reason);
    }
  }

  private newCall(method: string, deadlineMs: number): RunningCall {
    const clock = this.server.options.clock;
    const deadlineAt = clock.monotonicMs() + deadlineMs;
    return new RunningCall(method, this.caller, this.connection, clock, deadlineAt);
  }

  private run(id: number, handler: Handler, params: Packable, call: RunningCall): void {
    let answer: Packable | Promise<Packable>;
    try {
      answer = handler(params, call);
    } catch (thrown) {
      call.finished();
      return this.failThrown(id, call.method, thrown);
    }
    if (!(answer instanceof Promise)) {
      call.finished();
      return this.answer(id, null, answer);
    }
    this.calls.set(id, call);
    this.server.running += 1;
    answer.then(
      (result) => {
        if (this.finish(id, call)) this.answer(id, null, result);
      },
      (thrown) => {
        if (this.finish(id, call)) this.failThrown(id, call.method, thrown);
      },
    );
  }

  /** Whether the call was still running, and still the one of that id. */
  private finish(id: number, expected?: RunningCall): boolean {
    const call = this.calls.get(id);
    if (call === undefined || (expected !== undefined && call !== expected)) return false;
    this.calls.delete(id);
    this.server.running -= 1;
    call.finished();
    return true;
  }

  private failThrown(id: number, method: string, thrown: unknown): void {
    if (thrown instanceof InvariantError) throw thrown;
    if (!(thrown instanceof TrilogError)) {
      this.server.options.logger.error("a call failed unexpectedly", {
        method,
        error: thrown instanceof Error ? thrown.stack ?? thrown.message : String(thrown),
      });
    }
    this.fail(id, toTrilogError(thrown));
  }

  private fail(id: number, error: TrilogError): void {
    this.answer(id, error, null);
  }

  private answer(id: number, error: TrilogError | null, result: Packable): void {
    const wire = error === null ? null : errorToWire(error);
    try {
      if (this.connection.send([Channel.response, id, wire, result])) return;
    } catch (thrown) {
      if (error !== null) throw thrown;
      return this.fail(id, toTrilogError(thrown));
    }
    if (this.connection.closeReason !== null) return;
    const state = "the caller does not read its answers";
    this.connection.close(new TrilogError("overloaded", `Cannot keep connection: ${state}`));
  }
}

class RunningCall implements Call {
  private controller: AbortController | null = null;
  private timer: Timer | null = null;

  constructor(
    readonly method: string,
    readonly caller: RemoteIdentity,
    readonly connection: Connection,
    private readonly clock: Clock,
    private readonly deadlineAt: number,
  ) {}

  get deadlineMs(): number {
    return Math.max(0, this.deadlineAt - this.clock.monotonicMs());
  }

  /** Made only for a handler that asks: most answer long before anybody gives up. */
  get signal(): AbortSignal {
    if (this.controller === null) {
      this.controller = new AbortController();
      const late = refusal("deadline_exceeded", this.method, "the caller no longer waits");
      this.timer = this.clock.after(this.deadlineMs, () => this.abort(late));
    }
    return this.controller.signal;
  }

  abort(reason: TrilogError): void {
    this.controller?.abort(reason);
  }

  finished(): void {
    this.timer?.cancel();
  }
}

function refusal(
  code: "overloaded" | "unknown_method" | "cancelled" | "deadline_exceeded",
  method: string,
  state: string,
): TrilogError {
  return new TrilogError(code, `Cannot call ${JSON.stringify(method.slice(0, 100))}: ${state}`);
}
