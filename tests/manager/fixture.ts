/** A metadata machine with short words for its commands. */

import { declare, initialise, registerBroker } from "../../lib/manager/brokers.ts";
import { type Command, decodeAnswer, encodeCommand } from "../../lib/manager/command.ts";
import { MetadataMachine } from "../../lib/manager/metadata.ts";
import { report, type ReportFields } from "../../lib/manager/reports.ts";
import { createTopic } from "../../lib/manager/topics.ts";
import type { Partition } from "../../lib/manager/state.ts";

export const unlimited = { retentionBytes: 0, retentionMs: 0 };

export class Cluster {
  readonly machine = new MetadataMachine();
  index = 0;

  /** Applies a command as the next entry; throws its refusal. */
  run<Fields, Answer>(
    command: Command<Fields, Answer>,
    fields: Fields,
    requestId = "",
  ): Answer {
    return decodeAnswer(command, this.apply(encodeCommand(command, fields, requestId)));
  }

  apply(bytes: Uint8Array): Uint8Array {
    this.index += 1;
    return this.machine.apply(bytes, {
      index: this.index,
      term: 1,
      timeMs: 1_700_000_000_000 + this.index,
    });
  }

  initialise(): void {
    this.run(initialise, { clusterId: "c1" });
  }

  register(id: string, replicaId = `r-${id}`, rack = ""): void {
    this.run(registerBroker, { id, replicaId, address: `${id}:9101`, rack });
  }

  declareDead(...dead: string[]): void {
    this.run(declare, { term: 1, dead, alive: [] });
  }

  createTopic(name: string, partitions = 1, requestId = ""): void {
    this.run(createTopic, { name, partitions, settings: unlimited }, requestId);
  }

  report(fields: Partial<ReportFields>): void {
    this.run(report, { partitions: [], retired: [], buried: [], replicas: [], ...fields });
  }

  partition(topic: string, number = 0): Partition {
    const found = this.machine.state.topics.get(topic)?.partitions[number];
    if (found === undefined) throw new Error(`no partition ${topic}/${number}`);
    return found;
  }

  tombstones(): string[] {
    return [...this.machine.state.tombstones.keys()].sort();
  }
}

/** A cluster of brokers b1 to bN. */
export function clusterOf(brokers: number): Cluster {
  const cluster = new Cluster();
  cluster.initialise();
  for (let number = 1; number <= brokers; number += 1) cluster.register(`b${number}`);
  return cluster;
}
