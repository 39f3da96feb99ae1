/**
 * What the clients of a deployment did and were told, and whether that agrees with what its
 * partitions hold in the end.
 */

import { BrokenInvariant } from "../oracle.ts";

/** A message that was given to a producer. */
export interface SentMessage {
  readonly producer: string;
  /** Counts the producer's messages. */
  readonly number: number;
  readonly topic: string;
  /** Occurs in no other message. */
  readonly value: string;
  /** What became of it; `unknown`: it may be there. */
  outcome: "waiting" | "acknowledged" | "refused" | "unknown";
  partition: number;
  offset: number;
  /** Virtual time at which it was given away. */
  readonly sentMs: number;
}

/** What a partition holds; offsets without a message were given up in a recovery. */
export interface PartitionContent {
  readonly startOffset: number;
  /** The value at each offset. */
  readonly values: ReadonlyMap<number, string>;
}

/** A partition went on from one replica's log. */
interface Recovery {
  /** Messages at this offset and after it may be lost, if they were sent before the recovery. */
  from: number;
  atMs: number;
}

export class Books {
  readonly sent: SentMessage[] = [];
  /** By consumer group and partition: the value that was handed out at each offset. */
  private readonly handedOut = new Map<string, Map<number, string>>();
  private readonly recoveries = new Map<string, Recovery>();
  deliveries = 0;

  /** A partition goes on from a log that ends at `from`, whatever was acknowledged beyond. */
  noteRecovery(topic: string, partition: number, from: number, atMs: number): void {
    const known = this.recoveries.get(`${topic}/${partition}`);
    const lowest = Math.min(from, known?.from ?? Infinity);
    this.recoveries.set(`${topic}/${partition}`, { from: lowest, atMs });
  }

  private mayBeLost(topic: string, partition: number, offset: number, sentMs = -Infinity): boolean {
    const recovery = this.recoveries.get(`${topic}/${partition}`);
    return recovery !== undefined && offset >= recovery.from && sentMs <= recovery.atMs;
  }

  noteDelivery(group: string, topic: string, partition: number, offset: number, value: string) {
    const key = `${group} ${topic}/${partition}`;
    const known = this.handedOut.get(key) ?? new Map<number, string>();
    this.handedOut.set(key, known);
    const before = known.get(offset) ?? value;
    if (before !== value && !this.mayBeLost(topic, partition, offset)) {
      throw new BrokenInvariant(`${key}: offset ${offset} was ${before} and then ${value}`);
    }
    known.set(offset, value);
    this.deliveries += 1;
  }

  /** Offsets of a partition whose messages a group was not handed out yet. */
  missing(
    group: string,
    topic: string,
    partition: number,
    { values }: PartitionContent,
  ): number[] {
    const known = this.handedOut.get(`${group} ${topic}/${partition}`);
    return [...values.keys()].filter((offset) => !known?.has(offset));
  }

  get acknowledged(): number {
    return this.sent.filter(({ outcome }) => outcome === "acknowledged").length;
  }

  /** Throws `BrokenInvariant` where a partition's content contradicts what clients were told. */
  audit(topic: string, partition: number, content: PartitionContent): void {
    const label = `${topic}/${partition}`;
    const { startOffset, values } = content;
    const demand = (holds: boolean, message: string) => {
      if (!holds) throw new BrokenInvariant(`${label}: ${message}`);
    };
    const places = new Map<string, number>();
    values.forEach((value, offset) => {
      demand(!places.has(value), `${value} is at ${places.get(value)} and at ${offset}`);
      places.set(value, offset);
    });
    const lastNumbers = new Map<string, number>();
    const byValue = new Map(this.sent.map((sent) => [sent.value, sent]));
    for (const [value, offset] of places) {
      const sent = byValue.get(value);
      demand(sent !== undefined && sent.topic === topic, `${value} at ${offset} was never sent`);
      demand(sent!.outcome !== "refused", `${value} at ${offset} was refused`);
      // What was given up may have been stored later than what was sent after it.
      if (sent!.outcome !== "acknowledged") continue;
      const last = lastNumbers.get(sent!.producer) ?? 0;
      demand(sent!.number > last, `${value} at ${offset} is out of its producer's order`);
      lastNumbers.set(sent!.producer, sent!.number);
    }
    for (const sent of this.sent) {
      if (sent.topic !== topic || sent.outcome !== "acknowledged") continue;
      const there = places.get(sent.value);
      if (sent.partition !== partition) {
        demand(there === undefined, `${sent.value} was acknowledged in ${sent.partition}`);
      } else if (sent.offset >= startOffset) {
        if (this.mayBeLost(topic, partition, sent.offset, sent.sentMs)) continue;
        demand(
          there === sent.offset,
          `${sent.value} was acknowledged at ${sent.offset} and is at ${there ?? "no offset"}`,
        );
      }
    }
    this.auditHandedOut(topic, partition, content);
  }

  /** What consumers were handed out is what the partition holds. */
  private auditHandedOut(topic: string, partition: number, content: PartitionContent): void {
    for (const [key, offsets] of this.handedOut) {
      if (!key.endsWith(` ${topic}/${partition}`)) continue;
      for (const [offset, value] of offsets) {
        const there = content.values.get(offset);
        if (offset < content.startOffset || there === value) continue;
        if (this.mayBeLost(topic, partition, offset)) continue;
        throw new BrokenInvariant(
          `${key}: ${value} was handed out at ${offset}, there is ${there}`,
        );
      }
    }
  }
}
