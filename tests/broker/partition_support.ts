/** What the tests of the partition machine share. */

import { utf8 } from "../../lib/base/bytes.ts";
import { BatchBuilder, type FinishOptions } from "../../lib/batch/batch_writer.ts";
import type { PartitionMachine } from "../../lib/broker/partition.ts";
import { encodeCommand, type PartitionCommand } from "../../lib/broker/partition_commands.ts";
import { TrilogError } from "../../lib/base/errors.ts";

/** A batch of `count` small messages. */
export function batchOf(count: number, options: FinishOptions = {}, timestampMs = 1_000) {
  const builder = new BatchBuilder();
  for (let at = 0; at < count; at += 1) builder.add(null, utf8(`m${at}`), timestampMs + at);
  return builder.finish(options);
}

/** The batch of a producer that is recognised when it tries again. */
export function sentBy(producerId: number, baseSequence: number, count = 1, producerEpoch = 0) {
  return batchOf(count, { producerId, producerEpoch, baseSequence });
}

/** A machine with the log position that a replica would keep for it. */
export class Applier {
  index = 0;
  /** The stamp of the next entries; null: 1,000 times the index. */
  timeMs: number | null = null;

  constructor(readonly machine: PartitionMachine) {}

  /** Applies an entry's data at the next index. */
  data(data: Uint8Array): Uint8Array {
    this.index += 1;
    const timeMs = this.timeMs ?? this.index * 1_000;
    return this.machine.apply(data, { index: this.index, term: 1, timeMs });
  }

  command(command: PartitionCommand): Uint8Array {
    return this.data(encodeCommand(command));
  }

  /** Entries that do not reach the machine: no-ops and memberships. */
  pass(entries: number): void {
    this.index += entries;
  }
}

/** What `act` returns, or the code of the refusal it ends in. */
export function orCode<T>(act: () => T): T | string {
  try {
    return act();
  } catch (thrown) {
    if (thrown instanceof TrilogError) return thrown.code;
    throw thrown;
  }
}
