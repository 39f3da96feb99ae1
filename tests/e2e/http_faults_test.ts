import { assert, assertEquals } from "@std/assert";
import { ask, PersistentClient } from "./http_client.ts";
import { eventually, sleep, withHarness } from "./harness.ts";
import { QueueCluster, type Server } from "./queue_cluster.ts";

const topic = "t";

/** One message after the other, each request under an id of its own and repeated as it must be. */
class Course {
  readonly consumed: { message: string; partition: number; offset: number }[] = [];
  private requests = 0;

  constructor(
    private readonly client: PersistentClient,
    private readonly producer: number,
    private readonly consumer: number,
  ) {}

  async produce(message: string): Promise<void> {
    const { producer: producer_id } = this;
    const parameters = { topic, producer_id, message, request_id: this.newId() };
    const first = await this.client.done("POST /producer/produce", parameters);
    const again = await this.client.done("POST /producer/produce", parameters);
    assertEquals([again.partition, again.offset], [first.partition, first.offset]);
  }

  /** The next message, asked for twice. */
  async consume(): Promise<string | null> {
    const { consumer: consumer_id } = this;
    const parameters = { topic, consumer_id, request_id: this.newId() };
    const first = await this.client.done("GET /consumer/consume", parameters);
    const again = await this.client.done("GET /consumer/consume", parameters);
    const { message, partition, offset } = first;
    assertEquals([again.message, again.partition, again.offset], [message, partition, offset]);
    if (message !== null) this.consumed.push({ message, partition, offset });
    return message;
  }

  private newId(): string {
    this.requests += 1;
    return `request-${this.requests}`;
  }
}

async function begin(cluster: QueueCluster): Promise<Course> {
  await cluster.ready();
  const client = new PersistentClient(cluster.managers.map(({ http }) => http!));
  await client.done("POST /topics", { name: topic, number_of_partitions: 2 });
  const { producer_id } = await client.done("POST /producer/register", { topic });
  const { consumer_id } = await client.done("POST /consumer/register", { topic });
  return new Course(client, producer_id, consumer_id);
}

function assertComplete({ consumed }: Course, messages: readonly string[]): void {
  assertExact(consumed, messages);
}

/** Each message once, in the order of each partition. */
function assertExact(
  consumed: readonly { message: string; partition: number; offset: number }[],
  messages: readonly string[],
): void {
  assertEquals(consumed.map(({ message }) => message).sort(), [...messages].sort());
  for (const wanted of [0, 1]) {
    const part = consumed.filter(({ partition }) => partition === wanted);
    assertEquals(part.map(({ offset }) => offset), part.map((_, at) => at));
  }
}

Deno.test("kill -9 of any manager or broker between requests loses and repeats nothing", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { http: true });
    const course = await begin(cluster);
    const messages: string[] = [];
    const step = async () => {
      for (let at = 0; at < 3; at += 1) {
        messages.push(`m${messages.length}`);
        await course.produce(messages.at(-1)!);
      }
      for (let at = 0; at < 2; at += 1) assert((await course.consume()) !== null);
    };
    await step();
    const victims: Server[] = [...cluster.managers, ...cluster.brokers];
    for (const victim of victims) {
      await victim.process.kill();
      await step();
      cluster.restart(victim);
      await victim.process.line("stderr", /^listening on/);
      await cluster.ready();
      await step();
    }
    while (await course.consume() !== null);
    assertComplete(course, messages);
  });
});

Deno.test("servers that stand still for a while (SIGSTOP) make nobody lose or repeat a message", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { http: true });
    const course = await begin(cluster);
    const messages: string[] = [];
    const step = async () => {
      messages.push(`m${messages.length}`, `m${messages.length + 1}`);
      for (const message of messages.slice(-2)) await course.produce(message);
      assert((await course.consume()) !== null);
    };
    await step();
    // The client talks to the first manager: another one leads, or only follows.
    const [, ...managers] = cluster.managers;
    for (
      const victim of [await cluster.leader(topic), await cluster.leader(topic, 1), ...managers]
    ) {
      victim.process.signal("SIGSTOP");
      await step();
      victim.process.signal("SIGCONT");
      await step();
    }
    while (await course.consume() !== null);
    assertComplete(course, messages);
  });
});

Deno.test("an impatient client that turns from manager to manager sees each message once", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { http: true });
    await cluster.ready();
    await cluster.createTopic(topic, 2);
    const messages = Array.from({ length: 250 }, (_, at) => `m${at}`);
    await cluster.done(["produce", topic, "--batch-size", "1KiB"], `${messages.join("\n")}\n`);
    const managers = cluster.managers.map(({ http }) => http!);
    const { consumer_id } = await new PersistentClient(managers).done("POST /consumer/register", {
      topic,
    });
    // Shorter than a failover, and now and then than an answer: attempts are left behind.
    const client = new PersistentClient(managers, 0, 30);
    let over = false;
    const disturbing = (async () => {
      for (let at = 0; !over; at += 1) {
        const victim = at % 2 === 0
          ? await cluster.leader(topic, at % 4 / 2)
          : cluster.managers[(at - 1) / 2 % 3];
        victim.process.signal("SIGSTOP");
        await sleep(400);
        victim.process.signal("SIGCONT");
        await sleep(100);
      }
    })();
    const consumed: { message: string; partition: number; offset: number }[] = [];
    try {
      for (let request = 0;; request += 1) {
        const parameters = { topic, consumer_id, request_id: `${request}` };
        const answer = await client.done("GET /consumer/consume", parameters);
        const { message, partition, offset } = answer;
        if (message === null) break;
        consumed.push({ message, partition, offset });
      }
    } finally {
      over = true;
      await disturbing;
    }
    assertExact(consumed, messages);
  });
});

Deno.test("registrations, offsets and messages survive kill -9 of everything at once", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { http: true });
    const course = await begin(cluster);
    const messages = ["a", "b", "c", "d", "e", "f"];
    for (const message of messages.slice(0, 5)) await course.produce(message);
    for (let at = 0; at < 3; at += 1) await course.consume();
    await Promise.all(cluster.servers.map(({ process }) => process.kill()));
    for (const server of cluster.servers) cluster.restart(server);
    await cluster.ready();
    await course.produce(messages[5]);
    while (await course.consume() !== null);
    assertComplete(course, messages);
    const { http } = cluster.managers[0];
    const { producer_id } = await ask(http!, "POST /producer/register", { topic });
    assertEquals(producer_id, 2, "numbers go on where they were");
  });
});

Deno.test("a consumer behind the retention limit goes on and is told how much it missed", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, {
      http: true,
      brokerFlags: ["--segment-bytes", "64KiB"],
    });
    await cluster.ready();
    await cluster.done(["topic", "create", topic, "--retention-bytes", "128KiB"]);
    const [{ http }] = cluster.managers;
    const { consumer_id } = await ask(http!, "POST /consumer/register", { topic });
    const line = "x".repeat(1_000);
    await cluster.done(["produce", topic], `first\n${`${line}\n`.repeat(100)}`);
    const consumer = { topic, consumer_id };
    assertEquals((await ask(http!, "GET /consumer/consume", consumer)).message, "first");
    await cluster.done(["produce", topic, "--batch-size", "4KiB"], `${line}\n`.repeat(900));
    const start = await eventually("retention to drop messages", async () => {
      const { partitions } = JSON.parse(await cluster.done(["topic", "describe", topic, "--json"]));
      return partitions[0].startOffset > 1 ? partitions[0].startOffset : null;
    });
    const answer = await ask(http!, "GET /consumer/consume", consumer);
    assert(answer.offset >= start, answer.text);
    assertEquals([answer.message, answer.skipped], [line, answer.offset - 1]);
    const next = await ask(http!, "GET /consumer/consume", consumer);
    assertEquals([next.offset, next.skipped], [answer.offset + 1, undefined]);
  });
});
