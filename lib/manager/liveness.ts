/**
 * PURE. Which brokers are dead, judged by the leading manager alone, on its own monotonic clock.
 * Nothing of it is stored: what the leader decides becomes a replicated `declare` command.
 *
 * Old news never counts. A new leader starts its count afresh, and so does one that was itself
 * asleep (paused, or its disk stalled): the heartbeats it missed say nothing about the brokers.
 */

import { assert } from "../base/assert.ts";

export interface LivenessSettings {
  /** How often brokers are asked to beat. */
  readonly intervalMs: number;
  /** A broker not heard for this long is declared dead; above `intervalMs`. */
  readonly timeToDeadMs: number;
  /**
   * A broker's name goes to another identity at another address only after this much silence: the
   * one that holds it may be paused or cut off. Default one minute.
   */
  readonly takeoverMs?: number;
}

export const TAKEOVER_MS = 60_000;

/** What is known of a broker, as declared so far. */
export interface DeclaredBroker {
  readonly replicaId: string;
  readonly alive: boolean;
}

/** Replica ids to declare, sorted. */
export interface Declarations {
  readonly dead: readonly string[];
  readonly alive: readonly string[];
}

/** The leader looks at least this often, however seldom brokers beat: a start must not wait. */
const LONGEST_LOOK_MS = 500;

export class Liveness {
  readonly settings: LivenessSettings;
  /** When each broker was last heard, in this leadership. */
  private readonly heardMs = new Map<string, number>();
  /** When a broker that was not heard yet began to be waited for. */
  private readonly awaitedMs = new Map<string, number>();
  private judgedMs: number | null = null;

  constructor(settings: LivenessSettings) {
    assert(settings.intervalMs > 0, "the heartbeat interval is positive");
    assert(settings.timeToDeadMs > settings.intervalMs, "time to dead exceeds the interval");
    this.settings = settings;
  }

  /** Forgets everything: this manager begins to lead, or stops. */
  startAfresh(): void {
    this.heardMs.clear();
    this.awaitedMs.clear();
    this.judgedMs = null;
  }

  /** A heartbeat or a registration of a broker arrived. */
  heard(replicaId: string, nowMs: number): void {
    this.heardMs.set(replicaId, nowMs);
  }

  /** Monotonic time of a broker's last heartbeat in this leadership, or null. */
  lastHeardMs(replicaId: string): number | null {
    return this.heardMs.get(replicaId) ?? null;
  }

  /**
   * How much longer a broker must stay silent before another identity may take its name, in
   * milliseconds; 0: it may now. An identity at the broker's own address (`sameAddress`) shows that
   * the broker's process is gone. One not heard yet in this leadership is given the same time.
   */
  takeoverInMs(replicaId: string, sameAddress: boolean, nowMs: number): number {
    const shortMs = 2 * this.settings.intervalMs;
    const longMs = Math.max(shortMs, this.settings.takeoverMs ?? TAKEOVER_MS);
    const silentMs = nowMs - this.sinceMs(replicaId, nowMs);
    return Math.max(0, (sameAddress ? shortMs : longMs) - silentMs);
  }

  /** How often to call {@link judge} while leading. */
  get judgeIntervalMs(): number {
    return Math.min(this.settings.intervalMs, this.settings.timeToDeadMs / 4, LONGEST_LOOK_MS);
  }

  /**
   * What to declare now. A gap of half the time to dead between two calls means that this process
   * was asleep, and starts the count afresh.
   */
  judge(brokers: readonly DeclaredBroker[], nowMs: number): Declarations {
    if (this.judgedMs !== null && nowMs - this.judgedMs >= this.settings.timeToDeadMs / 2) {
      this.startAfresh();
    }
    this.judgedMs = nowMs;
    const dead: string[] = [];
    const alive: string[] = [];
    for (const broker of brokers) {
      const silentMs = nowMs - this.sinceMs(broker.replicaId, nowMs);
      const present = this.heardMs.has(broker.replicaId) && silentMs < this.settings.timeToDeadMs;
      if (broker.alive && silentMs >= this.settings.timeToDeadMs) dead.push(broker.replicaId);
      if (!broker.alive && present) alive.push(broker.replicaId);
    }
    return { dead: dead.sort(), alive: alive.sort() };
  }

  private sinceMs(replicaId: string, nowMs: number): number {
    const heardMs = this.heardMs.get(replicaId);
    if (heardMs !== undefined) return heardMs;
    const awaitedMs = this.awaitedMs.get(replicaId) ?? nowMs;
    this.awaitedMs.set(replicaId, awaitedMs);
    return awaitedMs;
  }
}
