import { assert, assertEquals } from "@std/assert";
import { limits } from "../../lib/base/limits.ts";
import { ONE_BATCH_PRODUCERS_FROM, readBatchHeader } from "../../lib/batch/batch_header.ts";
import { PartitionMachine } from "../../lib/broker/partition.ts";
import { produceAnswer } from "../../lib/broker/partition_commands.ts";
import { MOST_PRODUCERS, ProducerTable } from "../../lib/broker/partition_producers.ts";
import { MOST_REQUESTS, RequestTable } from "../../lib/broker/partition_requests.ts";
import { Applier, orCode, sentBy } from "./partition_support.ts";

const header = readBatchHeader(sentBy(0, 0));

/** Producers and requests directly at their tables: batches would take too long to make. */
class Sender {
  constructor(readonly table: ProducerTable | RequestTable) {}

  /** The remembered offset of a repeat, null for a batch that was accepted, or the refusal. */
  send(producerId: number, baseSequence: number, timeMs: number): number | null | string {
    const batch = { ...header, producerId, baseSequence };
    return orCode(() => {
      const repeated = this.table.check(batch, timeMs);
      if (repeated === null) this.table.accept(batch, baseSequence, timeMs);
      return repeated?.baseOffset ?? null;
    });
  }
}

const { producerMemoryMs, producerLeastMemoryMs, requestMemoryMs, requestLeastMemoryMs } = limits;

Deno.test("6,000 producers that write to a partition in turns are never refused", () => {
  const applier = new Applier(new PartitionMachine());
  applier.timeMs = 1;
  for (let sequence = 0; sequence < 3; sequence += 1) {
    for (let id = 0; id < 6_000; id += 1) {
      const { duplicate } = produceAnswer.decode(applier.data(sentBy(id, sequence)));
      assert(!duplicate);
    }
    applier.timeMs += 60_000;
  }
  assertEquals(applier.machine.endOffset, 18_000);
});

Deno.test("a producer is forgotten when it was silent for the memory time", () => {
  const sender = new Sender(new ProducerTable());
  sender.send(1, 0, 0);
  sender.send(2, 0, producerMemoryMs);
  assertEquals(sender.send(1, 1, producerMemoryMs), null);
  sender.send(3, 0, 2 * producerMemoryMs + 1);
  assertEquals(sender.send(1, 2, 2 * producerMemoryMs + 1), "out_of_order_sequence");
  assertEquals(sender.table.size, 1);
});

Deno.test("producers of a single batch do not push out those that go on", () => {
  const sender = new Sender(new ProducerTable());
  sender.send(1, 0, 0);
  sender.send(1, 1, 1);
  for (let id = 2; id <= MOST_PRODUCERS; id += 1) sender.send(id, 0, 1_000);
  const later = 1_000 + producerLeastMemoryMs;
  for (let id = 0; id < MOST_PRODUCERS / 2; id += 1) {
    assertEquals(sender.send(1_000_000 + id, 0, later), null);
  }
  assertEquals(sender.table.size, MOST_PRODUCERS);
  assertEquals(sender.send(1, 2, later), null);
  assertEquals(sender.send(2, 1, later), "out_of_order_sequence");
});

Deno.test("where all producers are young, a new one is refused rather than one of them forgotten", () => {
  const sender = new Sender(new ProducerTable());
  for (let id = 0; id < MOST_PRODUCERS; id += 1) sender.send(id, 0, 1_000);
  const last = 1_000 + producerLeastMemoryMs - 1;
  assertEquals(sender.send(1_000_000, 0, last), "overloaded");
  assertEquals(sender.send(0, 0, last), 0, "a repeat of a first batch is recognised");
  assertEquals(sender.send(0, 1, last), null, "a producer that is known goes on");
  assertEquals(sender.send(1_000_000, 0, last + 1), null);
});

Deno.test("what is stored of producers and requests stays within its bytes", () => {
  const machine = new PartitionMachine();
  const empty = machine.snapshot().length;
  const applier = new Applier(machine);
  applier.timeMs = 1_700_000_000_000;
  for (let id = 0; id < 100; id += 1) {
    for (let sequence = 0; sequence < 5; sequence += 1) {
      applier.data(sentBy(2 ** 51 + id, sequence));
    }
    applier.data(sentBy(ONE_BATCH_PRODUCERS_FROM + 2 ** 51 + id, 0));
  }
  const bytes = machine.snapshot().length - empty;
  const producerBytes = limits.partitionProducersBytes / MOST_PRODUCERS;
  const requestBytes = limits.partitionRequestsBytes / MOST_REQUESTS;
  assert(bytes < 100 * (producerBytes + requestBytes), `${bytes} bytes`);
});

Deno.test("a repeated request gets its first answer for at least a minute, however many come", () => {
  const sender = new Sender(new RequestTable());
  const id = (number: number) => ONE_BATCH_PRODUCERS_FROM + number;
  for (let at = 0; at < MOST_REQUESTS; at += 1) sender.send(id(at), 0, 1_000);
  const last = 1_000 + requestLeastMemoryMs;
  assertEquals(sender.send(id(MOST_REQUESTS), 0, last), "overloaded");
  assertEquals(sender.send(id(0), 0, last), 0);
  assertEquals(sender.send(id(MOST_REQUESTS), 0, last + 1), null);
  assertEquals(sender.table.size, MOST_REQUESTS);
});

Deno.test("a request is forgotten after the memory time even where there is room", () => {
  const sender = new Sender(new RequestTable());
  sender.send(ONE_BATCH_PRODUCERS_FROM, 0, 0);
  sender.send(ONE_BATCH_PRODUCERS_FROM + 1, 0, requestMemoryMs);
  assertEquals(sender.table.size, 2);
  sender.send(ONE_BATCH_PRODUCERS_FROM + 2, 0, requestMemoryMs + 1);
  assertEquals(sender.table.size, 2);
});

Deno.test("restored tables forget and recognise as the stored ones do", () => {
  const producers = new Sender(new ProducerTable());
  producers.send(1, 0, 5);
  producers.send(1, 1, 6);
  producers.send(2, 0, 7);
  const restored = new Sender(ProducerTable.restore(producers.table.store()));
  assertEquals(restored.table.store(), producers.table.store());
  assertEquals([restored.send(1, 0, 8), restored.send(2, 1, 8)], [0, null]);
  const requests = new Sender(new RequestTable());
  for (let at = 0; at < 5; at += 1) requests.send(ONE_BATCH_PRODUCERS_FROM + at * 7, 0, at);
  const restoredRequests = RequestTable.restore(requests.table.store());
  assertEquals(restoredRequests.store(), requests.table.store());
});
