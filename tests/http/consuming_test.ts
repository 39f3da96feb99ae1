import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { utf8 } from "../../lib/base/bytes.ts";
import { BatchBuilder } from "../../lib/batch/batch_writer.ts";
import { alterTopic } from "../../lib/manager/topics.ts";
import { Api } from "./api_fixture.ts";

/** A topic with a producer, a consumer and messages named by partition and number. */
async function filled(partitions: number, each: number) {
  const api = new Api();
  await api.topic("t", partitions);
  const producer = await api.producer("t");
  for (let partition = 0; partition < partitions; partition += 1) {
    for (let at = 0; at < each; at += 1) {
      await api.produce("t", producer, `${partition}.${at}`, { partition });
    }
  }
  return { api, producer, consumer: await api.consumer("t") };
}

function widen(api: Api, partitions: number): void {
  const fields = { name: "t", partitions, retentionBytes: null, retentionMs: null };
  api.queue.cluster.run(alterTopic, fields);
}

Deno.test("a consumer of an unknown topic or partition cannot be registered", async () => {
  const api = new Api();
  assertEquals(await api.refused("POST /consumer/register", { topic: "t" }), [
    404,
    "no_such_topic",
  ]);
  await api.topic("t", 2);
  const answer = await api.done("POST /consumer/register", { topic: "t", partition: 1 });
  assertEquals([answer.consumer_id, answer.partition_count], [1, 2]);
  const parameters = { topic: "t", partition: 2 };
  assertEquals(await api.refused("POST /consumer/register", parameters), [
    404,
    "no_such_partition",
  ]);
});

Deno.test("a repeated registration with a request id gets the first number", async () => {
  const api = new Api();
  await api.topic("t", 2);
  const register = (more: object) => api.done("POST /consumer/register", { topic: "t", ...more });
  const first = (await register({ request_id: "r" })).consumer_id;
  assertEquals((await register({ request_id: "r" })).consumer_id, first);
  assertNotEquals((await register({ request_id: "r", partition: 0 })).consumer_id, first);
  assertNotEquals((await register({})).consumer_id, first);
});

Deno.test("partitions are taken in turn, empty ones are skipped, and the end is null", async () => {
  const { api, producer, consumer } = await filled(3, 2);
  await api.produce("t", producer, "1.2", { partition: 1 });
  const consumed = [];
  for (let at = 0; at < 7; at += 1) consumed.push(await api.consume("t", consumer));
  assertEquals(consumed.map((one) => one!.split(" ")[0]), [
    "0.0",
    "1.0",
    "2.0",
    "0.1",
    "1.1",
    "2.1",
    "1.2",
  ]);
  const end = await api.done("GET /consumer/consume", { topic: "t", consumer_id: consumer });
  assertEquals([end.message, end.partition, end.offset, end.skipped], [
    null,
    null,
    null,
    undefined,
  ]);
  await api.produce("t", producer, "late", { partition: 2 });
  assertEquals(await api.consume("t", consumer), "late 2@2");
});

Deno.test("looking for messages where there are none writes nothing, unless it may be repeated", async () => {
  const { api, consumer } = await filled(3, 0);
  const dequeues = () => api.queue.asked.filter((one) => one.startsWith("broker.dequeue")).length;
  for (let at = 0; at < 5; at += 1) assertEquals(await api.consume("t", consumer), null);
  assertEquals(dequeues(), 0);
  assertEquals(await api.consume("t", consumer, { request_id: "r" }), null);
  assertEquals(dequeues(), 3);
});

Deno.test("each consumer has a position of its own, from the first message on", async () => {
  const { api, consumer } = await filled(2, 3);
  assertEquals((await api.drain("t", consumer)).length, 6);
  const late = await api.consumer("t");
  assertEquals((await api.drain("t", late)).sort(), ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]);
});

Deno.test("a consumer of one partition sees that one, and so does one that names it", async () => {
  const { api, consumer } = await filled(2, 1);
  assertEquals(await api.consume("t", consumer, { partition: 1 }), "1.0 1@0");
  assertEquals(await api.consume("t", consumer, { partition: 1 }), null);
  const bound = await api.consumer("t", 1);
  assertEquals(await api.drain("t", bound), ["1.0"]);
  const parameters = { topic: "t", consumer_id: bound, partition: 0 };
  assertEquals(await api.refused("GET /consumer/consume", parameters), [400, "invalid_argument"]);
  assertEquals(await api.refused("GET /size", parameters), [400, "invalid_argument"]);
  const unknown = { topic: "t", consumer_id: consumer, partition: 2 };
  assertEquals(await api.refused("GET /consumer/consume", unknown), [404, "no_such_partition"]);
});

Deno.test("the size is what is left, per partition and in sum", async () => {
  const { api, consumer } = await filled(2, 2);
  const size = async (more: object = {}) => {
    const answer = await api.done("GET /size", { topic: "t", consumer_id: consumer, ...more });
    return [answer.size, answer.partitions];
  };
  assertEquals(await size(), [4, { "0": 2, "1": 2 }]);
  await api.consume("t", consumer);
  assertEquals(await size(), [3, { "0": 1, "1": 2 }]);
  assertEquals(await size({ partition: 1 }), [2, { "1": 2 }]);
  await api.drain("t", consumer);
  assertEquals(await size(), [0, { "0": 0, "1": 0 }]);
});

Deno.test("a number belongs to its topic and exists", async () => {
  const { api, consumer } = await filled(1, 1);
  await api.topic("u");
  for (const line of ["GET /consumer/consume", "GET /size"]) {
    const refused = (topic: string, consumer_id: number) =>
      api.refused(line, { topic, consumer_id });
    assertEquals(await refused("u", consumer), [400, "wrong_topic"]);
    assertEquals(await refused("none", consumer), [404, "no_such_topic"]);
    assertEquals(await refused("t", 99), [404, "no_such_consumer"]);
  }
});

Deno.test("a lost answer on our side loses no message", async () => {
  const { api, consumer } = await filled(2, 5);
  const seen: string[] = [];
  for (let at = 0; at < 10; at += 1) {
    api.queue.repeated = 2;
    seen.push((await api.consume("t", consumer))!.split(" ")[0]);
  }
  assertEquals(seen.filter((one) => one.startsWith("0")), ["0.0", "0.1", "0.2", "0.3", "0.4"]);
  assertEquals(seen.filter((one) => one.startsWith("1")), ["1.0", "1.1", "1.2", "1.3", "1.4"]);
});

Deno.test("a repeat with its request id gets the same message, or the same emptiness", async () => {
  const { api, producer, consumer } = await filled(3, 1);
  for (let request = 0; request < 3; request += 1) {
    const more = { request_id: `r${request}` };
    const first = await api.consume("t", consumer, more);
    await api.produce("t", producer, "later");
    assertEquals(await api.consume("t", consumer, more), first);
    assertEquals(await api.consume("t", consumer, more), first);
  }
  await api.drain("t", consumer);
  assertEquals(await api.consume("t", consumer, { request_id: "end" }), null);
  await api.produce("t", producer, "more");
  assertEquals(await api.consume("t", consumer, { request_id: "end" }), null);
  assertEquals((await api.consume("t", consumer, { request_id: "next" }))!.split(" ")[0], "more");
});

Deno.test("a repeat finds its message although the topic has got more partitions", async () => {
  const { api, producer, consumer } = await filled(2, 2);
  const first = await api.consume("t", consumer, { request_id: "r" });
  widen(api, 5);
  for (const partition of [2, 3, 4]) await api.produce("t", producer, "new", { partition });
  assertEquals(await api.consume("t", consumer, { request_id: "r" }), first);
  const rest: (string | null)[] = [];
  for (let at = 0; at < 7; at += 1) {
    rest.push(await api.consume("t", consumer, { request_id: `s${at}` }));
  }
  assertEquals(rest.filter((one) => one?.startsWith("new")).length, 3);
  assertEquals(rest[6], null);
});

Deno.test("the order of a request with an id depends on nothing else", async () => {
  const asked = async (warmUp: number) => {
    const { api, consumer } = await filled(5, 0);
    for (let at = 0; at < warmUp; at += 1) await api.consume("t", consumer);
    api.queue.asked.length = 0;
    await api.consume("t", consumer, { request_id: "r" });
    return api.queue.asked.filter((one) => one.startsWith("broker.dequeue"));
  };
  const first = await asked(0);
  assertEquals(new Set(first).size, 5);
  assertEquals(await asked(3), first);
});

Deno.test("whatever answers get lost, a client that repeats sees each message once, in order", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const random = new Prng(seed);
    const { api, consumer } = await filled(3, 4);
    const seen: string[] = [];
    for (let request = 0;; request += 1) {
      const parameters = { topic: "t", consumer_id: consumer, request_id: `r${request}` };
      let answer = null;
      while (answer === null) {
        api.queue.lostAnswers = random.chance(0.4) ? 1 : 0;
        api.queue.repeated = random.below(2);
        const got = await api.ask("GET /consumer/consume", parameters);
        if (got.status === "success") answer = got;
        else assertEquals(got.code, "outcome_unknown");
      }
      api.queue.lostAnswers = 0;
      if (answer.message === null) break;
      seen.push(answer.message);
    }
    assertEquals(seen.length, 12, `seed ${seed}`);
    for (const partition of ["0", "1", "2"]) {
      const part = seen.filter((one) => one.startsWith(partition));
      assertEquals(part, ["0", "1", "2", "3"].map((at) => `${partition}.${at}`), `seed ${seed}`);
    }
  }
});

Deno.test("requests of one consumer run one after the other, those of others beside them", async () => {
  const { api, consumer } = await filled(2, 20);
  const other = await api.consumer("t");
  const both = await Promise.all(
    [consumer, other].flatMap((id) =>
      Array.from({ length: 20 }, async () => [id, await api.consume("t", id)] as const)
    ),
  );
  for (const id of [consumer, other]) {
    const places = both.filter(([one]) => one === id).map(([, message]) => message);
    assertEquals(new Set(places).size, 20);
    assertEquals(places[0]!.startsWith("0.0"), true, "in the order in which they came");
  }
});

Deno.test("an attempt that is held up while the client goes on at another manager takes nothing", async () => {
  const { api, consumer } = await filled(1, 3);
  const other = new Api({}, api.queue);
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  api.queue.held = held;
  const parameters = { topic: "t", consumer_id: consumer, request_id: "a" };
  const late = api.refused("GET /consumer/consume", parameters);
  while (api.queue.held !== null) await new Promise((resolve) => setTimeout(resolve, 1));
  assertEquals(await other.consume("t", consumer, { request_id: "a" }), "0.0 0@0");
  assertEquals(await other.consume("t", consumer, { request_id: "b" }), "0.1 0@1");
  release();
  assertEquals(await late, [503, "unavailable"]);
  assertEquals(await other.consume("t", consumer, { request_id: "c" }), "0.2 0@2");
});

Deno.test("a repeat at another manager while the first attempt is under way is the same message", async () => {
  const { api, consumer } = await filled(1, 3);
  const other = new Api({}, api.queue);
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  api.queue.held = held;
  const first = api.consume("t", consumer, { request_id: "a" });
  while (api.queue.held !== null) await new Promise((resolve) => setTimeout(resolve, 1));
  assertEquals(await other.consume("t", consumer, { request_id: "a" }), "0.0 0@0");
  release();
  assertEquals(await first, "0.0 0@0");
  assertEquals(await api.consume("t", consumer, { request_id: "b" }), "0.1 0@1");
});

Deno.test("too many requests of one consumer at once are refused, not queued without end", async () => {
  const { api, consumer } = await filled(1, 1);
  const parameters = { topic: "t", consumer_id: consumer };
  const answers = await Promise.all(
    Array.from({ length: 100 }, () => api.ask("GET /consumer/consume", parameters)),
  );
  const refused = answers.filter(({ status }) => status === "failure");
  assertEquals(new Set(refused.map(({ code }) => code)), new Set(["overloaded"]));
  assertEquals(refused.length, 35);
});

Deno.test("a request whose client has gone takes no message", async () => {
  const { api, consumer } = await filled(1, 1);
  const gone = AbortSignal.abort();
  const parameters = { topic: "t", consumer_id: consumer };
  const [, code] = await api.refused("GET /consumer/consume", parameters, { signal: gone });
  assertEquals(code, "cancelled");
  assertEquals(api.queue.asked.filter((one) => !one.startsWith("broker.produce")), []);
  assertEquals(await api.consume("t", consumer), "0.0 0@0");
});

Deno.test("behind the retention limit a consumer goes on at the first message and is told", async () => {
  const { api, consumer } = await filled(1, 6);
  assertEquals(await api.consume("t", consumer, { request_id: "a" }), "0.0 0@0");
  api.queue.partition("t", 0).trimBefore(4);
  const parameters = { topic: "t", consumer_id: consumer, request_id: "b" };
  for (let repeat = 0; repeat < 2; repeat += 1) {
    const answer = await api.done("GET /consumer/consume", parameters);
    assertEquals([answer.message, answer.offset, answer.skipped], ["0.4", 4, 3]);
  }
  const next = await api.done("GET /consumer/consume", { topic: "t", consumer_id: consumer });
  assertEquals([next.message, next.skipped], ["0.5", undefined]);
});

Deno.test("a repeat whose message retention has taken says so, and the next request goes on", async () => {
  const { api, consumer } = await filled(1, 3);
  assertEquals(await api.consume("t", consumer, { request_id: "a" }), "0.0 0@0");
  api.queue.partition("t", 0).trimBefore(1);
  const parameters = { topic: "t", consumer_id: consumer, request_id: "a" };
  assertEquals(await api.refused("GET /consumer/consume", parameters), [
    400,
    "offset_out_of_range",
  ]);
  assertEquals(await api.consume("t", consumer, { request_id: "b" }), "0.1 0@1");
});

Deno.test("messages that other producers put into one batch come one at a time", async () => {
  const { api, consumer } = await filled(1, 0);
  const builder = new BatchBuilder();
  const messages = ["a", "b", "c", "d"];
  for (const message of messages) builder.add(null, utf8(message), 1_000);
  api.queue.partition("t", 0).propose(builder.finish());
  assertEquals(await api.drain("t", consumer), messages);
});

Deno.test("what is no text is given in base64 as well", async () => {
  const { api, consumer } = await filled(1, 0);
  const values = [new Uint8Array([0xff, 0x41]), utf8("\ufeffé"), null];
  for (const value of values) {
    const builder = new BatchBuilder();
    builder.add(null, value, 1_000);
    api.queue.partition("t", 0).propose(builder.finish());
  }
  const consume = () => api.done("GET /consumer/consume", { topic: "t", consumer_id: consumer });
  const binary = await consume();
  assertEquals([binary.message, binary.message_base64], ["\ufffdA", "/0E="]);
  const text = await consume();
  assertEquals([text.message, text.message_base64], ["\ufeffé", undefined]);
  assertEquals((await consume()).message, "", "null says that nothing is left");
  assertEquals((await consume()).message, null);
});

Deno.test("a deleted consumer leaves nothing behind", async () => {
  const { api, consumer } = await filled(2, 1);
  await api.drain("t", consumer);
  await api.done("DELETE /consumer", { consumer_id: consumer });
  assertEquals(api.queue.cluster.machine.state.consumers.size, 0);
  for (const partition of [0, 1]) {
    assertEquals(api.queue.partition("t", partition).machine.describe().consumers, []);
  }
  assertEquals(await api.refused("DELETE /consumer", { id: consumer }), [404, "no_such_consumer"]);
});

Deno.test("a deletion that broke off has the consumer refused and can be finished", async () => {
  const { api, consumer } = await filled(1, 1);
  await api.consume("t", consumer);
  api.queue.lostAnswers = 1;
  const id = { consumer_id: consumer };
  assertEquals(await api.refused("DELETE /consumer", id), [503, "outcome_unknown"]);
  const parameters = { topic: "t", consumer_id: consumer };
  assertEquals(await api.refused("GET /consumer/consume", parameters), [404, "no_such_consumer"]);
  await api.done("DELETE /consumer", id);
  assert(!api.queue.cluster.machine.state.consumers.has(consumer));
});
