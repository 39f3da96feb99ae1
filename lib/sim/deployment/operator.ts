/**
 * An operator at a command line: every wish is one request to the managers, repeated for a few
 * seconds like `trilog` does, and then given up. What was wished for goes on by itself.
 */

import { sleep } from "../../base/clock.ts";
import { toTrilogError } from "../../base/errors.ts";
import { raftGroup } from "../../broker/hosting_notes.ts";
import {
  alterTopicMethod,
  clusterStatusMethod,
  createTopicMethod,
  deleteTopicMethod,
  drainBrokerMethod,
  type Method,
  movePartitionMethod,
  rebalanceMethod,
  recoverPartitionMethod,
  removeBrokerMethod,
  surveyMethod,
} from "../../client/protocol.ts";
import type { Books } from "./books.ts";
import type { ClientProcess } from "./clients.ts";
import type { Deployment } from "./deployment.ts";
import type { OperatorFault } from "./faults.ts";
import type { Machine } from "./machine.ts";
import type { TopicPlan } from "./options.ts";

/** How long an operator waits for an answer. */
const PATIENCE_MS = 5_000;
const PAUSE_MS = 200;
/** A topic is not made larger than this. */
const MOST_PARTITIONS = 6;
/** How long an operator waits for a drained broker to be empty. */
const RETIRE_ATTEMPTS = 30;
const RETIRE_PAUSE_MS = 1_000;

/** A partition of which one replica is left. */
export interface LostMajority {
  readonly topic: string;
  readonly partition: number;
  readonly group: string;
  readonly survivor: Machine;
}

export class Operator {
  /** Wishes that were granted, by kind. */
  readonly granted = new Map<string, number>();

  private shortTopics = 0;
  /** Partitions that lost their majority and do not go on yet. */
  private readonly recovering: Promise<void>[] = [];

  constructor(
    private readonly seat: ClientProcess,
    private readonly deployment: Deployment,
    private readonly books: Books,
  ) {}

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

  /** Sees recoveries through and ends every draining, so that a deployment can come to rest. */
  async finish(): Promise<void> {
    await Promise.all(this.recovering);
    for (const { name: broker, part } of this.deployment.brokers) {
      if (part === "spare" || part === "gone") continue;
      const requestId = this.newRequestId();
      await this.insist(drainBrokerMethod, { requestId, broker, draining: false })
        .catch((thrown) => {
          if (toTrilogError(thrown).code !== "no_such_broker") throw thrown;
        });
    }
  }

  /** Recovers a partition from its last replica, however long that takes. */
  recover(lost: LostMajority): void {
    this.recovering.push(this.recoverUntilDone(lost));
  }

  private async recoverUntilDone(lost: LostMajority): Promise<void> {
    const { clock } = this.seat;
    for (;;) {
      try {
        if (await this.tryRecovery(lost)) return;
      } catch (thrown) {
        // A refusal may end: the managers may still think that the others are sound.
        toTrilogError(thrown);
      }
      await sleep(clock, PAUSE_MS);
    }
  }

  /** As `trilog cluster recover` does it; whether the partition is in another epoch. */
  private async tryRecovery({ topic, partition, group, survivor }: LostMajority): Promise<boolean> {
    const status = await this.ask(clusterStatusMethod, { consistency: "linearizable" });
    const found = status.partitions.find((one) =>
      one.topic === topic && one.partition === partition
    );
    if (found === undefined || raftGroup(found) !== group) return true;
    const { groupId, epoch } = found;
    const { client } = this.seat;
    const request = { groupId, epoch };
    const last = await client.askServer(survivor.address, surveyMethod, request, PATIENCE_MS);
    const { endOffset } = last;
    // What the survivor has may be lost from its end on, also where the answer does not come back.
    const { nowMs } = this.deployment.scheduler;
    this.books.noteRecovery(topic, partition, endOffset, nowMs + PATIENCE_MS);
    const replicaId = survivor.replicaId ?? "";
    const requestId = this.newRequestId();
    const wish = { requestId, topic, partition, epoch, survivor: replicaId, endOffset };
    await this.ask(recoverPartitionMethod, wish);
    return true;
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
      case "grow": {
        const { name } = topics[fault.topic % topics.length];
        const known = this.deployment.metadata?.topics.get(name)?.partitions.length ?? 0;
        if (known === 0 || known >= MOST_PARTITIONS) return;
        const request = { requestId, name, retentionBytes: null, retentionMs: null };
        await this.ask(alterTopicMethod, { ...request, partitions: known + 1 });
        return;
      }
      case "short_topic": {
        const name = `short${this.shortTopics += 1}`;
        const settings = { retentionBytes: 0, retentionMs: 0 };
        await this.ask(createTopicMethod, { requestId, name, partitions: 2, settings });
        await sleep(this.seat.clock, fault.forMs);
        await this.ask(deleteTopicMethod, { requestId: this.newRequestId(), name });
        return;
      }
      case "retire":
        await this.retire(brokers[fault.broker]);
        return;
    }
  }

  /** Drains a broker and, if it is empty in time, removes it. */
  private async retire(machine: Machine): Promise<void> {
    if (machine.part !== "member") return;
    const broker = machine.name;
    await this.ask(drainBrokerMethod, {
      requestId: this.newRequestId(),
      broker,
      draining: true,
    });
    machine.part = "leaving";
    for (let attempt = 0; attempt < RETIRE_ATTEMPTS; attempt += 1) {
      await sleep(this.seat.clock, RETIRE_PAUSE_MS);
      try {
        await this.ask(removeBrokerMethod, { requestId: this.newRequestId(), broker });
      } catch (thrown) {
        if (toTrilogError(thrown).code !== "no_such_broker") continue;
      }
      // Its process hears of it from the managers and ends.
      return;
    }
    await this.ask(drainBrokerMethod, {
      requestId: this.newRequestId(),
      broker,
      draining: false,
    });
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
