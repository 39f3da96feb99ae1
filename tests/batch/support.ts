/** What the tests of the batch codec share. */

import type { Prng } from "../../lib/base/prng.ts";
import type { RecordHeader } from "../../lib/batch/batch_writer.ts";
import type { BatchBuilder } from "../../lib/batch/batch_writer.ts";

/** A message as a test knows it. */
export interface Message {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly timestampMs: number;
  readonly headers: readonly RecordHeader[];
}

export function randomBytes(random: Prng, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

/** Messages with null, empty and ordinary parts and timestamps that go both ways. */
export function randomMessages(random: Prng, count: number): Message[] {
  const part = () => random.chance(0.2) ? null : randomBytes(random, random.below(200));
  return Array.from({ length: count }, () => ({
    key: part(),
    value: part(),
    timestampMs: 1_700_000_000_000 + random.between(-1_000_000, 2 ** 31),
    headers: Array.from({ length: random.chance(0.7) ? 0 : random.between(1, 4) }, (_, at) => ({
      key: `name ${at} é`,
      value: part(),
    })),
  }));
}

export function addAll(builder: BatchBuilder, messages: readonly Message[]): void {
  for (const { key, value, timestampMs, headers } of messages) {
    builder.add(key, value, timestampMs, headers);
  }
}
