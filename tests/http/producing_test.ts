import { assertEquals, assertNotEquals } from "@std/assert";
import { pack, type Packable, unpack } from "../../lib/base/msgpack.ts";
import { limits } from "../../lib/base/limits.ts";
import { ONE_BATCH_PRODUCERS_FROM, readBatchHeader } from "../../lib/batch/batch_header.ts";
import type { PartitionMachine } from "../../lib/broker/partition.ts";
import { MOST_REQUESTS, RequestTable } from "../../lib/broker/partition_requests.ts";
import { alterTopic } from "../../lib/manager/topics.ts";
import { sentBy } from "../broker/partition_support.ts";
import { Api } from "./api_fixture.ts";

Deno.test("registering gives another number each time and makes a missing topic", async () => {
  const api = new Api();
  const first = await api.done("POST /producer/register", { topic: "t" });
  assertEquals([first.producer_id, first.partition_count], [1, 1]);
  assertEquals(await api.producer("t"), 2);
  await api.topic("wide", 3);
  const third = await api.done("POST /producer/register", { topic: "wide" });
  assertEquals([third.producer_id, third.partition_count], [3, 3]);
});

Deno.test("a repeated registration with a request id gets the first number", async () => {
  const api = new Api();
  const register = (more: object) => api.done("POST /producer/register", { topic: "t", ...more });
  const first = await register({ request_id: "r" });
  assertEquals((await register({ request_id: "r" })).producer_id, first.producer_id);
  assertNotEquals((await register({ request_id: "s" })).producer_id, first.producer_id);
  await api.topic("u");
  const other = await api.done("POST /producer/register", { topic: "u", request_id: "r" });
  assertNotEquals(other.producer_id, first.producer_id);
});

/** Makes a partition remember as many requests as it can. */
function fillRequests(machine: PartitionMachine): void {
  const table = new RequestTable();
  const header = readBatchHeader(sentBy(0, 0));
  for (let id = 0; id < MOST_REQUESTS; id += 1) {
    table.accept({ ...header, producerId: ONE_BATCH_PRODUCERS_FROM + id }, 0, 1_000);
  }
  const [version, index, times, producers, , ...rest] = unpack(machine.snapshot()) as Packable[];
  machine.restore(pack([version, index, times, producers, table.store(), ...rest]));
}

Deno.test("where a partition can remember no more requests, new ones get 503 and are not stored", async () => {
  const api = new Api();
  const producer_id = await api.producer("t");
  const { machine } = api.queue.partition("t", 0);
  fillRequests(machine);
  const answer = await api.ask("POST /producer/produce", {
    topic: "t",
    producer_id,
    message: "m",
    request_id: "r",
  });
  assertEquals([answer.http, answer.code, answer.headers["retry-after"]], [503, "overloaded", "1"]);
  assertEquals(machine.endOffset, 0);
});

Deno.test("messages go to partitions in turn, or to the one that is named", async () => {
  const api = new Api();
  await api.topic("t", 3);
  const id = await api.producer("t");
  const other = await api.producer("t");
  assertEquals(await api.produce("t", id, "a"), "0@0");
  assertEquals(await api.produce("t", id, "b"), "1@0");
  assertEquals(await api.produce("t", other, "x"), "0@1");
  assertEquals(await api.produce("t", id, "c"), "2@0");
  assertEquals(await api.produce("t", id, "d"), "0@2");
  assertEquals(await api.produce("t", id, "e", { partition: 2 }), "2@1");
  const parameters = { topic: "t", producer_id: id, message: "f", partition: 3 };
  assertEquals(await api.refused("POST /producer/produce", parameters), [404, "no_such_partition"]);
});

Deno.test("a number belongs to its topic, exists and is a producer's", async () => {
  const api = new Api();
  const id = await api.producer("t");
  await api.topic("u");
  await api.consumer("t");
  const refused = (topic: string, producer_id: unknown) =>
    api.refused("POST /producer/produce", { topic, producer_id, message: "m" });
  assertEquals(await refused("u", id), [400, "wrong_topic"]);
  assertEquals(await refused("none", id), [404, "no_such_topic"]);
  assertEquals(await refused("t", 99), [404, "no_such_producer"]);
  assertEquals(await refused("t", "x"), [400, "invalid_argument"]);
});

Deno.test("an empty message is one, and one that is too large, missing or no text is refused", async () => {
  const api = new Api();
  const id = await api.producer("t");
  assertEquals(await api.produce("t", id, ""), "0@0");
  const refused = (message: unknown) =>
    api.refused("POST /producer/produce", { topic: "t", producer_id: id, message });
  assertEquals(await refused("x".repeat(limits.messageBytes + 1)), [413, "message_too_large"]);
  assertEquals(await refused(undefined), [400, "invalid_argument"]);
  assertEquals(await refused({ a: 1 }), [400, "invalid_argument"]);
  assertEquals(await api.produce("t", id, "x".repeat(limits.messageBytes)), "0@1");
});

Deno.test("a topic that is another by now, or has grown, is looked at anew first", async () => {
  const api = new Api();
  const { queue } = api;
  await api.topic("t");
  const picture = async () => new Map([["t", await queue.topic("t")]]);
  const old = await picture();
  await api.done("DELETE /topics", { name: "t" });
  await api.topic("t");
  const id = await api.producer("t");
  queue.pictured = old;
  assertEquals(await api.produce("t", id, "m"), "0@0");
  assertEquals(queue.refreshes, 1);
  queue.pictured = await picture();
  const fields = { name: "t", partitions: 2, retentionBytes: null, retentionMs: null };
  queue.cluster.run(alterTopic, fields);
  assertEquals(await api.produce("t", id, "n"), "1@0");
  assertEquals(queue.refreshes, 2);
  assertEquals(await api.produce("t", id, "o"), "0@1");
  assertEquals(queue.refreshes, 2, "what is right is not asked for again");
});

Deno.test("an answer that got lost on our side is no second message", async () => {
  const api = new Api();
  const id = await api.producer("t");
  api.queue.repeated = 1;
  assertEquals(await api.produce("t", id, "a"), "0@0");
  assertEquals(await api.produce("t", id, "a"), "0@1");
});

Deno.test("a repeat with its request id is the same message, in the same place", async () => {
  const api = new Api();
  await api.topic("t", 4);
  const id = await api.producer("t");
  const places = new Map<string, string>();
  for (let at = 0; at < 40; at += 1) {
    const request_id = `r${at}`;
    places.set(request_id, await api.produce("t", id, `m${at}`, { request_id }));
  }
  const { cluster } = api.queue;
  const fields = { name: "t", partitions: 7, retentionBytes: null, retentionMs: null };
  cluster.run(alterTopic, fields);
  for (const [request_id, place] of places) {
    assertEquals(await api.produce("t", id, "again", { request_id }), place);
  }
  const used = new Set([...places.values()].map((place) => place[0]));
  assertEquals(used.size, 4, "request ids spread over all partitions");
  const other = await api.producer("t");
  assertNotEquals(await api.produce("t", other, "x", { request_id: "r0" }), places.get("r0"));
});

Deno.test("after a lost answer the client's own repeat is the same message", async () => {
  const api = new Api();
  const id = await api.producer("t");
  const parameters = { topic: "t", producer_id: id, message: "m", request_id: "1" };
  api.queue.lostAnswers = 1;
  assertEquals(await api.refused("POST /producer/produce", parameters), [503, "outcome_unknown"]);
  assertEquals((await api.done("POST /producer/produce", parameters)).offset, 0);
  assertEquals(await api.produce("t", id, "n", { request_id: "2" }), "0@1");
});

Deno.test("a deleted producer is gone, and its number is not given again", async () => {
  const api = new Api();
  const id = await api.producer("t");
  await api.done(`DELETE /producer?producer_id=${id}`, {});
  assertEquals(await api.refused("DELETE /producer", { id }), [404, "no_such_producer"]);
  const parameters = { topic: "t", producer_id: id, message: "m" };
  assertEquals(await api.refused("POST /producer/produce", parameters), [404, "no_such_producer"]);
  assertEquals(await api.producer("t"), id + 1);
});

Deno.test("a topic's producers go with it, and do not come back with a namesake", async () => {
  const api = new Api();
  const id = await api.producer("t");
  await api.done("DELETE /topics", { name: "t" });
  assertEquals(api.queue.cluster.machine.state.producers.size, 0);
  await api.topic("t");
  const parameters = { topic: "t", producer_id: id, message: "m" };
  assertEquals(await api.refused("POST /producer/produce", parameters), [404, "no_such_producer"]);
});
