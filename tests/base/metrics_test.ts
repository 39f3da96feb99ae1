import { assertEquals } from "@std/assert";
import {
  Histogram,
  histogramSamples,
  labelled,
  LATENCY_BOUNDS_SECONDS,
  mergeFamilies,
  prometheusText,
  single,
} from "../../lib/base/metrics.ts";

Deno.test("a histogram's buckets are cumulative and include their bound", () => {
  const histogram = new Histogram();
  for (const durationMs of [0, 0.05, 0.051, 1, 60_000]) histogram.observeMs(durationMs);
  const samples = histogramSamples(histogram, ["a", "b"]);
  const bucket = (edge: string) => samples.find(({ labels }) => labels[3] === edge)?.value;
  assertEquals([bucket("0.00005"), bucket("0.0001"), bucket("0.001"), bucket("10")], [2, 3, 4, 4]);
  assertEquals(bucket("+Inf"), 5);
  assertEquals(samples.length, LATENCY_BOUNDS_SECONDS.length + 3);
  const [sum, count] = samples.slice(-2);
  assertEquals([sum.suffix, count.suffix, count.value], ["_sum", "_count", 5]);
  assertEquals(Math.round(sum.value * 1e6), 60_001_101);
});

Deno.test("families of several servers are merged, each under one name", () => {
  const of = (server: string, value: number) =>
    labelled(single("gauge", "x", "An x.", value), "server", server);
  const merged = mergeFamilies([of("a", 1), single("counter", "y", "A y.", 3), of("b", 2)]);
  assertEquals(
    prometheusText(merged),
    "# HELP x An x.\n# TYPE x gauge\n" + 'x{server="a"} 1\nx{server="b"} 2\n' +
      "# HELP y A y.\n# TYPE y counter\ny 3\n",
  );
});

Deno.test("labels and help are escaped", () => {
  const family = labelled(single("gauge", "x", "a\\b\nc", 1), "name", 'say "a\\b"\n');
  assertEquals(
    prometheusText([family]),
    '# HELP x a\\\\b\\nc\n# TYPE x gauge\nx{name="say \\"a\\\\b\\"\\n"} 1\n',
  );
});
