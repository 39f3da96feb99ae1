/** Where brokers turn to: registrations and heartbeats, answered by the leading manager. */

import type { Clock } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type {
  HeartbeatBrokerAnswer,
  HeartbeatBrokerRequest,
  RegisterBrokerAnswer,
  RegisterBrokerRequest,
} from "../client/protocol.ts";
import type { Call } from "../net/rpc.ts";
import { registerBroker } from "./brokers.ts";
import type { Command } from "./command.ts";
import { Heartbeats } from "./heartbeats.ts";
import { type Liveness, TAKEOVER_MS } from "./liveness.ts";
import type { MetadataMachine } from "./metadata.ts";
import { report } from "./reports.ts";
import { assignmentsView } from "./views.ts";

export interface BrokerDeskOptions {
  readonly machine: MetadataMachine;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly liveness: Liveness;
  /** Replicates a command. */
  readonly run: <Fields, Answer>(
    command: Command<Fields, Answer>,
    fields: Fields,
  ) => Promise<Answer>;
  /** Resolves when the state here is as new as any that was acknowledged before. */
  readonly barrier: (call: Call) => Promise<void>;
  /** Throws unless this manager leads. */
  readonly requireLeadership: (act: string) => void;
}

export class BrokerDesk {
  readonly heartbeats = new Heartbeats();
  /** Heartbeats that wait for a new placement. */
  private readonly waiting = new Set<() => void>();
  private reporting = false;
  private reportAgain = false;

  constructor(private readonly options: BrokerDeskOptions) {}

  /** A leadership begins or ends. */
  startAfresh(): void {
    this.heartbeats.startAfresh();
    this.releaseWaiting();
  }

  /** Answers the heartbeats that wait. */
  releaseWaiting(): void {
    const waiting = [...this.waiting];
    this.waiting.clear();
    for (const release of waiting) release();
  }

  async register(request: RegisterBrokerRequest): Promise<RegisterBrokerAnswer> {
    const { machine, liveness, clock, run } = this.options;
    const act = `register broker ${request.id}`;
    this.options.requireLeadership(act);
    const { clusterId } = machine.state;
    if (clusterId === "") {
      throw new TrilogError("unavailable", `Cannot ${act}: the cluster is being founded`);
    }
    if (request.clusterId !== null && request.clusterId !== clusterId) {
      throw new TrilogError(
        "wrong_cluster",
        `Cannot ${act}: it belongs to cluster ${request.clusterId} and this is ${clusterId}`,
      );
    }
    this.refuseTakenName(request, act);
    const { id, replicaId, address, rack } = request;
    await run(registerBroker, { id, replicaId, address, rack });
    liveness.heard(replicaId, clock.monotonicMs());
    return { clusterId, heartbeatIntervalMs: liveness.settings.intervalMs };
  }

  async heartbeat(request: HeartbeatBrokerRequest, call: Call): Promise<HeartbeatBrokerAnswer> {
    const { machine, liveness, clock, barrier, requireLeadership } = this.options;
    const { replicaId, assignmentVersion } = request;
    requireLeadership("take heartbeat");
    this.refuseUnknown(replicaId);
    liveness.heard(replicaId, clock.monotonicMs());
    this.heartbeats.heard(replicaId, request);
    this.reportNews();
    const nothingNew = () => machine.state.placementVersion <= assignmentVersion;
    // Half of the caller's time is left for the barrier.
    const waitMs = Math.min(request.maxWaitMs, call.deadlineMs / 2);
    if (nothingNew() && waitMs > 0) await this.waitForPlacement(waitMs);
    // Tombstones are in what follows: a deposed leader must not hand them out.
    await barrier(call);
    requireLeadership("answer heartbeat");
    this.refuseUnknown(replicaId);
    return {
      intervalMs: liveness.settings.intervalMs,
      assignments: nothingNew() ? null : assignmentsView(machine.state, replicaId),
    };
  }

  /** Replicates what heartbeats brought that is new; one report at a time. */
  reportNews(): void {
    if (this.reporting) {
      this.reportAgain = true;
      return;
    }
    const { machine, clock, logger, run } = this.options;
    const due = this.heartbeats.due(machine.state, clock.monotonicMs());
    if (due === null) return;
    this.reporting = true;
    this.reportAgain = false;
    run(report, due).then(() => this.reportAgain, (thrown) => {
      logger.debug("could not report", { reason: toTrilogError(thrown).message });
      // The next heartbeat or look at the cluster tries again.
      return false;
    }).then((again) => {
      this.reporting = false;
      if (again) this.reportNews();
    });
  }

  private waitForPlacement(longestMs: number): Promise<void> {
    return new Promise((resolve) => {
      const release = () => {
        timer.cancel();
        this.waiting.delete(release);
        resolve();
      };
      const timer = this.options.clock.after(longestMs, release);
      this.waiting.add(release);
    });
  }

  /** A name goes to another identity only when the one that has it is silent for long enough. */
  private refuseTakenName(request: RegisterBrokerRequest, act: string): void {
    const known = this.options.machine.state.brokers.get(request.id);
    if (known === undefined || known.replicaId === request.replicaId) return;
    const sameAddress = known.address === request.address;
    if (sameAddress && !known.alive) return;
    const nowMs = this.options.clock.monotonicMs();
    const { liveness } = this.options;
    if (liveness.takeoverInMs(known.replicaId, sameAddress, nowMs) === 0) return;
    const isHeard = liveness.takeoverInMs(known.replicaId, true, nowMs) > 0;
    const state = isHeard
      ? "the broker of that name is still heard"
      : `another identity at ${known.address} has that name; it is replaced after ` +
        `${Math.round((liveness.settings.takeoverMs ?? TAKEOVER_MS) / 1_000)} s of silence`;
    throw new TrilogError("unavailable", `Cannot ${act}: ${state}`);
  }

  private refuseUnknown(replicaId: string): void {
    const { state } = this.options.machine;
    if (state.brokerOf(replicaId) !== undefined) return;
    if (state.removed.has(replicaId)) {
      throw new TrilogError(
        "superseded",
        `Cannot take heartbeat: identity ${replicaId} was removed from the cluster`,
      );
    }
    const successor = state.sortedBrokers().find((broker) => broker.superseded.includes(replicaId));
    if (successor !== undefined) {
      throw new TrilogError(
        "superseded",
        `Cannot take heartbeat of ${successor.id}: its identity was replaced by ` +
          successor.replicaId,
      );
    }
    throw new TrilogError("no_such_broker", "Cannot take heartbeat: the broker is not registered");
  }
}
