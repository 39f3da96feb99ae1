import { assertEquals, assertThrows } from "@std/assert";
import { Books, type SentMessage } from "../../../lib/sim/deployment/books.ts";
import { BrokenInvariant } from "../../../lib/sim/oracle.ts";

function sent(number: number, more: Partial<SentMessage> = {}): SentMessage {
  return {
    producer: "p1",
    number,
    topic: "t",
    value: `p1-${number}`,
    outcome: "acknowledged",
    partition: 0,
    offset: number - 1,
    sentMs: number,
    ...more,
  };
}

/** Books of three acknowledged messages at offsets 0 to 2. */
function books(...more: SentMessage[]): Books {
  const books = new Books();
  books.sent.push(sent(1), sent(2), sent(3), ...more);
  return books;
}

function content(values: readonly string[], startOffset = 0) {
  return {
    startOffset,
    values: new Map(values.map((value, at) => [startOffset + at, value])),
  };
}

const ALL = ["p1-1", "p1-2", "p1-3"];

Deno.test("books agree with a partition that holds what was acknowledged", () => {
  books().audit("t", 0, content(ALL));
  books(sent(4, { outcome: "unknown" })).audit("t", 0, content([...ALL, "p1-4"]));
  books(sent(4, { outcome: "unknown" })).audit("t", 0, content(ALL));
  books().audit("t", 0, content(ALL.slice(1), 1));
});

Deno.test("books find messages that are lost, doubled, moved, out of order or from nowhere", () => {
  const wrong: Record<string, readonly string[]> = {
    lost: ["p1-1", "p1-2"],
    doubled: [...ALL, "p1-2"],
    swapped: ["p1-1", "p1-3", "p1-2"],
    unsent: [...ALL, "p9-1"],
  };
  for (const [what, values] of Object.entries(wrong)) {
    assertThrows(() => books().audit("t", 0, content(values)), BrokenInvariant, undefined, what);
  }
  const refused = sent(4, { outcome: "refused" });
  assertThrows(() => books(refused).audit("t", 0, content([...ALL, "p1-4"])), BrokenInvariant);
  assertThrows(() => books().audit("t", 1, content(ALL)), BrokenInvariant);
});

Deno.test("books find messages that were handed out and are not there", () => {
  const told = books();
  told.noteDelivery("g", "t", 0, 0, "p1-1");
  told.audit("t", 0, content(ALL));
  assertThrows(() => told.noteDelivery("g", "t", 0, 0, "p1-2"), BrokenInvariant);
  told.noteDelivery("g", "t", 0, 3, "p1-4");
  assertThrows(() => told.audit("t", 0, content(ALL)), BrokenInvariant);
  assertEquals(told.missing("g", "t", 0, content(ALL)), [1, 2]);
});

Deno.test("a recovery excuses what lies beyond the survivor's end and was sent before, only", () => {
  const recovered = books(sent(4, { offset: 5, sentMs: 100 }));
  recovered.noteRecovery("t", 0, 2, 50);
  const values = new Map([[0, "p1-1"], [1, "p1-2"], [5, "p1-4"]]);
  recovered.audit("t", 0, { startOffset: 0, values });
  values.delete(5);
  assertThrows(() => recovered.audit("t", 0, { startOffset: 0, values }), BrokenInvariant);
  values.set(5, "p1-4").delete(1);
  assertThrows(() => recovered.audit("t", 0, { startOffset: 0, values }), BrokenInvariant);
});
