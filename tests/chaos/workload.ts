/** What a run needs of the clients of a system, whichever it is. */

import type { Harness } from "../e2e/harness.ts";
import type { Dice } from "./dice.ts";
import type { Fleet } from "./fleet.ts";
import type { History } from "./history.ts";

export interface Workload {
  readonly history: History;
  /** Name of the server that leads, or null where nobody says so in a moment. */
  leader(): Promise<string | null>;
  /** Waits until every server has its full copy and a say again. */
  whole(): Promise<void>;
  /** Throws what a client has found. */
  check(): void;
  /**
   * After the last fault: everybody finishes, all servers become level, everything is read once
   * more, and the history is checked. Gives lines about what was shown.
   */
  finish(): Promise<readonly string[]>;
}

export interface Scene {
  readonly harness: Harness;
  readonly fleet: Fleet;
  readonly dice: Dice;
  readonly nodes: number;
}

/** Clients that work until they are told to stop; the first failure of one is kept. */
export class Crew {
  private readonly workers: Promise<void>[] = [];
  private failure: unknown = null;
  stopping = false;

  /** Repeats `step` until the crew stops. */
  employ(step: () => Promise<void>): void {
    this.workers.push(this.work(step));
  }

  check(): void {
    if (this.failure !== null) throw this.failure;
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.workers);
    this.check();
  }

  private async work(step: () => Promise<void>): Promise<void> {
    try {
      while (!this.stopping) await step();
    } catch (thrown) {
      this.failure ??= thrown;
    }
  }
}
