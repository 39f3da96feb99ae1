/**
 * The queue under fire: producers that wait for their acknowledgements, a consumer of each
 * partition that follows all the time, and others that come anew for a message that was just
 * acknowledged. At the end the whole log is compared with what the producers were told.
 */

import { eventually, type Running, sleep } from "../e2e/harness.ts";
import type { Dice } from "./dice.ts";
import { checkLinearizable, History } from "./history.ts";
import { auditLog, type Message } from "./queue_audit.ts";
import { QueueServers } from "./queue_servers.ts";
import { Crew, type Scene, type Workload } from "./workload.ts";

const TOPIC = "t";
const PARTITIONS = 2;
const PRODUCERS_PER_PARTITION = 2;
const LONGEST_BURST = 20;
/** A producer keeps trying for two minutes. */
const DELIVERY_MS = 150_000;

/** One partition: what was sent to it and what came of it. */
class Partition {
  readonly key: string;
  readonly sent = new Map<string, string[]>();
  readonly acknowledged = new Map<string, number>();
  /** An offset that was acknowledged, the latest to be. */
  latest: number | null = null;

  constructor(readonly number: number) {
    this.key = `${TOPIC}/${number}`;
  }

  get words(): string[] {
    return [TOPIC, "--partition", String(this.number), "--json"];
  }

  acknowledge(value: string, offset: number): void {
    this.acknowledged.set(value, offset);
    this.latest = offset;
  }
}

/** Sends bursts; after a burst that failed a new process goes on. */
class Feeder {
  private process: Running | null = null;
  private place = 0;
  private count = 0;
  private readonly sent: string[] = [];

  constructor(
    private readonly name: string,
    private readonly servers: QueueServers,
    private readonly history: History,
    private readonly partition: Partition,
  ) {
    partition.sent.set(name, this.sent);
  }

  async burst(size: number): Promise<void> {
    const process = this.process ??= this.servers.start("produce", ...this.partition.words);
    const messages = Array.from({ length: size }, () => `${this.name}.${this.count += 1}`);
    const opens = messages.map((message) =>
      this.history.begin(message, "append", this.partition.key, message)
    );
    this.sent.push(...messages);
    try {
      await process.write(messages.map((message) => `${message}\n`).join(""));
      const last = { from: this.place + size - 1, patienceMs: DELIVERY_MS };
      await process.line("stdout", /^\{/, last);
    } catch (thrown) {
      if (!process.exited) throw thrown;
      // Which of its last messages got through, the producer did not say.
      for (const open of opens) open.info("the producer gave up");
      this.process = null;
      this.place = 0;
      return;
    }
    const lines = process.lines("stdout").slice(this.place, this.place + size);
    this.place += size;
    for (const [at, line] of lines.entries()) {
      const { offset } = JSON.parse(line);
      this.partition.acknowledge(messages[at], offset);
      opens[at].ok(offset);
    }
  }
}

/** Follows a partition; a consumer that gave up is replaced where it stopped. */
class Follower {
  private process: Running;
  private place = 0;
  private count = 0;

  constructor(
    private readonly servers: QueueServers,
    private readonly history: History,
    private readonly partition: Partition,
  ) {
    this.process = this.begin();
  }

  get next(): number {
    return this.count;
  }

  async look(): Promise<void> {
    const { exited } = this.process;
    const lines = this.process.lines("stdout");
    for (; this.place < lines.length; this.place += 1) this.take(JSON.parse(lines[this.place]));
    if (exited) this.process = this.begin();
    await sleep(50);
  }

  private begin(): Running {
    this.place = 0;
    const from = ["--from", String(this.count), "--follow"];
    return this.servers.start("consume", ...this.partition.words, ...from);
  }

  private take({ offset, value }: Message): void {
    const { key } = this.partition;
    if (offset !== this.count) throw new Error(`${key}: ${offset} came instead of ${this.count}`);
    this.history.begin(`follower of ${key}`, "read", key, offset).ok(value);
    this.count += 1;
  }
}

export async function startQueue(scene: Scene): Promise<Workload> {
  const { harness, dice } = scene;
  const servers = await QueueServers.start(scene);
  await servers.done("topic", "create", TOPIC, "--partitions", String(PARTITIONS));
  await servers.whole();
  const history = new History();
  const partitions = Array.from({ length: PARTITIONS }, (_, number) => new Partition(number));
  const followers = partitions.map((partition) => new Follower(servers, history, partition));
  const crew = new Crew();
  for (const partition of partitions) employFeeders(crew, servers, history, partition, dice);
  for (const follower of followers) crew.employ(() => follower.look());
  const watch = new Crew();
  watch.employ(() => readBack(servers, history, dice.pick(partitions), dice));
  return {
    history,
    leader: () => servers.leader(),
    whole: () => servers.whole(),
    check() {
      crew.check();
      watch.check();
    },
    async finish() {
      await servers.whole();
      await watch.stop();
      await crew.stop();
      const shown: string[] = [];
      for (const [at, partition] of partitions.entries()) {
        shown.push(await auditPartition(servers, history, partition, followers[at]));
      }
      return [...shown, await checkLinearizable(harness, history.events, "queue")];
    },
  };
}

function employFeeders(
  crew: Crew,
  servers: QueueServers,
  history: History,
  partition: Partition,
  dice: Dice,
): void {
  for (let at = 1; at <= PRODUCERS_PER_PARTITION; at += 1) {
    const feeder = new Feeder(`p${partition.number}w${at}`, servers, history, partition);
    crew.employ(async () => {
      await feeder.burst(dice.chance(0.5) ? 1 : dice.between(2, LONGEST_BURST));
      await sleep(dice.between(10, 200));
    });
  }
}

/** Whoever comes after an acknowledgement must find the message, at whichever broker leads then. */
async function readBack(
  servers: QueueServers,
  history: History,
  { key, words, latest }: Partition,
  dice: Dice,
): Promise<void> {
  await sleep(dice.between(200, 1_000));
  if (latest === null) return;
  const open = history.begin("visitor", "read", key, latest);
  const range = ["--from", String(latest), "--max", "1"];
  const { code, stdout, stderr } = await servers.run("consume", ...words, ...range);
  if (code !== 0) open.fail(stderr.trim());
  else open.ok(stdout === "" ? null : JSON.parse(stdout).value);
}

/** The whole log at the end against the producers' books and against what the follower saw. */
async function auditPartition(
  servers: QueueServers,
  history: History,
  partition: Partition,
  follower: Follower,
): Promise<string> {
  const { key, words, sent, acknowledged } = partition;
  const text = await servers.done("consume", ...words);
  const log: Message[] = text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
  const problems = auditLog(log, { sent, acknowledged });
  if (problems.length > 0) {
    throw new Error(`${key}: ${problems.length} problems:\n${problems.slice(0, 20).join("\n")}`);
  }
  await eventually(`the follower of ${key} to see all of it`, async () => {
    await follower.look();
    return follower.next === log.length || null;
  });
  for (const { offset, value } of log) history.begin("auditor", "read", key, offset).ok(value);
  return `${key}: ${log.length} messages, ${acknowledged.size} acknowledged; none lost, none ` +
    `twice, the order of each producer kept`;
}
