/**
 * Notices a connection whose other end can no longer be reached. TCP alone would go on for many
 * minutes, and after a cut has healed it repeats the lost bytes only after pauses that grow to
 * minutes too; a fresh dial is there at once.
 */

import type { Clock, Timer } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import { Channel } from "./channels.ts";
import type { Connection } from "./connection.ts";

/** Milliseconds between two pings. */
export const PROBE_INTERVAL_MS = 1_000;
/** Pings without an answer, one after the other, after which the connection is given up. */
const MAX_UNANSWERED = 3;

/**
 * Pings one connection until it ends. Unanswered pings are counted, not the time: a process that
 * was itself stopped for a while must not blame the others.
 */
export class LinkProbe {
  private timer: Timer;
  private unanswered = 0;
  /** Bytes that waited, and those the socket had taken, at the last ping. */
  private queued = 0;
  private taken = 0;

  constructor(private readonly connection: Connection, private readonly clock: Clock) {
    this.timer = clock.after(PROBE_INTERVAL_MS, () => this.ping());
  }

  answered(): void {
    this.unanswered = 0;
  }

  stop(): void {
    this.timer.cancel();
  }

  private ping(): void {
    const { connection } = this;
    const taken = connection.sentPosition - connection.queuedBytes;
    // On a slow line a ping waits behind bulk data; a full socket that takes more is alive.
    if (this.queued > 0 && taken > this.taken) this.unanswered = 0;
    if (this.unanswered >= MAX_UNANSWERED) {
      const state = "the other side does not answer";
      connection.abort(new TrilogError("connection_closed", `Cannot use connection: ${state}`));
      return;
    }
    this.unanswered += 1;
    this.queued = connection.queuedBytes;
    this.taken = taken;
    connection.send([Channel.ping]);
    this.timer = this.clock.after(PROBE_INTERVAL_MS, () => this.ping());
  }
}
