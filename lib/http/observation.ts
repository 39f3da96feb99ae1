/** Routes by which the cluster is watched: health of this manager, metrics of all servers. */

import {
  labelled,
  mergeFamilies,
  type MetricFamily,
  prometheusText,
  type Sample,
} from "../base/metrics.ts";
import { toTrilogError } from "../base/errors.ts";
import { metadataMethod } from "../client/protocol.ts";
import type { Exchange, Queue, Route } from "./exchange.ts";
import { failure, type HttpAnswer, success, text } from "./message.ts";

/** What the API cannot ask by way of the queue: about single servers. */
export interface Observation {
  /** Name of the manager that serves the API. */
  readonly name: string;
  /** Resolves when this manager has read what a quorum knows; rejects with `unavailable`. */
  ready(deadlineMs: number): Promise<void>;
  /** What the server at an address counts. */
  metrics(address: string, deadlineMs: number): Promise<readonly MetricFamily[]>;
}

/** A quorum that does not answer within this time is none for a readiness probe. */
const READY_MS = 1_000;
const SCRAPE_MS = 1_000;
const PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8";

export function observationRoutes(
  queue: Queue,
  observation: Observation,
  ownFamilies: () => MetricFamily[],
): Route[] {
  return [
    { method: "GET", path: "/health", run: (exchange) => health(observation, exchange) },
    {
      method: "GET",
      path: "/health/live",
      run: () => Promise.resolve(success({ manager: observation.name, live: true })),
    },
    { method: "GET", path: "/health/ready", run: (exchange) => health(observation, exchange) },
    {
      method: "GET",
      path: "/metrics",
      async run(exchange) {
        const own = ownFamilies().map((family) => labelled(family, "server", observation.name));
        const families = await clusterFamilies(queue, observation, exchange);
        return text(prometheusText(mergeFamilies([...families, ...own])), PROMETHEUS);
      },
    },
  ];
}

/** Who answers lives; ready is who reaches a quorum. */
async function health(observation: Observation, { leftMs }: Exchange): Promise<HttpAnswer> {
  const fields = { manager: observation.name, live: true };
  try {
    await observation.ready(Math.min(READY_MS, leftMs()));
    return success({ ...fields, ready: true });
  } catch (thrown) {
    return failure(toTrilogError(thrown), { ...fields, ready: false });
  }
}

/** What all servers count; one that does not answer is down, and the others are shown. */
async function clusterFamilies(
  queue: Queue,
  observation: Observation,
  { leftMs }: Exchange,
): Promise<MetricFamily[]> {
  const request = { topics: [], consistency: "stale" } as const;
  const { managers, brokers } = await queue.managers.request(metadataMethod, request, leftMs());
  const up: Sample[] = [];
  const scrape = async (role: string, { id, address }: { id: string; address: string }) => {
    const families = await observation.metrics(address, Math.min(SCRAPE_MS, leftMs()))
      .catch(() => null);
    const labels = ["server", id, "role", role];
    up.push({ suffix: "", labels, value: families === null ? 0 : 1 });
    return (families ?? []).map((family) => labelled(family, "server", id));
  };
  const scraped = await Promise.all([
    ...managers.map((manager) => scrape("manager", manager)),
    ...brokers.map((broker) => scrape("broker", broker)),
  ]);
  const help = "Whether the server answered in time.";
  return [{ name: "trilog_up", type: "gauge", help, samples: up }, ...scraped.flat()];
}
