/** The state of the key-value store as a whole: frozen, streamed, limited. */

import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { pack } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";
import { KvMachine } from "../../lib/kv/machine.ts";
import { codeOf, START_MS, Store } from "./store.ts";

/** A machine restored from parts. */
function restoredFrom(parts: Iterable<Uint8Array>): KvMachine {
  const machine = new KvMachine();
  machine.restoreParts(parts);
  return machine;
}

Deno.test("a frozen state is the state of its moment, whatever is applied while it is taken", () => {
  const store = new Store();
  const random = new Prng(3);
  const act = () => {
    const key = `k${random.below(400)}`;
    const dice = random.below(10);
    if (dice < 2) store.delete(key);
    else if (dice < 4) store.set(key, "short-lived", random.between(1, 500));
    else store.set(key, "v".repeat(random.below(2_000)));
    store.timeMs += 1;
  };
  for (let step = 0; step < 2_000; step += 1) act();
  const before = store.machine.snapshot();
  const parts: Uint8Array[] = [];
  for (const part of store.machine.freeze()) {
    parts.push(part);
    for (let step = 0; step < 50; step += 1) act();
  }
  assert(parts.length > 5, "it comes in parts");
  assert(parts.every((part) => part.length < 80_000), "no part is long");
  assertEquals(restoredFrom(parts).snapshot(), before);
});

Deno.test("a store that has reached its limit refuses what makes it larger, and nothing else", () => {
  const store = new Store(new KvMachine(10_000));
  let stored = 0;
  while (codeOf(store.set(`k${stored}`, "x".repeat(900))) === "ok") stored += 1;
  assertEquals([stored, codeOf(store.set("more", "x".repeat(900)))], [10, "storage_full"]);
  const { revision } = store.machine;
  assertEquals(codeOf(store.cas("k0", "x".repeat(900), "x".repeat(2_000))), "storage_full");
  assertEquals(store.machine.revision, revision, "a refusal changes nothing");
  assertEquals(codeOf(store.set("k1", "y".repeat(900))), "ok", "an equally long value");
  assertEquals(codeOf(store.set("k2", "short")), "ok");
  assertEquals(codeOf(store.set("more", "x".repeat(700))), "ok", "there is room again");
  store.delete("k3");
  assertEquals(codeOf(store.set("k4", "x".repeat(1_700))), "ok");
  // A restored machine counts the same bytes.
  const copy = new Store(new KvMachine(10_000));
  copy.machine.restore(store.machine.snapshot());
  const next = store.newId();
  while (copy.newId() !== next);
  for (const key of ["a", "k5", "k6"]) {
    const [left, right] = [store, copy].map((each) => codeOf(each.set(key, "x".repeat(1_000))));
    assertEquals(left, right);
  }
  store.set("gone", "x".repeat(50), 10);
  store.timeMs += 10_000;
  for (let at = 0; at < 10; at += 1) store.delete(`k${at}`);
  store.delete("more");
  assertEquals(codeOf(store.set("large", "x".repeat(9_900))), "ok", "nothing of them is counted");
});

Deno.test("a snapshot of version 1, which was one value, is still restored", () => {
  const [a, b] = [utf8("a"), utf8("b")];
  const changes = [["set", b, utf8("2")], ["delete", utf8("c"), null]];
  const requests = [2, [["id-1", utf8("command"), utf8("answer")]]];
  const entries = [[a, utf8("1"), 1, null], [b, utf8("2"), 2, START_MS + 5]];
  const store = new Store();
  store.machine.restore(pack([1, [3, entries, changes, requests]]));
  assertEquals([store.machine.revision, store.get("a"), store.get("b")], [3, "1", "2"]);
  assertEquals(store.changes(1), ["2 set b 2", "3 delete c"]);
  assertEquals(store.machine.nextExpiryMs, START_MS + 5);
  assertEquals(restoredFrom(store.machine.freeze()).snapshot(), store.machine.snapshot());
});

Deno.test("a restored state replaces the one before, and nothing of that is left", () => {
  const [store, other] = [new Store(), new Store()];
  store.set("kept", "new");
  other.set("kept", "old");
  other.set("gone", "old");
  other.machine.restore(store.machine.snapshot());
  assertEquals(other.machine.snapshot(), store.machine.snapshot());
});
