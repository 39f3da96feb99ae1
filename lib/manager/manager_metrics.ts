/** What a manager counts: its own commands, and the cluster as the metadata has it. */

import type { Clock } from "../base/clock.ts";
import {
  Histogram,
  histogramSamples,
  type MetricFamily,
  type Sample,
  single,
} from "../base/metrics.ts";
import type { ManagerNode } from "./manager.ts";
import type { MetadataView } from "./state.ts";

export class ManagerMetrics {
  private readonly commitTimes = new Histogram();

  constructor(private readonly clock: Pick<Clock, "monotonicMs">) {}

  /** The same node, with its commands timed. */
  timed(node: ManagerNode): ManagerNode {
    const { service } = node;
    const command = async (bytes: Uint8Array, deadlineMs?: number) => {
      const startMs = this.clock.monotonicMs();
      const answer = await service.command(bytes, deadlineMs);
      this.commitTimes.observeMs(this.clock.monotonicMs() - startMs);
      return answer;
    };
    return {
      service: {
        command,
        query: (question, stale, deadlineMs) => service.query(question, stale, deadlineMs),
      },
      get replica() {
        return node.replica;
      },
      status: () => node.status(),
    };
  }

  families(state: MetadataView, leaderships: number): MetricFamily[] {
    const partitions = [...state.topics.values()].flatMap((topic) => topic.partitions);
    const brokers = state.sortedBrokers();
    const living = new Set(brokers.filter(({ alive }) => alive).map(({ replicaId }) => replicaId));
    const lives = (replicaId: string) => living.has(replicaId);
    const leaderless = partitions.filter(({ leader }) => leader === null || !lives(leader));
    const weak = partitions.filter(({ replicas }) => !replicas.every(lives));
    const gauge = (name: string, help: string, value: number) =>
      single("gauge", `trilog_${name}`, help, value);
    return [
      {
        name: "trilog_commit_seconds",
        type: "histogram",
        help: "Time from a request's arrival to its durable commit.",
        samples: histogramSamples(this.commitTimes),
      },
      single(
        "counter",
        "trilog_leader_changes_total",
        "Elections that replicas here have won.",
        leaderships,
      ),
      {
        name: "trilog_brokers",
        type: "gauge",
        help: "Registered brokers.",
        samples: [brokersSample("true", living.size), brokersSample("false", dead(brokers))],
      },
      gauge("topics", "Topics.", state.topics.size),
      gauge("partitions", "Partitions of all topics.", partitions.length),
      gauge("partitions_leaderless", "Those without a living leader.", leaderless.length),
      gauge("partitions_underreplicated", "Those with a replica on a dead broker.", weak.length),
      gauge("registered_producers", "Producers of the HTTP API.", state.producers.size),
      gauge("registered_consumers", "Consumers of the HTTP API.", state.consumers.size),
      gauge("tombstones", "Replicas still to be deleted.", state.tombstones.size),
    ];
  }
}

function dead(brokers: readonly { readonly alive: boolean }[]): number {
  return brokers.filter(({ alive }) => !alive).length;
}

function brokersSample(alive: string, value: number): Sample {
  return { suffix: "", labels: ["alive", alive], value };
}
