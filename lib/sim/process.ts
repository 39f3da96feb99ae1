/**
 * The life of one simulated process: running, paused (SIGSTOP) or dead. Whatever reaches a process
 * from outside (timers, frames, answers of the disk) goes through it, so that a paused process
 * gets everything late and a dead one nothing.
 */

import type { Timer } from "../base/clock.ts";
import type { Scheduler } from "./scheduler.ts";

/** What a paused process will run when it goes on. */
interface Held {
  readonly label: string;
  run: (() => void) | null;
}

export class SimProcess {
  readonly scheduler: Scheduler;
  /** Node name; a restarted node is a new process of the same name. */
  readonly name: string;
  private state: "running" | "paused" | "dead" = "running";
  private held: Held[] = [];
  /** Until when a synchronous call keeps the process from anything else. */
  private busyUntilMs = 0;
  private readonly killHooks: (() => void)[] = [];
  private readonly runHooks: (() => void)[] = [];
  private readonly onThrow: (thrown: unknown) => void;

  /** `onThrow` takes what the process's code threw; by default it ends the simulation. */
  constructor(scheduler: Scheduler, name: string, onThrow: (thrown: unknown) => void = rethrow) {
    this.scheduler = scheduler;
    this.name = name;
    this.onThrow = onThrow;
  }

  get alive(): boolean {
    return this.state !== "dead";
  }

  get paused(): boolean {
    return this.state === "paused";
  }

  /** Runs `run` inside the process after `delayMs`, later if it is paused, never once it died. */
  after(delayMs: number, label: string, run: () => void): Timer {
    const held: Held = { label: `${label} ${this.name}`, run };
    const atMs = this.nowMs + delayMs;
    const timer = this.scheduler.at(atMs, held.label, () => this.arrive(held));
    return {
      cancel: () => {
        held.run = null;
        timer.cancel();
      },
    };
  }

  /** The same within the present event: for what reaches the machine before the process. */
  deliver(label: string, run: () => void): void {
    this.arrive({ label: `${label} ${this.name}`, run });
  }

  /** Virtual time as the process sees it: a synchronous call ends later than it began. */
  get nowMs(): number {
    return Math.max(this.scheduler.nowMs, this.busyUntilMs);
  }

  /** The process waits in a synchronous call: what it does next happens that much later. */
  block(forMs: number): void {
    // On the scheduler's grid of microseconds, so that what waits for it finds it over.
    this.busyUntilMs = Math.ceil((this.nowMs + forMs) * 1000) / 1000;
  }

  /** SIGSTOP: the process keeps its memory and its connections and does nothing. */
  pause(): void {
    if (this.state === "running") this.state = "paused";
  }

  /** SIGCONT: what was held runs now, in the order of its arrival. */
  resume(): void {
    if (this.state !== "paused") return;
    this.state = "running";
    const held = this.held;
    this.held = [];
    for (const late of held) {
      this.scheduler.after(0, `late ${late.label}`, () => this.arrive(late));
    }
  }

  /** SIGKILL, or the power went: nothing of it runs any more. */
  kill(): void {
    if (this.state === "dead") return;
    this.state = "dead";
    this.held = [];
    for (const hook of this.killHooks) hook();
  }

  /** Calls `hook` at the process's death. */
  onKill(hook: () => void): void {
    this.killHooks.push(hook);
  }

  /** Calls `hook` whenever something ran in the process. */
  onRun(hook: () => void): void {
    this.runHooks.push(hook);
  }

  private arrive(held: Held): void {
    if (this.state === "paused") this.held.push(held);
    if (this.state !== "running" || held.run === null) return;
    if (this.busyUntilMs > this.scheduler.nowMs) {
      this.scheduler.at(this.busyUntilMs, `busy ${held.label}`, () => this.arrive(held));
      return;
    }
    try {
      held.run();
    } catch (thrown) {
      this.onThrow(thrown);
    }
    for (const hook of this.runHooks) hook();
  }
}

function rethrow(thrown: unknown): never {
  throw thrown;
}
