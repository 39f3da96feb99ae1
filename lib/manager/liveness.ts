/**
 * PURE. Which brokers are dead, judged by the leading manager alone, on its own monotonic clock.
 * Nothing of it is stored: what the leader decides becomes a replicated `declare` command.
 *
 * Old news never counts. A new leader starts its count afresh, and so does one that was itself
 * asleep (paused, or its disk stalled): the heartbeats it missed say nothing about the brokers.
 * What leaders counted before is no old news: they were awake and heard nothing (`silences.ts`). A
 * new leader goes on from there, once it has given the broker a moment to be heard: living brokers
 * turn to a new leader at once.
 */

import { assert } from "../base/assert.ts";
import type { Silence } from "./silences.ts";

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

/** Time that a new leader gives brokers to be heard, whatever was counted before. */
const TURN_MS = 5_000;
/** A count is stored when it has grown by so much. */
const STORE_EVERY_MS = 1_000;
/** A broker that was heard in this leadership is silent after so many heartbeat intervals. */
const SILENT_INTERVALS = 1.5;

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
   * was asleep, and starts the count afresh. `counted`: silence that leaders before have stored.
   */
  judge(
    brokers: readonly DeclaredBroker[],
    nowMs: number,
    counted: ReadonlyMap<string, number> = new Map(),
  ): Declarations {
    if (this.judgedMs !== null && nowMs - this.judgedMs >= this.settings.timeToDeadMs / 2) {
      this.startAfresh();
    }
    this.judgedMs = nowMs;
    const dead: string[] = [];
    const alive: string[] = [];
    for (const broker of brokers) {
      const before = counted.get(broker.replicaId) ?? 0;
      const silentMs = nowMs - this.sinceMs(broker.replicaId, nowMs, before);
      const present = this.heardMs.has(broker.replicaId) && silentMs < this.settings.timeToDeadMs;
      if (broker.alive && silentMs >= this.settings.timeToDeadMs) dead.push(broker.replicaId);
      if (!broker.alive && present) alive.push(broker.replicaId);
    }
    return { dead: dead.sort(), alive: alive.sort() };
  }

  /** What to store of the silence of living brokers; 0 for those that were heard again. */
  toStore(
    brokers: readonly DeclaredBroker[],
    nowMs: number,
    counted: ReadonlyMap<string, number>,
  ): Silence[] {
    return brokers.flatMap(({ replicaId, alive }) => {
      const before = counted.get(replicaId) ?? 0;
      const heard = this.heardMs.has(replicaId);
      const silentMs = Math.round(nowMs - this.sinceMs(replicaId, nowMs, before));
      const usualMs = heard ? SILENT_INTERVALS * this.settings.intervalMs : TURN_MS;
      if (!alive || (heard && silentMs <= usualMs)) {
        return before > 0 ? [{ replicaId, silentMs: 0 }] : [];
      }
      return silentMs > usualMs && silentMs >= before + STORE_EVERY_MS
        ? [{ replicaId, silentMs }]
        : [];
    });
  }

  private sinceMs(replicaId: string, nowMs: number, countedMs = 0): number {
    const heardMs = this.heardMs.get(replicaId);
    if (heardMs !== undefined) return heardMs;
    const longestMs = Math.max(0, this.settings.timeToDeadMs - TURN_MS);
    const awaitedMs = this.awaitedMs.get(replicaId) ?? nowMs - Math.min(countedMs, longestMs);
    this.awaitedMs.set(replicaId, awaitedMs);
    return awaitedMs;
  }
}
