import { assertEquals, assertRejects } from "@std/assert";
import { unlessAborted } from "../../lib/base/abort.ts";

Deno.test("work ends as it would without a signal, or in null when the signal comes first", async () => {
  const controller = new AbortController();
  const { signal } = controller;
  assertEquals(await unlessAborted(Promise.resolve(5), signal), 5);
  await assertRejects(() => unlessAborted(Promise.reject(new Error("own")), signal), Error, "own");
  const { promise, reject } = Promise.withResolvers<number>();
  const waiting = unlessAborted(promise, signal);
  controller.abort();
  assertEquals(await waiting, null);
  reject(new Error("too late to be heard"));
  assertEquals(await unlessAborted(Promise.reject(new Error("not looked at")), signal), null);
});

Deno.test("however often work is waited for, the signal keeps no listener", async () => {
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener: add, removeEventListener: remove } = signal;
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners += 1;
    add.apply(signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners -= 1;
    remove.apply(signal, args);
  };
  for (let count = 0; count < 100; count += 1) {
    const work = unlessAborted(Promise.resolve(), signal);
    assertEquals(listeners, 1);
    await work;
    assertEquals(listeners, 0);
  }
});
