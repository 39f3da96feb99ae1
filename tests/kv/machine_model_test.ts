import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { Prng } from "../../lib/base/prng.ts";
import { encodeQuestion } from "../../lib/kv/codec.ts";
import { KvMachine } from "../../lib/kv/machine.ts";
import { codeOf, restored, Store } from "./store.ts";

const SEEDS = 30;
const STEPS = 400;
const KEYS = ["a", "ab", "b", "ba", "c"];

/** What the store should hold, in the simplest form. */
class Model {
  readonly held = new Map<string, { value: string; endsMs: number }>();

  pass(timeMs: number): void {
    for (const [key, { endsMs }] of this.held) if (endsMs <= timeMs) this.held.delete(key);
  }

  list(prefix: string): [string, string][] {
    return [...this.held].filter(([key]) => key.startsWith(prefix))
      .map(([key, { value }]): [string, string] => [key, value]).sort(([left], [right]) =>
        left < right ? -1 : 1
      );
  }
}

function act(store: Store, model: Model, random: Prng): void {
  const key = random.pick(KEYS);
  const value = String(random.below(3));
  const held = model.held.get(key);
  switch (random.below(6)) {
    case 0: {
      const ttlMs = random.pick([null, 1, 20, 500]);
      assertEquals(codeOf(store.set(key, value, ttlMs)), "ok");
      model.held.set(key, { value, endsMs: ttlMs === null ? Infinity : store.timeMs + ttlMs });
      return;
    }
    case 1:
      assertEquals(store.delete(key), { kind: "deleted", existed: model.held.delete(key) });
      return;
    case 2:
    case 3: {
      const old = random.chance(0.3) ? null : String(random.below(3));
      const fits = old === null ? held === undefined : held?.value === old;
      assertEquals(codeOf(store.cas(key, old, value)) === "ok", fits);
      if (fits) model.held.set(key, { value, endsMs: Infinity });
      return;
    }
    case 4:
      store.run({ op: "expire" });
      return;
    default:
      assertEquals(store.get(key), held?.value ?? null);
  }
}

Deno.test("the machine does what a plain map with end times does", () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const random = new Prng(seed);
    const store = new Store();
    const model = new Model();
    let ended = 0;
    for (let step = 0; step < STEPS; step += 1) {
      store.timeMs += random.pick([0, 0, 1, 7, 100]);
      const before = model.held.size;
      model.pass(store.timeMs);
      ended += before - model.held.size;
      store.run({ op: "expire" });
      act(store, model, random);
      const prefix = random.pick(["", "a", "b", "zz"]);
      assertEquals(store.list(prefix), model.list(prefix), `seed ${seed}, step ${step}`);
    }
    assert(ended > 5, "keys came to their end");
  }
});

Deno.test("a replica that follows the changes of a snapshot's owner holds the same bytes", () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const random = new Prng(seed);
    const store = new Store();
    const model = new Model();
    for (let step = 0; step < 100; step += 1) {
      store.timeMs += random.below(20);
      model.pass(store.timeMs);
      store.run({ op: "expire" });
      act(store, model, random);
    }
    const copy = restored(store.machine);
    assertEquals(copy.snapshot(), store.machine.snapshot());
    // From here on both take the same commands: same answers, same state.
    const twin = new Twin(copy, store);
    for (let step = 0; step < 100; step += 1) {
      store.timeMs += random.below(20);
      twin.step(random);
    }
    assertEquals(copy.snapshot(), store.machine.snapshot());
    assertEquals(copy.revision, store.machine.revision);
    assertEquals(copy.nextExpiryMs, store.machine.nextExpiryMs);
  }
});

/** Gives every command to two machines. */
class Twin {
  constructor(private readonly copy: KvMachine, private readonly store: Store) {}

  step(random: Prng): void {
    const { store, copy } = this;
    const apply = store.applyBytes.bind(store);
    store.applyBytes = (command) => {
      const answer = apply(command);
      const context = { index: store.index, term: 1, timeMs: store.timeMs };
      assertEquals(copy.apply(command, context), answer);
      return answer;
    };
    const key = random.pick(KEYS);
    const dice = random.below(4);
    if (dice < 2) store.set(key, String(random.below(3)), random.pick([null, 1, 30]));
    else if (dice === 2) store.delete(key);
    else store.cas(key, String(random.below(3)), "x");
    store.applyBytes = apply;
    const question = encodeQuestion({ op: "changes", prefix: utf8(""), after: 0 });
    assertEquals(copy.query(question), store.machine.query(question));
  }
}

Deno.test("equal states have equal snapshots, however they came about", () => {
  const one = new Store();
  one.set("a", "1");
  one.set("b", "2");
  const other = new Store();
  other.machine.restore(one.machine.snapshot());
  one.set("c", "3", 50);
  const requestId = "id-3";
  other.run({ op: "set", requestId, key: utf8("c"), value: utf8("3"), ttlMs: 50 });
  assertEquals(other.machine.snapshot(), one.machine.snapshot());
  other.machine.restore(new KvMachine().snapshot());
  assertEquals(other.list(), [], "nothing of the old state remains");
  assertEquals(other.machine.nextExpiryMs, null);
});
