import { assert, assertEquals } from "@std/assert";
import { type ErrorCode, TrilogError } from "../../lib/base/errors.ts";
import { DEFAULT_TIMEOUT_MS, type KvBackend, KvClient } from "../../lib/kv/client.ts";
import { encodeQuestion, type WatchedChange } from "../../lib/kv/codec.ts";
import { KvDesk } from "../../lib/kv/desk.ts";
import type { MemberState, NodeStatus } from "../../lib/replica/node_protocol.ts";
import { VirtualClock } from "../atm/virtual_clock.ts";
import { STATUS } from "../replica/node_status.ts";
import { Store } from "./store.ts";

/** What happens to a call: an error before or after the store took it. */
type Fate = { readonly before: ErrorCode } | { readonly after: ErrorCode } | "ok";

/** A store behind a line that fails as it is told; calls beyond the list go well. */
class Line implements KvBackend {
  readonly store = new Store();
  fates: Fate[] = [];
  watches: number[] = [];

  command(command: Uint8Array): Promise<Uint8Array> {
    return this.suffer(() => this.store.applyBytes(command));
  }

  query(question: Uint8Array, stale: boolean): Promise<Uint8Array> {
    const answer = () => this.store.machine.query(question);
    // Questions for a ticket are asked of any node and do not fail here.
    return stale ? Promise.resolve(answer()) : this.suffer(answer);
  }

  status(): Promise<NodeStatus> {
    return this.suffer(() => STATUS);
  }

  changeMember(): Promise<MemberState> {
    return this.suffer(() => "voter" as const);
  }

  watch(prefix: Uint8Array, after: number): Promise<Uint8Array> {
    this.watches.push(after);
    return this.suffer(() =>
      this.store.machine.query(encodeQuestion({ op: "changes", prefix, after }))
    );
  }

  private suffer<T>(run: () => T): Promise<T> {
    const fate = this.fates.shift() ?? "ok";
    const fail = (code: ErrorCode) =>
      Promise.reject(new TrilogError(code, `Cannot reach it: ${code}`, { leader: "h:9" }));
    if (fate === "ok") return Promise.resolve(run());
    if ("before" in fate) return fail(fate.before);
    run();
    return fail(fate.after);
  }
}

class Seat {
  readonly clock = new VirtualClock();
  readonly line = new Line();
  readonly seen: string[] = [];
  readonly leave = new AbortController();
  readonly desk: KvDesk;
  private made = 0;

  constructor() {
    const unique = () => `u${this.made += 1}`;
    const { clock, line } = this;
    const client = new KvClient({ backend: line, clock, unique, timeoutMs: DEFAULT_TIMEOUT_MS });
    const show = ({ revision, kind, key }: WatchedChange) => {
      this.seen.push(`${revision} ${kind} ${new TextDecoder().decode(key)}`);
    };
    this.desk = new KvDesk({ client, base64: false, show, signal: this.leave.signal });
  }

  /** What a typed line brings, as JSON. */
  // deno-lint-ignore no-explicit-any
  async type(line: string): Promise<any> {
    const startMs = this.clock.monotonicMs();
    const reply = await this.clock.settle(this.desk.line(line));
    assert(this.clock.monotonicMs() - startMs <= DEFAULT_TIMEOUT_MS, line);
    const shown = reply!.show("json");
    return shown === null ? null : JSON.parse(shown as string);
  }
}

Deno.test("commands reach the store and come back as results", async () => {
  const seat = new Seat();
  assertEquals(await seat.type("set a 1"), { ok: true, op: "set", key: "a", revision: 1 });
  assertEquals((await seat.type("get a")).value, "1");
  assertEquals((await seat.type("cas a 9 2")).code, "value_differs");
  assertEquals((await seat.type("cas a 1 2")).revision, 2);
  assertEquals((await seat.type("cas a --absent 2")).code, "key_exists");
  assertEquals((await seat.type("delete a")).existed, true);
  assertEquals((await seat.type("get a")).code, "no_such_key");
  assertEquals((await seat.type("status")).id, STATUS.name);
  assertEquals((await seat.type("members")).members.length, STATUS.members.length);
  assertEquals((await seat.type("member remove k3")).state, "voter");
});

Deno.test("a list of several pages is one list", async () => {
  const seat = new Seat();
  for (let at = 0; at < 5; at += 1) seat.line.store.set(`k${at}`, "v".repeat(500_000));
  const { entries } = await seat.type("list k");
  assertEquals(entries.map(({ key }: { key: string }) => key), ["k0", "k1", "k2", "k3", "k4"]);
});

Deno.test("a lost answer is asked for again and the change made once", async () => {
  const seat = new Seat();
  seat.line.fates = [{ after: "connection_closed" }, { before: "unavailable" }, {
    before: "not_leader",
  }];
  assertEquals(await seat.type("set a 1"), { ok: true, op: "set", key: "a", revision: 1 });
  assertEquals(seat.line.store.machine.revision, 1);
});

Deno.test("unavailable is said only where certainly nothing was changed", async () => {
  const never: Fate[] = Array.from({ length: 1_000 }, () => ({ before: "unavailable" }));
  const seat = new Seat();
  seat.line.fates = [...never];
  const certain = await seat.type("set a 1");
  assertEquals([certain.code, certain.leader], ["unavailable", "h:9"]);
  seat.line.fates = [{ after: "deadline_exceeded" }, ...never];
  const unknown = await seat.type("set a 1");
  assertEquals(unknown.code, "outcome_unknown");
  seat.line.fates = [];
  const repeated = await seat.type(`set a 1 --request-id ${unknown.requestId}`);
  assertEquals([repeated.revision, seat.line.store.machine.revision], [1, 1]);
  // Under an id of the user's own an earlier call may have taken effect.
  seat.line.fates = [...never];
  assertEquals((await seat.type("delete a --request-id mine")).code, "outcome_unknown");
});

Deno.test("a watcher gets what comes after its revision, again and again, until it has enough", async () => {
  const seat = new Seat();
  seat.line.store.set("a1", "x");
  seat.line.store.set("b1", "y");
  seat.line.fates = [{ before: "unavailable" }, { after: "connection_closed" }];
  seat.line.store.set("a2", "z");
  assertEquals(await seat.type("watch a --after 0 --max 2"), null);
  assertEquals(seat.seen, ["1 set a1", "3 set a2"]);
  assertEquals(seat.line.watches, [0, 0, 0]);
  assertEquals(await seat.type("watch a --max 0"), null);
});

Deno.test("a watcher without a revision begins now", async () => {
  const seat = new Seat();
  seat.line.store.set("a1", "x");
  const watching = seat.desk.line("watch --max 1");
  const later = seat.clock.after(50, () => seat.line.store.set("a2", "y"));
  // This store's line does not wait for changes: it is asked again and again.
  seat.line.watch = async (prefix, after) => {
    await new Promise<void>((resolve) => seat.clock.after(20, resolve));
    return seat.line.store.machine.query(encodeQuestion({ op: "changes", prefix, after }));
  };
  const reply = await seat.clock.settle(watching);
  later.cancel();
  assertEquals([reply!.code, seat.seen], [null, ["2 set a2"]]);
});

Deno.test("changes that are forgotten end the watching with an error", async () => {
  const seat = new Seat();
  const value = "v".repeat(1_000_000);
  for (let at = 0; at < 20; at += 1) seat.line.store.set("a", value);
  assertEquals((await seat.type("watch --after 1")).code, "changes_forgotten");
  assertEquals(seat.line.store.get("a"), value);
});
