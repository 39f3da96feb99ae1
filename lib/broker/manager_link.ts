/**
 * A broker's line to the managers: registers, then beats for as long as the process lives. A beat
 * that brings no news is held back by the managers until there are new assignments, so that these
 * arrive at once; news goes out beside it.
 */

import { type Clock, sleep } from "../base/clock.ts";
import { toTrilogError, type TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Managers } from "../client/managers.ts";
import {
  type Assignments,
  type ClusterMetadata,
  heartbeatBrokerMethod,
  type HeartbeatBrokerRequest,
  metadataMethod,
  type RegisterBrokerAnswer,
  registerBrokerMethod,
  type RegisterBrokerRequest,
} from "../client/protocol.ts";

export interface ManagerLinkOptions {
  readonly managers: Managers;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registration: () => RegisterBrokerRequest;
  readonly heartbeat: () => Omit<HeartbeatBrokerRequest, "maxWaitMs">;
  readonly onRegistered: (answer: RegisterBrokerAnswer) => void;
  readonly onAssignments: (assignments: Assignments) => void;
  /** This broker is not wanted under its identity: it must end. */
  readonly onRefused: (error: TrilogError) => void;
}

/** Time for one round of attempts; then what is said is made anew. */
const ROUND_MS = 5_000;
/** Time that a manager may take beyond what it was allowed to hold an answer back. */
const GRACE_MS = 3_000;
const PAUSE_MS = 300;
/** A beat answered sooner than this is followed by a pause. */
const SHORTEST_BEAT_MS = 50;
/** How often the list of managers is asked for: they may all be replaced one after the other. */
const MANAGERS_EVERY_MS = 1_000;

export class ManagerLink {
  private registered = false;
  private intervalMs = 1_000;
  private stopped = false;
  private newsUnderWay = false;
  private moreNews = false;
  private managersAskedMs = -Infinity;
  private lastFailure = "";

  constructor(private readonly options: ManagerLinkOptions) {}

  /** Runs until {@link stop}; never rejects. */
  async run(): Promise<void> {
    const { clock } = this.options;
    while (!this.stopped) {
      try {
        if (!this.registered) await this.register();
        const startMs = clock.monotonicMs();
        await this.beat(this.intervalMs);
        this.lastFailure = "";
        if (clock.monotonicMs() - startMs < SHORTEST_BEAT_MS) await sleep(clock, SHORTEST_BEAT_MS);
        void this.refreshManagers();
      } catch (thrown) {
        this.failed(toTrilogError(thrown));
        await sleep(clock, PAUSE_MS);
      }
    }
  }

  stop(): void {
    this.stopped = true;
  }

  /** Tells the managers now rather than with the next beat. */
  tellNews(): void {
    if (!this.registered || this.stopped) return;
    if (this.newsUnderWay) {
      this.moreNews = true;
      return;
    }
    this.newsUnderWay = true;
    this.moreNews = false;
    this.beat(0).catch((thrown) => {
      this.options.logger.debug("news not delivered", { reason: toTrilogError(thrown).message });
    }).finally(() => {
      this.newsUnderWay = false;
      if (this.moreNews) this.tellNews();
    });
  }

  private async register(): Promise<void> {
    const { managers, registration, onRegistered, logger } = this.options;
    const answer = await managers.request(registerBrokerMethod, registration(), ROUND_MS);
    if (this.stopped) return;
    this.intervalMs = answer.heartbeatIntervalMs;
    onRegistered(answer);
    this.registered = true;
    logger.info("registered", { cluster: answer.clusterId });
  }

  private async beat(maxWaitMs: number): Promise<void> {
    const { managers, heartbeat, onAssignments } = this.options;
    const request = { ...heartbeat(), maxWaitMs };
    // Managers keep half of the time for themselves.
    const attemptMs = maxWaitMs * 2 + GRACE_MS;
    const answer = await managers.request(heartbeatBrokerMethod, request, attemptMs, attemptMs);
    if (this.stopped) return;
    this.intervalMs = answer.intervalMs;
    if (answer.assignments !== null) onAssignments(answer.assignments);
  }

  /** Managers may be replaced while this process runs; beats do not wait for that news. */
  private async refreshManagers(): Promise<void> {
    const { clock, managers, logger } = this.options;
    if (clock.monotonicMs() - this.managersAskedMs < MANAGERS_EVERY_MS) return;
    this.managersAskedMs = clock.monotonicMs();
    try {
      const request = { topics: [], consistency: "stale" } as const;
      const metadata = await managers.request(metadataMethod, request, ROUND_MS);
      managers.update(leadingFirst(metadata));
    } catch (thrown) {
      logger.debug("the managers are not known", { reason: toTrilogError(thrown).message });
    }
  }

  private failed(error: TrilogError): void {
    if (this.stopped) return;
    switch (error.code) {
      case "superseded":
      case "wrong_cluster":
      case "invalid_argument":
      case "unauthorized":
        this.options.onRefused(error);
        return;
      case "no_such_broker":
        this.registered = false;
    }
    if (error.code !== this.lastFailure) {
      this.options.logger.warn("no manager takes a heartbeat", { reason: error.message });
    }
    this.lastFailure = error.code;
  }
}

function leadingFirst({ managers }: ClusterMetadata): ClusterMetadata["managers"] {
  return [...managers].sort((left, right) => Number(right.leader) - Number(left.leader));
}
