/**
 * What the clients of a simulated partition were told, held against its books: acknowledged
 * messages stand there exactly once, in order and under the offset that was told, refused ones
 * nowhere; a repeat was answered like the first; consumers read what stands there.
 */

import type { BatchHeader } from "../batch/batch_header.ts";
import type { ClaimCommand, CommitCommand } from "../broker/partition_commands.ts";
import type { FetchAnswer, Isolation, ProduceAnswer } from "../client/protocol.ts";
import type { Index } from "../raft/types.ts";
import type { QueueBooks } from "./queue_books.ts";

/** A message that a client gave to its producer. */
export interface Sent {
  readonly client: string;
  /** Nobody else's, and it names the partition. */
  readonly value: string;
  /** Where the partition ended at least, as any client knew, when the message was given away. */
  readonly knownBefore: number;
  /** Where it stands, once it was acknowledged. */
  offset: number | null;
  /** Whether it was called certainly not sent. */
  refused: boolean;
}

/** What one attempt at a batch was answered. */
export interface Produced {
  readonly header: BatchHeader;
  readonly answer: ProduceAnswer;
}

export interface Fetch {
  readonly offset: number;
  readonly isolation: Isolation;
  readonly knownBefore: number;
  /** Highest index applied anywhere when the answer arrived. */
  readonly highestAfter: Index;
  readonly answer: FetchAnswer;
}

/** A claim or a commit of a consumer group that was answered. */
export interface Position {
  readonly command: ClaimCommand | CommitCommand;
  /** What was told: the group's offset. */
  readonly offset: number | null;
}

/** What clients did with one partition. */
export interface PartitionStory {
  readonly sent: Sent[];
  readonly answers: Produced[];
  readonly fetches: Fetch[];
  readonly positions: Position[];
  /** Where the partition ends at least, as far as any client was told. */
  knownEnd: number;
  /** Generations of consumer groups, counted as the managers do. */
  generation: number;
  /** Whether a replica was looked after while its disk was full: it may have dropped by itself. */
  diskWasFull: boolean;
  /** Furthest start of what a replica kept when it dropped by itself, because its disk was full. */
  droppedTo: number;
}

export function newStory(): PartitionStory {
  const told = { sent: [], answers: [], fetches: [], positions: [] };
  return { ...told, knownEnd: 0, generation: 0, droppedTo: 0, diskWasFull: false };
}

/** Checks a story; throws `BrokenInvariant`. */
export function auditStory(books: QueueBooks, story: PartitionStory): void {
  auditSent(books, story.sent);
  for (const { header, answer } of story.answers) {
    const batch = books.batchOf(header);
    books.demand(
      batch?.baseOffset === answer.baseOffset && batch.timeMs === answer.timeMs,
      `a producer was told ${answer.baseOffset} for what stands at ${batch?.baseOffset}`,
    );
  }
  for (const fetch of story.fetches) auditFetch(books, fetch, story.droppedTo);
  for (const { command, offset } of story.positions) {
    const right = books.positionAfter(command);
    books.demand(right === offset, `${JSON.stringify(command)} got ${offset} instead of ${right}`);
  }
}

function auditSent(books: QueueBooks, sent: readonly Sent[]): void {
  const places = new Map<string, number>();
  const given = new Set(sent.map(({ value }) => value));
  books.values.forEach((value, offset) => {
    books.demand(given.has(value), `nobody sent what stands at ${offset} to this partition`);
    books.demand(!places.has(value), `${value} stands at ${places.get(value)} and at ${offset}`);
    places.set(value, offset);
  });
  /** The offset acknowledged last, by client. */
  const last = new Map<string, number>();
  for (const { client, value, knownBefore, offset, refused } of sent) {
    const place = places.get(value);
    if (refused) books.demand(place === undefined, `${value} was refused and stands at ${place}`);
    if (offset === null) continue;
    books.demand(
      place === offset,
      `durability: ${value} was acknowledged at ${offset} and stands at ${place}`,
    );
    books.demand(offset >= knownBefore, `${value} at ${offset} was sent after ${knownBefore}`);
    books.demand(offset > (last.get(client) ?? -1), `${value} at ${offset} is out of order`);
    last.set(client, offset);
  }
}

function auditFetch(books: QueueBooks, fetch: Fetch, droppedTo: number): void {
  const { offset, isolation, knownBefore, highestAfter, answer } = fetch;
  const { batches, startOffset, endOffset } = answer;
  const most = books.endAfter(highestAfter);
  const least = isolation === "linearizable" ? knownBefore : 0;
  books.demand(
    endOffset >= least && endOffset <= most,
    `a read is stale: the end was said to be ${endOffset}, between ${least} and ${most}`,
  );
  books.demand(
    startOffset <= Math.max(books.startAfter(highestAfter), droppedTo),
    `a consumer was told that the partition begins at ${startOffset}`,
  );
  books.demand(
    books.checkBatches(offset, batches) <= most,
    `a consumer got what was not committed yet, from ${offset} on`,
  );
}
