/** What the leading manager moves by itself, and on an operator's wish; `upkeep.ts` plans it. */

import type { Clock } from "../base/clock.ts";
import { toTrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { RebalanceAnswer } from "../client/protocol.ts";
import type { Command } from "./command.ts";
import type { MetadataMachine } from "./metadata.ts";
import { rearrange } from "./moves.ts";
import { onTheirWay, planUpkeep, type Rebalancing } from "./upkeep.ts";

export interface UpkeepSettings {
  /**
   * Time in milliseconds that a broker must have been dead before its replicas are rebuilt
   * elsewhere, counted by one leading manager: a new one starts its count afresh.
   */
  readonly replaceAfterMs: number;
  readonly rebalancing: Exclude<Rebalancing, "all">;
}

export interface UpkeepDeskOptions {
  readonly machine: MetadataMachine;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: UpkeepSettings;
  readonly run: <Fields, Answer>(
    command: Command<Fields, Answer>,
    fields: Fields,
  ) => Promise<Answer>;
}

/** Partitions on their way at the same time: each copies a log over the network. */
const AT_ONCE = 4;
/** An operator's wish to rebalance lasts this long after it was said for the last time. */
const WISH_MS = 5_000;

export class UpkeepDesk {
  /** When each dead broker was first seen dead in this leadership. */
  private readonly deadMs = new Map<string, number>();
  private wishedUntilMs = -Infinity;
  private moving = false;

  constructor(private readonly options: UpkeepDeskOptions) {}

  /** A leadership begins or ends. */
  startAfresh(): void {
    this.deadMs.clear();
    this.wishedUntilMs = -Infinity;
  }

  /** Makes the moves that are due; call it every now and then while this manager leads. */
  look(term: number): void {
    this.noticeDead();
    if (this.moving) return;
    const moves = this.plan(AT_ONCE);
    if (moves.length === 0) return;
    const { logger, run } = this.options;
    logger.info("moving replicas", { groups: moves.map(({ groupId }) => groupId).join(",") });
    this.moving = true;
    run(rearrange, { term, moves }).catch((thrown) => {
      // The next look plans anew.
      logger.debug("could not move replicas", { reason: toTrilogError(thrown).message });
    }).finally(() => {
      this.moving = false;
    });
  }

  /** Evens out the load for a few seconds from now; tells what is left. */
  rebalance(term: number): RebalanceAnswer {
    this.wishedUntilMs = this.options.clock.monotonicMs() + WISH_MS;
    this.look(term);
    const { state } = this.options.machine;
    return { moving: onTheirWay(state).length, planned: this.plan(Infinity).length };
  }

  private plan(atOnce: number) {
    const { machine, clock, settings } = this.options;
    const nowMs = clock.monotonicMs();
    return planUpkeep(machine.state, {
      givenUp: (id) => nowMs - (this.deadMs.get(id) ?? nowMs) >= settings.replaceAfterMs,
      rebalancing: nowMs < this.wishedUntilMs ? "all" : settings.rebalancing,
      atOnce,
    });
  }

  private noticeDead(): void {
    const { machine: { state }, clock } = this.options;
    const dead = new Set(
      state.sortedBrokers().filter(({ alive }) => !alive).map(({ replicaId }) => replicaId),
    );
    for (const id of this.deadMs.keys()) if (!dead.has(id)) this.deadMs.delete(id);
    for (const id of dead) {
      if (!this.deadMs.has(id)) this.deadMs.set(id, clock.monotonicMs());
    }
  }
}
