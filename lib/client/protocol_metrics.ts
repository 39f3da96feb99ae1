/** The method by which a manager asks any server of the cluster for its metrics. */

import { binary, type Codec, label, list, record, text, word } from "../base/codec.ts";
import type { MetricFamily, MetricType, Sample } from "../base/metrics.ts";
import { pack, unpack } from "../base/msgpack.ts";
import { method } from "./protocol_method.ts";

export interface MetricsRequest {
  /** Name of who asks; only for the log. */
  readonly asker: string;
}

export interface MetricsAnswer {
  readonly families: readonly MetricFamily[];
}

/** Any number, which MessagePack carries as it is. */
const number: Codec<number> = {
  encode: (value) => value,
  decode: (packed) => typeof packed === "number" ? packed : NaN,
};

const families = list(record<MetricFamily>({
  name: label,
  type: word<MetricType>("counter", "gauge", "histogram"),
  help: text,
  samples: list(record<Sample>({ suffix: label, labels: list(text), value: number })),
}));
/** Samples of the largest broker, each of some values: the frame itself bounds the bytes. */
const MOST_VALUES = 4 * 1024 * 1024;

/** Packed apart: a frame may hold fewer values than a broker with a thousand partitions has. */
const packedFamilies: Codec<readonly MetricFamily[]> = {
  encode: (value) => pack(families.encode(value)),
  decode: (packed, thing) =>
    families.decode(unpack(binary.decode(packed, thing), MOST_VALUES), thing),
};

export const metricsMethod = method<MetricsRequest, MetricsAnswer>(
  "process.metrics",
  record<MetricsRequest>({ asker: label }),
  record<MetricsAnswer>({ families: packedFamilies }),
);
