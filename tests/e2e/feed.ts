/** A producer that never pauses, and what must come out in the end. */

import { assertEquals } from "@std/assert";
import { eventually, type Running, sleep } from "./harness.ts";
import { numberedLines, type QueueCluster } from "./queue_cluster.ts";

/** Feeds numbered lines to a producer without a pause, until told to stop. */
export class Feed {
  readonly process: Running;
  private next = 0;
  private stopping = false;
  private readonly feeding: Promise<void>;

  constructor(cluster: QueueCluster, topic: string) {
    this.process = cluster.start("produce", topic, "--json");
    this.feeding = this.feed();
    // A producer that ended is told of where it is waited for.
    this.feeding.catch(() => {});
  }

  /** Lines given to the producer so far. */
  get given(): number {
    return this.next;
  }

  /** Messages acknowledged so far. */
  get acknowledged(): number {
    return this.process.lines("stdout").length;
  }

  /** Waits until that many more messages were acknowledged. */
  async progress(count: number): Promise<void> {
    const target = this.acknowledged + count;
    await eventually(`${count} more acknowledgements`, () => this.acknowledged >= target || null);
  }

  /** Ends the input; the producer must have delivered everything. */
  async finish(): Promise<void> {
    this.stopping = true;
    await this.feeding;
    await this.process.endInput();
    assertEquals(await this.process.status(), 0, this.process.text("stderr"));
    assertEquals(this.acknowledged, this.given);
  }

  private async feed(): Promise<void> {
    while (!this.stopping) {
      const lines = numberedLines(this.next, 20);
      this.next += lines.length;
      await this.process.write(`${lines.join("\n")}\n`);
      await sleep(2);
    }
  }
}

/** The whole topic, which must hold exactly the lines that were given, each once and in order. */
export async function assertComplete(cluster: QueueCluster, given: number): Promise<void> {
  const printed = (await cluster.done(["consume", "t"])).split("\n").slice(0, -1);
  assertEquals(printed.length, given);
  assertEquals(printed, numberedLines(0, given));
}

/** The same for a topic of several partitions: each line once, whatever the order. */
export async function assertAllThere(
  cluster: QueueCluster,
  topic: string,
  given: number,
): Promise<void> {
  const printed = (await cluster.done(["consume", topic])).split("\n").slice(0, -1);
  const numberOf = (line: string) => Number(line.slice("line ".length));
  printed.sort((left, right) => numberOf(left) - numberOf(right));
  assertEquals(printed.length, given);
  assertEquals(printed, numberedLines(0, given));
}
