/**
 * Virtual time: a queue of events, run one after the other in the order of their times, and of
 * their scheduling where the times are equal. Nothing ever waits for the machine's clock.
 *
 * Production code also waits by promises. After each event the scheduler lets a fixed number of
 * microtask turns pass, so that chains of `await` which the event set off come to their end before
 * the next event. The number is fixed because the microtask queue cannot be looked into; a longer
 * chain goes on beside the next event, at the same place in every run of the seed.
 */

import { assert } from "../base/assert.ts";
import type { Timer } from "../base/clock.ts";
import { TraceHash } from "./trace.ts";

/** Longest chain of awaits that ends within its event, unless a simulation asks for another. */
const MICROTASK_TURNS = 12;

interface SimEvent extends Timer {
  readonly atMs: number;
  /** Number of the event in the order of scheduling. */
  readonly order: number;
  readonly label: string;
  /** What people want to know beyond the label; the trace hash does not see it. */
  readonly details: (() => string) | null;
  run: (() => void) | null;
}

export class Scheduler {
  readonly trace = new TraceHash();
  private readonly heap: SimEvent[] = [];
  private readonly hooks: (() => void)[] = [];
  /** Told of every event before it runs and of every note, for a trace that people read. */
  onEvent: ((atMs: number, label: string) => void) | null = null;
  private currentMs = 0;
  private nextOrder = 0;
  private stepCount = 0;

  /** `microtaskTurns`: the longest chain of awaits that ends within its event. */
  constructor(private readonly microtaskTurns: number = MICROTASK_TURNS) {}

  /** Virtual milliseconds since the simulation began. */
  get nowMs(): number {
    return this.currentMs;
  }

  /** Events run so far. */
  get steps(): number {
    return this.stepCount;
  }

  /** Events that are waiting, cancelled ones included. */
  get waiting(): number {
    return this.heap.length;
  }

  /** Whether a trace is written for people. */
  get traced(): boolean {
    return this.onEvent !== null;
  }

  /** Adds a line to the trace that people read; the trace hash does not see it. */
  note(text: string): void {
    this.onEvent?.(this.currentMs, text);
  }

  /**
   * Runs `run` after `delayMs`; the label goes into the trace, and into the trace that people read
   * `details` as well.
   */
  after(delayMs: number, label: string, run: () => void, details?: () => string): Timer {
    return this.at(this.currentMs + Math.max(0, delayMs), label, run, details);
  }

  /** Runs `run` at a moment, which may not lie in the past. */
  at(atMs: number, label: string, run: () => void, details?: () => string): Timer {
    assert(atMs >= this.currentMs, `event ${label} lies in the past`);
    const event: SimEvent = {
      // Rounded up to a microsecond, so that no timer ever fires early.
      atMs: Math.ceil(atMs * 1000 - 1e-3) / 1000,
      order: this.nextOrder,
      label,
      details: details ?? null,
      run,
      cancel: () => {
        event.run = null;
      },
    };
    this.nextOrder += 1;
    this.push(event);
    return event;
  }

  /** Calls `hook` after every step, its microtasks included; what it throws ends the run. */
  afterEachStep(hook: () => void): void {
    this.hooks.push(hook);
  }

  /**
   * Runs all events up to `untilMs` and moves time there, or stops after the step that makes
   * `done` true. Returns whether `done` became true. Rejects with whatever an event throws.
   */
  async runUntil(untilMs: number, done: () => boolean = () => false): Promise<boolean> {
    if (done()) return true;
    while (this.heap.length > 0 && this.heap[0].atMs <= untilMs) {
      const event = this.pop();
      if (event.run === null) continue;
      this.currentMs = Math.max(this.currentMs, event.atMs);
      this.stepCount += 1;
      this.trace.number(this.currentMs);
      this.trace.text(event.label);
      if (this.onEvent !== null) this.onEvent(this.currentMs, textOf(event));
      event.run();
      for (let turn = 0; turn < this.microtaskTurns; turn += 1) await undefined;
      for (const hook of this.hooks) hook();
      if (done()) return true;
    }
    this.currentMs = Math.max(this.currentMs, untilMs);
    return false;
  }

  private push(event: SimEvent): void {
    const heap = this.heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent])) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = event;
  }

  private pop(): SimEvent {
    const heap = this.heap;
    const top = heap[0];
    const last = heap.pop() as SimEvent;
    if (heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child += 1;
      if (!isBefore(heap[child], last)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

function textOf({ label, details }: SimEvent): string {
  return details === null ? label : `${label} ${details()}`;
}

function isBefore(left: SimEvent, right: SimEvent): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
}
