/** PURE. A message as consumers see it. */

import type { BatchRecord } from "../batch/batch_reader.ts";

/** A message and where it stands. Key and value are views: copy what is to be kept for long. */
export interface Message extends BatchRecord {
  /** Name of its topic. */
  readonly topic: string;
  /** Number of its partition, from 0. */
  readonly partition: number;
}

/** Messages of one partition that follow each other; at least one. */
export interface MessageBatch {
  /** Name of their topic. */
  readonly topic: string;
  /** Number of their partition, from 0. */
  readonly partition: number;
  /** In order of offset. */
  readonly messages: readonly Message[];
}

/** A stored record with its partition. */
export function messageOf(topic: string, partition: number, record: BatchRecord): Message {
  const { offset, timestampMs, key, value, headers } = record;
  return { topic, partition, offset, timestampMs, key, value, headers };
}
