import { assert, assertEquals } from "@std/assert";
import { concatBytes } from "../../lib/base/bytes.ts";
import { Prng } from "../../lib/base/prng.ts";
import { ONE_BATCH_PRODUCERS_FROM } from "../../lib/batch/batch_header.ts";
import { PartitionMachine } from "../../lib/broker/partition.ts";
import {
  boundsAnswer,
  deletedAnswer,
  dequeueAnswer,
  groupAnswer,
  produceAnswer,
} from "../../lib/broker/partition_commands.ts";
import { PartitionModel } from "./partition_model.ts";
import { Applier, batchOf, orCode, sentBy } from "./partition_support.ts";

const STEPS = 250;
const SEEDS = 30;

/** Drives machine and model with the same random commands and holds every answer against it. */
class Comparison {
  readonly model = new PartitionModel();
  applier = new Applier(new PartitionMachine());
  readonly seen = new Map<string, number>();

  constructor(readonly random: Prng) {}

  step(): void {
    const acts: [number, () => void][] = [
      [40, () => this.produce()],
      [6, () => this.anonymous()],
      [10, () => this.claim()],
      [10, () => this.commit()],
      [20, () => this.dequeue()],
      [3, () => this.trim()],
      [1, () => this.advance()],
      [2, () => this.forget()],
      [6, () => this.garbage()],
      [2, () => this.applier.pass(this.random.between(1, 3))],
    ];
    let draw = this.random.below(100);
    for (const [weight, act] of acts) {
      if (draw < weight) return act();
      draw -= weight;
    }
  }

  /** The state outlives a snapshot, unchanged, and the restored machine may go on instead. */
  checkSnapshot(): void {
    const snapshot = this.applier.machine.snapshot();
    const restored = new PartitionMachine();
    restored.apply(batchOf(3), { index: 1, term: 1, timeMs: 1 });
    restored.restore(snapshot);
    assertEquals(restored.snapshot(), snapshot);
    if (this.random.chance(0.2)) {
      const next = new Applier(restored);
      next.index = this.applier.index;
      this.applier = next;
    }
  }

  /** Every entry and every offset is found where the model has it. */
  checkIndex(): void {
    const { machine } = this.applier;
    const kept = new Map(this.model.kept().map((batch) => [batch.index, batch]));
    for (let index = 0; index <= this.applier.index + 1; index += 1) {
      assertEquals(machine.baseOffsetOf(index), kept.get(index)?.baseOffset ?? null);
      const next = [...kept.values()].find((batch) => batch.index >= index);
      assertEquals(machine.offsetFrom(index), next?.baseOffset ?? this.model.end);
    }
    const batches = [...kept.values()];
    const offsets = this.model.offsets();
    for (let offset = this.model.start - 1; offset <= this.model.end; offset += 1) {
      assertEquals(machine.messagesFrom(offset), offsets.filter((one) => one >= offset).length);
      const batch = batches.find((one) => one.baseOffset + one.count > offset);
      const expected = batch === undefined
        ? null
        : { index: batch.index, baseOffset: batch.baseOffset, count: batch.count };
      assertEquals(machine.locate(offset), expected);
    }
    assertEquals([machine.startOffset, machine.endOffset], [this.model.start, this.model.end]);
    for (const [consumer, { next }] of this.model.consumers) {
      assertEquals(machine.messagesLeft(consumer), offsets.filter((one) => one >= next).length);
    }
  }

  private note(what: string): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1);
  }

  private same<T>(actual: T | string, expected: T | string, what: string): void {
    assertEquals(actual, expected);
    this.note(typeof expected === "string" ? `${what} ${expected}` : what);
  }

  /** The next batch of a producer, a repeat of an earlier one, or something out of order. */
  private produce(): void {
    const { random, model } = this;
    const oneBatch = random.chance(0.1);
    const producerId = oneBatch ? ONE_BATCH_PRODUCERS_FROM + random.below(20) : random.below(3);
    const own = model.batches.filter((batch) => batch.producerId === producerId);
    let epoch = oneBatch ? 0 : Math.max(0, ...own.map((batch) => batch.epoch));
    if (!oneBatch && random.chance(0.08)) epoch = Math.max(0, epoch + random.pick([-1, 1]));
    const same = own.filter((batch) => batch.epoch === epoch);
    let sequence = same.reduce((sum, batch) => sum + batch.count, 0);
    let count = random.between(1, random.chance(0.5) ? 1 : 4);
    if (oneBatch) [sequence, count] = [0, 2];
    else if (same.length > 0 && random.chance(0.3)) {
      const earlier = random.pick(same.slice(-7));
      [sequence, count] = [earlier.sequence, earlier.count];
    } else if (random.chance(0.1)) sequence += random.between(1, 3);
    const answer = this.applier.data(sentBy(producerId, sequence, count, epoch));
    const { index } = this.applier;
    const expected = model.append({
      index,
      count,
      producerId,
      epoch,
      sequence,
      timeMs: index * 1_000,
    });
    this.same(orCode(() => produceAnswer.decode(answer)), expected, "produce");
    if (typeof expected !== "string" && expected.duplicate) this.note("duplicate");
  }

  private anonymous(): void {
    const count = this.random.between(1, 3);
    const answer = this.applier.data(batchOf(count));
    const { index } = this.applier;
    const expected = this.model.append({
      index,
      count,
      producerId: -1,
      epoch: -1,
      sequence: -1,
      timeMs: index * 1_000,
    });
    this.same(orCode(() => produceAnswer.decode(answer)), expected, "anonymous");
  }

  private claim(): void {
    const [group, generation, member] = this.claimant();
    const born = this.random.chance(0.2) ? this.random.below(generation + 1) : 0;
    const answer = this.applier.command({ kind: "claim", group, born, generation, member });
    const expected = this.model.claim(group, born, generation, member);
    this.same(orCode(() => groupAnswer.decode(answer)), expected, "claim");
  }

  private commit(): void {
    let [group, generation, member] = this.claimant();
    const fence = this.model.groups.get(group);
    if (fence !== undefined && this.random.chance(0.7)) ({ generation, member } = fence);
    const offset = this.random.below(this.model.end + 3);
    const answer = this.applier.command({ kind: "commit", group, generation, member, offset });
    const expected = this.model.commit(group, generation, member, offset);
    this.same(orCode(() => groupAnswer.decode(answer)), expected, "commit");
  }

  private claimant(): [string, number, string] {
    const { random } = this;
    const group = random.pick(["g1", "g2"]);
    const generation = (this.model.groups.get(group)?.generation ?? 0) + random.between(-1, 2);
    return [group, Math.max(0, generation), random.pick(["m1", "m2"])];
  }

  private dequeue(): void {
    const consumer = this.random.below(4);
    const known = this.model.consumers.get(consumer);
    let requestId = this.random.chance(0.3) ? null : `r${this.random.below(1_000_000)}`;
    if (known !== undefined && this.random.chance(0.3)) {
      requestId = known.answers.at(-1)!.requestId;
    }
    const near = Math.max(0, (known?.answers.length ?? 0) - Number(this.random.chance(0.2)));
    const turn = this.random.chance(0.5) ? null : near;
    const answer = this.applier.command({ kind: "dequeue", consumer, requestId, turn });
    const expected = this.model.dequeue(consumer, requestId, turn);
    this.same(orCode(() => dequeueAnswer.decode(answer)), expected, "dequeue");
    if (expected === "stale_sequence") return this.note(expected);
    if (expected.skipped > 0) this.note("skipped");
    if (expected.offset === null) this.note("empty");
  }

  private trim(): void {
    const from = this.model.kept()[0]?.index ?? 0;
    const index = this.random.between(Math.max(0, from - 2), this.applier.index + 1);
    const answer = this.applier.command({ kind: "trim", index });
    this.same(orCode(() => boundsAnswer.decode(answer)), this.model.trim(index), "trim");
  }

  private advance(): void {
    const offset = Math.max(0, this.model.end + this.random.between(-1, 4));
    const answer = this.applier.command({ kind: "advance", offset });
    this.same(orCode(() => boundsAnswer.decode(answer)), this.model.advance(offset), "advance");
  }

  private forget(): void {
    if (this.random.chance(0.5)) {
      const consumer = this.random.below(4);
      const answer = this.applier.command({ kind: "delete_consumer", consumer });
      const existed = this.model.consumers.delete(consumer);
      assertEquals(deletedAnswer.decode(answer), { existed });
      return;
    }
    const below = this.random.below(20);
    const answer = this.applier.command({ kind: "delete_group", group: "g2", below });
    const existed = this.model.deleteGroup("g2", below);
    assertEquals(deletedAnswer.decode(answer), { existed });
    if (existed) this.note("deleted group");
  }

  /** Damaged batches and commands are refused and change nothing. */
  private garbage(): void {
    const before = this.applier.machine.snapshot();
    const damaged = batchOf(2);
    const data = this.random.pick([
      damaged.subarray(0, this.random.below(damaged.length)),
      new Uint8Array(0),
      Uint8Array.of(0),
      concatBytes([damaged, Uint8Array.of(0)]),
      Uint8Array.of(0x93, 1, 2),
      Uint8Array.of(0x91, 0x7f),
      Uint8Array.of(0x91, 6),
      Uint8Array.of(0x92, 6, 0xff),
      Uint8Array.of(0x92, 6, 0xcd, 0xff, 0xff),
      Uint8Array.of(0xff, 0x00),
      Uint8Array.from({ length: 20 }, () => this.random.below(256)),
    ]);
    const code = orCode(() => produceAnswer.decode(this.applier.data(data)));
    assert(code === "malformed" || code === "invalid_batch" || code === "invalid_argument");
    assertEquals(this.applier.machine.snapshot(), before);
  }
}

Deno.test("every answer and every snapshot agrees with the naive model", () => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const comparison = new Comparison(new Prng(seed));
    for (let step = 0; step < STEPS; step += 1) {
      comparison.step();
      comparison.checkSnapshot();
      if (step % 25 === 0) comparison.checkIndex();
    }
    comparison.checkIndex();
    for (const [what, times] of comparison.seen) seen.set(what, (seen.get(what) ?? 0) + times);
  }
  for (
    const what of [
      "produce",
      "duplicate",
      "produce out_of_order_sequence",
      "produce producer_fenced",
      "anonymous",
      "claim",
      "claim fenced",
      "deleted group",
      "commit",
      "commit fenced",
      "commit offset_out_of_range",
      "dequeue",
      "stale_sequence",
      "skipped",
      "empty",
      "trim",
      "advance",
      "advance invalid_argument",
    ]
  ) {
    assert((seen.get(what) ?? 0) >= 10, `${what} happened ${seen.get(what) ?? 0} times`);
  }
});
