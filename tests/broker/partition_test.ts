import { assert, assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { Prng } from "../../lib/base/prng.ts";
import { pack, type Packable, unpack } from "../../lib/base/msgpack.ts";
import { patchBaseOffset } from "../../lib/batch/batch_header.ts";
import { recordsOf } from "../../lib/batch/batch_reader.ts";
import { PartitionMachine } from "../../lib/broker/partition.ts";
import {
  decodeCommand,
  dequeueAnswer,
  descriptionAnswer,
  encodeCommand,
  encodeQuestion,
  groupAnswer,
  isBatch,
  type PartitionCommand,
  produceAnswer,
} from "../../lib/broker/partition_commands.ts";
import { TimeIndex } from "../../lib/broker/partition_time.ts";
import { Applier, batchOf, orCode, sentBy } from "./partition_support.ts";

const fresh = () => new Applier(new PartitionMachine());
const produced = (applier: Applier, batch: Uint8Array) =>
  orCode(() => produceAnswer.decode(applier.data(batch)));
const offsetsOf = (applier: Applier, batches: Uint8Array[]) =>
  batches.map((batch) => {
    const answer = produced(applier, batch);
    return typeof answer === "string" ? answer : answer.baseOffset;
  });

Deno.test("batches take dense offsets, refused ones and repeats take none", () => {
  const applier = fresh();
  const answers = offsetsOf(applier, [
    sentBy(1, 0, 3),
    sentBy(1, 5, 1),
    sentBy(1, 0, 3),
    sentBy(1, 3, 2),
    batchOf(4),
  ]);
  assertEquals(answers, [0, "out_of_order_sequence", 0, 3, 5]);
  assertEquals(applier.machine.endOffset, 9);
  assertEquals([1, 2, 3, 4, 5].map((index) => applier.machine.baseOffsetOf(index)), [
    0,
    null,
    null,
    3,
    5,
  ]);
});

Deno.test("a repeat gets the first answer, stamp included, and says that it is one", () => {
  const applier = fresh();
  applier.pass(4);
  const first = produced(applier, sentBy(9, 0, 2));
  assertEquals(first, { baseOffset: 0, timeMs: 5_000, duplicate: false });
  assertEquals(produced(applier, sentBy(9, 0, 2)), {
    baseOffset: 0,
    timeMs: 5_000,
    duplicate: true,
  });
});

Deno.test("the last five batches of a producer are recognised, an older one is out of order", () => {
  const applier = fresh();
  for (let sequence = 0; sequence < 6; sequence += 1) applier.data(sentBy(1, sequence));
  assertEquals(
    offsetsOf(applier, [0, 1, 2, 3, 4, 5].map((sequence) => sentBy(1, sequence))),
    ["out_of_order_sequence", 1, 2, 3, 4, 5],
  );
});

Deno.test("a batch with a known sequence and another count is no repeat", () => {
  const applier = fresh();
  assertEquals(offsetsOf(applier, [sentBy(1, 0, 2), sentBy(1, 0, 1), sentBy(1, 2)]), [
    0,
    "out_of_order_sequence",
    2,
  ]);
});

Deno.test("a newer epoch begins with sequence 0 and fences the older one", () => {
  const applier = fresh();
  assertEquals(
    offsetsOf(applier, [
      sentBy(1, 0, 1, 3),
      sentBy(1, 1, 1, 4),
      sentBy(1, 0, 1, 4),
      sentBy(1, 1, 1, 3),
      sentBy(1, 1, 1, 4),
    ]),
    [0, "out_of_order_sequence", 1, "producer_fenced", 2],
  );
});

Deno.test("sequences go on at 0 after 2^31 - 1", () => {
  const applier = fresh();
  applier.data(sentBy(1, 0));
  const { machine } = applier;
  // Two thousand million messages are not produced here: the state is made as if they had been.
  const patched = new PartitionMachine();
  patched.restore(withSequence(machine.snapshot(), 2 ** 31 - 3));
  const later = new Applier(patched);
  later.index = 10;
  assertEquals(
    offsetsOf(later, [sentBy(1, 2 ** 31 - 2, 3), sentBy(1, 0), sentBy(1, 1), sentBy(1, 1)]),
    [1, "out_of_order_sequence", 4, 4],
  );
});

/** The snapshot of a machine with one remembered batch, with another base sequence. */
function withSequence(snapshot: Uint8Array, sequence: number): Uint8Array {
  const [version, index, times, , ...rest] = unpack(snapshot) as Packable[];
  const batch = [sequence, 1, 0, 1_000];
  return pack([version, index, times, [[[1, 0, [batch]]], []], ...rest]);
}

Deno.test("one-at-a-time publishing costs no memory in the index", () => {
  const applier = fresh();
  const batch = batchOf(1);
  for (let at = 0; at < 20_000; at += 1) applier.data(batch);
  assert(applier.machine.snapshot().length < 200);
  assertEquals(applier.machine.locate(12_345), { index: 12_346, baseOffset: 12_345, count: 1 });
});

Deno.test("publishing and committing by turns costs a few bytes an entry", () => {
  const applier = fresh();
  const batch = batchOf(1);
  const commit = encodeCommand({
    kind: "commit",
    group: "g",
    generation: 1,
    member: "m",
    offset: 0,
  });
  for (let at = 0; at < 5_000; at += 1) {
    applier.data(batch);
    applier.data(commit);
  }
  const { machine } = applier;
  assert(machine.snapshot().length < 5_000 * 4, `${machine.snapshot().length} bytes`);
  for (let offset = 0; offset < 5_000; offset += 1) {
    assertEquals(machine.locate(offset)?.index, offset * 2 + 1);
    assertEquals(machine.baseOffsetOf(offset * 2 + 1), offset);
    assertEquals(machine.baseOffsetOf(offset * 2 + 2), null);
  }
});

Deno.test("a batch read back with its patched offset numbers its messages as the answer said", () => {
  const applier = fresh();
  applier.data(batchOf(10));
  const batch = batchOf(3);
  const { baseOffset } = produceAnswer.decode(applier.data(batch));
  patchBaseOffset(batch, applier.machine.baseOffsetOf(2)!, 1);
  assertEquals([...recordsOf(batch)].map((record) => record.offset), [10, 11, 12]);
  assertEquals(baseOffset, 10);
});

Deno.test("a claim returns the committed offset and locks out whoever held it before", () => {
  const applier = fresh();
  applier.data(batchOf(10));
  const claim = (generation: number, member: string) =>
    orCode(() =>
      groupAnswer.decode(
        applier.command({ kind: "claim", group: "g", born: 0, generation, member }),
      )
    );
  const commit = (generation: number, member: string, offset: number) =>
    orCode(() =>
      groupAnswer.decode(
        applier.command({ kind: "commit", group: "g", generation, member, offset }),
      )
    );
  assertEquals(commit(1, "old", 2), "fenced");
  assertEquals(claim(1, "old"), { offset: null });
  assertEquals(commit(1, "old", 4), { offset: 4 });
  assertEquals(claim(2, "new"), { offset: 4 });
  assertEquals(commit(1, "old", 6), "fenced");
  assertEquals(claim(1, "old"), "fenced");
  assertEquals(claim(2, "old"), "fenced");
  assertEquals(commit(2, "new", 11), "offset_out_of_range");
  assertEquals(commit(2, "new", 10), { offset: 10 });
  assertEquals(claim(2, "new"), { offset: 10 }, "a repeated claim is harmless");
  assertEquals(commit(2, "new", 3), { offset: 10 }, "a late repeat of an earlier commit");
  assertEquals(claim(3, "reset"), { offset: 10 });
  assertEquals(commit(3, "reset", 3), { offset: 3 }, "a new generation may begin lower");
  assertEquals(commit(3, "reset", 2), { offset: 3 });
});

Deno.test("a repeated request is answered again, an empty answer too", () => {
  const applier = fresh();
  const dequeue = (requestId: string | null) =>
    dequeueAnswer.decode(applier.command({ kind: "dequeue", consumer: 1, requestId, turn: null }));
  assertEquals(dequeue("a"), { offset: null, skipped: 0 });
  applier.data(batchOf(3));
  assertEquals(dequeue("a"), { offset: null, skipped: 0 });
  assertEquals(dequeue("b"), { offset: 0, skipped: 0 });
  assertEquals(dequeue("b"), { offset: 0, skipped: 0 });
  assertEquals(dequeue(null), { offset: 1, skipped: 0 });
  assertEquals(dequeue(null), { offset: 2, skipped: 0 });
  assertEquals(dequeue(null), { offset: null, skipped: 0 });
});

Deno.test("a request that comes late, after others of its consumer, takes nothing", () => {
  const applier = fresh();
  const dequeue = (requestId: string, turn: number) => {
    const answer = applier.command({ kind: "dequeue", consumer: 1, requestId, turn });
    return orCode(() => dequeueAnswer.decode(answer));
  };
  applier.data(batchOf(3));
  assertEquals(applier.machine.consumerTurn(1), 0);
  assertEquals(dequeue("early", 1), "stale_sequence");
  assertEquals(dequeue("a", 0), { offset: 0, skipped: 0 });
  assertEquals(dequeue("a", 0), { offset: 0, skipped: 0 }, "a repeat is none");
  assertEquals(dequeue("late", 0), "stale_sequence");
  assertEquals(dequeue("b", 1), { offset: 1, skipped: 0 });
  assertEquals(dequeue("a", 0), "stale_sequence");
  const restored = new PartitionMachine();
  restored.restore(applier.machine.snapshot());
  assertEquals(restored.consumerTurn(1), 2);
  assertEquals(dequeue("c", 2), { offset: 2, skipped: 0 });
});

Deno.test("a consumer behind the log start is told how much it missed, once", () => {
  const applier = fresh();
  const dequeue = (consumer: number) =>
    dequeueAnswer.decode(
      applier.command({ kind: "dequeue", consumer, requestId: null, turn: null }),
    );
  applier.data(batchOf(4));
  applier.data(batchOf(4));
  assertEquals(dequeue(1), { offset: 0, skipped: 0 });
  assertEquals(applier.machine.messagesLeft(1), 7);
  applier.command({ kind: "trim", index: 2 });
  assertEquals(applier.machine.startOffset, 4);
  assertEquals(applier.machine.messagesLeft(1), 4);
  assertEquals(dequeue(1), { offset: 4, skipped: 3 });
  assertEquals(dequeue(1), { offset: 5, skipped: 0 });
  assertEquals(dequeue(2), { offset: 4, skipped: 0 }, "a new one begins at what there is");
});

Deno.test("after a recovery with loss offsets go on above, and the gap is passed over", () => {
  const applier = fresh();
  applier.data(batchOf(2));
  applier.command({ kind: "advance", offset: 100 });
  applier.data(batchOf(2));
  const { machine } = applier;
  assertEquals(machine.locate(50), { index: 3, baseOffset: 100, count: 2 });
  assertEquals([machine.startOffset, machine.endOffset], [0, 102]);
  assertEquals(machine.messagesLeft(1), 4);
});

Deno.test("a snapshot taken before a trim and the log after it give the same state", () => {
  const random = new Prng(5);
  const whole = fresh();
  const late = fresh();
  const log: Uint8Array[] = [];
  for (let at = 0; at < 60; at += 1) log.push(batchOf(random.between(1, 3)));
  log.push(encodeCommand({ kind: "trim", index: 40 }));
  for (let at = 0; at < 60; at += 1) log.push(batchOf(random.between(1, 2)));
  for (const [at, data] of log.entries()) {
    if (at === 39) {
      late.machine.restore(whole.machine.snapshot());
      late.index = whole.index;
    }
    whole.data(data);
    if (at >= 39) late.data(data);
  }
  assertEquals(late.machine.snapshot(), whole.machine.snapshot());
});

Deno.test("the search by time begins at or before the first message that is late enough", () => {
  const applier = fresh();
  const big = (timestampMs: number) => batchOf(9_000, {}, timestampMs);
  for (let at = 0; at < 60; at += 1) applier.data(big(at * 10_000));
  const { machine } = applier;
  assertEquals(machine.searchFrom(0)?.index, 1);
  for (const at of [5, 17, 33, 59]) {
    const found = machine.searchFrom(at * 10_000)!;
    assert(found.index <= at + 1 && found.index > at - 20, `${found.index} for entry ${at + 1}`);
    assertEquals(found.baseOffset, (found.index - 1) * 9_000);
  }
  assertEquals(machine.searchFrom(10 ** 9), null);
  assert(machine.describe().sizeBytes > 60 * 9_000 * 8);
  applier.command({ kind: "trim", index: 31 });
  assertEquals(machine.searchFrom(0)?.index, 31);
  applier.command({ kind: "trim", index: applier.index });
  assertEquals(machine.searchFrom(0), null);
  assertEquals(machine.describe().sizeBytes, 0);
});

Deno.test("the points along the time go with the batches that they describe", () => {
  const times = new TimeIndex();
  for (let index = 1; index <= 10; index += 1) times.append(index, 600_000, index * 10);
  const sizes = [1, 2, 3, 4, 5].map((index) => {
    times.trim(index, false);
    return times.sizeBytes;
  });
  assertEquals(sizes, [6_000_000, 6_000_000, 4_800_000, 4_800_000, 3_600_000]);
  assertEquals([0, 60, 61, 100, 101].map((time) => times.searchFrom(time)), [5, 5, 7, 9, null]);
});

Deno.test("a question about everybody's place is answered, an unknown one refused", () => {
  const applier = fresh();
  applier.data(batchOf(2));
  applier.command({ kind: "claim", group: "b", born: 0, generation: 1, member: "m" });
  applier.command({ kind: "claim", group: "a", born: 0, generation: 2, member: "n" });
  applier.command({ kind: "dequeue", consumer: 3, requestId: null, turn: null });
  const { machine } = applier;
  const described = descriptionAnswer.decode(machine.query(encodeQuestion("describe")));
  assertEquals(described, machine.describe());
  assertEquals(described.groups.map((group) => group.group), ["a", "b"]);
  assertEquals(described.consumers, [{ consumer: 3, nextOffset: 1 }]);
  assertEquals(orCode(() => descriptionAnswer.decode(machine.query(pack(["what"])))), "malformed");
});

Deno.test("commands come back from their bytes, and never look like a batch", () => {
  const commands: PartitionCommand[] = [
    { kind: "claim", group: "g", born: 0, generation: 2 ** 40, member: "m" },
    { kind: "commit", group: "g", generation: 1, member: "m", offset: 7 },
    { kind: "delete_group", group: "g", below: 2 ** 40 },
    { kind: "dequeue", consumer: 1, requestId: null, turn: null },
    { kind: "dequeue", consumer: 1, requestId: "r", turn: 3 },
    { kind: "delete_consumer", consumer: 1 },
    { kind: "trim", index: 9 },
    { kind: "advance", offset: 9 },
  ];
  for (const command of commands) {
    const data = encodeCommand(command);
    assert(!isBatch(data) && (data[0] & 0xf0) === 0x90);
    assertEquals(decodeCommand(data), command);
  }
  assert(isBatch(batchOf(1)));
});

Deno.test("random bytes as a committed command end in a refusal and change nothing", () => {
  const random = new Prng(77);
  const applier = fresh();
  applier.data(batchOf(2));
  const before = applier.machine.snapshot();
  for (let run = 0; run < 5_000; run += 1) {
    const data = Uint8Array.from({ length: random.below(80) }, () => random.below(256));
    if (data.length > 0 && random.chance(0.7)) data[0] = random.pick([0, 0x91, 0x92, 0x94, 0x95]);
    if (data.length > 1 && random.chance(0.5)) data[1] = random.between(3, 9);
    const answer = applier.data(data);
    const accepted = answer[1] === 0;
    if (!accepted) continue;
    // A few of them happen to be commands: then the state is allowed to change.
    const command = decodeCommand(data);
    assertEquals(decodeCommand(encodeCommand(command)), command);
    applier.machine.restore(before);
  }
  assertEquals(applier.machine.snapshot(), before);
});

Deno.test("a snapshot of another version is refused", () => {
  const error = assertThrows(() => new PartitionMachine().restore(pack([2])), TrilogError);
  assertEquals(error.code, "unsupported_version");
});

Deno.test("a group begins without an offset where a deleted group of its name left one", () => {
  const applier = fresh();
  const claimant = { group: "g", generation: 3, member: "m" };
  applier.command({ kind: "claim", born: 2, ...claimant });
  applier.data(batchOf(5));
  applier.command({ kind: "commit", ...claimant, offset: 4 });
  const { machine } = applier;
  assertEquals([machine.committedBy("g", 3), machine.committedBy("g", 4)], [4, null]);
  const forget = (below: number) => applier.command({ kind: "delete_group", group: "g", below });
  forget(3);
  assertEquals(machine.committedBy("g", 2), 4, "it was claimed in generation 3");
  const later = { ...claimant, generation: 5, member: "n" };
  const answer = groupAnswer.decode(applier.command({ kind: "claim", born: 5, ...later }));
  assertEquals(answer, { offset: null });
  forget(5);
  assertEquals([...machine.groupGenerations()], [["g", 5]]);
  forget(6);
  assertEquals([...machine.groupGenerations()], []);
  const late = groupAnswer.decode(applier.command({ kind: "claim", born: 2, ...claimant }));
  assertEquals(late, { offset: null }, "a late claim of the deleted group brings nothing back");
  forget(6);
  assertEquals([...machine.groupGenerations()], []);
});

Deno.test("a claim of an earlier version is read", () => {
  const claim = decodeCommand(pack([1, "g", 7, "m"]));
  assertEquals(claim, { kind: "claim", group: "g", born: 0, generation: 7, member: "m" });
});

Deno.test("groups and consumers beyond the limit are refused, known ones go on", () => {
  const applier = fresh();
  const claim = (group: string) =>
    orCode(() =>
      groupAnswer.decode(
        applier.command({ kind: "claim", group, born: 0, generation: 1, member: "m" }),
      )
    );
  for (let at = 0; at < limits.partitionGroups; at += 1) claim(`g${at}`);
  assertEquals(claim("one-more"), "too_many_groups");
  assertEquals(claim("g5"), { offset: null });
  applier.command({ kind: "delete_group", group: "g6", below: 2 });
  assertEquals(claim("one-more"), { offset: null });
  const dequeue = (consumer: number) =>
    orCode(() =>
      dequeueAnswer.decode(
        applier.command({ kind: "dequeue", consumer, requestId: null, turn: null }),
      )
    );
  for (let at = 0; at < limits.partitionConsumers; at += 1) dequeue(at);
  assertEquals(dequeue(limits.partitionConsumers), "overloaded");
  assertEquals(dequeue(5), { offset: null, skipped: 0 });
});
