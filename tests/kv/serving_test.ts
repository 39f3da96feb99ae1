/** What a node does for keys that are due and for those who watch. */

import { assertEquals, assertRejects } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { silentLogger } from "../../lib/base/logger.ts";
import { decodeAnswer } from "../../lib/kv/codec.ts";
import { Expirer, LOOK_MS } from "../../lib/kv/expirer.ts";
import { watchCodec, Watching } from "../../lib/kv/watching.ts";
import { VirtualClock } from "../atm/virtual_clock.ts";
import { Store } from "./store.ts";

/** A store whose entries are stamped by the clock, with an expirer that proposes to it. */
class Node {
  readonly clock = new VirtualClock();
  readonly store = new Store();
  leads = true;
  proposals = 0;
  failures = 0;
  readonly expirer: Expirer;

  constructor() {
    const { clock, store } = this;
    this.expirer = new Expirer({
      stampMs: () => clock.wallMs(),
      clock,
      logger: silentLogger,
      machine: store.machine,
      isLeader: () => this.leads,
      propose: (command) => this.propose(command),
    });
    store.timeMs = clock.wallMs();
    this.expirer.start();
  }

  async pass(forMs: number): Promise<void> {
    await this.clock.settle(new Promise<void>((resolve) => this.clock.after(forMs, resolve)));
  }

  private propose(command: Uint8Array): Promise<unknown> {
    this.proposals += 1;
    if (this.failures > 0) {
      this.failures -= 1;
      return Promise.reject(new TrilogError("unavailable", "Cannot propose: told so"));
    }
    this.store.timeMs = this.clock.wallMs();
    return Promise.resolve(this.store.applyBytes(command));
  }
}

Deno.test("the leader ends a key soon after its time, and proposes nothing before", async () => {
  const node = new Node();
  node.store.set("a", "1", 1_000);
  await node.pass(999);
  assertEquals([node.proposals, node.store.get("a")], [0, "1"]);
  await node.pass(LOOK_MS + 2);
  assertEquals([node.proposals, node.store.get("a")], [1, null]);
  await node.pass(10_000);
  assertEquals(node.proposals, 1);
});

Deno.test("who does not lead ends nothing; what failed is tried again", async () => {
  const node = new Node();
  node.store.set("a", "1", 100);
  node.leads = false;
  await node.pass(1_000);
  assertEquals([node.proposals, node.store.get("a")], [0, "1"]);
  node.leads = true;
  node.failures = 2;
  await node.pass(10 * LOOK_MS);
  assertEquals([node.proposals, node.store.get("a")], [3, null]);
  node.expirer.stop();
  node.store.set("b", "1", 1);
  await node.pass(1_000);
  assertEquals(node.proposals, 3);
});

/** A node that applies to a store, as far as watchers can tell. */
class Watched {
  readonly clock = new VirtualClock();
  readonly store = new Store();
  readonly listeners = new Set<(applied: number) => void>();
  leader: string | null = "k1";
  readonly watching: Watching;

  constructor() {
    const replica = {
      raft: this as never,
      onApplied: (listener: (applied: number) => void) => {
        this.listeners.add(listener);
        return () => this.listeners.delete(listener);
      },
    };
    const { clock, store } = this;
    this.watching = new Watching({ clock, machine: store.machine, replica: () => replica });
  }

  set(key: string, value = "x"): void {
    this.store.set(key, value);
    for (const listener of this.listeners) listener(this.store.index);
  }

  /** Revisions of the changes that a call tells, and how far it looked. */
  async watch(prefix: string, after: number, deadlineMs = 1_000): Promise<[number[], number]> {
    const params = watchCodec.encode({ prefix: utf8(prefix), after, deadlineMs });
    const answer = decodeAnswer(await this.watching.serve(params) as Uint8Array);
    if (answer.kind !== "changes") throw new Error(answer.kind);
    return [answer.changes.map(({ revision }) => revision), answer.upTo];
  }
}

Deno.test("changes that are there are told at once, those to come when they come", async () => {
  const node = new Watched();
  node.set("a");
  node.set("b");
  assertEquals(await node.watch("a", 0), [[1], 2]);
  const waiting = node.watch("a", 2);
  await Promise.resolve();
  node.set("b");
  await Promise.resolve();
  node.set("a");
  assertEquals(await waiting, [[4], 4]);
  assertEquals([node.listeners.size, node.clock.pendingTimers], [0, 0]);
});

Deno.test("a call ends with its time, and tells how far it looked", async () => {
  const node = new Watched();
  node.set("b");
  assertEquals(await node.clock.settle(node.watch("a", 0)), [[], 1]);
  assertEquals([node.listeners.size, node.clock.pendingTimers], [0, 0]);
});

Deno.test("changes of other keys, however many, cost a watcher that is waiting nothing", async () => {
  const node = new Watched();
  const value = "x".repeat(200 * 1024);
  const seen: number[] = [];
  const watcher = (async () => {
    for (let upTo = 0; seen.length < 2;) {
      const [changes, next] = await node.watch("mine", upTo);
      seen.push(...changes);
      upTo = next;
    }
  })();
  node.set("mine");
  // 24 MiB of other keys, three times what is remembered.
  for (let at = 0; at < 120; at += 1) {
    node.set("other", value);
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  }
  node.set("mine");
  await watcher;
  assertEquals(seen, [1, 122]);
});

Deno.test("a held call is answered before its caller's position is forgotten", async () => {
  const node = new Watched();
  node.set("mine");
  let done = false;
  const waiting = node.watch("mine", 1).then((answer) => {
    done = true;
    return answer;
  });
  let sets = 0;
  for (; !done; sets += 1) {
    node.set("other");
    for (let turn = 0; turn < 6; turn += 1) await Promise.resolve();
  }
  const [changes, upTo] = await waiting;
  assertEquals([changes, upTo], [[], 1 + sets]);
  assertEquals(node.store.changes(1, "mine"), [], "the old position is still remembered");
});

Deno.test("a node that is behind the watcher waits until it is not", async () => {
  const node = new Watched();
  node.set("a");
  assertEquals(await node.clock.settle(node.watch("a", 5)), [[], 5]);
});

Deno.test("a node that follows no leader sends the watcher elsewhere", async () => {
  const node = new Watched();
  node.leader = null;
  const error = await assertRejects(() => node.watch("a", 0), TrilogError);
  assertEquals(error.code, "unavailable");
});
