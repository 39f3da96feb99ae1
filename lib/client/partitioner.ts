/** PURE. Which partition a message goes to. */

import { partitionOfKey } from "../batch/murmur2.ts";
import type { Random } from "../base/prng.ts";

/**
 * Messages with a key go where Kafka's default partitioner sends them. Those without one stay on
 * one partition until its batch leaves, so that batches fill, and then go on to the next.
 */
export class Partitioner {
  /** Partition in use by topic. */
  private readonly sticky = new Map<string, number>();

  constructor(private readonly random: Random) {}

  /** A partition in [0, `partitions`); `partitions` is at least 1. */
  choose(topic: string, partitions: number, key: Uint8Array | null): number {
    if (key !== null) return partitionOfKey(key, partitions);
    const current = this.sticky.get(topic);
    if (current !== undefined && current < partitions) return current;
    const chosen = this.random.below(partitions);
    this.sticky.set(topic, chosen);
    return chosen;
  }

  /** A batch of messages without keys for `partition` was closed: the next goes elsewhere. */
  batchClosed(topic: string, partition: number, partitions: number): void {
    if (this.sticky.get(topic) === partition) this.sticky.set(topic, (partition + 1) % partitions);
  }
}
