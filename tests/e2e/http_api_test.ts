import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { type Answered, ask, PersistentClient } from "./http_client.ts";
import { eventually, freePort, type Harness, nowMs, withHarness } from "./harness.ts";
import { type ClusterShape, QueueCluster, type Server } from "./queue_cluster.ts";

async function started(harness: Harness, shape: ClusterShape = {}): Promise<QueueCluster> {
  const cluster = new QueueCluster(harness, { ...shape, http: true });
  await cluster.ready();
  return cluster;
}

function addressesOf(cluster: QueueCluster): string[] {
  return cluster.managers.map(({ http }) => http!);
}

/** The answer, which must be a success. */
async function done(server: Server, line: string, parameters?: object): Promise<Answered> {
  const answer = await ask(server.http!, line, parameters);
  assertEquals([answer.http, answer.status], [200, "success"], answer.text);
  return answer;
}

async function refused(server: Server, line: string, parameters?: object) {
  const { http, status, code, message } = await ask(server.http!, line, parameters);
  assertEquals([status, typeof message], ["failure", "string"]);
  return [http, code];
}

Deno.test("every route answers on each of the managers, and each sees what another did", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    const { managers } = cluster;
    for (const [at, manager] of managers.entries()) {
      const others = [1, 2].map((step) => managers[(at + step) % managers.length]);
      const topic = `t${at}`;
      await done(manager, "POST /topics", { name: topic, number_of_partitions: 2 });
      assertEquals(await refused(others[0], "POST /topics", { name: topic }), [
        409,
        "topic_exists",
      ]);
      assert((await done(others[0], "GET /topics")).topics.includes(topic));
      const { producer_id, partition_count } = await done(manager, "POST /producer/register", {
        topic,
      });
      assertEquals(partition_count, 2);
      const { consumer_id } = await done(others[0], "POST /consumer/register", { topic });
      const places = [];
      for (const message of ["a", "b", "ü"]) {
        const parameters = { topic, producer_id, message };
        const { partition, offset } = await done(manager, "POST /producer/produce", parameters);
        places.push([partition, offset]);
      }
      assertEquals(places, [[0, 0], [1, 0], [0, 1]]);
      const consumer = { topic, consumer_id };
      const { size, partitions } = await done(others[1], "GET /size", consumer);
      assertEquals([size, partitions], [3, { "0": 2, "1": 1 }]);
      const first = await done(manager, "GET /consumer/consume", consumer);
      assertEquals([first.message, first.partition, first.offset], ["a", 0, 0]);
      const query = `GET /consumer/consume?topic=${topic}&consumer_id=${consumer_id}&partition=0`;
      assertEquals((await done(others[0], query)).message, "ü");
      assertEquals((await done(others[1], "GET /consumer/consume", consumer)).message, "b");
      assertEquals((await done(others[1], "GET /consumer/consume", consumer)).message, null);
      await done(others[0], "DELETE /producer", { producer_id });
      await done(others[1], "DELETE /consumer", { consumer_id });
      assertEquals(await refused(manager, "GET /size", consumer), [404, "no_such_consumer"]);
      await done(others[0], "DELETE /topics", { name: topic });
      assertEquals(await refused(manager, "GET /size", consumer), [404, "no_such_topic"]);
    }
  });
});

Deno.test("failures are told by code and status, and no client can harm a manager", async () => {
  await withHarness(async (harness) => {
    const { managers } = await started(harness);
    const [manager, other] = managers;
    const { producer_id } = await done(manager, "POST /producer/register", { topic: "t" });
    await done(manager, "POST /topics", { name: "u" });
    const produce = (more: object) =>
      refused(other, "POST /producer/produce", { topic: "t", producer_id, message: "m", ...more });
    assertEquals(await produce({ topic: "u" }), [400, "wrong_topic"]);
    assertEquals(await produce({ topic: "none" }), [404, "no_such_topic"]);
    assertEquals(await produce({ producer_id: 99 }), [404, "no_such_producer"]);
    assertEquals(await produce({ partition: 1 }), [404, "no_such_partition"]);
    assertEquals(await produce({ message: 7 }), [400, "invalid_argument"]);
    assertEquals(await produce({ message: "x".repeat(1_100_000) }), [413, "message_too_large"]);
    assertEquals(await produce({ message: "x".repeat(3_000_000) }), [413, "message_too_large"]);
    assertEquals(await refused(other, "POST /consumer/register", { topic: "none" }), [
      404,
      "no_such_topic",
    ]);
    assertEquals(await refused(other, "POST /topics", { name: "../x" }), [400, "invalid_topic"]);
    assertEquals(await refused(other, "GET /nothing"), [404, "no_such_route"]);
    assertEquals((await ask(other.http!, "PATCH /topics")).http, 405);
    const connection = await Deno.connect({ port: Number(other.http!.split(":")[1]) });
    await connection.write(new TextEncoder().encode("\x16\x03\x01 hello\r\n\r\n"));
    connection.close();
    assertEquals((await done(other, "GET /topics")).topics, ["t", "u"]);
  });
});

Deno.test("the servers are shown, and metrics count what happened", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    const { managers } = cluster;
    const client = new PersistentClient(addressesOf(cluster));
    const topic = "t";
    const { producer_id } = await client.done("POST /producer/register", { topic });
    for (let at = 0; at < 5; at += 1) {
      await client.done("POST /producer/produce", { topic, producer_id, message: `${at}` });
    }
    const writer = await cluster.leadingManager();
    for (const manager of managers) {
      const status = await done(manager, "GET /managers");
      assertEquals(status.writer, writer.id);
      assertEquals(status.managers.map((one: { id: string }) => one.id), ["m1", "m2", "m3"]);
      assert(status.managers.every((one: { alive: boolean }) => one.alive), status.text);
      const { brokers } = await done(manager, "GET /brokers");
      assertEquals(brokers.map((one: { id: string }) => one.id), ["b1", "b2", "b3"]);
      for (const broker of brokers) {
        assertEquals([broker.alive, broker.partitions_hosted], [true, ["t/0"]]);
      }
      const led = brokers.flatMap((one: { partitions_led: string[] }) => one.partitions_led);
      assertEquals(led, ["t/0"]);
      const health = await done(manager, "GET /health");
      assertEquals([health.manager, health.live, health.ready], [manager.id, true, true]);
    }
    const { text, headers } = await ask(managers[2].http!, "GET /metrics");
    assert(String(headers["content-type"]).startsWith("text/plain"), "Prometheus's format");
    const sum = (name: string) =>
      [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "gm"))]
        .reduce((sum, [, value]) => sum + Number(value), 0);
    assertEquals(sum("trilog_up"), 6);
    assertEquals(sum("trilog_produced_messages_total"), 5);
    assertEquals(sum("trilog_partition_end_offset"), 5);
    assert(sum("trilog_commit_seconds_count") >= 6);
    assert(sum("trilog_leader_changes_total") >= 2);
    assert(sum("trilog_disk_sync_seconds_count") > 0);
  });
});

Deno.test("a broker is emptied and removed over HTTP while messages stay", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness, { brokers: 4 });
    const [manager, other] = cluster.managers;
    const topic = "t";
    await done(manager, "POST /topics", { name: topic, number_of_partitions: 2 });
    const { producer_id } = await done(manager, "POST /producer/register", { topic });
    const messages = Array.from({ length: 6 }, (_, at) => `m${at}`);
    for (const message of messages) {
      await done(other, "POST /producer/produce", { topic, producer_id, message });
    }
    const brokerOf = async () => {
      const { brokers } = await done(manager, "GET /brokers");
      return brokers.find(({ id }: { id: string }) => id === "b1");
    };
    assertEquals(await refused(other, "POST /brokers/drain", { broker: "b9" }), [
      404,
      "no_such_broker",
    ]);
    await done(other, "POST /brokers/drain", { broker: "b1" });
    assertEquals((await brokerOf()).draining, true);
    await eventually("b1 to be empty", async () => {
      const { replicas_held, partitions_led } = await brokerOf();
      return replicas_held + partitions_led.length === 0 || null;
    });
    // Its files may not be deleted yet; until then it is refused.
    await eventually("b1 to be removed", async () => {
      const { http } = await ask(other.http!, "POST /brokers/remove", { broker: "b1" });
      return http === 200 || null;
    });
    assertEquals(await brokerOf(), undefined);
    const { consumer_id } = await done(manager, "POST /consumer/register", { topic });
    const consumed: string[] = [];
    for (;;) {
      const { message } = await done(other, "GET /consumer/consume", { topic, consumer_id });
      if (message === null) break;
      consumed.push(message);
    }
    assertEquals(consumed.sort(), messages);
  });
});

Deno.test("without a quorum of managers writes get 503, and stale reads go on", async () => {
  await withHarness(async (harness) => {
    const cluster = await started(harness);
    const [manager, ...others] = cluster.managers;
    await done(manager, "POST /topics", { name: "t" });
    await eventually(
      "the topic to be known everywhere",
      async () => (await ask(manager.http!, "GET /topics?stale=true")).topics.includes("t") || null,
    );
    await Promise.all(others.map(({ process }) => process.kill()));
    const startMs = nowMs();
    const answer = await ask(manager.http!, "POST /topics", { name: "u" });
    assertEquals([answer.http, answer.status, answer.headers["retry-after"]], [
      503,
      "failure",
      "1",
    ]);
    assert(nowMs() - startMs < 8_000, "the answer does not keep anybody waiting");
    const health = await ask(manager.http!, "GET /health");
    assertEquals([health.http, health.live, health.ready], [503, true, false]);
    assertEquals((await ask(manager.http!, "GET /health/live")).http, 200);
    assertEquals((await ask(manager.http!, "GET /topics?stale=true")).topics, ["t"]);
    for (const other of others) cluster.restart(other);
    await eventually("writes to go on", async () => {
      const { http } = await ask(manager.http!, "POST /topics", { name: "v" });
      return http === 200 || http === 409 || null;
    });
    assertEquals((await ask(manager.http!, "GET /health")).http, 200);
  });
});

Deno.test("with a token every request needs it", async () => {
  await withHarness(async (harness) => {
    const file = join(harness.temporaryDirectory(), "token");
    Deno.writeTextFileSync(file, "s3cret\n");
    const flags = ["--token-file", file];
    const cluster = new QueueCluster(harness, {
      http: true,
      managers: 1,
      brokers: 0,
      managerFlags: flags,
    });
    const [manager] = cluster.managers;
    const right = { authorization: "Bearer s3cret" };
    const topics = await eventually("the manager to serve", async () => {
      const answer = await ask(manager.http!, "GET /topics", undefined, right);
      return answer.http === 200 ? answer.topics : null;
    });
    assertEquals(topics, []);
    for (const line of ["GET /topics", "POST /topics", "GET /metrics", "GET /health"]) {
      assertEquals((await ask(manager.http!, line)).http, 401);
      const wrong = { authorization: "Bearer s3cre" };
      const { http, code } = await ask(manager.http!, line, undefined, wrong);
      assertEquals([http, code], [401, "unauthorized"]);
    }
  });
});

Deno.test("an HTTP port that others can reach needs a token, one that is taken ends the manager", async () => {
  await withHarness(async (harness) => {
    const address = `127.0.0.1:${freePort()}`;
    const flags = ["--listen", address, "--peers", `m1=${address}`];
    const start = (http: string) =>
      harness.run([
        "manager",
        "--id",
        "m1",
        ...flags,
        "--data",
        harness.temporaryDirectory(),
        "--http",
        http,
      ]);
    const open = await start("0.0.0.0:0");
    assertEquals(open.code, 2);
    assert(open.stderr.includes("--token-file"), open.stderr);
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const taken = await start(`127.0.0.1:${listener.addr.port}`);
    listener.close();
    assertEquals(taken.code, 2);
    assert(taken.stderr.includes("Cannot serve HTTP"), taken.stderr);
  });
});
