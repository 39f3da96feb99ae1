/**
 * The reference run of the HTTP API, `deno task reference`: five brokers and three managers, five
 * producers with prepared log files, three consumers on three, two and two of three topics, all at
 * once, while servers are killed and started again. Every consumer must end with exactly the lines
 * of its topics, in order per partition.
 */

import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { ask, PersistentClient } from "./http_client.ts";
import { nowMs, sleep, withHarness } from "./harness.ts";
import { QueueCluster, type Server } from "./queue_cluster.ts";

const TOPICS = ["ENGINE", "FRONT", "BACK"];
const PARTITIONS: Readonly<Record<string, number>> = { ENGINE: 3, FRONT: 2, BACK: 1 };
const CONSUMED = [TOPICS, ["ENGINE", "FRONT"], ["FRONT", "BACK"]];
const LEVELS = ["INFO", "DEBUG", "ERROR"];
const PRODUCERS = 5;

export interface ReferenceShape {
  /** Of each producer's log file. */
  readonly lines: number;
  /** Servers killed (-9) and started again while all of it runs; they may be over sooner. */
  readonly kills: number;
  /** How long a server stays away. */
  readonly awayMs: number;
}

export interface ReferenceFigures {
  readonly produced: number;
  /** By consumer. */
  readonly consumed: readonly number[];
  readonly killed: readonly string[];
  readonly seconds: number;
}

interface Consumed {
  readonly topic: string;
  readonly message: string;
  readonly partition: number;
  readonly offset: number;
}

/** `HH:MM:SS LEVEL TEXT TOPIC`; the text names producer and line, so that no two are alike. */
function logFile(producer: number, lines: number): string {
  return Array.from({ length: lines }, (_, at) => {
    const time = [10 + Math.floor(at / 3_600), Math.floor(at / 60) % 60, at % 60]
      .map((part) => String(part).padStart(2, "0")).join(":");
    const level = LEVELS[(at + producer) % LEVELS.length];
    // Not in turn, so that producers are not in step with each other.
    const topic = TOPICS[(at * 7 + Math.floor(at / 5) + producer) % TOPICS.length];
    return `${time} ${level} event ${at} of producer ${producer} ${topic}\n`;
  }).join("");
}

function topicOf(line: string): string {
  return line.slice(line.lastIndexOf(" ") + 1);
}

/** Sends each line to the topic in its last field, one after the other. */
async function produceFile(client: PersistentClient, path: string): Promise<void> {
  const lines = Deno.readTextFileSync(path).trimEnd().split("\n");
  const ids = new Map<string, number>();
  for (const topic of TOPICS) {
    const request = { topic, request_id: path };
    ids.set(topic, (await client.done("POST /producer/register", request)).producer_id);
  }
  for (const [at, message] of lines.entries()) {
    const topic = topicOf(message);
    const request = { topic, producer_id: ids.get(topic), message, request_id: `${at}` };
    await client.done("POST /producer/produce", request);
  }
}

/** Consumes from topics in turn until nothing comes after all producers are done. */
async function consumeTopics(
  client: PersistentClient,
  name: string,
  topics: readonly string[],
  producersDone: () => boolean,
): Promise<Consumed[]> {
  const consumed: Consumed[] = [];
  const ids = new Map<string, number>();
  for (const topic of topics) {
    const request = { topic, request_id: name };
    ids.set(topic, (await client.done("POST /consumer/register", request)).consumer_id);
  }
  for (let request = 0;; request += 1) {
    // Asked before, so that what comes in between is not taken for the end.
    const last = producersDone();
    let any = false;
    for (const topic of topics) {
      const parameters = { topic, consumer_id: ids.get(topic), request_id: `${request}` };
      const answer = await client.done("GET /consumer/consume", parameters);
      const { message, partition, offset } = answer;
      if (message === null) continue;
      any = true;
      consumed.push({ topic, message, partition, offset });
    }
    if (last && !any) return consumed;
    if (!any) await sleep(20);
  }
}

/** Kills servers one after the other, each kind in turn, and starts them again. */
async function disturb(
  cluster: QueueCluster,
  shape: ReferenceShape,
  over: () => boolean,
): Promise<string[]> {
  const killed: string[] = [];
  const turn = (servers: readonly Server[], at: number) => servers[at % servers.length];
  while (killed.length < shape.kills && !over()) {
    const at = killed.length;
    const victim = at % 2 === 0
      ? turn(cluster.brokers, at / 2)
      : at % 4 === 1
      ? await cluster.leadingManager()
      : turn(cluster.managers, (at - 1) / 2);
    await victim.process.kill();
    killed.push(victim.id);
    await sleep(shape.awayMs);
    cluster.restart(victim);
    await victim.process.line("stderr", /^listening on/);
    await cluster.ready();
  }
  return killed;
}

function assertExact(consumed: readonly Consumed[], topics: readonly string[], lines: string[]) {
  const wanted = lines.filter((line) => topics.includes(topicOf(line)));
  assertEquals(consumed.map(({ message }) => message).sort(), wanted.sort());
  for (const topic of topics) {
    for (let partition = 0; partition < PARTITIONS[topic]; partition += 1) {
      const part = consumed.filter((one) => one.topic === topic && one.partition === partition);
      assertEquals(part.map(({ offset }) => offset), part.map((_, at) => at), "dense, in order");
      assertProducersInOrder(part);
    }
  }
}

/** Lines of one producer come in the order of its file. */
function assertProducersInOrder(part: readonly Consumed[]): void {
  const last = new Map<string, number>();
  for (const { message } of part) {
    const [, at, producer] = /event (\d+) of producer (\d+)/.exec(message)!;
    assertEquals(Number(at) > (last.get(producer) ?? -1), true, message);
    last.set(producer, Number(at));
  }
}

/** Runs it; throws when any consumer does not have exactly what it should. */
export async function runReference(shape: ReferenceShape): Promise<ReferenceFigures> {
  let figures: ReferenceFigures | null = null;
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { brokers: 5, http: true });
    const directory = harness.temporaryDirectory();
    const files = Array.from({ length: PRODUCERS }, (_, at) => join(directory, `log_${at}.txt`));
    files.forEach((file, at) => Deno.writeTextFileSync(file, logFile(at, shape.lines)));
    await cluster.ready();
    const managers = cluster.managers.map(({ http }) => http!);
    for (const name of TOPICS) {
      await ask(managers[0], "POST /topics", { name, number_of_partitions: PARTITIONS[name] });
    }
    const startMs = nowMs();
    let done = false;
    const producing = Promise.all(
      files.map((file, at) => produceFile(new PersistentClient(managers, at), file)),
    ).finally(() => done = true);
    const consuming = CONSUMED.map((topics, at) =>
      consumeTopics(new PersistentClient(managers, at), `consumer ${at}`, topics, () => done)
    );
    const disturbing = disturb(cluster, shape, () => done);
    const [consumed, killed] = await Promise.all([Promise.all(consuming), disturbing, producing]);
    const lines = files.flatMap((file) => Deno.readTextFileSync(file).trimEnd().split("\n"));
    consumed.forEach((part, at) => assertExact(part, CONSUMED[at], lines));
    figures = {
      produced: lines.length,
      consumed: consumed.map(({ length }) => length),
      killed,
      seconds: (nowMs() - startMs) / 1_000,
    };
  });
  return figures!;
}

if (import.meta.main) {
  const figures = await runReference({ lines: 1_000, kills: 20, awayMs: 1_000 });
  const { produced, consumed, killed, seconds } = figures;
  console.log(`produced ${produced} lines in ${seconds.toFixed(0)} s`);
  console.log(`killed and started again: ${killed.join(" ")}`);
  CONSUMED.forEach((topics, at) =>
    console.log(`consumer ${at} has exactly the ${consumed[at]} lines of ${topics.join(", ")}`)
  );
}
