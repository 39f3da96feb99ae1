/** How many requests each route answered, how, and how long it took. */

import { Histogram, histogramSamples, type MetricFamily } from "../base/metrics.ts";

interface RouteCounts {
  readonly durations: Histogram;
  readonly byStatus: Map<number, number>;
}

export class RequestCounts {
  private readonly routes = new Map<string, RouteCounts>();

  /** `route` is one of the table, or `other`: callers cannot make the counts grow. */
  count(route: string, status: number, durationMs: number): void {
    let counts = this.routes.get(route);
    if (counts === undefined) {
      counts = { durations: new Histogram(), byStatus: new Map() };
      this.routes.set(route, counts);
    }
    counts.durations.observeMs(durationMs);
    counts.byStatus.set(status, (counts.byStatus.get(status) ?? 0) + 1);
  }

  families(): MetricFamily[] {
    const all = [...this.routes];
    return [
      {
        name: "trilog_http_requests_total",
        type: "counter",
        help: "HTTP requests answered, by route and status.",
        samples: all.flatMap(([route, { byStatus }]) =>
          [...byStatus].map(([status, value]) => ({
            suffix: "",
            labels: ["route", route, "status", String(status)],
            value,
          }))
        ),
      },
      {
        name: "trilog_http_request_seconds",
        type: "histogram",
        help: "Time to answer an HTTP request, by route.",
        samples: all.flatMap(([route, { durations }]) =>
          histogramSamples(durations, ["route", route])
        ),
      },
    ];
  }
}
