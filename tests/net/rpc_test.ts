import { assertEquals, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import type { Packable } from "../../lib/base/msgpack.ts";
import { clientPolicy } from "../../lib/net/handshake.ts";
import { encodeFrames, LOOPBACK, newClient, ShiftedClock, TestNode, until } from "./helpers.ts";

const SOON = { deadlineMs: 5_000 };

async function codeOf(call: Promise<Packable>): Promise<string> {
  const error = await assertRejects(() => call, TrilogError);
  return `${error.code}${error.outcomeUnknown ? " (unknown)" : ""}`;
}

async function withNode(
  run: (node: TestNode, client: ReturnType<typeof newClient>) => Promise<void>,
): Promise<void> {
  const node = new TestNode();
  const client = newClient();
  try {
    await run(node, client);
  } finally {
    client.close();
    await node.close();
  }
}

Deno.test("a call is answered by its method with the values it was given", async () => {
  await withNode(async (node, client) => {
    const params = [1, "x", new Uint8Array([1, 2]), { a: null }, true, -5, 2 ** 40];
    assertEquals(await client.call(node.address, "echo", params, SOON), params);
  });
});

Deno.test("ten thousand calls share one connection and few writes", async () => {
  await withNode(async (node, client) => {
    const calls = Array.from(
      { length: 10_000 },
      (_, i) => client.call(node.address, "echo", i, SOON),
    );
    assertEquals(await Promise.all(calls), Array.from({ length: 10_000 }, (_, i) => i));
    assertEquals(node.counters.connections, 1);
    assertLess(node.counters.writes, 500);
  });
});

Deno.test("answers come in the order in which handlers finish, not in that of the calls", async () => {
  await withNode(async (node, client) => {
    const first = Promise.withResolvers<Packable>();
    node.rpc.handle("first", () => first.promise);
    const order: string[] = [];
    const slow = client.call(node.address, "first", null, SOON).then(() => order.push("slow"));
    await client.call(node.address, "echo", 1, SOON).then(() => order.push("quick"));
    first.resolve(null);
    await slow;
    assertEquals(order, ["quick", "slow"]);
  });
});

Deno.test("an error of a handler arrives with its code, retryable bit and leader", async () => {
  await withNode(async (node, client) => {
    node.rpc.handle("refuse", () => {
      throw new TrilogError("not_leader", "Cannot write: not the leader", { leader: "h:1" });
    });
    const error = await assertRejects(
      () => client.call(node.address, "refuse", null, SOON),
      TrilogError,
    );
    assertEquals([error.code, error.retryable, error.leader], ["not_leader", true, "h:1"]);
  });
});

Deno.test("what a handler throws unforeseen is internal, and so is a rejected promise", async () => {
  await withNode(async (node, client) => {
    node.rpc.handle("throws", () => {
      throw new RangeError("oops");
    });
    node.rpc.handle("rejects", () => Promise.reject(new RangeError("oops")));
    assertEquals(
      await codeOf(client.call(node.address, "throws", null, SOON)),
      "internal (unknown)",
    );
    assertEquals(
      await codeOf(client.call(node.address, "rejects", null, SOON)),
      "internal (unknown)",
    );
    assertEquals(await client.call(node.address, "echo", 1, SOON), 1);
  });
});

Deno.test("a method that does not exist is refused by name", async () => {
  await withNode(async (node, client) => {
    const error = await assertRejects(
      () => client.call(node.address, "nothing", null, SOON),
      TrilogError,
    );
    assertEquals(error.code, "unknown_method");
    assertStringIncludes(error.message, '"nothing"');
  });
});

Deno.test("a call that nobody answers fails at its deadline, and its handler is told", async () => {
  await withNode(async (node, client) => {
    let aborted: TrilogError | null = null;
    node.rpc.handle("hang", (_, call) =>
      new Promise(() => {
        call.signal.addEventListener("abort", () => aborted = call.signal.reason);
      }));
    const code = await codeOf(client.call(node.address, "hang", null, { deadlineMs: 30 }));
    assertEquals(code, "deadline_exceeded (unknown)");
    await until(() => aborted !== null, "the handler was told");
    await until(() => node.rpc.running === 0, "the call no longer counts");
  });
});

Deno.test("a call that its caller cancels stops on both sides", async () => {
  await withNode(async (node, client) => {
    let reason: TrilogError | null = null;
    node.rpc.handle("hang", (_, call) =>
      new Promise(() => {
        call.signal.addEventListener("abort", () => reason = call.signal.reason);
      }));
    const controller = new AbortController();
    const call = client.call(node.address, "hang", null, { ...SOON, signal: controller.signal });
    await until(() => node.rpc.running === 1, "the call runs");
    controller.abort();
    assertEquals(await codeOf(call), "cancelled (unknown)");
    await until(() => reason !== null, "the handler was told");
    assertEquals((reason as TrilogError | null)?.code, "cancelled");
    assertEquals(node.rpc.running, 0);
  });
});

Deno.test("a handler reads the time that is left to it and who calls", async () => {
  await withNode(async (node, client) => {
    node.rpc.handle("who", (_, call) => {
      const inTime = call.deadlineMs > 0 && call.deadlineMs <= 5_000;
      return [inTime, call.caller.name, call.caller.role, call.method];
    });
    assertEquals(
      await client.call(node.address, "who", null, SOON),
      [true, "tester", "client", "who"],
    );
  });
});

Deno.test("a server that is not there makes a call unavailable, which is certain", async () => {
  const node = new TestNode();
  const { address } = node;
  await node.close();
  const client = newClient();
  assertEquals(await codeOf(client.call(address, "echo", 1, SOON)), "unavailable");
  assertEquals(await codeOf(client.call(address, "echo", 1, SOON)), "unavailable");
  client.close();
});

Deno.test("a call under way when its server dies has an unknown outcome", async () => {
  const node = new TestNode();
  const client = newClient();
  node.rpc.handle("hang", () => new Promise(() => {}));
  const call = client.call(node.address, "hang", null, SOON);
  await until(() => node.rpc.running === 1, "the call runs");
  await Promise.all([
    codeOf(call).then((code) => assertEquals(code, "connection_closed (unknown)")),
    node.close(),
  ]);
  client.close();
});

Deno.test("calls reach a server that came back on the same address", async () => {
  const first = new TestNode();
  const client = newClient();
  assertEquals(await client.call(first.address, "echo", 1, SOON), 1);
  await first.close();
  const second = new TestNode({ listen: first.address });
  let answer: Packable = null;
  const ask = () => client.call(second.address, "echo", 2, SOON).then((got) => answer = got);
  for (let tries = 0; tries < 200 && answer === null; tries += 1) {
    await ask().catch(() => new Promise((resolve) => setTimeout(resolve, 10)));
  }
  assertEquals(answer, 2);
  client.close();
  await second.close();
});

Deno.test("a wrong token or cluster is told to the caller", async () => {
  const node = new TestNode({ token: "secret" });
  const wrong = newClient({ policy: clientPolicy("tester", "guess") });
  assertEquals(await codeOf(wrong.call(node.address, "echo", 1, SOON)), "unauthorized");
  const right = newClient({ policy: clientPolicy("tester", "secret") });
  assertEquals(await right.call(node.address, "echo", 1, SOON), 1);
  wrong.close();
  right.close();
  await node.close();
});

Deno.test("a request above the client's frame limit is refused before it leaves", async () => {
  await withNode(async (node, client) => {
    const large = new Uint8Array(limits.clientFrameBytes);
    assertEquals(await codeOf(client.call(node.address, "echo", large, SOON)), "frame_too_large");
    const fits = new Uint8Array(limits.clientFrameBytes - 64);
    const answer = await client.call(node.address, "echo", fits, SOON);
    assertEquals((answer as Uint8Array).length, fits.length);
  });
});

Deno.test("an answer above the limit becomes an error, and the connection stays", async () => {
  await withNode(async (node, client) => {
    node.rpc.handle("huge", () => new Uint8Array(limits.peerFrameBytes));
    assertEquals(await codeOf(client.call(node.address, "huge", 1, SOON)), "frame_too_large");
    assertEquals(await client.call(node.address, "echo", 1, SOON), 1);
    assertEquals(node.counters.connections, 1);
  });
});

Deno.test("a closing server lets running calls end within its grace", async () => {
  const node = new TestNode();
  const client = newClient();
  const gate = Promise.withResolvers<Packable>();
  node.rpc.handle("gate", () => gate.promise);
  const call = client.call(node.address, "gate", null, SOON);
  await until(() => node.rpc.running === 1, "the call runs");
  const closed = node.mux.close(5_000);
  gate.resolve("done");
  assertEquals(await call, "done");
  await closed;
  client.close();
  node.peers.close();
});

Deno.test("two listeners cannot have the same address", async () => {
  const node = new TestNode();
  const error = await assertRejects(async () => {
    await Promise.resolve();
    new TestNode({ listen: node.address });
  }, TrilogError);
  assertEquals(error.code, "address_in_use");
  assertEquals(error.message, `Cannot listen on ${node.address}: the address is in use`);
  assertEquals(node.address === LOOPBACK, false);
  await node.close();
});

Deno.test("a connection that fell silent is given up when a call waited in vain", async () => {
  const clock = new ShiftedClock();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const client = newClient({ clock });
  const call = () => codeOf(client.call(`127.0.0.1:${port}`, "echo", 1, { deadlineMs: 50 }));
  const first = call();
  const silent = await listener.accept();
  await silent.read(new Uint8Array(4_096));
  await silent.write(encodeFrames(["trilog", 2, null, "c1", "r1", "n", 1]));
  assertEquals(await first, "deadline_exceeded (unknown)");
  const second = call();
  clock.shiftMs += 2_000;
  assertEquals(await second, "deadline_exceeded (unknown)");
  const third = call();
  const fresh = await listener.accept();
  assertEquals(await third, "unavailable");
  client.close();
  silent.close();
  fresh.close();
  listener.close();
});

Deno.test("calls beyond what may be queued for a connection are refused", async () => {
  await withNode(async (node, client) => {
    const large = new Uint8Array(1024 * 1024);
    const calls = Array.from(
      { length: 40 },
      () =>
        client.call(node.address, "echo", large, SOON).then(() => "done", (error) => error.code),
    );
    const outcomes = await Promise.all(calls);
    assertEquals([...new Set(outcomes)].sort(), ["done", "overloaded"]);
    assertEquals(outcomes.filter((outcome) => outcome === "done").length, 31);
  });
});

Deno.test("a call that is still queued when its client closes may yet be done, and says so", async () => {
  await withNode(async (node, client) => {
    await client.call(node.address, "echo", 1, SOON);
    const call = codeOf(client.call(node.address, "echo", 2, SOON));
    client.forget(node.address);
    assertEquals(await call, "connection_closed (unknown)");
    await until(() => node.counters.framesIn === 4, "the server got hello, two calls and farewell");
  });
});

Deno.test("a call to a client that was closed is not to be repeated", async () => {
  await withNode(async (node, client) => {
    await client.call(node.address, "echo", 1, SOON);
    client.close();
    const error = await assertRejects(
      () => client.call(node.address, "echo", 2, SOON),
      TrilogError,
    );
    assertEquals([error.code, error.retryable], ["unavailable", false]);
  });
});

Deno.test("a client that did not run past a deadline reads the answer that waits before it gives up", async () => {
  const node = new TestNode();
  const clock = new ShiftedClock();
  const { promise, resolve } = Promise.withResolvers<Packable>();
  // The process stands still when the deadline comes; meanwhile the server answers.
  const sleepy = {
    monotonicMs: () => clock.monotonicMs(),
    wallMs: clock.wallMs,
    nextTurn: clock.nextTurn,
    after: (delayMs: number, run: () => void) =>
      clock.after(delayMs, () => {
        if (delayMs > 200 && delayMs <= 300) {
          clock.shiftMs = 2_000;
          resolve("answer");
        }
        run();
      }),
  };
  const client = newClient({ clock: sleepy });
  try {
    node.rpc.handle("slow", () => promise);
    assertEquals(await client.call(node.address, "slow", null, { deadlineMs: 300 }), "answer");
  } finally {
    client.close();
    await node.close();
  }
});
