/** `trilog consume` without a group: prints partitions from a position on. */

import { unlessAborted } from "../lib/base/abort.ts";
import type { Clock } from "../lib/base/clock.ts";
import type { BatchRecord } from "../lib/batch/batch_reader.ts";
import type { Client } from "../lib/client/client.ts";
import type { LogPosition } from "../lib/client/group_offsets.ts";
import type { MessagePrinter } from "./message_printer.ts";

/** What it needs of a client; tests put a cluster of their own behind it. */
export type Queue = Pick<Client, "offset" | "reader">;

/** Where to begin in a partition. `before_end`: so many offsets before the end there is now. */
export type Position =
  | LogPosition
  | { readonly kind: "before_end"; readonly count: number };

export interface Consumption {
  readonly topic: string;
  readonly partitions: readonly number[];
  readonly position: Position;
  /** What to do where retention is faster than the reading. */
  readonly onBehind: "earliest" | "latest" | "fail";
  readonly follow: boolean;
  readonly printer: MessagePrinter;
  readonly signal: AbortSignal;
  /** With `follow`: partitions that are added to the topic are printed as well. */
  readonly added?: AddedPartitions;
}

/** How to learn of partitions that are added. */
export interface AddedPartitions {
  readonly clock: Clock;
  /** Partitions of the topic, as far as is known; null where it is not known. */
  readonly count: () => number | null;
}

/** How often added partitions are looked for. */
const LOOK_MS = 500;

/**
 * Prints the partitions side by side: each until the end there was at the start, or without an end
 * with `follow`; until enough was printed, or until the signal.
 */
export async function consumePartitions(queue: Queue, options: Consumption): Promise<void> {
  const reading = options.partitions.map((partition) =>
    consumePartition(queue, partition, options.position, options)
  );
  if (options.follow && options.added) reading.push(consumeAdded(queue, options, options.added));
  await Promise.all(reading);
}

/** Prints partitions that are added later, each from its first message on. */
async function consumeAdded(
  queue: Queue,
  options: Consumption,
  { clock, count }: AddedPartitions,
): Promise<void> {
  const { partitions, printer, signal } = options;
  let known = partitions.length;
  let failure: unknown = null;
  const reading: Promise<void>[] = [];
  while (!printer.full && !signal.aborted) {
    const present = count() ?? known;
    for (; known < present; known += 1) {
      const position = { kind: "offset", offset: 0 } as const;
      reading.push(
        consumePartition(queue, known, position, options).catch((thrown) => {
          failure ??= thrown;
        }),
      );
    }
    await pause(clock, signal);
    if (failure !== null) throw failure;
  }
  await Promise.all(reading);
}

function pause(clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      timer.cancel();
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = clock.after(LOOK_MS, end);
    signal.addEventListener("abort", end, { once: true });
  });
}

/**
 * Prints the last `count` messages of all the partitions together, in the order of their times
 * (that of a partition is kept); then what follows, with `follow`. Memory for `count` messages.
 */
export async function consumeLast(
  queue: Queue,
  count: number,
  options: Consumption,
): Promise<void> {
  const { topic, partitions, follow, printer, signal } = options;
  const ends = new Map<number, number>();
  let newest: readonly Placed[] = [];
  for (const partition of partitions) {
    const end = await queue.offset(topic, partition, "latest");
    ends.set(partition, end);
    const kept: Placed[] = [];
    const from = await startOffset(queue, topic, partition, { kind: "before_end", count });
    for await (const records of recordsBetween(queue, partition, from, end, options)) {
      for (const record of records) kept.push({ partition, record: copied(record) });
    }
    newest = lastOfBoth(newest, kept, count);
  }
  for (const { partition, record } of newest) {
    if (printer.full || signal.aborted) return;
    await printer.print(partition, [record]);
  }
  if (!follow) return;
  const reading = partitions.map((partition) => {
    const position = { kind: "offset", offset: ends.get(partition)! } as const;
    return consumePartition(queue, partition, position, options);
  });
  if (options.added) reading.push(consumeAdded(queue, options, options.added));
  await Promise.all(reading);
}

async function consumePartition(
  queue: Queue,
  partition: number,
  position: Position,
  options: Consumption,
): Promise<void> {
  const { topic, follow, printer } = options;
  const end = follow ? Infinity : await queue.offset(topic, partition, "latest");
  const from = await startOffset(queue, topic, partition, position);
  for await (const records of recordsBetween(queue, partition, from, end, options)) {
    await printer.print(partition, records);
    if (printer.full) return;
  }
}

/** What is stored from one offset up to another, as it comes; ends early with the signal. */
async function* recordsBetween(
  queue: Queue,
  partition: number,
  from: number,
  end: number,
  { topic, onBehind, signal }: Consumption,
): AsyncGenerator<readonly BatchRecord[], void, undefined> {
  const reader = queue.reader(topic, partition, { from, onBehind });
  while (reader.offset < end && !signal.aborted) {
    const fetched = await unlessAborted(reader.next(), signal);
    if (fetched === null) return;
    yield fetched.records.filter(({ offset }) => offset < end);
  }
}

async function startOffset(
  queue: Queue,
  topic: string,
  partition: number,
  position: Position,
): Promise<number> {
  if (position.kind === "offset") return position.offset;
  if (position.kind === "before_end") {
    const end = await queue.offset(topic, partition, "latest");
    const start = await queue.offset(topic, partition, "earliest");
    return Math.max(start, end - position.count);
  }
  const timeMs = position.kind === "time" ? position.timeMs : 0;
  return await queue.offset(topic, partition, position.kind, timeMs);
}

interface Placed {
  readonly partition: number;
  readonly record: BatchRecord;
}

/** Without the batch that the record is a view into. */
function copied(record: BatchRecord): BatchRecord {
  const { key, value, headers } = record;
  return {
    ...record,
    key: key?.slice() ?? null,
    value: value?.slice() ?? null,
    headers: headers.map((header) => ({ ...header, value: header.value?.slice() ?? null })),
  };
}

/** The last `count` of two sequences merged by time; neither is reordered in itself. */
function lastOfBoth(
  left: readonly Placed[],
  right: readonly Placed[],
  count: number,
): readonly Placed[] {
  const merged: Placed[] = [];
  let [atLeft, atRight] = [left.length - 1, right.length - 1];
  while (merged.length < count && (atLeft >= 0 || atRight >= 0)) {
    const takeRight = atLeft < 0 ||
      (atRight >= 0 && right[atRight].record.timestampMs >= left[atLeft].record.timestampMs);
    merged.push(takeRight ? right[atRight--] : left[atLeft--]);
  }
  return merged.reverse();
}
