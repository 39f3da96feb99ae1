/**
 * The leader's care for keys with a time to live: when one is due by the leader's stamps, an
 * entry is proposed whose stamp ends it everywhere. Without it a key would live on until the next
 * command comes along.
 */

import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import { encodeCommand } from "./codec.ts";
import type { KvMachine } from "./machine.ts";

export interface ExpirerOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly machine: Pick<KvMachine, "nextExpiryMs">;
  readonly isLeader: () => boolean;
  /** The stamp that this leader would give an entry now: keys expire by stamps. */
  readonly stampMs: () => number;
  /** Has a command replicated. */
  readonly propose: (command: Uint8Array) => Promise<unknown>;
}

/** How often the leader looks: a key ends at most so much later, and the time of one commit. */
export const LOOK_MS = 50;

export class Expirer {
  private timer: Timer | null = null;
  private proposing = false;

  constructor(private readonly options: ExpirerOptions) {}

  start(): void {
    this.timer = this.options.clock.after(LOOK_MS, () => {
      this.look();
      this.start();
    });
  }

  stop(): void {
    this.timer?.cancel();
  }

  private look(): void {
    const { machine, isLeader, stampMs, propose, logger } = this.options;
    const dueMs = machine.nextExpiryMs;
    if (dueMs === null || this.proposing || !isLeader() || dueMs > stampMs()) return;
    this.proposing = true;
    propose(encodeCommand({ op: "expire" })).catch((error) => {
      logger.debug("keys that are due could not be ended yet", { reason: String(error) });
    }).finally(() => {
      this.proposing = false;
    });
  }
}
