/**
 * Counters, gauges and histograms of one process. What is counted on a hot path is a plain number
 * that its owner increments; names and labels come in only when somebody asks (`families`).
 */

/** Upper bounds of a histogram's buckets, ascending, in seconds: 50 us to 10 s. */
export const LATENCY_BOUNDS_SECONDS: readonly number[] = [
  0.00005,
  0.0001,
  0.00025,
  0.0005,
  0.001,
  0.0025,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
];

/** Counts durations by size. */
export class Histogram {
  /** One more than bounds: the last takes whatever is longer. */
  readonly counts: number[] = new Array(LATENCY_BOUNDS_SECONDS.length + 1).fill(0);
  sumSeconds = 0;

  observeMs(durationMs: number): void {
    const seconds = durationMs / 1000;
    let bucket = 0;
    while (bucket < LATENCY_BOUNDS_SECONDS.length && seconds > LATENCY_BOUNDS_SECONDS[bucket]) {
      bucket += 1;
    }
    this.counts[bucket] += 1;
    this.sumSeconds += seconds;
  }
}

export type MetricType = "counter" | "gauge" | "histogram";

export interface Sample {
  /** Behind the family's name: empty, or `_bucket`, `_sum`, `_count` of a histogram. */
  readonly suffix: string;
  /** Names and values of labels in turn. */
  readonly labels: readonly string[];
  readonly value: number;
}

/** All samples under one name. */
export interface MetricFamily {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** A family of one sample. */
export function single(
  type: "counter" | "gauge",
  name: string,
  help: string,
  value: number,
): MetricFamily {
  return { name, type, help, samples: [{ suffix: "", labels: [], value }] };
}

/** The samples of a histogram: cumulative buckets, sum and count. */
export function histogramSamples(histogram: Histogram, labels: readonly string[] = []): Sample[] {
  const samples: Sample[] = [];
  let count = 0;
  histogram.counts.forEach((inBucket, at) => {
    count += inBucket;
    const bound = LATENCY_BOUNDS_SECONDS[at];
    const edge = bound === undefined ? "+Inf" : String(bound);
    samples.push({ suffix: "_bucket", labels: [...labels, "le", edge], value: count });
  });
  samples.push({ suffix: "_sum", labels, value: histogram.sumSeconds });
  samples.push({ suffix: "_count", labels, value: count });
  return samples;
}

/** Families of several processes as one: samples of equal names come together. */
export function mergeFamilies(families: Iterable<MetricFamily>): MetricFamily[] {
  const merged = new Map<string, MetricFamily>();
  for (const family of families) {
    const known = merged.get(family.name);
    const samples = known === undefined ? family.samples : [...known.samples, ...family.samples];
    merged.set(family.name, { ...family, samples });
  }
  return [...merged.values()];
}

/** The same family with one more label on every sample. */
export function labelled(family: MetricFamily, name: string, value: string): MetricFamily {
  const samples = family.samples.map((sample) => ({
    ...sample,
    labels: [name, value, ...sample.labels],
  }));
  return { ...family, samples };
}

/** Prometheus's text format, version 0.0.4. */
export function prometheusText(families: readonly MetricFamily[]): string {
  return families.map(({ name, type, help, samples }) => {
    const lines = [`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`];
    for (const { suffix, labels, value } of samples) {
      lines.push(`${name}${suffix}${labelText(labels)} ${value}`);
    }
    return `${lines.join("\n")}\n`;
  }).join("");
}

function labelText(labels: readonly string[]): string {
  if (labels.length === 0) return "";
  const parts: string[] = [];
  for (let at = 0; at < labels.length; at += 2) {
    parts.push(`${labels[at]}="${escapeLabel(labels[at + 1])}"`);
  }
  return `{${parts.join(",")}}`;
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
