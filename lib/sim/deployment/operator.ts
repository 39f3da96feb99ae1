/**
 * An operator at a command line: every wish is one request to the managers, repeated for a few
 * seconds like `trilog` does, and then given up. What was wished for goes on by itself.
 */

import { sleep } from "../../base/clock.ts";
import { toTrilogError } from "../../base/errors.ts";
import {
  alterTopicMethod,
  createTopicMethod,
  drainBrokerMethod,
  type Method,
  movePartitionMethod,
  rebalanceMethod,
} from "../../client/protocol.ts";
import type { ClientProcess } from "./clients.ts";
import type { Deployment } from "./deployment.ts";
import type { OperatorFault } from "./faults.ts";
import type { TopicPlan } from "./options.ts";

/** How long an operator waits for an answer. */
const PATIENCE_MS = 5_000;
const PAUSE_MS = 200;

export class Operator {
  /** Wishes that were granted, by kind. */
  readonly granted = new Map<string, number>();

  constructor(private readonly seat: ClientProcess, private readonly deployment: Deployment) {}

  /** Begins to wish for something; the answer comes later, if at all. */
  wish(fault: OperatorFault): void {
    this.carryOut(fault).then(
      () => void this.granted.set(fault.kind, (this.granted.get(fault.kind) ?? 0) + 1),
      (thrown) => void toTrilogError(thrown),
    );
  }

  /** Makes topics, however long that takes. */
  async createTopics(topics: readonly TopicPlan[]): Promise<void> {
    for (const { name, partitions, retentionBytes } of topics) {
      const requestId = this.newRequestId();
      const settings = { retentionBytes, retentionMs: 0 };
      await this.insist(createTopicMethod, { requestId, name, partitions, settings });
    }
  }

  /** Ends every draining, so that a deployment can come to rest. */
  async endDraining(): Promise<void> {
    for (const { name: broker } of this.deployment.brokers) {
      const requestId = this.newRequestId();
      await this.insist(drainBrokerMethod, { requestId, broker, draining: false });
    }
  }

  private async carryOut(fault: OperatorFault): Promise<void> {
    const { brokers, options: { topics } } = this.deployment;
    const requestId = this.newRequestId();
    switch (fault.kind) {
      case "move": {
        const plan = topics[fault.topic % topics.length];
        const names = fault.brokers.map((number) => brokers[number].name);
        const partition = fault.partition % plan.partitions;
        const request = { requestId, topic: plan.name, partition, brokers: names };
        await this.ask(movePartitionMethod, request);
        return;
      }
      case "drain": {
        const broker = brokers[fault.broker].name;
        await this.ask(drainBrokerMethod, { requestId, broker, draining: true });
        await sleep(this.seat.clock, fault.forMs);
        const again = this.newRequestId();
        await this.ask(drainBrokerMethod, { requestId: again, broker, draining: false });
        return;
      }
      case "rebalance":
        await this.ask(rebalanceMethod, null);
        return;
      case "alter": {
        const { name } = topics[fault.topic % topics.length];
        const { retentionBytes } = fault;
        const request = { requestId, name, partitions: null, retentionBytes, retentionMs: null };
        await this.ask(alterTopicMethod, request);
        return;
      }
    }
  }

  private ask<Request, Answer>(method: Method<Request, Answer>, request: Request): Promise<Answer> {
    return this.seat.client.managers.request(method, request, PATIENCE_MS);
  }

  /** Repeats until it is answered otherwise than by a failure that may pass. */
  private async insist<Request, Answer>(
    method: Method<Request, Answer>,
    request: Request,
  ): Promise<void> {
    for (;;) {
      try {
        await this.ask(method, request);
        return;
      } catch (thrown) {
        const error = toTrilogError(thrown);
        if (!error.retryable) throw error;
        await sleep(this.seat.clock, PAUSE_MS);
      }
    }
  }

  private newRequestId(): string {
    return this.seat.client.newRequestId();
  }
}
