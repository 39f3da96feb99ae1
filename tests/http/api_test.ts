import { assert, assertEquals } from "@std/assert";
import { type ErrorCode, TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { VirtualClock } from "../atm/virtual_clock.ts";
import { REFERENCE } from "../../lib/http/reference.ts";
import { Api } from "./api_fixture.ts";
import { FakeQueue } from "./fake_queue.ts";

Deno.test("a path that is not there is 404, a method that is not is 405 and says which are", async () => {
  const api = new Api();
  assertEquals(await api.refused("GET /nothing"), [404, "no_such_route"]);
  assertEquals(await api.refused("GET /topics/"), [404, "no_such_route"]);
  assertEquals(await api.refused("GET /__proto__"), [404, "no_such_route"]);
  const answer = await api.ask("PUT /topics");
  assertEquals([answer.http, answer.status, answer.code], [405, "failure", "no_such_route"]);
  assertEquals(answer.headers.allow, "POST, GET, DELETE");
});

Deno.test("the reference lists every route, and each route takes what it says", async () => {
  const api = new Api();
  const answer = await api.ask("GET /");
  const routes = answer.routes as unknown as Record<string, { readonly takes: string[] }>;
  assertEquals(routes, JSON.parse(JSON.stringify(REFERENCE)));
  for (const [line, { takes }] of Object.entries(routes)) {
    if (line === "GET /metrics") continue;
    const answer = await api.ask(line);
    if (takes.every((name) => name.startsWith("["))) assertEquals(answer.http, 200, line);
    else {
      const named = /^Cannot use parameter (\w+):/.exec(String(answer.message))?.[1];
      assert(takes.some((name) => name.split(" ")[0] === named), `${line}: ${answer.message}`);
    }
  }
});

Deno.test("the README has the reference of every route", () => {
  const readme = Deno.readTextFileSync(new URL("../../README.md", import.meta.url));
  const rows = readme.split("\n").map((row) => row.replaceAll(/ +/g, " "));
  for (const [line, { does, takes }] of Object.entries(REFERENCE)) {
    const names = takes.map((name) => `\`${name}\``).join(", ");
    const row = `| \`${line}\` | ${names === "" ? "" : `${names} `}| ${does} |`;
    assert(rows.includes(row.replaceAll(/ +/g, " ")), `README.md lacks: ${row}`);
  }
});

Deno.test("with a token every route needs it, and none without", async () => {
  const api = new Api({ token: "s3cret" });
  const wrong = ["", "Bearer", "Bearer wrong", "Bearer s3cre", "Basic s3cret", "s3cret"];
  for (const authorization of wrong) {
    for (const line of ["GET /topics", "GET /health", "GET /metrics", "GET /nothing"]) {
      const answer = await api.ask(line, undefined, { authorization });
      assertEquals([answer.http, answer.code], [401, "unauthorized"], authorization);
      assertEquals(answer.headers["www-authenticate"], "Bearer");
    }
  }
  for (const authorization of ["Bearer s3cret", "bearer  s3cret"]) {
    assertEquals((await api.ask("GET /topics", undefined, { authorization })).http, 200);
  }
  assertEquals((await new Api().ask("GET /topics")).http, 200);
});

Deno.test("each failure has its HTTP status, and one that may pass says when to come again", async () => {
  const expected: [ErrorCode, number][] = [
    ["no_such_topic", 404],
    ["topic_exists", 409],
    ["unavailable", 503],
    ["outcome_unknown", 503],
    ["not_enough_brokers", 503],
    ["overloaded", 503],
    ["disk_full", 503],
    ["invalid_topic", 400],
    ["offset_out_of_range", 400],
    ["message_too_large", 413],
    ["internal", 500],
  ];
  const api = new Api();
  for (const [code, http] of expected) {
    api.queue.failure = new TrilogError(code, "Cannot test: it fails");
    const answer = await api.ask("GET /topics");
    assertEquals([answer.http, answer.code, answer.status], [http, code, "failure"]);
    assertEquals(answer.message, "Cannot test: it fails");
    assertEquals(answer.headers["retry-after"], http === 503 ? "1" : undefined);
  }
});

Deno.test("a fault of our own is answered, too", async () => {
  const api = new Api();
  api.queue.failure = new TypeError("oh") as TrilogError;
  assertEquals(await api.refused("GET /topics"), [500, "internal"]);
});

Deno.test("a request that lasts is answered all the same, and its work is called off", async () => {
  const clock = new VirtualClock();
  const queue = new FakeQueue(clock);
  const api = new Api({}, queue);
  await clock.settle(api.topic("t"));
  const consumer = await clock.settle(api.consumer("t"));
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  queue.held = held;
  const parameters = { topic: "t", consumer_id: consumer, request_id: "r" };
  const refused = clock.settle(api.refused("GET /consumer/consume", parameters));
  assertEquals(await refused, [503, "outcome_unknown"]);
  assertEquals(clock.monotonicMs(), 1_000 + limits.answerMs + 1_000);
  release();
  assertEquals(await clock.settle(api.consume("t", consumer, { request_id: "s" })), null);
  assertEquals(clock.pendingTimers, 0);
});

Deno.test("topics are made once, listed and deleted", async () => {
  const api = new Api();
  assertEquals((await api.done("POST /topics", { name: "b" })).message.includes("b"), true);
  await api.done("POST /topics", { topic_name: "a", number_of_partitions: 3 });
  assertEquals(await api.refused("POST /topics", { name: "a" }), [409, "topic_exists"]);
  assertEquals((await api.ask("GET /topics")).topics, ["a", "b"]);
  assertEquals((await api.ask("GET /topics?stale=true")).topics, ["a", "b"]);
  assertEquals(api.queue.cluster.machine.state.topics.get("a")!.partitions.length, 3);
  await api.done("DELETE /topics", { name: "a" });
  assertEquals(await api.refused("DELETE /topics?name=a"), [404, "no_such_topic"]);
  assertEquals((await api.ask("GET /topics")).topics, ["b"]);
});

Deno.test("names and counts that cannot be are refused by the managers themselves", async () => {
  const api = new Api();
  for (const name of ["", "..", "a/b", "x".repeat(250), "a\nb"]) {
    assertEquals(await api.refused("POST /topics", { name }), [400, "invalid_topic"]);
    assertEquals(await api.refused("POST /producer/register", { topic: name }), [
      400,
      "invalid_topic",
    ]);
  }
  for (const number_of_partitions of [0, 1025]) {
    const parameters = { name: "t", number_of_partitions };
    assertEquals(await api.refused("POST /topics", parameters), [400, "invalid_argument"]);
  }
  assertEquals((await api.ask("GET /topics")).topics, []);
});

Deno.test("brokers are shown with what they lead and host, managers with who writes", async () => {
  const api = new Api();
  await api.topic("t", 2);
  const { brokers } = await api.ask("GET /brokers");
  assertEquals(brokers[0], {
    id: "b1",
    address: "b1:9101",
    rack: "",
    alive: true,
    draining: false,
    replicas_held: 2,
    last_heartbeat_ms: 250,
    partitions_led: [],
    partitions_hosted: ["t/0", "t/1"],
  });
  const { writer, managers } = await api.ask("GET /managers");
  assertEquals(writer, "m1");
  assertEquals(managers.map((one: { writer: boolean }) => one.writer), [true, false]);
  assertEquals(managers[1], {
    id: "m2",
    address: "h:1",
    role: "follower",
    writer: false,
    alive: true,
    last_heartbeat_ms: 20,
    entries_behind: 3,
  });
});

Deno.test("a broker is drained, taken back and removed by name", async () => {
  const api = new Api();
  const { machine } = api.queue.cluster;
  await api.topic("t");
  assertEquals(await api.refused("POST /brokers/drain", { broker: "b9" }), [404, "no_such_broker"]);
  assertEquals(await api.refused("POST /brokers/drain", { broker: "b1" }), [
    503,
    "not_enough_brokers",
  ]);
  api.queue.cluster.register("b4");
  assert((await api.done("POST /brokers/drain", { broker: "b1" })).message.includes("b1"));
  assert(machine.state.draining.has("b1"));
  assertEquals((await api.ask("GET /brokers")).brokers[0].draining, true);
  await api.done("POST /brokers/drain?cancel", { broker: "b1" });
  assert(!machine.state.draining.has("b1"));
  assertEquals((await api.refused("POST /brokers/remove", { broker: "b1" }))[0] >= 400, true);
  await api.done("POST /brokers/remove", { broker: "b4" });
  assertEquals(machine.state.brokers.has("b4"), false);
});

Deno.test("a manager without a quorum lives and is not ready", async () => {
  const gone = new TrilogError("unavailable", "Cannot reach a quorum: test");
  const metrics = () => Promise.resolve([]);
  const api = new Api({
    observation: { name: "m2", ready: () => Promise.reject(gone), metrics },
  });
  for (const path of ["/health", "/health/ready"]) {
    const { http, status, live, ready, headers } = await api.ask(`GET ${path}`);
    assertEquals([http, status, live, ready], [503, "failure", true, false]);
    assertEquals(headers["retry-after"], "1");
  }
  const { http, live, manager } = await api.ask("GET /health/live");
  assertEquals([http, live, manager], [200, true, "m2"]);
  assert((await new Api().ask("GET /health")).ready);
});
