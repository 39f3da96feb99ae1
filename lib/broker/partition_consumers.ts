/**
 * Positions of the consumers of the HTTP API. One replicated step both chooses the next message
 * and moves on, so a crash neither loses nor repeats it; the last request of each consumer is
 * remembered with its answer, so a repeat of that request gets the same message (or the same
 * emptiness) again.
 */

import { type Codec, list, nullable, record, text, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Packable } from "../base/msgpack.ts";
import type { ConsumerPosition, DequeueCommand, DequeueResult } from "./partition_commands.ts";
import type { OffsetIndex } from "./partition_index.ts";

interface Cursor {
  readonly nextOffset: number;
  /** Null: the last request bore no id. */
  readonly requestId: string | null;
  readonly answer: DequeueResult;
  /** Requests answered, repeats not counted. */
  readonly turn: number;
}

export class ConsumerTable {
  private consumers = new Map<number, Cursor>();

  /** Where all consumers stand, sorted by id. */
  list(): ConsumerPosition[] {
    return this.sorted().map(([consumer, { nextOffset }]) => ({ consumer, nextOffset }));
  }

  /** How many messages are left for a consumer; for one that never came here: all. */
  messagesLeft(consumer: number, index: OffsetIndex): number {
    return index.messagesFrom(this.consumers.get(consumer)?.nextOffset ?? index.startOffset);
  }

  /** How many requests of a consumer were answered here, repeats not counted. */
  turn(consumer: number): number {
    return this.consumers.get(consumer)?.turn ?? 0;
  }

  /** Fixes the consumer's next message. A consumer begins at the first message there is. */
  dequeue({ consumer, requestId, turn }: DequeueCommand, index: OffsetIndex): DequeueResult {
    const cursor = this.consumers.get(consumer);
    if (requestId !== null && cursor?.requestId === requestId) return cursor.answer;
    const present = this.turn(consumer);
    if (turn !== null && turn !== present) throw late(consumer, turn, present);
    if (cursor === undefined) this.checkRoom(consumer);
    const wanted = cursor?.nextOffset ?? index.startOffset;
    const found = index.locate(wanted);
    const offset = found === null ? null : Math.max(wanted, found.baseOffset);
    const arrived = offset ?? Math.max(wanted, index.endOffset);
    const answer: DequeueResult = { offset, skipped: arrived - wanted };
    const nextOffset = offset === null ? arrived : offset + 1;
    this.consumers.set(consumer, { nextOffset, requestId, answer, turn: present + 1 });
    return answer;
  }

  /** Whether there was such a consumer. */
  delete(consumer: number): boolean {
    return this.consumers.delete(consumer);
  }

  store(): Packable {
    return storedConsumers.encode(
      this.sorted().map(([consumer, { nextOffset, requestId, answer, turn }]) => ({
        consumer,
        nextOffset,
        requestId,
        turn,
        offset: answer.offset,
        skipped: answer.skipped,
      })),
    );
  }

  /** The table that `store` described; throws `malformed`. */
  static restore(packed: Packable): ConsumerTable {
    const table = new ConsumerTable();
    for (const stored of storedConsumers.decode(packed, "consumers")) {
      const { consumer, nextOffset, requestId, turn, offset, skipped } = stored;
      table.consumers.set(consumer, { nextOffset, requestId, turn, answer: { offset, skipped } });
    }
    return table;
  }

  private sorted(): [number, Cursor][] {
    return [...this.consumers].sort(([left], [right]) => left - right);
  }

  private checkRoom(consumer: number): void {
    if (this.consumers.size < limits.partitionConsumers) return;
    throw new TrilogError(
      "overloaded",
      `Cannot consume as consumer ${consumer}: too many consumers are registered`,
    );
  }
}

function late(consumer: number, turn: number, present: number): TrilogError {
  return new TrilogError(
    "stale_sequence",
    `Cannot consume as consumer ${consumer}: the request is for turn ${turn} and ${present} were ` +
      "taken",
  );
}

interface StoredConsumer {
  readonly consumer: number;
  readonly nextOffset: number;
  readonly requestId: string | null;
  readonly turn: number;
  readonly offset: number | null;
  readonly skipped: number;
}

const storedConsumers: Codec<readonly StoredConsumer[]> = list(record<StoredConsumer>({
  consumer: whole,
  nextOffset: whole,
  requestId: nullable(text),
  turn: whole,
  offset: nullable(whole),
  skipped: whole,
}));
