import { assert, assertEquals } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { single } from "../../lib/base/metrics.ts";
import { metadataMethod } from "../../lib/client/protocol.ts";
import type { Observation } from "../../lib/http/observation.ts";
import { Api } from "./api_fixture.ts";

/** Samples of Prometheus text by name and labels; throws on a line that is none. */
function samplesOf(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const families = new Set<string>();
  for (const line of text.trimEnd().split("\n")) {
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) {
      assert(!families.has(type[1]), `${type[1]} comes once`);
      families.add(type[1]);
    }
    if (line.startsWith("#")) continue;
    const match = /^([a-z_]+(?:\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\})?) (\S+)$/.exec(line);
    if (match === null) throw new Error(`not a sample: ${line}`);
    assert(!samples.has(match[1]), `${match[1]} comes once`);
    samples.set(match[1], Number(match[2]));
  }
  return samples;
}

Deno.test("metrics of all servers come as one text, and who does not answer is down", async () => {
  const observation: Observation = {
    name: "m1",
    ready: () => Promise.resolve(),
    metrics: (address) =>
      address === "b2:1"
        ? Promise.reject(new TrilogError("unavailable", "Cannot reach b2: test"))
        : Promise.resolve([single("counter", "trilog_things_total", "Things.", address.length)]),
  };
  const api = new Api({ observation });
  const { request } = api.queue.managers;
  const server = (id: string) => ({ id, replicaId: `r-${id}`, address: `${id}:1` });
  Object.assign(api.queue.managers, {
    request: (...given: Parameters<typeof request>) => {
      if (given[0].name !== metadataMethod.name) return request(...given);
      const managers = [{ ...server("m1"), leader: true }];
      const brokers = ["b1", "b2"].map((id) => ({ ...server(id), rack: "", alive: true }));
      return Promise.resolve({ clusterId: "c", version: 1, topics: [], brokers, managers });
    },
  });
  await api.ask("GET /health");
  await api.ask("GET /nothing");
  const { status, headers, body } = await api.raw("GET /metrics");
  assertEquals([status, headers["content-type"]], [
    200,
    "text/plain; version=0.0.4; charset=utf-8",
  ]);
  const samples = samplesOf(body);
  assertEquals(samples.get('trilog_up{server="m1",role="manager"}'), 1);
  assertEquals(samples.get('trilog_up{server="b1",role="broker"}'), 1);
  assertEquals(samples.get('trilog_up{server="b2",role="broker"}'), 0);
  assertEquals(samples.get('trilog_things_total{server="b1"}'), 4);
  assertEquals(samples.get('trilog_things_total{server="b2"}'), undefined);
  const route = (name: string, http: number) =>
    samples.get(`trilog_http_requests_total{server="m1",route="${name}",status="${http}"}`);
  assertEquals([route("GET /health", 200), route("other", 404)], [1, 1]);
  const seconds = 'trilog_http_request_seconds_count{server="m1",route="GET /health"}';
  assertEquals(samples.get(seconds), 1);
});

Deno.test("paths that clients invent do not make the counts grow", async () => {
  const api = new Api();
  for (let at = 0; at < 50; at += 1) await api.ask(`GET /nothing/${at}`);
  const [requests] = api.api.counts.families();
  assertEquals(requests.samples.map(({ labels, value }) => [...labels, value]), [
    ["route", "other", "status", "404", 50],
  ]);
});
