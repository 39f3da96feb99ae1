import { assertEquals, assertRejects } from "@std/assert";
import { EMPTY_BYTES, textOf, utf8 } from "../../lib/base/bytes.ts";
import { sleep } from "../../lib/base/clock.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import { GroupService } from "../../lib/replica/group_service.ts";
import type { Replica } from "../../lib/replica/replica.ts";
import { SessionMachine } from "../../lib/replica/sessions.ts";
import { SessionWindow } from "../../lib/replica/session_window.ts";
import type { StateMachine } from "../../lib/replica/state_machine.ts";
import { VirtualClock } from "../atm/virtual_clock.ts";

async function turn(): Promise<void> {
  for (let at = 0; at < 5; at += 1) await Promise.resolve();
}

Deno.test("numbers are given out in order while the window has room", async () => {
  const window = new SessionWindow(new VirtualClock(), 3);
  assertEquals([await window.take(10), await window.take(10), await window.take(10)], [1, 2, 3]);
  assertEquals(window.lowest, 1);
  window.release(2);
  assertEquals(window.lowest, 1, "the window begins at the lowest number in use");
});

Deno.test("commands that find no room wait in order of arrival", async () => {
  const clock = new VirtualClock();
  const window = new SessionWindow(clock, 2);
  await window.take(1_000);
  await window.take(1_000);
  const taken: [string, number][] = [];
  for (const name of ["a", "b", "c"]) {
    void window.take(1_000).then((sequence) => taken.push([name, sequence]));
  }
  window.release(2);
  await turn();
  assertEquals(taken, [], "number 1 still holds the window");
  window.release(1);
  await turn();
  assertEquals(taken, [["a", 3], ["b", 4]]);
  window.release(3);
  await turn();
  assertEquals(taken.at(-1), ["c", 5]);
  assertEquals(clock.pendingTimers, 0);
});

Deno.test("a command that never finds room is refused for certain, and leaves its place", async () => {
  const clock = new VirtualClock();
  const window = new SessionWindow(clock, 1);
  await window.take(1_000);
  const error = await assertRejects(
    () => clock.settle(window.take(clock.monotonicMs() + 50)),
    TrilogError,
  );
  assertEquals([error.code, error.outcomeUnknown], ["overloaded", false]);
  window.release(1);
  assertEquals(await window.take(clock.monotonicMs() + 50), 2);
});

/** Counts its commands, and the copies of each. */
class Counter implements StateMachine {
  readonly executed = new Map<string, number>();
  apply(command: Uint8Array): Uint8Array {
    const text = textOf(command);
    this.executed.set(text, (this.executed.get(text) ?? 0) + 1);
    return command;
  }
  query(): Uint8Array {
    return EMPTY_BYTES;
  }
  snapshot(): Uint8Array {
    return EMPTY_BYTES;
  }
  restore(): void {}
}

Deno.test("a thousand commands in flight at one node are all carried out, each once", async () => {
  const clock = new VirtualClock();
  const random = new Prng(11);
  const counter = new Counter();
  const machine = new SessionMachine(counter);
  let index = 0;
  /** Commands reach the log in any order, and some answers are lost. */
  const propose = async (command: Uint8Array) => {
    await sleep(clock, random.below(40));
    index += 1;
    const answer = machine.apply(command, { index, term: 1, timeMs: index });
    if (random.chance(0.1)) throw new TrilogError("outcome_unknown", "Cannot answer: lost");
    return { answer };
  };
  const service = new GroupService({
    clock,
    random,
    caller: { call: () => Promise.reject(new Error("not used")) },
    replica: () => ({ isLeader: true, propose }) as unknown as Replica,
    addressOf: () => undefined,
  });
  const texts = Array.from({ length: 1_024 }, (_, at) => `command ${at}`);
  const answers = await clock.settle(
    Promise.all(texts.map((text) => service.command(utf8(text)))),
  );
  assertEquals(answers.map(textOf), texts);
  assertEquals([...counter.executed.values()].every((count) => count === 1), true);
  assertEquals(counter.executed.size, texts.length);
});
